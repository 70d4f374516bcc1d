package recording

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/tollgate-iot/tollgate/harness/pcap"
	"github.com/tollgate-iot/tollgate/harness/trace"
)

func TestMain(m *testing.M) {
	if child() {
		return
	}
	goleak.VerifyTestMain(m)
}

// frame is the n-th frame of a test: its number is in its bytes and its time.
func frame(n, size int) pcap.Record {
	data := bytes.Repeat([]byte{byte(n)}, max(size, 8))
	binary.BigEndian.PutUint64(data, uint64(n))
	return pcap.Record{Time: at(n), Link: pcap.LinkEthernet, Data: data, Length: len(data) + n%3}
}

func at(n int) int64 { return 1_772_971_132_000_000_000 + int64(n)*1000 }

func number(rec pcap.Record) int { return int(binary.BigEndian.Uint64(rec.Data)) }

// read is what a file holds.
type read struct {
	records  []pcap.Record
	comments [][]string
	drops    uint64
	spans    []pcap.Span
	cut      bool
}

func readFile(t require.TestingT, in io.Reader) read {
	r, err := pcap.NewReader(in)
	require.NoError(t, err)
	var out read
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			out.drops, out.spans, out.cut = r.Drops(), r.Spans(), r.Cut()
			return out
		}
		require.NoError(t, err, "never damaged")
		rec.Data = bytes.Clone(rec.Data)
		out.records, out.comments = append(out.records, rec), append(out.comments, r.Comments())
	}
}

func readParts(t require.TestingT, first string) (out []read) {
	files, err := trace.Parts(first)
	require.NoError(t, err)
	for _, name := range files {
		b, err := os.ReadFile(name)
		require.NoError(t, err)
		out = append(out, readFile(t, bytes.NewReader(b)))
	}
	return out
}

// What is recorded is read again, in order, whatever the taps, the link types and the size of the files; each file is
// complete in itself, and no larger than it may be.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "recording")
		require.NoError(t, err)
		defer os.RemoveAll(dir)
		first := filepath.Join(dir, "capture.pcapng")
		rotate := rapid.SampledFrom([]int64{0, 1, 600, 5000}).Draw(t, "rotate")
		r, err := Create(Options{File: first, Rotate: rotate, Comment: "a test"})
		require.NoError(t, err)
		defer r.Close()
		taps := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c"}), 0, 60).Draw(t, "taps")
		var want []pcap.Record
		for n, tap := range taps {
			rec := frame(n, rapid.IntRange(8, 300).Draw(t, "size"))
			rec.Link = rapid.SampledFrom([]pcap.LinkType{pcap.LinkEthernet, pcap.LinkRaw}).Draw(t, "link")
			want = append(want, rec)
			r.Write(tap, rec, "comment "+tap)
			if rapid.IntRange(0, 9).Draw(t, "flush") == 0 {
				r.Flush()
			}
		}
		require.NoError(t, r.Close())
		require.NoError(t, r.Close(), "a second time")
		parts := readParts(t, first)
		require.Equal(t, &trace.RecordingEvidence{Parts: len(parts), Frames: uint64(len(want))}, r.Evidence())
		n := 0
		for i, p := range parts {
			info, err := os.Stat(trace.PartName(first, i+1))
			require.NoError(t, err)
			require.False(t, p.cut)
			require.Zero(t, p.drops)
			require.True(t, rotate == 0 || len(p.records) == 1 || info.Size() <= rotate+500, "%d bytes in part %d", info.Size(), i+1)
			for k, got := range p.records {
				require.Equal(t, []string{"comment " + taps[n]}, p.comments[k])
				require.Equal(t, []any{want[n].Time, want[n].Link, want[n].Data, want[n].Length}, []any{got.Time, got.Link, got.Data, got.Length})
				n++
			}
		}
		require.Equal(t, len(want), n)
	})
}

