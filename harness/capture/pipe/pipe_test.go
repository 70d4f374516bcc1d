package pipe

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/tollgate-iot/tollgate/harness/bench"
	"github.com/tollgate-iot/tollgate/harness/bench/benchtest"
	"github.com/tollgate-iot/tollgate/harness/pcap"
)

// TestMain lets this test program be the command that a tap runs: it then copies a capture from standard input, as
// asked in its environment.
func TestMain(m *testing.M) {
	if os.Getenv(asWriter) != "" {
		os.Exit(writer())
	}
	goleak.VerifyTestMain(m)
}

const within = 20 * time.Second

// limited gives a context for what must not hang.
func limited(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	t.Cleanup(cancel)
	return ctx
}

// header is a pcap file's, Ethernet, microseconds (draft-ietf-opsawg-pcap, 4).
func header() []byte {
	h := binary.LittleEndian.AppendUint32(nil, 0xa1b2c3d4)
	h = binary.LittleEndian.AppendUint16(h, 2)
	h = binary.LittleEndian.AppendUint16(h, 4)
	h = append(h, make([]byte, 8)...)
	h = binary.LittleEndian.AppendUint32(h, 262144)
	return binary.LittleEndian.AppendUint32(h, 1)
}

// record is a record with data of which so much was on the wire.
func record(data []byte, onWire int) []byte {
	r := make([]byte, 8) // time
	r = binary.LittleEndian.AppendUint32(r, uint32(len(data)))
	r = binary.LittleEndian.AppendUint32(r, uint32(onWire))
	return append(r, data...)
}

func textRecord(text string) []byte { return record([]byte("text "+text), len(text)+5) }

func textOf(data []byte) string {
	text, ok := bytes.CutPrefix(data, []byte("text "))
	if !ok {
		return ""
	}
	return string(text)
}

// sender gives a TapFixture's Send for a writer.
func sender(w io.Writer) func(*testing.T, ...string) {
	return func(t *testing.T, texts ...string) {
		t.Helper()
		for _, text := range texts {
			_, err := w.Write(textRecord(text))
			require.NoError(t, err)
		}
	}
}

// TestPromisesOnAPipe: the reader is an operating system's pipe.
func TestPromisesOnAPipe(t *testing.T) {
	benchtest.Tap(t, func(t *testing.T) benchtest.TapFixture {
		r, w, err := os.Pipe()
		require.NoError(t, err)
		t.Cleanup(func() { _ = w.Close() })
		tap, err := New(Options{Name: "pipe", Reader: r})
		require.NoError(t, err)
		_, err = w.Write(header())
		require.NoError(t, err)
		return benchtest.TapFixture{Tap: tap, Send: sender(w), Text: textOf, Break: func(t *testing.T) {
			_, err := w.Write(textRecord("cut")[:20])
			require.NoError(t, err)
			require.NoError(t, w.Close())
		}}
	})
}

// counter is a pipe in memory that counts what was written and never makes its writer wait.
type counter struct {
	mu      sync.Mutex
	more    sync.Cond
	buf     []byte
	written uint64
	closed  bool
	ended   bool
}

func newCounter() *counter {
	c := &counter{}
	c.more.L = &c.mu
	return c
}

func (c *counter) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.buf = append(c.buf, p...)
	c.written += uint64(len(p))
	c.more.Broadcast()
	return len(p), nil
}

func (c *counter) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.buf) == 0 && !c.closed && !c.ended {
		c.more.Wait()
	}
	switch {
	case c.closed:
		return 0, io.ErrClosedPipe
	case len(c.buf) == 0:
		return 0, io.EOF
	}
	n := copy(p, c.buf[:min(len(c.buf), 7)]) // in small pieces
	c.buf = c.buf[n:]
	return n, nil
}

func (c *counter) Written() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.written
}

func (c *counter) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.more.Broadcast()
	return nil
}

// TestPromisesOnACountingReader: the reader says how much was written into it.
func TestPromisesOnACountingReader(t *testing.T) {
	benchtest.Tap(t, func(t *testing.T) benchtest.TapFixture {
		c := newCounter()
		tap, err := New(Options{Name: "counter", Reader: c})
		require.NoError(t, err)
		_, err = c.Write(header())
		require.NoError(t, err)
		return benchtest.TapFixture{Tap: tap, Send: sender(c), Text: textOf, Break: func(*testing.T) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.ended = true
			c.more.Broadcast()
		}}
	})
}

