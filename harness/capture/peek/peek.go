// Package peek captures in the carrier's own network: a packet capture session of the device's SIM, with no mirror and no host
// to capture on. It needs nothing but the carrier.
//
// The carrier gives the packets of a session when the session is over, and no earlier. So the tap is one that is flushed
// once (bench.Deferred): Flush ends the session, waits for its file and gives what is in it. Nothing can wait for a packet
// meanwhile. Nobody tells what a session lost, so the tap's counters prove nothing (bench.Doubtful); what proves a record of it is
// the carrier's count of the SIM's packets.
//
// A session costs, and has an end of its own. Close ends one that was not flushed. A session that reached its end before
// Flush is an outage from there on.
package peek

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/tollgate-iot/tollgate/harness/bench"
	"github.com/tollgate-iot/tollgate/harness/pcap"
)

// Carrier is what is needed of a carrier: the packet capture sessions of one SIM. Its errors hold no secret.
type Carrier interface {
	// StartCapture begins a session that lasts as long at most, and gives its ID.
	StartCapture(ctx context.Context, most time.Duration) (session string, err error)
	// CaptureState gives a session's state: "starting", "capturing", "closing", "done" or "failed"; why it failed; and
	// when it ended, zero where that is not told.
	CaptureState(ctx context.Context, session string) (state, reason string, ended time.Time, err error)
	// StopCapture ends a session; one that has ended is left alone.
	StopCapture(ctx context.Context, session string) error
	// ReadCapture gives the file of a session that is done: each time the same, from its begin.
	ReadCapture(ctx context.Context, session string) (io.ReadCloser, error)
	// DeleteCapture deletes a session with its file.
	DeleteCapture(ctx context.Context, session string) error
}

// Options of a tap.
type Options struct {
	Name    string
	Carrier Carrier
	// Most is how long a session may last; 2 h where 0. The carrier ends one that was forgotten.
	Most time.Duration
	// Keep leaves the file with the carrier; otherwise it is deleted there once it has been read.
	Keep bool
	// Clock is the bench's: all waiting is on it.
	Clock bench.Clock
}

// How long is waited, on the bench's clock: for a session to capture, for its file, for the end of one that nobody wants, and between
// two looks.
const (
	startFor = 5 * time.Minute
	fileFor  = 10 * time.Minute
	closeFor = time.Minute
	lookEach = 2 * time.Second
)

// downloads is how often a file is asked for.
const downloads = 3

// Tap is a packet capture session. It implements bench.Tap, bench.Deferred, bench.Restarting and bench.Doubtful.
type Tap struct {
	o Options

	busy   chan struct{} // holds one value while Start, Flush or Close is at work
	quit   context.Context
	cancel context.CancelFunc

	// Owned by who is busy.
	session string // "" where there is none to end
	asked   bool   // it was asked to end
	given   uint64 // records of its file given to sink
	sink    func(pcap.Record)

	mu      sync.Mutex
	stop    context.CancelCauseFunc // ends the work of who is, or was, busy
	state   state
	began   time.Time
	stats   bench.TapStats
	outages []bench.Outage
	err     error
}

type state int

const (
	fresh state = iota
	capturing
	flushed
	closed
)

// New makes a tap. It calls nothing.
func New(o Options) (*Tap, error) {
	o.Name, o.Most = cmp.Or(o.Name, "peek"), cmp.Or(o.Most, 2*time.Hour)
	switch {
	case o.Carrier == nil:
		return nil, fmt.Errorf("make tap %s: no carrier was given", o.Name)
	case o.Clock == nil:
		return nil, fmt.Errorf("make tap %s: no clock was given", o.Name)
	}
	t := &Tap{o: o, busy: make(chan struct{}, 1), stop: func(error) {}}
	t.quit, t.cancel = context.WithCancel(context.Background())
	return t, nil
}

// Name implements bench.Tap.
func (t *Tap) Name() string { return t.o.Name }

// FlushTime implements bench.Deferred.
func (t *Tap) FlushTime() time.Duration { return fileFor }

// Lasts is how long its session lasts at most.
func (t *Tap) Lasts() time.Duration { return t.o.Most }

// Doubt implements bench.Doubtful.
func (t *Tap) Doubt() string { return "the carrier does not tell what a packet capture session lost" }

