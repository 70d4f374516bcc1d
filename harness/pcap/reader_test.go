package pcap

import (
	"bytes"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
)

func TestClassic(t *testing.T) {
	const at = 1_500_000_000_000_000_000
	want := []Record{
		{Number: 1, Time: at + 7000, Link: LinkEthernet, Data: []byte("abc"), Length: 3},
		{Number: 2, Time: at + 9000, Link: LinkEthernet, Data: []byte{}, Length: 60},
	}
	cases := map[string]struct {
		file *builder
		want []Record
	}{
		"little, µs":            {little().classicFile(magicMicro, 2, 4, 1).record(at/second, 7, 3, 3, "abc").record(at/second, 9, 0, 60, ""), want},
		"big, µs":               {big().classicFile(magicMicro, 2, 4, 1).record(at/second, 7, 3, 3, "abc").record(at/second, 9, 0, 60, ""), want},
		"little, ns":            {little().classicFile(magicNano, 2, 4, 1).record(at/second, 7000, 3, 3, "abc").record(at/second, 9000, 0, 60, ""), want},
		"big, ns":               {big().classicFile(magicNano, 2, 4, 1).record(at/second, 7000, 3, 3, "abc").record(at/second, 9000, 0, 60, ""), want},
		"longer record headers": {big().classicFile(magicModified, 2, 4, 1).record(at/second, 7, 3, 3, "12345678abc").record(at/second, 9, 0, 60, "12345678"), want},
		"version 2.2: the wire's length first": {
			little().classicFile(magicMicro, 2, 2, 1).record(at/second, 7, 3, 3, "abc").record(at/second, 9, 60, 0, ""), want},
		"version 2.3: either order": {
			little().classicFile(magicMicro, 2, 3, 1).record(at/second, 7, 3, 3, "abc").record(at/second, 9, 60, 0, ""), want},
		"version 543.0: as written": {
			little().classicFile(magicMicro, 543, 0, 1).record(at/second, 7, 3, 3, "abc").record(at/second, 9, 0, 60, ""), want},
		"frame check sequence in the link type's upper bits": {
			little().classicFile(magicMicro, 2, 4, 0x24000001).record(at/second, 7, 3, 3, "abc").record(at/second, 9, 0, 60, ""), want},
		"a wire length below the captured one": {
			little().classicFile(magicMicro, 2, 4, 101).record(1, 0, 3, 0, "abc"),
			[]Record{{Number: 1, Time: second, Link: LinkRaw, Data: []byte("abc"), Length: 3}}},
		"no records": {little().classicFile(magicMicro, 2, 4, 1), nil},
	}
	for name, c := range cases {
		for packing, pack := range packings {
			t.Run(name+", "+packing, func(t *testing.T) {
				r, err := NewReader(bytes.NewReader(pack(c.file.b)))
				require.NoError(t, err)
				got, err := readAll(r)
				require.NoError(t, err)
				require.Equal(t, c.want, got)
				require.False(t, r.Cut())
				require.Equal(t, "pcap", r.Format())
				require.Equal(t, strings.TrimSuffix(packing, "plain"), r.Compression())
				require.Zero(t, r.Drops())
			})
		}
	}
}

var packings = map[string]func([]byte) []byte{
	"plain": func(p []byte) []byte { return p },
	"gzip":  gzipped,
	"zstd":  zstandard,
}