// A frame does not wait for the next one to reach the file.
func TestIdleFlush(t *testing.T) {
	first := filepath.Join(t.TempDir(), "capture.pcapng")
	r, err := Create(Options{File: first})
	require.NoError(t, err)
	defer r.Close()
	require.True(t, readParts(t, first)[0].cut, "nothing is complete before Close")
	r.Write("tap", frame(1, 60))
	require.Eventually(t, func() bool {
		got := readParts(t, first)[0]
		return len(got.records) == 1 && got.cut
	}, 10*time.Second, time.Millisecond)
}

// What taps count is in the file now and then, and to the last packet at the end; several parts add up.
func TestCounts(t *testing.T) {
	first := filepath.Join(t.TempDir(), "capture.pcapng")
	var mu sync.Mutex
	now := Counts{}
	set := func(c Counts) {
		mu.Lock()
		defer mu.Unlock()
		now = c
	}
	r, err := Create(Options{File: first, Rotate: 400, Counts: func(tap string) Counts {
		mu.Lock()
		defer mu.Unlock()
		require.Equal(t, "tap", tap)
		return now
	}})
	require.NoError(t, err)
	r.Write("tap", frame(1, 60))
	set(Counts{Received: 1, Dropped: 5})
	r.count()
	r.tick(true)
	require.EqualValues(t, 5, readParts(t, first)[0].drops)
	r.Write("tap", frame(2, 200))
	set(Counts{Received: 2, Dropped: 7})
	r.count()
	r.Write("tap", frame(3, 200))
	set(Counts{Received: 3, Dropped: 12})
	require.NoError(t, r.Close())
	var drops []uint64
	for _, p := range readParts(t, first) {
		drops = append(drops, p.drops)
	}
	require.Equal(t, []uint64{5, 2, 5}, drops)
}

// A span in which a tap did not capture is in the part that is written when it is over, once; one that lasts to the end
// ends there. A disk that is full keeps it waiting.
func TestOutages(t *testing.T) {
	moment := func(n int) time.Time { return time.Unix(0, at(n)).UTC() }
	outages := []trace.Outage{{From: moment(1), Cause: "its writer died"}}
	d := &disk{left: 1 << 20}
	r, err := Create(Options{File: "c", Now: func() time.Time { return moment(9) }, Create: func(string) (File, error) { return d, nil },
		Outages: func() map[string][]trace.Outage {
			return map[string][]trace.Outage{"tap": slices.Clone(outages), "silent": outages[1:]}
		}})
	require.NoError(t, err)
	spans := func() []pcap.Span {
		d.mu.Lock()
		defer d.mu.Unlock()
		return readFile(t, bytes.NewReader(d.data)).spans
	}
	r.Write("tap", frame(1, 60))
	r.count()
	r.tick(true)
	require.Empty(t, spans(), "it lasts")
	outages[0].To = moment(2)
	r.count()
	d.leave(10)
	r.tick(true)
	require.Empty(t, spans())
	require.Error(t, r.Err())
	d.leave(1 << 20)
	retry(r)
	first := pcap.Span{Interface: "tap", From: at(1), To: at(2), Comment: "not captured: its writer died"}
	r.Write("tap", frame(2, 60))
	r.Flush()
	require.Equal(t, []pcap.Span{first}, spans())
	outages = append(outages, trace.Outage{From: moment(5), Cause: "interface tap0 vanished"})
	require.NoError(t, r.Close())
	require.Equal(t, []pcap.Span{first, {Interface: "silent", From: at(5), To: at(9), Comment: "not captured: interface tap0 vanished"},
		{Interface: "tap", From: at(5), To: at(9), Comment: "not captured: interface tap0 vanished"}}, spans())
}