// work makes whoever calls the only one at work; the context ends, too, when the tap is closed.
func (t *Tap) work(ctx context.Context) (context.Context, func(), error) {
	select {
	case t.busy <- struct{}{}:
	case <-ctx.Done():
		return nil, nil, context.Cause(ctx)
	case <-t.quit.Done():
		return nil, nil, errClosed
	}
	ctx, cancel := context.WithCancelCause(ctx)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stop = cancel
	if t.quit.Err() != nil {
		cancel(errClosed)
	}
	return ctx, func() { cancel(nil); <-t.busy }, nil
}

// errClosed is why work ends that Close found.
var errClosed = errors.New("it was closed")

// Start implements bench.Tap: it asks for a session and returns when the carrier says that it captures. A tap can be
// started once.
func (t *Tap) Start(ctx context.Context, sink func(pcap.Record)) error {
	if err := t.start(ctx, sink); err != nil {
		if closing := t.Close(); closing != nil {
			err = fmt.Errorf("%w (%w)", err, closing)
		}
		return fmt.Errorf("start tap %s: %w", t.o.Name, err)
	}
	return nil
}

func (t *Tap) start(ctx context.Context, sink func(pcap.Record)) error {
	ctx, done, err := t.work(ctx)
	if err != nil {
		return err
	}
	defer done()
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if t.is() != fresh || t.sink != nil {
		return errors.New("it was started or closed before; a tap is started once")
	}
	t.sink = sink
	ctx, cancel := t.o.Clock.WithTimeout(ctx, startFor)
	defer cancel()
	if t.session, err = t.o.Carrier.StartCapture(ctx, t.o.Most); err != nil {
		return err
	}
	for {
		now, reason, _, err := t.o.Carrier.CaptureState(ctx, t.session)
		switch {
		case err != nil:
			return err
		case now == "capturing":
			t.set(capturing)
			return nil
		case now == "failed":
			return fmt.Errorf("the carrier's packet capture session failed: %s (it needs the SIM to be in a VPG of type E or F)", cmp.Or(reason, "no reason is told"))
		case now != "starting":
			return fmt.Errorf("the carrier's packet capture session is %s before it was seen to capture", now)
		}
		if err := t.o.Clock.Sleep(ctx, lookEach); err != nil {
			return fmt.Errorf("the carrier's packet capture session did not begin within %s: %w", startFor, firstOf(context.Cause(ctx), err))
		}
	}
}

func (t *Tap) is() state {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.state
}

func (t *Tap) set(s state) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state == closed {
		return
	}
	t.state = s
	if s == capturing {
		t.began = t.o.Clock.Now()
	}
}

// Flush implements bench.Tap as bench.Deferred says: it ends the session and gives all that the session captured. Where it
// fails before that, because its context ended or the carrier could not be reached, it may be called again and goes on; once it has
// succeeded there is nothing more to flush.
func (t *Tap) Flush(ctx context.Context) error {
	if err := t.flush(ctx); err != nil {
		return fmt.Errorf("flush tap %s: %w", t.o.Name, err)
	}
	return nil
}

func (t *Tap) flush(ctx context.Context) error {
	ctx, done, err := t.work(ctx)
	if err != nil {
		return err
	}
	defer done()
	switch t.is() {
	case fresh, closed:
		return errors.New("it is not capturing")
	case flushed:
		return errors.New("its session has ended: the carrier gives packets once, at the end")
	}
	if err := t.Err(); err != nil {
		return err
	}
	if err := t.end(ctx); err != nil {
		return err
	}
	if err := t.deliver(ctx); err != nil {
		return err
	}
	t.set(flushed)
	if t.o.Keep || t.o.Carrier.DeleteCapture(ctx, t.session) == nil {
		t.session = ""
	} // else Close tries again
	return nil
}

// end ends the session and waits until its file is there.
func (t *Tap) end(ctx context.Context) error {
	for {
		now, reason, ended, err := t.o.Carrier.CaptureState(ctx, t.session)
		switch {
		case err != nil:
			return err
		case now == "failed":
			return t.fail(fmt.Errorf("the carrier's packet capture session failed: %s", cmp.Or(reason, "no reason is told")))
		case now == "capturing" && !t.asked:
			if err := t.o.Carrier.StopCapture(ctx, t.session); err != nil {
				return err
			}
			t.asked = true
			continue
		case now != "capturing" && !t.asked: // by itself
			t.endedAt(ended)
			t.asked = true
		}
		if now == "done" {
			return nil
		}
		if err := t.o.Clock.Sleep(ctx, lookEach); err != nil {
			return fmt.Errorf("wait for the file of the carrier's packet capture session: %w", firstOf(context.Cause(ctx), err))
		}
	}
}

