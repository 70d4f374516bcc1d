package pipe

import (
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/tollgate-iot/tollgate/harness/bench"
	"github.com/tollgate-iot/tollgate/harness/pcap"
)

// How long is waited before a stream is opened again: longer each time that it does not live for steady.
const (
	againFirst = 200 * time.Millisecond
	againMost  = 30 * time.Second
	steady     = time.Minute
)

// mostOutages is how many outages are told apart. Later ones are added to the last, which then covers what was between.
const mostOutages = 1000

// now is the bench's time.
func (t *Tap) now() time.Time {
	if t.o.Clock == nil {
		return time.Now().UTC()
	}
	return t.o.Clock.Now()
}

// run reads the stream to its end, and again where it comes back; it is the tap's one goroutine.
func (t *Tap) run(sink func(pcap.Record), ready chan<- error) {
	defer close(t.done)
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = againFirst, againMost
	for begun := false; ; {
		f := t.present()
		began := time.Now()
		ended := f.read(t.quit, func() {
			if !begun {
				begun = true
				ready <- nil
			}
			t.back()
		}, func(rec pcap.Record) { t.deliver(rec, sink) })
		err, permanent := f.explained(ended)
		switch {
		case t.quit.Err() != nil:
			close(f.noted)
			return
		case !begun && !errors.Is(ended, errHeadless):
			close(f.noted)
			ready <- err
			return
		case permanent || !f.shared && !t.o.Again:
			t.fail(err)
			close(f.noted)
			return
		case begun:
			t.broken(f, err)
		}
		close(f.noted)
		if time.Since(began) > steady {
			pause.Reset()
		}
		if !t.reopen(f, pause) {
			return
		}
	}
}

// fail notes why the tap has ended.
func (t *Tap) fail(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state == started {
		t.err = fmt.Errorf("tap %s: %w", t.name, err)
	}
}

// broken notes that an outage has begun, or why one lasts.
func (t *Tap) broken(f *feed, cause error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := len(t.outages); n > 0 && t.outages[n-1].To.IsZero() {
		t.outages[n-1].Cause = t.cause + "; tried again: " + cause.Error()
		return
	}
	t.cause = cause.Error()
	if n := len(t.outages); n == mostOutages {
		t.outages[n-1].To, t.outages[n-1].Cause = time.Time{}, "the last of more than 1,000 times: "+t.cause
		return
	}
	from := f.meter.lastTaken()
	if t.o.Unheard > 0 {
		if least := t.now().Add(-t.o.Unheard); least.After(from) {
			from = least
		}
	}
	if n := len(t.outages); n > 0 && from.Before(t.outages[n-1].To) {
		from = t.outages[n-1].To // a stream so short that all of it was taken with its header
	}
	t.outages = append(t.outages, bench.Outage{From: from, Cause: t.cause})
}

// back notes that the tap captures again.
func (t *Tap) back() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := len(t.outages); n > 0 && t.outages[n-1].To.IsZero() {
		t.outages[n-1].To = t.now()
		t.outages[n-1].Cause = t.cause
	}
}

// reopen opens the stream again after the end of a feed, as often as it takes, and says whether the tap is still open.
func (t *Tap) reopen(old *feed, pause backoff.BackOff) bool {
	// The next writer of a FIFO may be there already, and be gone again before long: a FIFO that its last writer has left
	// is empty, whatever that writer left unfinished, and is never let go. One that a writer still goes on in is: what
	// comes out of it has no beginning.
	seamless := old.shared && old.meter.atEnd()
	if !seamless {
		_ = old.close() // it has ended
	}
	for try := 0; ; try++ {
		if !seamless || try > 0 {
			timer := time.NewTimer(pause.NextBackOff())
			select {
			case <-timer.C:
			case <-t.quit.Done():
				timer.Stop()
				_ = old.close() // as above
				return false
			}
		}
		next, err := t.open()
		if err != nil {
			t.broken(old, err)
			continue
		}
		_ = old.close() // as above
		return t.install(old, next)
	}
}

// install makes a feed the present one, unless the tap was closed meanwhile.
func (t *Tap) install(old, next *feed) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state != started {
		_ = next.close() // nobody wants it
		return false
	}
	t.past += old.dropped()
	t.feed = next
	return true
}
