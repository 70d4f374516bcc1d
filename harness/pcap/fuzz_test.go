package pcap

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

// FuzzReader: no input makes the reader panic, run for ever, hold more than its bounds or give a record that
// contradicts itself, and how the input comes in pieces changes nothing.
func FuzzReader(f *testing.F) {
	classic := little().classicFile(magicMicro, 2, 4, 1).record(1, 0, 3, 3, "abc").record(2, 0, 2, 2, "de").b
	f.Add(classic)
	f.Add(big().classicFile(magicNano, 2, 3, 0x14000065).record(1, 0, 3, 3, "abc").b)
	f.Add(big().classicFile(magicModified, 2, 2, 1).record(1, 0, 3, 3, "12345678abc").b)
	ng := big().sectionBlock().interfaceBlock(1, 0, "\x09\x09").enhancedBlock(0, 1, "abc", "\x01remark").
		block(blockSimple, func(b *builder) { b.u32(70).raw("simple") }).
		block(blockObsolete, func(b *builder) { b.u16(0, 4).u32(0, 8, 1, 90).raw("o") }).
		block(blockStats, func(b *builder) { b.u32(0, 0, 0).option(optIfDrop, b.order64(2)) }).b
	f.Add(append(ng, little().sectionBlock().interfaceBlock(101, 1).enhancedBlock(0, 1, "abc").b...))
	f.Add(gzipped(classic))
	f.Add(zstandard(ng))
	f.Fuzz(func(t *testing.T, file []byte) {
		whole, cut := records(t, bytes.NewReader(file))
		slowly, cutSlowly := records(t, iotest.HalfReader(bytes.NewReader(file)))
		require.Equal(t, whole, slowly)
		require.Equal(t, cut, cutSlowly)
	})
}

func records(t *testing.T, in io.Reader) (numbers []int, cut bool) {
	r, err := NewReader(in)
	if err != nil {
		return nil, false
	}
	for {
		rec, err := r.Next()
		if err != nil {
			_, again := r.Next()
			require.Equal(t, err, again)
			require.True(t, errors.Is(err, io.EOF) || r.number == uint64(len(numbers)))
			return numbers, r.Cut()
		}
		r.Comments()
		numbers = append(numbers, len(rec.Data))
		require.Equal(t, uint64(len(numbers)), rec.Number)
		require.GreaterOrEqual(t, rec.Length, len(rec.Data))
		require.LessOrEqual(t, len(rec.Data), MaxRecord)
		require.LessOrEqual(t, len(r.src.buf), 2*maxBlock)
	}
}

func BenchmarkRead(b *testing.B) {
	file := little().classicFile(magicMicro, 2, 4, 1)
	for range 100_000 {
		file.record(1, 2, 134, 134, string(make([]byte, 134)))
	}
	b.SetBytes(150)
	b.ReportAllocs()
	in := bytes.NewReader(file.b)
	r, err := NewReader(in)
	require.NoError(b, err)
	var rec Record
	for b.Loop() {
		if err := r.Read(&rec); err != nil {
			in.Reset(file.b)
			r, err = NewReader(in)
			require.NoError(b, err)
		}
	}
}