// startOn starts a tap on bytes that are all there, followed by the stream's end.
func startOn(t *testing.T, stream []byte) (*Tap, [][]byte, error) {
	t.Helper()
	tap, err := New(Options{Name: "t", Reader: io.NopCloser(bytes.NewReader(stream))})
	require.NoError(t, err)
	var got [][]byte
	err = tap.Start(limited(t), func(r pcap.Record) { got = append(got, bytes.Clone(r.Data)) })
	if err == nil {
		<-tap.done
	}
	require.NoError(t, tap.Close())
	return tap, got, err
}

func TestStreamsThatEnd(t *testing.T) {
	whole := append(header(), textRecord("a")...)
	tap, got, err := startOn(t, whole)
	require.NoError(t, err)
	require.Len(t, got, 1)
	require.ErrorIs(t, tap.Err(), ErrEnded)
	require.EqualError(t, tap.Err(), "tap t: the stream ended: its writer has closed it")

	tap, got, err = startOn(t, append(whole, textRecord("b")[:21]...))
	require.NoError(t, err)
	require.Len(t, got, 1)
	require.ErrorContains(t, tap.Err(), "cut in the middle of record 2")
	require.NotErrorIs(t, tap.Err(), ErrEnded)

	tap, got, err = startOn(t, append(whole, bytes.Repeat([]byte{0xff}, 64)...))
	require.NoError(t, err)
	require.Len(t, got, 1)
	require.ErrorIs(t, tap.Err(), pcap.ErrDamaged)
}

func TestHeadersThatAreNone(t *testing.T) {
	for stream, problem := range map[string]string{
		"": "the stream ended without a byte", string(header()[:10]): "not a pcap or pcapng capture",
		"ssh: connect to host mirror port 22: Connection refused\n": "not a pcap or pcapng capture",
	} {
		_, _, err := startOn(t, []byte(stream))
		require.ErrorContains(t, err, "start tap t: ")
		require.ErrorContains(t, err, problem)
	}
}

func TestLateHeader(t *testing.T) {
	r, w, err := os.Pipe()
	require.NoError(t, err)
	tap, err := New(Options{Reader: r})
	require.NoError(t, err)
	ctx, cancel := context.WithCancelCause(context.Background())
	go func() {
		require.Eventually(t, func() bool { return tap.present() != nil }, within, time.Millisecond)
		cancel(errors.New("ten seconds are over"))
	}()
	err = tap.Start(ctx, func(pcap.Record) {})
	require.ErrorContains(t, err, "no capture header came: ten seconds are over; is the writer running, with -U")
	require.Error(t, tap.Start(limited(t), func(pcap.Record) {}), "once is all")
	require.NoError(t, w.Close())
}

func TestStats(t *testing.T) {
	stream := header()
	stream = append(stream, record([]byte("whole"), 5)...)
	stream = append(stream, record([]byte("cut"), 1500)...)
	tap, _, err := startOn(t, stream)
	require.NoError(t, err)
	require.EqualValues(t, 2, tap.Stats().Received)
	require.EqualValues(t, 1, tap.Stats().Truncated)
	require.Zero(t, tap.Stats().Dropped)

	var ng bytes.Buffer
	w, err := pcap.NewWriter(&ng, pcap.Section{}, pcap.Interface{Link: pcap.LinkEthernet})
	require.NoError(t, err)
	require.NoError(t, w.Write(pcap.Record{Data: []byte("x"), Length: 1}))
	require.NoError(t, w.WriteStats(0, pcap.Stats{Dropped: 7}))
	require.NoError(t, w.Flush())
	tap, _, err = startOn(t, ng.Bytes())
	require.NoError(t, err)
	require.EqualValues(t, 1, tap.Stats().Received)
	require.EqualValues(t, 7, tap.Stats().Dropped)
}

func TestCompressedStreamsAreNotFlushed(t *testing.T) {
	r, w, err := os.Pipe()
	require.NoError(t, err)
	tap, err := New(Options{Name: "t", Reader: r})
	require.NoError(t, err)
	z := gzip.NewWriter(w)
	_, err = z.Write(header())
	require.NoError(t, err)
	require.NoError(t, z.Flush())
	require.NoError(t, tap.Start(limited(t), func(pcap.Record) {}))
	require.ErrorContains(t, tap.Flush(limited(t)), "the stream is compressed (gzip)")
	require.NoError(t, tap.Close())
	require.NoError(t, w.Close())
}

