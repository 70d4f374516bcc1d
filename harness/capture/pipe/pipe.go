// Package pipe captures from a stream of pcap or pcapng: what `ssh host tcpdump -s 0 -U -n -w -` writes, a FIFO,
// standard input, a simulated mirror. It needs no privileges here; whoever writes the stream does.
//
// What reached the tap, for Flush, is what was written into the pipe's far end on this machine. Flush knows how much
// that is: it counts the bytes taken, and asks the pipe how many lie in it untaken (FIONREAD on Linux and macOS; the
// source itself where it has Written). Everything before that point has been given to the sink once the reader, with
// so much taken, asks for more. It can know nothing of packets still on their way: in a remote tcpdump's buffers or on
// the network between. That is what a canary is for, sent before Flush and looked for in the packets.
//
// Where neither is to be had (Windows, readers of other kinds) Flush waits until nothing has come for a while, which
// proves less: a writer that is slow enough is mistaken for one that is done. A compressed stream can't be flushed at
// all, because a decompressor holds packets back.
package pipe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/tollgate-iot/tollgate/harness/bench"
	"github.com/tollgate-iot/tollgate/harness/pcap"
)

// Options of a tap. Exactly one of Reader, Path and Command is given.
type Options struct {
	Name string
	// Reader gives the stream. Its Close must end a Read in progress; the tap closes it. Where it has a method
	// Written() uint64, that is the count of all bytes ever put into it, and Flush goes by it.
	Reader io.ReadCloser
	// Path is a FIFO or a file; "-" is standard input.
	Path string
	// Command writes the stream to its standard output: [ssh, host, tcpdump, -s, "0", -U, -n, -w, "-", …].
	Command []string
}

// Tap captures from a stream. It implements bench.Tap.
type Tap struct {
	name    string
	o       Options
	closing time.Duration // how long Close waits

	mu      sync.Mutex
	state   state
	meter   *meter
	process *process // nil where there is no command
	done    chan struct{}
	stats   bench.TapStats
	err     error
	zipped  string // compression of the stream

	sinking sync.Mutex // held while sink is called
	closed  bool       // no sink any more
}

type state int

const (
	fresh state = iota
	started
	stopped
)

// ErrEnded is what Err gives where the stream ended in good order while the tap was still open: its writer has gone.
var ErrEnded = errors.New("the stream ended: its writer has closed it")

// New makes a tap. It opens nothing.
func New(o Options) (*Tap, error) {
	given := 0
	for _, is := range []bool{o.Reader != nil, o.Path != "", len(o.Command) > 0} {
		if is {
			given++
		}
	}
	if given != 1 {
		return nil, fmt.Errorf("make tap %s: give exactly one of a reader, a path and a command, not %d", o.Name, given)
	}
	what := cmp.Or(o.Path, strings.Join(o.Command, " "), "reader")
	return &Tap{name: cmp.Or(o.Name, what), o: o, closing: closeFor, done: make(chan struct{})}, nil
}

// Name implements bench.Tap.
func (t *Tap) Name() string { return t.name }

// Start implements bench.Tap: it returns when the stream's header has been read, so its writer is capturing. A tap can
// be started once.
func (t *Tap) Start(ctx context.Context, sink func(pcap.Record)) error {
	if err := t.open(ctx); err != nil {
		return fmt.Errorf("start tap %s: %w", t.name, err)
	}
	ready := make(chan error, 1)
	go t.run(sink, ready)
	var err error
	select {
	case err = <-ready:
	case <-ctx.Done():
		err = fmt.Errorf("no capture header came: %w; is the writer running, with -U so that it writes at once?", context.Cause(ctx))
	}
	if err == nil {
		return nil
	}
	cause := t.ended(err)
	if closing := t.Close(); closing != nil {
		cause = fmt.Errorf("%w (%w)", cause, closing)
	}
	return fmt.Errorf("start tap %s: %w", t.name, cause)
}