// A record that no file can hold is told of, and the others are recorded.
func TestImpossibleRecords(t *testing.T) {
	first := filepath.Join(t.TempDir(), "capture.pcapng")
	r, err := Create(Options{File: first})
	require.NoError(t, err)
	r.Write("tap", frame(1, 60))
	r.Write("tap", pcap.Record{Time: -1, Data: []byte{1}})
	r.Write("tap", frame(2, 60))
	r.Write("tap", pcap.Record{Time: at(3), Data: make([]byte, pcap.MaxRecord+1)})
	require.NoError(t, r.Close())
	got := readParts(t, first)[0]
	require.Len(t, got.records, 2)
	require.EqualValues(t, 2, got.drops)
	e := r.Evidence()
	require.EqualValues(t, 2, e.Frames)
	require.Len(t, e.Gaps, 2)
	require.Contains(t, e.Gaps[0].Cause, "before 1970")
	require.Contains(t, e.Gaps[1].Cause, "262145 bytes")
}

func TestCreateFails(t *testing.T) {
	_, err := Create(Options{File: filepath.Join(t.TempDir(), "no", "such", "capture.pcapng")})
	require.ErrorIs(t, err, os.ErrNotExist)
	first := filepath.Join(t.TempDir(), "night.pcapng")
	require.NoError(t, os.WriteFile(trace.PartName(first, 3), nil, 0o644))
	_, err = Create(Options{File: first})
	require.ErrorContains(t, err, "files such as night-0002.pcapng are there, of an earlier recording")
	_, err = Create(Options{File: "c", Create: func(string) (File, error) { return &disk{left: 5}, nil }})
	require.ErrorIs(t, err, syscall.ENOSPC, "no room for a header")
	require.ErrorContains(t, err, "make room on the disk that holds .")
}

// What holds anything is neither written over nor taken away: it is evidence, or another program's, or what is replayed.
func TestNothingIsWrittenOver(t *testing.T) {
	dir := t.TempDir()
	kept, empty, none, device := filepath.Join(dir, "kept"), filepath.Join(dir, "empty"), filepath.Join(dir, "none"), filepath.Join(dir, "device")
	require.NoError(t, os.WriteFile(kept, []byte("evidence"), 0o644))
	_, err := Create(Options{File: kept})
	require.EqualError(t, err, "begin recording: "+kept+" is there, and is not written over: remove it, or record under another name")
	b, err := os.ReadFile(kept)
	require.NoError(t, err)
	require.Equal(t, "evidence", string(b))

	require.NoError(t, os.WriteFile(empty, nil, 0o644))
	r, err := Create(Options{File: empty})
	require.NoError(t, err)
	r.Write("mirror", frame(1, 60))
	require.NoError(t, r.Close())
	require.Len(t, readParts(t, empty)[0].records, 1)

	r, err = Create(Options{File: none})
	require.NoError(t, err)
	require.FileExists(t, none)
	require.NoError(t, r.Abandon())
	require.NoFileExists(t, none)

	r, err = Create(Options{File: empty, Create: func(string) (File, error) { return &disk{left: 1 << 20}, nil }})
	require.NoError(t, err)
	require.NoError(t, r.Abandon())
	require.FileExists(t, empty, "what only has the name of a stream")

	if runtime.GOOS == "windows" {
		return // a link to a device needs privileges there
	}
	require.NoError(t, os.Symlink(os.DevNull, device))
	r, err = Create(Options{File: device})
	require.NoError(t, err)
	require.NoError(t, r.Abandon())
	_, err = os.Lstat(device)
	require.NoError(t, err, "a device is not taken away")
}

// disk is a file on a disk that has so many bytes left.
type disk struct {
	mu     sync.Mutex
	data   []byte
	left   int
	stuck  bool // what is written can't be taken back
	shy    bool // a write that fails does not tell how much of it was done, as those of os.File
	closed bool
}

func (d *disk) WriteAt(p []byte, off int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	grow := max(0, int(off)+len(p)-len(d.data))
	n := len(p) - max(0, grow-d.left)
	grown := max(0, int(off)+n-len(d.data))
	d.data = append(d.data, make([]byte, grown)...)
	d.left -= grown
	copy(d.data[off:], p[:n])
	if n < len(p) {
		if d.shy {
			n = 0
		}
		return n, &os.PathError{Op: "write", Path: "capture.pcapng", Err: syscall.ENOSPC}
	}
	return n, nil
}