// TestPlainReader: a reader that can't be asked is flushed when it has been quiet for a while.
func TestPlainReader(t *testing.T) {
	r, w := io.Pipe()
	tap, err := New(Options{Name: "t", Reader: r})
	require.NoError(t, err)
	got := make(chan string, 10)
	go func() { _, _ = w.Write(append(header(), textRecord("a")...)) }() // fails where the test has failed
	require.NoError(t, tap.Start(limited(t), func(r pcap.Record) { got <- textOf(r.Data) }))
	require.NoError(t, tap.Flush(limited(t)))
	require.Equal(t, "a", <-got)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	require.ErrorIs(t, tap.Flush(ctx), context.Canceled)
	require.NoError(t, tap.Close())
}

// stubborn is a reader whose Close does not end a Read in progress.
type stubborn struct{ release chan struct{} }

func (s stubborn) Read([]byte) (int, error) { <-s.release; return 0, io.EOF }
func (s stubborn) Close() error             { return nil }

func TestCloseNeverHangs(t *testing.T) {
	s := stubborn{make(chan struct{})}
	tap, err := New(Options{Name: "t", Reader: s})
	require.NoError(t, err)
	require.NoError(t, tap.begin(limited(t)))
	tap.closing = time.Millisecond
	go tap.run(func(pcap.Record) {}, make(chan error, 1))
	require.ErrorContains(t, tap.Close(), "the source's Close does not end a Read in progress")
	close(s.release)
	<-tap.done
}

func TestNew(t *testing.T) {
	for _, o := range []Options{{}, {Path: "x", Command: []string{"y"}}, {Path: "-", Reader: io.NopCloser(nil)}} {
		_, err := New(o)
		require.ErrorContains(t, err, "exactly one of")
	}
	for want, o := range map[string]Options{"-": {Path: "-"}, "a b": {Command: []string{"a", "b"}}, "n": {Name: "n", Path: "-"}, "reader": {Reader: io.NopCloser(nil)}} {
		tap, err := New(o)
		require.NoError(t, err)
		require.Equal(t, want, tap.Name())
	}
}

func TestPathsThatCantBe(t *testing.T) {
	dir := t.TempDir()
	for path, problem := range map[string]string{dir: "directory", dir + "/none": "none"} {
		tap, err := New(Options{Path: path})
		require.NoError(t, err)
		require.ErrorContains(t, tap.Start(limited(t), func(pcap.Record) {}), problem)
		require.NoError(t, tap.Close())
	}
}

func TestFile(t *testing.T) {
	file := t.TempDir() + "/x.pcap"
	stream := header()
	for i := range 1000 {
		stream = append(stream, textRecord(fmt.Sprint(i))...)
	}
	require.NoError(t, os.WriteFile(file, stream, 0o600))
	tap, err := New(Options{Path: file})
	require.NoError(t, err)
	require.NoError(t, tap.Start(limited(t), func(pcap.Record) {}))
	<-tap.done
	require.EqualValues(t, 1000, tap.Stats().Received)
	require.ErrorIs(t, tap.Err(), ErrEnded)
	require.ErrorIs(t, tap.Flush(limited(t)), ErrEnded)
	require.NoError(t, tap.Close())
}

// A stream that is taken in one piece with its header ends, by its last byte, before it was found to be a capture: the
// outages on both sides of it still follow each other.
func TestOutagesDoNotOverlap(t *testing.T) {
	now := time.Date(2026, 3, 8, 12, 0, 0, 0, time.UTC)
	tap := &Tap{}
	feedOf := func(last time.Time) *feed {
		return &feed{meter: newMeter(io.NopCloser(bytes.NewReader(nil)), func() time.Time { return last })}
	}
	tap.broken(feedOf(now), errors.New("its writer died"))
	tap.outages[0].To = now.Add(2 * time.Second)
	tap.broken(feedOf(now.Add(time.Second)), errors.New("its writer died"))
	require.Equal(t, []bench.Outage{{From: now, To: now.Add(2 * time.Second), Cause: "its writer died"}, {From: now.Add(2 * time.Second), Cause: "its writer died"}}, tap.Outages())
}
