package trace_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/fixtures/synth"
	"github.com/tollgate-iot/tollgate/harness/trace"
)

// BenchmarkAnalysis measures the whole analysis of a fleet's capture (flows, phases, accounts, completeness, as
// `tollgate inspect --summary` makes them) beside the floor: a loop that reads the same file in pieces of 256 KiB and
// walks the record headers. Both run in one process, in turn; the best of three counts.
//
//	go test -run '^$' -bench Analysis -benchtime 1x ./harness/trace
//
// The capture of two million packets, some 300 MB for each tunnel, is made once and kept in the user's cache directory.
// With -short it is twenty times smaller.
func BenchmarkAnalysis(b *testing.B) {
	for name, mirror := range map[string]synth.Mirror{"gre": synth.GRE, "vxlan": synth.VXLAN} {
		b.Run(name, func(b *testing.B) {
			path := fleet(b, name, mirror)
			resetPeak()
			var floor, full measure
			for b.Loop() {
				for range 3 {
					floor = floor.best(timed(func() uint64 { return walk(b, path) }))
					full = full.best(timed(func() uint64 { return analyse(b, path) }))
				}
			}
			require.Equal(b, floor.packets, full.packets)
			n := float64(full.packets)
			b.ReportMetric(n/floor.took.Seconds()/1e6, "floor-Mpkt/s")
			b.ReportMetric(n/full.took.Seconds()/1e6, "Mpkt/s")
			b.ReportMetric(full.took.Seconds()/floor.took.Seconds(), "x-floor")
			b.ReportMetric(float64(full.allocs)/n, "allocs/pkt")
			b.ReportMetric(peakMiB(), "peak-MiB")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// measure is what one pass over a capture cost.
type measure struct {
	packets, allocs uint64
	took            time.Duration
}

// best is the faster of two measures.
func (m measure) best(o measure) measure {
	if m.took == 0 || o.took < m.took {
		return o
	}
	return m
}

func timed(pass func() uint64) measure {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	begin := time.Now()
	n := pass()
	took := time.Since(begin)
	runtime.ReadMemStats(&after)
	return measure{packets: n, allocs: after.Mallocs - before.Mallocs, took: took}
}

// walk is the floor: it reads a little-endian pcap file and looks at nothing but the records' lengths.
func walk(tb testing.TB, path string) uint64 {
	f, err := os.Open(path)
	require.NoError(tb, err)
	defer f.Close()
	buf := make([]byte, 256<<10)
	var packets uint64
	have, skip := 0, 24 // the file header
	for {
		n, err := f.Read(buf[have:])
		have += n
		at := 0
		for {
			if skip > have-at {
				skip -= have - at
				at = have
				break
			}
			at += skip
			skip = 0
			if have-at < 16 {
				break
			}
			skip = 16 + int(binary.LittleEndian.Uint32(buf[at+8:]))
			packets++
		}
		have = copy(buf, buf[at:have])
		if errors.Is(err, io.EOF) {
			return packets
		}
		require.NoError(tb, err)
	}
}

func analyse(tb testing.TB, path string) uint64 {
	f, err := os.Open(path)
	require.NoError(tb, err)
	defer f.Close()
	c, err := trace.Read(f, filepath.Base(path), trace.Options{})
	require.NoError(tb, err)
	require.Zero(tb, c.Undecodable)
	return c.Frames
}

// fleet gives the path of the capture to measure, made where it is not there yet.
func fleet(b *testing.B, name string, mirror synth.Mirror) string {
	load := synth.FleetLoad(mirror)
	if testing.Short() {
		load.Packets /= 20
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	dir := filepath.Join(cache, "tollgate")
	require.NoError(b, os.MkdirAll(dir, 0o755))
	path := filepath.Join(dir, fmt.Sprintf("fleet-%s-%d-v1.pcap", name, load.Packets))
	if _, err := os.Stat(path); err == nil {
		return path
	}
	f, err := os.CreateTemp(dir, "fleet-*.tmp")
	require.NoError(b, err)
	defer os.Remove(f.Name())
	_, err = synth.WriteLoad(f, load)
	require.NoError(b, err)
	require.NoError(b, f.Close())
	require.NoError(b, os.Rename(f.Name(), path))
	return path
}

// resetPeak makes the peak of resident memory begin anew, where the system can (Linux, proc(5): clear_refs).
func resetPeak() {
	debug.FreeOSMemory()
	_ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0)
}

// peakMiB is the peak of resident memory since then, 0 where the system does not say.
func peakMiB() float64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, _ := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return kib / 1024
		}
	}
	return 0
}

// TestAllocationsDoNotGrowWithPackets reads a capture and one five times as long of the same devices: what is allocated
// more must be far less than one allocation for each packet more.
func TestAllocationsDoNotGrowWithPackets(t *testing.T) {
	short, long := load(t, 20_000), load(t, 100_000)
	few := allocations(t, short)
	many := allocations(t, long)
	more := float64(many) - float64(few)
	require.Less(t, more/80_000, 0.02, "allocations a packet")
}

func load(t *testing.T, packets int) []byte {
	var buf bytes.Buffer
	_, err := synth.WriteLoad(&buf, synth.Load{Packets: packets, Devices: 300, Span: time.Duration(packets) * 10 * time.Millisecond, Mirror: synth.GRE, Seed: 3})
	require.NoError(t, err)
	return buf.Bytes()
}

func allocations(t *testing.T, data []byte) uint64 {
	return timed(func() uint64 {
		c, err := trace.Read(bytes.NewReader(data), "load.pcap", trace.Options{})
		require.NoError(t, err)
		return c.Frames
	}).allocs
}