func TestNG(t *testing.T) {
	odd := func(b *builder) *builder {
		return b.sectionBlock().
			block(4, func(b *builder) { b.raw("names") }).
			interfaceBlock(1, 0).
			interfaceBlock(101, 2, "\x09\x09", "\x0e"+b.order64(10)).
			interfaceBlock(113, 0, "\x09\x8a", "\x0e"+b.order64(uint64(math.MaxUint64-4))). // 1/1024 s, five seconds back
			block(0xbad, func(b *builder) { b.raw("custom") }).
			enhancedBlock(0, 1_000_007, "abc", "\x01remark", "\x04"+b.order64(3), "\x01another").
			enhancedBlock(1, 5, "de").
			enhancedBlock(2, 10*1024+512, "").
			block(blockSimple, func(b *builder) { b.u32(70).raw("simple") }).
			block(blockObsolete, func(b *builder) { b.u16(0, 4).u32(0, 8, 1, 90).raw("o") }).
			block(blockObsolete, func(b *builder) { b.u16(0, 0xffff).u32(0, 9, 1, 90).raw("p") }).
			block(blockStats, func(b *builder) {
				b.u32(0, 0, 0).option(optIfDrop, b.order64(2)).option(optOSDrop, b.order64(1))
			}).
			block(blockStats, func(b *builder) {
				b.u32(1, 0, 0).option(optIfDrop, b.order64(20)).option(optOSDrop, b.order64(notKnown))
			}).
			block(blockStats, func(b *builder) { b.u32(9, 0, 0).option(optIfDrop, b.order64(2)) })
	}
	records := func(number uint64, base int) []Record {
		return []Record{
			{Number: number + 1, Time: 1_000_007_000, Link: 1, Interface: base, Data: []byte("abc"), Length: 3, Drops: 3},
			{Number: number + 2, Time: 10*second + 5, Link: 101, Interface: base + 1, Data: []byte("de"), Length: 2},
			{Number: number + 3, Time: 5*second + second/2, Link: 113, Interface: base + 2, Data: []byte{}, Length: 0},
			{Number: number + 4, Link: 1, Interface: base, Data: []byte("simple\x00\x00"), Length: 70},
			{Number: number + 5, Time: 8000, Link: 1, Interface: base, Data: []byte("o"), Length: 90, Drops: 4},
			{Number: number + 6, Time: 9000, Link: 1, Interface: base, Data: []byte("p"), Length: 90},
		}
	}
	file := append(odd(big()).b, odd(little()).b...)
	for packing, pack := range packings {
		t.Run(packing, func(t *testing.T) {
			r, err := NewReader(bytes.NewReader(pack(file)))
			require.NoError(t, err)
			got, err := readAll(r)
			require.NoError(t, err)
			require.Equal(t, append(records(0, 0), records(6, 3)...), got)
			require.Equal(t, uint64(2*(7+20)), r.Drops(), "the larger of the statistics' and the packets' counts")
			require.Equal(t, "pcapng", r.Format())
			require.False(t, r.Cut())
		})
	}
}

func TestComments(t *testing.T) {
	file := big().sectionBlock().interfaceBlock(1, 0).
		enhancedBlock(0, 1, "abc", "\x01remark", "\x05-", "\x01another").enhancedBlock(0, 2, "abc").b
	r, err := NewReader(bytes.NewReader(file))
	require.NoError(t, err)
	_, err = r.Next()
	require.NoError(t, err)
	require.Equal(t, []string{"remark", "another"}, r.Comments())
	_, err = r.Next()
	require.NoError(t, err)
	require.Empty(t, r.Comments())
}

func TestClock(t *testing.T) {
	cases := map[string]struct {
		resolution byte
		offset     int64
		units      uint64
		want       int64
	}{
		"seconds":                 {0, 0, 12, 12 * second},
		"microseconds":            {6, 0, 12, 12000},
		"nanoseconds":             {9, 0, 12, 12},
		"picoseconds":             {12, 0, 12_999, 12},
		"10^-28 s":                {28, 0, math.MaxUint64, 1},
		"10^-29 s":                {29, 0, math.MaxUint64, 0},
		"10^-127 s":               {127, 0, math.MaxUint64, 0},
		"2^0 s":                   {0x80, 0, 3, 3 * second},
		"2^-32 s (as NTP counts)": {0x80 | 32, 0, 3<<32 | 1<<31, 3*second + second/2},
		"2^-64 s":                 {0x80 | 64, 0, 1 << 63, second / 2},
		"2^-127 s":                {0x80 | 127, 0, math.MaxUint64, 0},
		"too late":                {6, 0, math.MaxUint64, math.MaxInt64},
		"too late by 128 bits":    {0, 0, 1 << 40, math.MaxInt64},
		"offset back":             {9, -1, 12, 12 - second},
		"offset too far":          {9, math.MaxInt64, 12, math.MaxInt64},
		"offset and time too far": {9, math.MaxInt64 / second, math.MaxInt64 - 5, math.MaxInt64},
		"offset too far back":     {9, math.MinInt64, 12, math.MinInt64},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			k := newClock(c.resolution, c.offset)
			require.Equal(t, c.want, k.nanoseconds(c.units))
		})
	}
}