// endedAt notes that the session ended before it was asked to: at its limit, or for the carrier's sake.
func (t *Tap) endedAt(at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if at.IsZero() || at.Before(t.began) {
		at = t.began
	}
	t.outages = append(t.outages, bench.Outage{From: at, Cause: fmt.Sprintf("the carrier's packet capture session had ended by itself; it is asked for %s at most", t.o.Most)})
}

// fail notes why there will be no packets.
func (t *Tap) fail(err error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.err = fmt.Errorf("tap %s: %w", t.o.Name, err)
	return err
}

// deliver downloads the file and gives its records. A download that breaks is begun again, and what was given is passed over.
func (t *Tap) deliver(ctx context.Context) error {
	for try := 1; ; try++ {
		err := t.download(ctx)
		switch {
		case err == nil || ctx.Err() != nil:
			return firstOf(context.Cause(ctx), err)
		case errors.Is(err, pcap.ErrFormat) || errors.Is(err, pcap.ErrDamaged):
			return t.fail(fmt.Errorf("read the file of the carrier's packet capture session: %w", err))
		case try == downloads:
			return fmt.Errorf("tried %d times: %w", try, err)
		}
		if err := t.o.Clock.Sleep(ctx, lookEach); err != nil {
			return err
		}
	}
}

func (t *Tap) download(ctx context.Context) error {
	file, err := t.o.Carrier.ReadCapture(ctx, t.session)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // it is only read
	r, err := pcap.NewReader(file)
	if err != nil {
		return err
	}
	for n := uint64(1); ; n++ {
		rec, err := r.Next()
		switch {
		case errors.Is(err, io.EOF) && r.Cut():
			return fmt.Errorf("the file ends inside its record %d", n)
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case context.Cause(ctx) != nil:
			return context.Cause(ctx)
		}
		if n > t.given {
			t.give(rec, r.Drops())
		}
	}
}

// give counts a record and gives it to the sink.
func (t *Tap) give(rec pcap.Record, drops uint64) {
	t.given++
	t.mu.Lock()
	t.stats.Received++
	t.stats.Dropped = max(t.stats.Dropped, drops)
	if len(rec.Data) < rec.Length {
		t.stats.Truncated++
	}
	t.mu.Unlock()
	t.sink(rec)
}

// Stats implements bench.Tap.
func (t *Tap) Stats() bench.TapStats {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.stats
}

// Outages implements bench.Restarting: a session that ended by itself captures nothing more.
func (t *Tap) Outages() []bench.Outage {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]bench.Outage(nil), t.outages...)
}

// Err implements bench.Tap. That a session failed is found out by Flush.
func (t *Tap) Err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

// Close implements bench.Tap: a session that was not flushed is ended and deleted. It must not be called by the sink.
func (t *Tap) Close() error {
	t.mu.Lock()
	t.stop(errClosed)
	t.cancel() // after that: who sees it knows that whoever is at work stops
	t.mu.Unlock()
	t.busy <- struct{}{}
	defer func() { <-t.busy }()
	t.mu.Lock()
	t.state = closed
	t.mu.Unlock()
	if t.session == "" {
		return nil
	}
	session := t.session
	t.session = ""
	ctx, cancel := t.o.Clock.WithTimeout(context.Background(), closeFor)
	defer cancel()
	if err := t.abandon(ctx, session); err != nil {
		return fmt.Errorf("close tap %s: %w (the packet capture session %s may go on, and cost, until its end in %s)", t.o.Name, err, session, t.o.Most)
	}
	return nil
}

// abandon ends a session whose packets nobody wants any more. Only one that captures can be stopped.
func (t *Tap) abandon(ctx context.Context, session string) error {
	for {
		now, _, _, err := t.o.Carrier.CaptureState(ctx, session)
		switch {
		case err != nil:
			return err
		case now == "capturing":
			if err := t.o.Carrier.StopCapture(ctx, session); err != nil {
				return err
			}
		case now == "starting":
			if t.o.Carrier.DeleteCapture(ctx, session) == nil {
				return nil
			}
			if err := t.o.Clock.Sleep(ctx, lookEach); err != nil {
				return err
			}
			continue
		}
		if !t.o.Keep {
			_ = t.o.Carrier.DeleteCapture(ctx, session) // where it can't be deleted yet, the carrier lets it go by itself
		}
		return nil
	}
}

// firstOf is the first error there is: why a context ended says more than what a call made of it.
func firstOf(cause, err error) error {
	if cause != nil {
		return cause
	}
	return err
}
