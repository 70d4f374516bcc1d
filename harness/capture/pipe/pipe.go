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
//
// # A writer that dies and comes back
//
// A FIFO's writer can die and another one come, and a command can be run again where that is asked for (Options.Again).
// The tap then goes on with the new stream from its header, and tells the time between as an outage: from the last byte of
// the old stream, since nothing says how much later its writer saw its last packet, to the new stream's header. A record
// that was cut in the middle is not given on; it is counted as dropped. Other streams end once and for all.
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
	// HoldInput keeps the command's standard input open, with nothing to read in it, for as long as it is wanted: its end
	// asks the command to end, before a signal does. Without it the command reads nothing.
	HoldInput bool
	// Listening, where not empty, is what the command must have written to standard error before it is taken to capture:
	// tcpdump's "listening on".
	Listening string
	// Explain makes an error of how the command ended, given all that it wrote to standard error as far as it is kept (its last 4 KiB)
	// and its exit status; nil, or an error that says nothing: the command's own last words are told. Permanent says that
	// it is of no use to run the command again.
	Explain func(said string, status int) (err error, permanent bool)
	// Again has a command that ended run again, for as long as the tap is open.
	Again bool
	// Unheard is how long a stream may have been dead before its end was noticed, where that is known (ssh: its keep-alive
	// messages). Zero: since its last byte.
	Unheard time.Duration
	// Wait is how long, on this machine's clock, Start waits for the stream's header; 0 means a minute.
	Wait time.Duration
	// Clock is the bench's, on which outages are told; this machine's where nil.
	Clock bench.Clock
}

// Tap captures from a stream. It implements bench.Tap and bench.Restarting.
type Tap struct {
	name    string
	o       Options
	closing time.Duration // how long Close waits
	quit    context.Context
	cancel  context.CancelFunc // ends whatever waits, on Close
	done    chan struct{}      // closed when run has returned

	mu      sync.Mutex
	state   state
	feed    *feed // the present one; the last one, where none is open
	stats   bench.TapStats
	past    uint64 // dropped in the feeds before
	outages []bench.Outage
	cause   string // of the last outage
	err     error

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
	t := &Tap{name: cmp.Or(o.Name, what), o: o, closing: closeFor, done: make(chan struct{})}
	t.o.Wait = cmp.Or(o.Wait, startFor)
	t.quit, t.cancel = context.WithCancel(context.Background())
	return t, nil
}

// startFor is how long Start waits where the options don't say.
const startFor = time.Minute

// Name implements bench.Tap.
func (t *Tap) Name() string { return t.name }

// Start implements bench.Tap: it returns when the stream's header has been read, so its writer is capturing. A tap can
// be started once.
func (t *Tap) Start(ctx context.Context, sink func(pcap.Record)) error {
	if err := t.begin(ctx); err != nil {
		return fmt.Errorf("start tap %s: %w", t.name, err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, t.o.Wait, fmt.Errorf("waited for %s", t.o.Wait))
	defer cancel()
	ready := make(chan error, 1)
	go t.run(sink, ready)
	var err error
	select {
	case err = <-ready:
	case <-ctx.Done():
		err = t.late(context.Cause(ctx))
	}
	if err == nil {
		return nil
	}
	if closing := t.Close(); closing != nil {
		err = fmt.Errorf("%w (%w)", err, closing)
	}
	return fmt.Errorf("start tap %s: %w", t.name, err)
}

// begin opens the stream for the first time.
func (t *Tap) begin(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state != fresh {
		return errors.New("it was started or closed before; a tap is started once")
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	f, err := t.open()
	if err != nil {
		return err
	}
	t.feed, t.state = f, started
	return nil
}

// late says why Start has waited in vain.
func (t *Tap) late(cause error) error {
	err := fmt.Errorf("no capture header came: %w; is the writer running, with -U so that it writes at once?", cause)
	return t.present().ended(err)
}

// present is the feed of this moment.
func (t *Tap) present() *feed {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.feed
}

// deliver counts a record and gives it to the sink, unless the tap is closed.
func (t *Tap) deliver(rec pcap.Record, sink func(pcap.Record)) {
	t.sinking.Lock()
	defer t.sinking.Unlock()
	if t.closed {
		return
	}
	t.mu.Lock()
	t.stats.Received++
	if len(rec.Data) < rec.Length {
		t.stats.Truncated++
	}
	t.mu.Unlock()
	sink(rec)
}

// Flush implements bench.Tap. What it can know is in the package's description. A tap that ended by itself can't be
// flushed: Flush gives Err. It fails, too, while an outage lasts, and where one began meanwhile.
func (t *Tap) Flush(ctx context.Context) error {
	t.mu.Lock()
	s, f := t.state, t.feed
	t.mu.Unlock()
	if s != started {
		return fmt.Errorf("flush tap %s: it is not capturing", t.name)
	}
	if err := t.lasting(); err != nil {
		return err
	}
	if f.zipped != "" {
		return fmt.Errorf("flush tap %s: the stream is compressed (%s), and its last packets can't be told from those held back; send it plain", t.name, f.zipped)
	}
	if err := f.meter.flush(ctx, f.done); err != nil {
		return fmt.Errorf("flush tap %s: %w", t.name, err)
	}
	select {
	case <-f.done: // what became of it is told in a moment
		select {
		case <-t.done:
		case <-f.noted:
		}
		if err := t.lasting(); err != nil {
			return err
		}
		return fmt.Errorf("flush tap %s: its stream ended meanwhile", t.name)
	default:
		return nil
	}
}

// lasting says why the tap does not capture now, nil where it does.
func (t *Tap) lasting() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err != nil {
		return fmt.Errorf("flush: %w", t.err)
	}
	if n := len(t.outages); n > 0 && t.outages[n-1].To.IsZero() {
		return fmt.Errorf("flush tap %s: it does not capture at the moment: %s", t.name, t.outages[n-1].Cause)
	}
	return nil
}

// Stats implements bench.Tap. Dropped is what the stream says of it (pcapng), what its command said once it has ended
// (tcpdump tells at its end), and the records that a dying writer left unfinished.
func (t *Tap) Stats() bench.TapStats {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.stats
	s.Dropped = t.past
	if t.feed != nil {
		s.Dropped += t.feed.dropped()
	}
	return s
}

// Outages implements bench.Restarting.
func (t *Tap) Outages() []bench.Outage {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]bench.Outage(nil), t.outages...)
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
	t.cancel()
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
	errs := []error{t.present().close()} // no other is opened from here on
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