// open opens the stream.
func (t *Tap) open(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state != fresh {
		return errors.New("it was started or closed before; a tap is started once")
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	var src io.ReadCloser
	var err error
	switch {
	case t.o.Reader != nil:
		src = t.o.Reader
	case t.o.Path != "":
		src, err = openPath(t.o.Path)
	default:
		t.process, src, err = startProcess(t.o.Command)
	}
	if err != nil {
		return err
	}
	t.meter, t.state = newMeter(src), started
	return nil
}

// run reads the stream to its end; it is the tap's one goroutine.
func (t *Tap) run(sink func(pcap.Record), ready chan<- error) {
	defer close(t.done)
	r, err := pcap.NewReader(t.meter)
	if err != nil {
		if t.meter.empty() {
			err = errors.New("the stream ended without a byte, not even a capture's header")
		}
		ready <- err
		return
	}
	t.mu.Lock()
	t.zipped = r.Compression()
	t.mu.Unlock()
	ready <- nil
	for err == nil {
		var rec pcap.Record
		if rec, err = r.Next(); err == nil {
			t.deliver(rec, r.Drops(), sink)
		}
	}
	if errors.Is(err, io.EOF) {
		err = ErrEnded
		if r.Cut() {
			err = fmt.Errorf("the stream was cut in the middle of record %d: its writer died, or the way to it broke", t.Stats().Received+1)
		}
	}
	t.count(func(s *bench.TapStats) { s.Dropped = max(s.Dropped, r.Drops()) })
	err = t.ended(err)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state == started {
		t.err = fmt.Errorf("tap %s: %w", t.name, err)
	}
}

// deliver counts a record and gives it to the sink, unless the tap is closed.
func (t *Tap) deliver(rec pcap.Record, drops uint64, sink func(pcap.Record)) {
	t.sinking.Lock()
	defer t.sinking.Unlock()
	if t.closed {
		return
	}
	t.count(func(s *bench.TapStats) {
		s.Received++
		if len(rec.Data) < rec.Length {
			s.Truncated++
		}
		s.Dropped = max(s.Dropped, drops)
	})
	sink(rec)
}

func (t *Tap) count(change func(*bench.TapStats)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	change(&t.stats)
}

// ended adds to an error what is known of the command that wrote the stream.
func (t *Tap) ended(err error) error {
	if t.process == nil {
		return err
	}
	if said := t.process.said(); said != "" {
		return fmt.Errorf("%w; %s", err, said)
	}
	return err
}

// Flush implements bench.Tap. What it can know is in the package's description. A tap that ended by itself can't be
// flushed: Flush gives Err.
func (t *Tap) Flush(ctx context.Context) error {
	t.mu.Lock()
	s, m, zipped := t.state, t.meter, t.zipped
	t.mu.Unlock()
	switch {
	case s != started:
		return fmt.Errorf("flush tap %s: it is not capturing", t.name)
	case zipped != "":
		return fmt.Errorf("flush tap %s: the stream is compressed (%s), and its last packets can't be told from those held back; send it plain", t.name, zipped)
	}
	if err := m.flush(ctx, t.done); err != nil {
		return fmt.Errorf("flush tap %s: %w", t.name, err)
	}
	if err := t.Err(); err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	select {
	case <-t.done:
		return fmt.Errorf("flush tap %s: it was closed", t.name)
	default:
		return nil
	}
}

// Stats implements bench.Tap. Dropped is what the stream says of it (pcapng) and, once it has ended, what its command
// said: tcpdump tells at its end.
func (t *Tap) Stats() bench.TapStats {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.stats
	if t.process != nil {
		s.Dropped = max(s.Dropped, t.process.drops())
	}
	return s
}

// Err implements bench.Tap.
func (t *Tap) Err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

// closeFor is how long Close waits for a Read that the source's own Close does not end.
const closeFor = 5 * time.Second

// Close implements bench.Tap: the stream is closed, its command ended with all of its process group. It must not be
// called by the sink.
func (t *Tap) Close() error {
	t.mu.Lock()
	was := t.state
	t.state = stopped
	t.mu.Unlock()
	t.sinking.Lock()
	t.closed = true
	t.sinking.Unlock()
	switch was {
	case fresh:
		if t.o.Reader != nil {
			return t.o.Reader.Close()
		}
		return nil
	case stopped:
		return nil
	}
	var errs []error
	if t.process != nil {
		t.process.stop()
	}
	errs = append(errs, t.meter.close())
	timer := time.NewTimer(t.closing)
	defer timer.Stop()
	select {
	case <-t.done:
	case <-timer.C:
		errs = append(errs, errors.New("its reader could not be stopped: the source's Close does not end a Read in progress"))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close tap %s: %w", t.name, err)
	}
	return nil
}