// Wherever a file is cut, all whole records come, then io.EOF, and Cut tells a cut inside a record from one between two.
func TestCut(t *testing.T) {
	classic := little().classicFile(magicMicro, 2, 4, 1).record(1, 0, 3, 3, "abc").record(2, 0, 2, 2, "de").b
	ng := little().sectionBlock().interfaceBlock(1, 0).enhancedBlock(0, 1, "abc").
		block(0xbad, func(b *builder) { b.raw("12345678") }).enhancedBlock(0, 1, "de").sectionBlock().b
	ends := map[string]struct {
		file  []byte
		first int         // the shortest that is a capture
		whole map[int]int // length → records, where a record or block ends
	}{
		"pcap":   {classic, 24, map[int]int{24: 0, 43: 1, 61: 2}},
		"pcapng": {ng, 28, map[int]int{28: 0, 48: 0, 84: 1, 104: 1, 140: 2, 168: 2}},
	}
	for name, c := range ends {
		t.Run(name, func(t *testing.T) {
			records := 0
			for n := range len(c.file) + 1 {
				if whole, ok := c.whole[n]; ok {
					records = whole
				}
				r, err := NewReader(bytes.NewReader(c.file[:n]))
				if n < c.first {
					require.ErrorIs(t, err, ErrFormat, "%d bytes", n)
					continue
				}
				require.NoError(t, err)
				got, err := readAll(r)
				require.NoError(t, err)
				require.Len(t, got, records, "%d bytes", n)
				_, boundary := c.whole[n]
				require.Equal(t, !boundary, r.Cut(), "%d bytes", n)
			}
		})
	}
	t.Run("inside gzip", func(t *testing.T) {
		packed := gzipped(append(bytes.Clone(classic), bytes.Repeat([]byte{0}, 1600)...))
		r, err := NewReader(bytes.NewReader(packed[:len(packed)-9]))
		require.NoError(t, err)
		got, err := readAll(r)
		require.NoError(t, err)
		require.GreaterOrEqual(t, len(got), 2)
		require.True(t, r.Cut())
	})
}

func TestDamage(t *testing.T) {
	good := func() *builder {
		return little().sectionBlock().interfaceBlock(1, 0).enhancedBlock(0, 1, "abc")
	}
	cases := map[string]struct {
		file *builder
		says string
	}{
		"pcap record of 4 GiB": {
			little().classicFile(magicMicro, 2, 4, 1).record(1, 0, 3, 3, "abc").record(1, 0, math.MaxUint32, 1, "x"),
			"damaged capture after record 1: the next record claims 4294967295 bytes, and at most 262144 are believed"},
		"block of 4 GiB":                    {good().u32(blockEnhanced, 0xfffffffc), "claims 4294967292 bytes"},
		"block of 0 bytes":                  {good().u32(0xbad, 0), "claims 0 bytes"},
		"odd block":                         {good().u32(blockStats, 27).raw(strings.Repeat("-", 30)), "claims 27 bytes"},
		"two lengths":                       {good().u32(blockInterface, 20, 1, 0, 24), "20 bytes at its beginning and 24 at its end"},
		"unknown interface":                 {good().enhancedBlock(7, 1, ""), "names interface 7 of a section that has 1"},
		"interface of the section before":   {good().sectionBlock().enhancedBlock(0, 1, ""), "names interface 0 of a section that has 0"},
		"more data than block":              {good().block(blockEnhanced, func(b *builder) { b.u32(0, 0, 0, 9, 9).raw("12345678") }), "claims 9 bytes in a block that has room for 8"},
		"byte order of a section":           {good().u32(blockSection, 28, 0x01020304, 0, 0, 0, 28), "byte order mark 04 03 02 01"},
		"version of a section":              {good().block(blockSection, func(b *builder) { b.u32(byteOrderMagic).u16(2, 0).u64(0) }), "version 2.0"},
		"length of a section header":        {good().u32(blockSection, 16, byteOrderMagic, 1, 0, 0, 0), "section header claims 16 bytes"},
		"short enhanced block":              {good().block(blockEnhanced, func(b *builder) { b.u32(0) }), "claims 16 bytes"},
		"short simple block":                {good().block(blockSimple, func(*builder) {}), "claims 12 bytes"},
		"short obsolete block":              {good().block(blockObsolete, func(b *builder) { b.u32(0) }), "claims 16 bytes"},
		"short interface description block": {good().block(blockInterface, func(b *builder) { b.u32(0) }), "claims 16 bytes"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			r, err := NewReader(bytes.NewReader(c.file.b))
			require.NoError(t, err)
			got, err := readAll(r)
			require.ErrorIs(t, err, ErrDamaged)
			require.ErrorContains(t, err, c.says)
			require.Len(t, got, 1, "what comes before the damage is delivered")
			_, again := r.Next()
			require.Equal(t, err, again)
			require.LessOrEqual(t, len(r.src.buf), 2*readSize, "memory does not follow a claim")
		})
	}
}