func (d *disk) Truncate(size int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stuck {
		return errors.New("stuck")
	}
	d.left += len(d.data) - int(size)
	d.data = d.data[:size]
	return nil
}

func (d *disk) Close() error {
	d.closed = true
	return nil
}

func (d *disk) leave(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.left = n
}

func (d *disk) grow(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.left += n
}

// retry lets the time pass after which a full disk is tried again.
func retry(r *Recorder) {
	for range retryTicks {
		r.tick(false)
	}
}

// Whatever a disk can hold and whenever it has room again: what was written stays and can be read, in order; every frame is
// either there or told of, in the file itself as in the evidence.
func TestFullDisk(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := &disk{left: rapid.IntRange(300, 4000).Draw(t, "room"), shy: rapid.Bool().Draw(t, "shy")}
		r, err := Create(Options{File: "capture.pcapng", Create: func(string) (File, error) { return d, nil }})
		require.NoError(t, err)
		defer r.Close()
		total := rapid.IntRange(1, 100).Draw(t, "frames")
		var before []int
		for n := 1; n <= total; n++ {
			rec := frame(n, rapid.IntRange(8, 200).Draw(t, "size"))
			rec.Link = rapid.SampledFrom([]pcap.LinkType{pcap.LinkEthernet, pcap.LinkRaw}).Draw(t, "link")
			r.Write("tap", rec)
			switch rapid.IntRange(0, 9).Draw(t, "then") {
			case 0, 1, 2:
				r.Flush()
				before = requireKept(t, d, before)
			case 3:
				d.grow(rapid.IntRange(0, 1000).Draw(t, "more room"))
			case 4:
				retry(r)
			}
		}
		roomy := rapid.Bool().Draw(t, "room at the end")
		if roomy {
			d.grow(100_000)
		}
		err = r.Close()
		require.True(t, d.closed)
		requireKept(t, d, before)
		got := readFile(t, bytes.NewReader(d.data))
		e := r.Evidence()
		require.EqualValues(t, len(got.records), e.Frames)
		var lost uint64
		for _, g := range e.Gaps {
			lost += g.Frames
			require.Contains(t, g.Cause, "write capture.pcapng: no space left on device: make room on the disk that holds .")
			require.False(t, g.To.Before(g.From))
		}
		require.EqualValues(t, total, e.Frames+lost)
		require.Equal(t, err == nil, e.Unended == "")
		if roomy {
			require.NoError(t, err)
			require.False(t, got.cut)
			if len(got.records) > 0 {
				require.Equal(t, lost, got.drops, "the file tells by itself")
			}
		}
		requireGaps(t, got.records, e.Gaps, total)
	})
}

// requireKept holds a file to have all the frames that it had before.
func requireKept(t *rapid.T, d *disk, before []int) (now []int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, rec := range readFile(t, bytes.NewReader(d.data)).records {
		now = append(now, number(rec))
	}
	require.True(t, slices.IsSorted(now))
	require.GreaterOrEqual(t, len(now), len(before))
	for i, n := range before {
		require.Equal(t, n, now[i])
	}
	return now
}

// requireGaps holds every frame that is not there to be within a gap.
func requireGaps(t *rapid.T, records []pcap.Record, gaps []trace.RecordingGap, total int) {
	have := map[int]bool{}
	for _, rec := range records {
		have[number(rec)] = true
	}
	for n := 1; n <= total; n++ {
		when := time.Unix(0, at(n)).UTC()
		within := slices.ContainsFunc(gaps, func(g trace.RecordingGap) bool { return !when.Before(g.From) && !when.After(g.To) })
		require.True(t, have[n] || within, "frame %d is neither there nor told of", n)
	}
}

