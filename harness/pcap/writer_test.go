package pcap

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/google/gopacket/pcapgo"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// What is written is read again, comments, drops and statistics included.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var file bytes.Buffer
		links := rapid.SliceOfN(rapid.Uint16(), 1, 4).Draw(t, "links")
		w, err := NewWriter(&file, Section{Application: "tollgate", Comment: "round trip"})
		require.NoError(t, err)
		for i, link := range links {
			n, err := w.AddInterface(Interface{Name: "tap", Link: LinkType(link), SnapLen: 96})
			require.NoError(t, err)
			require.Equal(t, i, n)
		}
		var want []Record
		var said [][]string
		dropped := make([]uint64, len(links))
		for n := range rapid.IntRange(0, 20).Draw(t, "records") {
			data := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "data")
			i := rapid.IntRange(0, len(links)-1).Draw(t, "interface")
			rec := Record{
				Number: uint64(n + 1), Interface: i, Link: LinkType(links[i]),
				Time:   rapid.Int64Range(0, math.MaxInt64).Draw(t, "time"),
				Length: len(data) + rapid.IntRange(0, 2000).Draw(t, "more"),
				Data:   data,
				Drops:  rapid.Uint64Range(0, 9).Draw(t, "drops"),
			}
			dropped[i] += rec.Drops
			comments := rapid.SliceOfN(rapid.StringMatching(`.{1,40}`), 0, 3).Draw(t, "comments")
			require.NoError(t, w.Write(rec, comments...))
			want, said = append(want, rec), append(said, comments)
		}
		var drops uint64
		for i := range links {
			reported := rapid.Uint64Range(0, 99).Draw(t, "reported")
			require.NoError(t, w.WriteStats(i, Stats{Time: 1, Received: 100, Dropped: reported}))
			drops += max(reported, dropped[i])
		}
		require.NoError(t, w.Flush())

		r, err := NewReader(&file)
		require.NoError(t, err)
		for i, rec := range want {
			got, err := r.Next()
			require.NoError(t, err)
			require.Equal(t, rec, got)
			require.Equal(t, said[i], append([]string{}, r.Comments()...))
		}
		rest, err := readAll(r)
		require.NoError(t, err)
		require.Empty(t, rest)
		require.Equal(t, drops, r.Drops())
	})
}

// Another's reader understands what is written.
func TestWriterByAnotherReader(t *testing.T) {
	var file bytes.Buffer
	w, err := NewWriter(&file, Section{Hardware: "h", OS: "o", Application: "a", Comment: "c"}, Interface{Name: "tap0", Comment: "x", Link: LinkRaw, SnapLen: 77})
	require.NoError(t, err)
	require.NoError(t, w.Write(Record{Time: 1_600_000_000_123_456_789, Data: []byte("hello"), Length: 9, Drops: 2}, "one", "two"))
	require.NoError(t, w.WriteStats(0, Stats{Time: 1_600_000_001_000_000_000, Received: 7, Dropped: 2}))
	require.NoError(t, w.Flush())

	r, err := pcapgo.NewNgReader(bytes.NewReader(file.Bytes()), pcapgo.NgReaderOptions{ErrorOnMismatchingLinkType: true})
	require.NoError(t, err)
	data, info, err := r.ReadPacketData()
	require.NoError(t, err)
	require.Equal(t, "hello", string(data))
	require.Equal(t, 9, info.Length)
	require.Equal(t, int64(1_600_000_000_123_456_789), info.Timestamp.UnixNano())
	_, _, err = r.ReadPacketData()
	require.Error(t, err)
	i, err := r.Interface(0)
	require.NoError(t, err)
	require.Equal(t, "tap0", i.Name)
	require.Equal(t, uint32(77), i.SnapLength)
	require.Equal(t, uint64(7), i.Statistics.PacketsReceived)
	require.Equal(t, uint64(2), i.Statistics.PacketsDropped)
	require.Equal(t, "a", r.SectionInfo().Application)
}

