package file

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/tollgate-iot/tollgate/harness/bench/benchtest"
	"github.com/tollgate-iot/tollgate/harness/pcap"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func limited(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// clock goes on when the test says so.
type clock struct {
	mu     sync.Mutex
	now    time.Time
	moved  chan struct{}
	asleep chan struct{} // holds one value once somebody sleeps, until the clock moves
}

func newClock() *clock {
	return &clock{now: time.Date(2026, 11, 22, 1, 38, 33, 0, time.UTC), moved: make(chan struct{}), asleep: make(chan struct{}, 1)}
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	close(c.moved)
	c.moved = make(chan struct{})
}

// advanceSleeper goes on once somebody sleeps: who was about to, by what the clock showed before, would sleep past the time.
func (c *clock) advanceSleeper(d time.Duration) {
	<-c.asleep
	c.advance(d)
}

func (c *clock) Sleep(ctx context.Context, d time.Duration) error {
	until := c.Now().Add(d)
	for {
		c.mu.Lock()
		now, moved := c.now, c.moved
		if now.Before(until) {
			select {
			case c.asleep <- struct{}{}:
			default:
			}
		}
		c.mu.Unlock()
		if !now.Before(until) {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (c *clock) WithTimeout(ctx context.Context, _ time.Duration) (context.Context, context.CancelFunc) {
	return context.WithCancel(ctx)
}

// stream is a file whose contents the test makes up while it is read.
type stream struct {
	mu   sync.Mutex
	more sync.Cond
	buf  bytes.Buffer
	err  error
}

func (s *stream) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.buf.Len() == 0 && s.err == nil {
		s.more.Wait()
	}
	if s.buf.Len() == 0 {
		return 0, s.err
	}
	return s.buf.Read(p)
}

func (s *stream) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.more.Broadcast()
	return s.buf.Write(p)
}

func (s *stream) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
	s.more.Broadcast()
}

func (s *stream) Close() error {
	s.end(os.ErrClosed)
	return nil
}

// far is a replay's file and clock: the record last written is always one of the hour to come.
type far struct {
	stream *stream
	clock  *clock
	out    *pcap.Writer
}

func newFar(t *testing.T) *far {
	f := &far{stream: &stream{}, clock: newClock()}
	f.stream.more.L = &f.stream.mu
	var err error
	f.out, err = pcap.NewWriter(f.stream, pcap.Section{}, pcap.Interface{Link: pcap.LinkEthernet})
	require.NoError(t, err)
	f.write(t, "", 0) // at Start
	f.write(t, "", time.Hour)
	return f
}

// write adds a record that is due after a while.
func (f *far) write(t *testing.T, text string, after time.Duration) {
	data := []byte("hour")
	if text != "" {
		data = []byte("text " + text)
	}
	require.NoError(t, f.out.Write(pcap.Record{Time: f.clock.Now().Add(after).UnixNano(), Link: pcap.LinkEthernet, Data: data, Length: len(data)}))
	require.NoError(t, f.out.Flush())
}

func (f *far) send(t *testing.T, texts ...string) {
	for _, text := range texts {
		f.write(t, text, time.Hour)
	}
	f.write(t, "", 2*time.Hour)
	f.clock.advanceSleeper(time.Hour)
}

func textOf(data []byte) string {
	text, ok := bytes.CutPrefix(data, []byte("text "))
	if !ok {
		return ""
	}
	return string(text)
}

// TestPromises: a replay at its own pace; what has reached the tap is what is due.
func TestPromises(t *testing.T) {
	benchtest.Tap(t, func(t *testing.T) benchtest.TapFixture {
		f := newFar(t)
		tap, err := New(Options{Name: "replay", Paced: true, Clock: f.clock, open: func() (io.ReadCloser, error) { return f.stream, nil }})
		require.NoError(t, err)
		return benchtest.TapFixture{Tap: tap, Send: f.send, Text: textOf, Break: func(*testing.T) {
			f.stream.end(errors.New("input/output error"))
			f.clock.advanceSleeper(time.Hour)
		}}
	})
}

// capture writes a file with records at those seconds and gives its path.
func capture(t *testing.T, name string, seconds ...int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, captureBytes(t, seconds...), 0o600))
	return path
}

func captureBytes(t *testing.T, seconds ...int64) []byte {
	var b bytes.Buffer
	w, err := pcap.NewWriter(&b, pcap.Section{}, pcap.Interface{Link: pcap.LinkEthernet})
	require.NoError(t, err)
	for i, s := range seconds {
		text := fmt.Sprintf("text %d", i)
		require.NoError(t, w.Write(pcap.Record{Time: s * 1e9, Link: pcap.LinkEthernet, Data: []byte(text), Length: len(text) + i}))
	}
	require.NoError(t, w.WriteStats(0, pcap.Stats{Dropped: 7}))
	require.NoError(t, w.Flush())
	return b.Bytes()
}