// A block that can't be taken back spoils its file's end, not what stands before it; the recording goes on in another.
func TestTornFile(t *testing.T) {
	var disks []*disk
	r, err := Create(Options{File: "capture.pcapng", Create: func(string) (File, error) {
		disks = append(disks, &disk{left: 500, stuck: len(disks) == 0})
		return disks[len(disks)-1], nil
	}})
	require.NoError(t, err)
	for n := 1; n <= 10; n++ {
		r.Write("tap", frame(n, 60))
	}
	r.Flush()
	require.Error(t, r.Err())
	retry(r)
	require.NoError(t, r.Err())
	r.Write("tap", frame(11, 60))
	require.Error(t, r.Close(), "the first file is not complete")
	require.Len(t, disks, 2)
	first, second := readFile(t, bytes.NewReader(disks[0].data)), readFile(t, bytes.NewReader(disks[1].data))
	require.True(t, first.cut)
	require.Len(t, first.records, 4)
	require.False(t, second.cut)
	require.Equal(t, 11, number(second.records[0]))
	require.EqualValues(t, 6, second.records[0].Drops)
	e := r.Evidence()
	require.Equal(t, 2, e.Parts)
	require.EqualValues(t, 5, e.Frames)
	require.EqualValues(t, 6, e.Gaps[0].Frames)
	require.Contains(t, e.Unended, "no space left")
}

// A pipe that nobody reads any more is not tried again, and nothing waits for it.
func TestStream(t *testing.T) {
	var out bytes.Buffer
	r, err := Create(Options{Create: Stream(&out)})
	require.NoError(t, err)
	r.Write("tap", frame(1, 60))
	require.NoError(t, r.Close())
	got := readFile(t, bytes.NewReader(out.Bytes()))
	require.Len(t, got.records, 1)
	require.False(t, got.cut, "a stream can't be completed, and claims nothing")

	in, pipe := io.Pipe()
	go io.CopyN(io.Discard, in, 60) //nolint:errcheck
	r, err = Create(Options{Create: Stream(pipe)})
	require.NoError(t, err)
	require.NoError(t, in.Close())
	r.Write("tap", frame(1, 60))
	r.Flush()
	require.ErrorIs(t, r.Err(), io.ErrClosedPipe)
	retry(r)
	require.ErrorIs(t, r.Err(), io.ErrClosedPipe)
	require.Error(t, r.Close())
	require.EqualValues(t, 1, r.Evidence().Gaps[0].Frames)
}

// The list of gaps is bounded; the last one takes in the rest.
func TestManyGaps(t *testing.T) {
	r, err := Create(Options{File: filepath.Join(t.TempDir(), "c.pcapng")})
	require.NoError(t, err)
	for n := range maxGaps + 10 {
		r.Missed(time.Unix(int64(n), 0), time.Unix(int64(n)+1, 0), 2, fmt.Sprintf("cause %d", n))
	}
	require.NoError(t, r.Close())
	e := r.Evidence()
	require.Len(t, e.Gaps, maxGaps)
	last := e.Gaps[maxGaps-1]
	require.EqualValues(t, 22, last.Frames)
	require.Equal(t, int64(maxGaps+10), last.To.Unix())
}

func BenchmarkWrite(b *testing.B) {
	for _, size := range []int{150, 1500} {
		b.Run(fmt.Sprintf("%d bytes", size), func(b *testing.B) {
			r, err := Create(Options{File: filepath.Join(b.TempDir(), "c.pcapng"), Rotate: 64 << 20, Create: func(string) (File, error) { return nowhere{}, nil }})
			require.NoError(b, err)
			rec := frame(1, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for range b.N {
				r.Write("tap", rec)
			}
			require.NoError(b, r.Close())
		})
	}
}

type nowhere struct{}

func (nowhere) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }
func (nowhere) Truncate(int64) error                   { return nil }
func (nowhere) Close() error                           { return nil }