// What is said of a span is read again, and by others as an interface's statistics.
func TestSpans(t *testing.T) {
	var file bytes.Buffer
	w, err := NewWriter(&file, Section{}, Interface{Name: "tap0", Link: LinkRaw}, Interface{Name: "tap1", Link: LinkRaw})
	require.NoError(t, err)
	one := Span{"tap1", 1_600_000_000_123_456_789, 1_600_000_005_000_000_001, "its writer died"}
	require.NoError(t, w.WriteSpan(1, one))
	require.NoError(t, w.WriteSpan(1, Span{From: 7, To: 6, Comment: "backward"}))
	require.NoError(t, w.WriteSpan(1, Span{From: 7, To: 8}))
	require.NoError(t, w.WriteSpan(0, Span{From: 7, To: 8, Comment: "two"}))
	require.ErrorContains(t, w.WriteSpan(2, one), "interface 2 of 2: add it first")
	require.NoError(t, w.Write(Record{Interface: 1, Time: 9}))
	require.NoError(t, w.Flush())

	r, err := NewReader(bytes.NewReader(file.Bytes()))
	require.NoError(t, err)
	require.Empty(t, r.Spans())
	_, err = readAll(r)
	require.NoError(t, err)
	require.Equal(t, []Span{one, {"tap0", 7, 8, "two"}}, r.Spans())
	require.Zero(t, r.Drops())

	other, err := pcapgo.NewNgReader(bytes.NewReader(file.Bytes()), pcapgo.NgReaderOptions{})
	require.NoError(t, err)
	_, _, err = other.ReadPacketData()
	require.NoError(t, err)
	i, err := other.Interface(0)
	require.NoError(t, err)
	require.Equal(t, []any{int64(7), int64(8), "two"}, []any{i.Statistics.StartTime.UnixNano(), i.Statistics.EndTime.UnixNano(), i.Statistics.Comment})
}

func TestWriterLimits(t *testing.T) {
	var file bytes.Buffer
	w, err := NewWriter(&file, Section{}, Interface{Link: LinkEthernet})
	require.NoError(t, err)
	require.ErrorContains(t, w.Write(Record{Interface: 1}), "interface 1 of 1: add it first")
	require.ErrorContains(t, w.Write(Record{Data: make([]byte, MaxRecord+1)}), "at most 262144 can be read again")
	require.ErrorContains(t, w.Write(Record{Time: -1}), "before 1970")
	require.ErrorContains(t, w.WriteStats(-1, Stats{}), "interface -1 of 1")

	long := strings.Repeat("é", 40_000)
	require.NoError(t, w.Write(Record{Data: make([]byte, MaxRecord)}, long, long, long, long, long, long, long, long, long))
	require.NoError(t, w.Flush())
	r, err := NewReader(&file)
	require.NoError(t, err)
	rec, err := r.Next()
	require.NoError(t, err)
	require.Len(t, rec.Data, MaxRecord)
	comments := r.Comments()
	require.GreaterOrEqual(t, len(comments), 6)
	require.Equal(t, strings.Repeat("é", 32767), comments[0], "cut at a whole character")
}

// Flush after a record makes it readable, while nothing more is written.
func TestWriterLive(t *testing.T) {
	var file bytes.Buffer
	w, err := NewWriter(&file, Section{}, Interface{Link: LinkEthernet})
	require.NoError(t, err)
	require.NoError(t, w.Flush())
	r, err := NewReader(&growing{&file})
	require.NoError(t, err)
	for range 3 {
		require.NoError(t, w.Write(Record{Data: []byte("x"), Length: 1}))
		require.NoError(t, w.Flush())
		rec, err := r.Next()
		require.NoError(t, err)
		require.Equal(t, "x", string(rec.Data))
	}
}

// growing fails where a live pipe would wait.
type growing struct{ *bytes.Buffer }