// times replays a file at once and gives the records' times in seconds.
func times(t *testing.T, o Options) (*Tap, []int64) {
	t.Helper()
	if o.Clock == nil {
		o.Clock = newClock()
	}
	tap, err := New(o)
	require.NoError(t, err)
	var got []int64
	require.NoError(t, tap.Start(limited(t), func(r pcap.Record) { got = append(got, r.Time/1e9) }))
	require.NoError(t, tap.Flush(limited(t)))
	require.NoError(t, tap.Flush(limited(t)), "again, at the end")
	require.NoError(t, tap.Err(), "the file is all there is")
	return tap, got
}

func TestAtOnce(t *testing.T) {
	tap, got := times(t, Options{Path: capture(t, "x.pcapng", 100, 200, 1000)})
	require.Equal(t, "x.pcapng", tap.Name())
	require.Equal(t, []int64{100, 200, 1000}, got)
	require.EqualValues(t, 3, tap.Stats().Received)
	require.EqualValues(t, 2, tap.Stats().Truncated)
	require.EqualValues(t, 7, tap.Stats().Dropped)
	require.NoError(t, tap.Close())
	require.NoError(t, tap.Err())
}

func TestShifted(t *testing.T) {
	c := newClock()
	now := c.Now().Unix()
	tap, got := times(t, Options{Path: capture(t, "x", 0, 100, 107, 50, 110), Shifted: true, Clock: c})
	require.Equal(t, []int64{now, now, now + 7, now + 7, now + 10}, got, "without a time, and before the first: with the one before")
	require.NoError(t, tap.Close())
}

func TestCompressed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.pcap.gz")
	f, err := os.Create(path)
	require.NoError(t, err)
	z := gzip.NewWriter(f)
	_, err = z.Write(captureBytes(t, 5, 6))
	require.NoError(t, err)
	require.NoError(t, errors.Join(z.Close(), f.Close()))
	tap, got := times(t, Options{Path: path})
	require.Equal(t, []int64{5, 6}, got)
	require.NoError(t, tap.Close())
}

// TestPaced: each record comes when it is due, no earlier; Flush waits for no more than what is.
func TestPaced(t *testing.T) {
	c := newClock()
	tap, err := New(Options{Path: capture(t, "x", 1000, 1010, 1030), Paced: true, Shifted: true, Clock: c})
	require.NoError(t, err)
	start := c.Now()
	var got []time.Duration
	require.NoError(t, tap.Start(limited(t), func(r pcap.Record) { got = append(got, time.Unix(0, r.Time).Sub(start)) }))
	for _, want := range []int{1, 1, 2, 2, 3, 3} {
		require.NoError(t, tap.Flush(limited(t)))
		require.Len(t, got, want)
		switch want {
		case 1:
			c.advanceSleeper(5 * time.Second)
		case 2:
			c.advanceSleeper(5 * time.Second)
			c.advanceSleeper(5 * time.Second)
		case 3: // nothing is left to wait for
			c.advance(5 * time.Second)
		}
	}
	require.Equal(t, []time.Duration{0, 10 * time.Second, 30 * time.Second}, got)
	require.NoError(t, tap.Err())
	require.NoError(t, tap.Close())
}

func TestFilesThatEndBadly(t *testing.T) {
	whole := captureBytes(t, 1, 2)
	path := filepath.Join(t.TempDir(), "cut")
	require.NoError(t, os.WriteFile(path, whole[:len(whole)-10], 0o600))
	tap, err := New(Options{Name: "r", Path: path, Clock: newClock()})
	require.NoError(t, err)
	require.NoError(t, tap.Start(limited(t), func(pcap.Record) {}))
	require.ErrorContains(t, tap.Flush(limited(t)), "tap r: the file ends inside its record 3")
	require.EqualValues(t, 1, tap.Stats().Dropped)
	require.Error(t, tap.Err())
	require.NoError(t, tap.Close())
}

func TestWhatIsNoCapture(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "notes.txt")
	require.NoError(t, os.WriteFile(text, []byte("hello, world\n"), 0o600))
	for path, want := range map[string]string{dir: "no regular file", filepath.Join(dir, "none"): "none", text: "not a pcap or pcapng capture"} {
		tap, err := New(Options{Path: path, Clock: newClock()})
		require.NoError(t, err)
		require.ErrorContains(t, tap.Start(limited(t), func(pcap.Record) {}), want)
		require.Error(t, tap.Flush(limited(t)))
		require.NoError(t, tap.Close())
	}
	_, err := New(Options{Clock: newClock()})
	require.ErrorContains(t, err, "no file was given")
	_, err = New(Options{Path: "x"})
	require.ErrorContains(t, err, "no clock was given")
}