func TestNotCapture(t *testing.T) {
	tar := make([]byte, 512)
	copy(tar[257:], "ustar")
	cases := map[string]struct {
		file []byte
		says string
	}{
		"nothing":        {nil, "found nothing"},
		"snoop":          {[]byte("snoop\x00\x00\x00\x00\x00\x00\x02"), "found a snoop file; convert it: editcap"},
		"text":           {[]byte("reading from eth0, link-type EN10MB\nmore"), `found text that begins with "reading from eth0, link-type EN10MB"`},
		"long text":      {[]byte(strings.Repeat("é", 99)), `found text that begins with "` + strings.Repeat("é", 40) + `…"`},
		"page":           {[]byte("<!DOCTYPE html><title>Sign in"), "found an HTML page"},
		"tar in gzip":    {gzipped(tar), "found a tar archive inside gzip"},
		"gzip in gzip":   {gzipped(gzipped([]byte("x"))), "found a gzip file inside gzip"},
		"nothing in zst": {zstandard([]byte{0}), "found bytes that begin with 00 inside zstd"},
		"bytes":          {[]byte{1, 2, 3, 4, 5}, "found bytes that begin with 01 02 03 04 05"},
		"bad gzip":       {[]byte{0x1f, 0x8b, 9, 9, 9, 9, 9, 9, 9, 9, 9}, "gzip header"},
		"short pcap":     {little().classicFile(magicMicro, 2, 4, 1).b[:20], "the file ends inside the 24 bytes of its header"},
		"short pcapng":   {little().sectionBlock().b[:20], "the file ends inside its first section header"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := NewReader(bytes.NewReader(c.file))
			require.ErrorIs(t, err, ErrFormat)
			require.ErrorContains(t, err, c.says)
		})
	}
}

func TestInputErrors(t *testing.T) {
	broken := errors.New("cable pulled")
	file := little().classicFile(magicMicro, 2, 4, 1).record(1, 0, 3, 3, "abc").b
	r, err := NewReader(io.MultiReader(bytes.NewReader(file), iotest.ErrReader(broken)))
	require.NoError(t, err)
	got, err := readAll(r)
	require.ErrorIs(t, err, broken)
	require.Len(t, got, 1)
	require.False(t, r.Cut())

	_, err = NewReader(iotest.ErrReader(broken))
	require.ErrorIs(t, err, broken)

	_, err = NewReader(idle{})
	require.ErrorIs(t, err, io.ErrNoProgress)
}

// A zstd frame that wants 64 MiB of history before its first byte is refused, with what to do.
func TestWindowBeyondBounds(t *testing.T) {
	frame := []byte("\x28\xb5\x2f\xfd" + "\x00\x80" + "\x21\x00\x00" + "\xd4\xc3\xb2\xa1")
	_, err := NewReader(bytes.NewReader(frame))
	require.ErrorIs(t, err, zstd.ErrWindowSizeExceeded)
	require.ErrorContains(t, err, "more than 32 MiB of history; unpack it: zstd -dc --long=31")
	require.NotErrorIs(t, err, ErrFormat)
}

type idle struct{}

func (idle) Read([]byte) (int, error) { return 0, nil }

// pieces gives a byte at a time and fails the test when more is asked for than was allowed.
type pieces struct {
	t       *testing.T
	file    []byte
	allowed int
}

func (p *pieces) Read(b []byte) (int, error) {
	require.NotZero(p.t, p.allowed, "the reader waits for more than the record")
	p.allowed--
	n := copy(b[:1], p.file)
	p.file = p.file[n:]
	return n, nil
}

func TestLiveRecordComesWhenWhole(t *testing.T) {
	files := map[string]struct {
		file   []byte
		header int
		record int
	}{
		"pcap":   {little().classicFile(magicMicro, 2, 4, 1).record(1, 0, 3, 3, "abc").record(1, 0, 3, 3, "abc").b, 24, 19},
		"pcapng": {little().sectionBlock().interfaceBlock(1, 0).enhancedBlock(0, 1, "abc").enhancedBlock(0, 1, "abc").b, 28, 36},
	}
	for name, f := range files {
		t.Run(name, func(t *testing.T) {
			p := &pieces{t: t, file: f.file, allowed: f.header}
			r, err := NewReader(p)
			require.NoError(t, err)
			for records := 2; records > 0; records-- {
				p.allowed = len(p.file) - (records-1)*f.record
				rec, err := r.Next()
				require.NoError(t, err)
				require.Equal(t, "abc", string(rec.Data))
			}
		})
	}
}

func TestReadAllocatesNothing(t *testing.T) {
	files := map[string]*builder{
		"pcap":   little().classicFile(magicMicro, 2, 4, 1),
		"pcapng": little().sectionBlock().interfaceBlock(1, 0),
	}
	for range 5000 {
		files["pcap"].record(1, 2, 100, 100, strings.Repeat("x", 100))
		files["pcapng"].enhancedBlock(0, 1, strings.Repeat("x", 100), "\x01remark")
	}
	for name, f := range files {
		t.Run(name, func(t *testing.T) {
			r, err := NewReader(bytes.NewReader(f.b))
			require.NoError(t, err)
			var rec Record
			require.Zero(t, testing.AllocsPerRun(4000, func() {
				if err := r.Read(&rec); err != nil {
					t.Fatal(err)
				}
			}))
		})
	}
}