func (g *growing) Read(p []byte) (int, error) {
	if g.Len() == 0 {
		return 0, errors.New("the reader waits for more than was written")
	}
	return g.Buffer.Read(p)
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestWriterErrors(t *testing.T) {
	w, err := NewWriter(full{}, Section{}, Interface{})
	require.NoError(t, err)
	require.ErrorContains(t, w.Flush(), "write capture: disk full")
	require.ErrorContains(t, w.Write(Record{}), "disk full")
	require.ErrorContains(t, w.WriteStats(0, Stats{}), "disk full")
	_, err = w.AddInterface(Interface{})
	require.ErrorContains(t, err, "disk full")
}

func TestBlockWriter(t *testing.T) {
	var calls blocks
	w, err := NewBlockWriter(&calls, Section{Application: Recording}, Interface{Name: "tap0", Link: LinkEthernet})
	require.NoError(t, err)
	require.NoError(t, w.Write(Record{Time: 1, Data: []byte("abc")}))
	require.NoError(t, w.WriteStats(0, Stats{Time: 2, Received: 1}))
	require.NoError(t, w.Flush(), "there is nothing to flush")
	require.Len(t, calls, 4, "a call for each block")
	for _, b := range calls {
		require.Equal(t, uint32(len(b)), binary.LittleEndian.Uint32(b[4:]), "a call is a block")
	}
}

type blocks [][]byte

func (b *blocks) Write(p []byte) (int, error) {
	*b = append(*b, bytes.Clone(p))
	return len(p), nil
}

// A recording without its length was not written to its end, wherever it was cut; other captures may leave it out.
func TestUnfinishedRecording(t *testing.T) {
	for _, application := range []string{Recording, "tollgate"} {
		var file bytes.Buffer
		w, err := NewWriter(&file, Section{Application: application}, Interface{Link: LinkEthernet})
		require.NoError(t, err)
		require.NoError(t, w.Write(Record{Time: 1, Data: []byte("abc")}))
		require.NoError(t, w.Flush())
		whole := bytes.Clone(file.Bytes())
		header := binary.LittleEndian.Uint32(whole[4:])
		copy(whole[LengthAt:], SectionLength(int64(len(whole))-int64(header)))

		for _, c := range []struct {
			file            []byte
			records         int
			unfinished, cut bool
		}{
			{file.Bytes(), 1, application == Recording, application == Recording},
			{whole, 1, false, false},
			{whole[:len(whole)-1], 0, false, true},
		} {
			r, err := NewReader(bytes.NewReader(c.file))
			require.NoError(t, err)
			got, err := readAll(r)
			require.NoError(t, err)
			require.Len(t, got, c.records)
			require.Equal(t, application == Recording, r.Recording())
			require.Equal(t, c.unfinished, r.Unfinished())
			require.Equal(t, c.cut, r.Cut())
		}
	}
}

// A header that the reader's buffer holds only in part is read as one that it holds whole.
func TestUnfinishedSectionAfterAnother(t *testing.T) {
	var file bytes.Buffer
	for range 2 {
		w, err := NewWriter(&file, Section{Application: Recording, Comment: strings.Repeat("c", 3000)}, Interface{Link: LinkEthernet})
		require.NoError(t, err)
		require.NoError(t, w.Write(Record{Time: 1, Data: make([]byte, readSize-4000)}))
		require.NoError(t, w.Flush())
	}
	header := binary.LittleEndian.Uint32(file.Bytes()[4:])
	second := file.Len() / 2
	for at, unfinished := range map[int]bool{0: true, second: true} {
		b := bytes.Clone(file.Bytes())
		copy(b[at+LengthAt:], SectionLength(int64(second)-int64(header)))
		r, err := NewReader(bytes.NewReader(b))
		require.NoError(t, err)
		got, err := readAll(r)
		require.NoError(t, err)
		require.Len(t, got, 2)
		require.Equal(t, unfinished, r.Unfinished())
		copy(b[second-at+LengthAt:], SectionLength(int64(second)-int64(header)))
		r, err = NewReader(bytes.NewReader(b))
		require.NoError(t, err)
		_, err = readAll(r)
		require.NoError(t, err)
		require.False(t, r.Unfinished(), "both are complete")
	}
}
