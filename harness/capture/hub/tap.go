package hub

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/tollgate-iot/tollgate/harness/bench"
	"github.com/tollgate-iot/tollgate/harness/packet"
	"github.com/tollgate-iot/tollgate/harness/pcap"
	"github.com/tollgate-iot/tollgate/harness/trace"
)

// Tap is a run's own. It is a bench.Tap, and a bench.Following one.
type Tap struct {
	// Guarded by the hub's mu; these three first, for they are what a packet needs.
	sink      func(pcap.Record) // nil where nothing is to be given any more
	received  uint64
	truncated uint64

	hub  *Hub
	name string

	// Guarded by the hub's mu, too.
	state        state
	session      *session
	follows      map[packet.Addr]bool
	since        uint64 // frames before the first that could be this tap's
	until        uint64 // frames up to the last that could, once it is detached
	unreadBefore uint64
	unreadAfter  uint64
	before       bench.TapStats // of the shared tap, when this one joined
	began        time.Time
	missed       bool // frames of its addresses may have been let go
	last         said // what the shared tap said when this one closed
}

type state uint8

const (
	fresh state = iota
	capturing
	closed
)

// said is what a shared tap says of itself.
type said struct {
	stats   bench.TapStats
	err     error
	outages []bench.Outage
	doubt   string
}

// ask asks a shared tap. The hub's mu must be free.
func ask(tap bench.Tap) (s said) {
	s.stats, s.err, s.outages = tap.Stats(), tap.Err(), bench.OutagesOf(tap)
	if d, ok := tap.(bench.Doubtful); ok {
		s.doubt = d.Doubt()
	}
	return s
}

// ask gives what the shared tap says, or said when this tap closed; ok is false before Start.
func (t *Tap) ask() (s said, ok bool) {
	t.hub.mu.Lock()
	state, session, last := t.state, t.session, t.last
	over := session != nil && session.over
	t.hub.mu.Unlock()
	switch {
	case session == nil:
		return said{}, false
	case state == closed:
		return last, true
	}
	s = ask(session.tap)
	if over && s.err == nil {
		s.err = ErrClosed
	}
	return s, true
}

// Name implements bench.Tap.
func (t *Tap) Name() string { return t.name }

// Start implements bench.Tap: the first run's starts the shared tap.
func (t *Tap) Start(ctx context.Context, sink func(pcap.Record)) error {
	return t.hub.join(ctx, t, sink)
}

// Follow implements bench.Following. It may be called before Start, and gives the packets that were held before it returns.
func (t *Tap) Follow(addrs ...netip.Addr) {
	t.hub.mu.Lock()
	defer t.hub.mu.Unlock()
	if t.follows == nil {
		t.follows = map[packet.Addr]bool{}
	}
	for _, a := range addrs {
		if !a.IsValid() {
			continue
		}
		key := packet.AddrFrom(a)
		t.follows[key] = true
		if t.sink != nil {
			t.hub.own(key, t)
		}
	}
}

// give hands a frame to the run. It is called under the hub's mu.
func (t *Tap) give(e *entry) {
	t.received++
	if e.record.Length > len(e.record.Data) {
		t.truncated++
	}
	t.sink(e.record)
}

// Flush implements bench.Tap. What the shared tap has given has been given on; only fragments wait for the rest of their
// datagrams.
func (t *Tap) Flush(ctx context.Context) error {
	t.hub.mu.Lock()
	session, sink := t.session, t.sink
	t.hub.mu.Unlock()
	if sink == nil {
		return errors.New("flush: the tap does not capture")
	}
	return session.tap.Flush(ctx)
}

// Stats implements bench.Tap. Filtered are the frames of others; Dropped is all that the shared tap lost since this run
// began: nobody can tell whose it was.
func (t *Tap) Stats() bench.TapStats {
	s, ok := t.ask()
	if !ok {
		return bench.TapStats{}
	}
	t.hub.mu.Lock()
	defer t.hub.mu.Unlock()
	seen := t.seen()
	return bench.TapStats{Received: t.received, Truncated: t.truncated, Filtered: seen - min(seen, t.received) + s.stats.Filtered - t.before.Filtered,
		Dropped: s.stats.Dropped - t.before.Dropped}
}

// seen is how many frames the shared tap gave in this tap's time.
func (t *Tap) seen() uint64 {
	if t.sink == nil {
		return t.until - t.since
	}
	return t.hub.frames - t.since
}

// Err implements bench.Tap.
func (t *Tap) Err() error {
	s, _ := t.ask()
	if s.err != nil {
		return fmt.Errorf("shared tap %s: %w", t.hub.o.Name, s.err)
	}
	return nil
}

// Outages implements bench.Restarting: the shared tap's in this run's time.
func (t *Tap) Outages() (out []bench.Outage) {
	s, _ := t.ask()
	for _, o := range s.outages {
		if o.To.IsZero() || !o.To.Before(t.began) {
			out = append(out, o)
		}
	}
	return out
}

// Notes implements bench.Noting.
func (t *Tap) Notes() []string {
	t.hub.mu.Lock()
	session := t.session
	t.hub.mu.Unlock()
	if session == nil {
		return nil
	}
	if n, ok := session.tap.(bench.Noting); ok {
		return n.Notes()
	}
	return nil
}

// VXLANPorts implements bench.Ported.
func (t *Tap) VXLANPorts() []uint16 { return t.hub.ports() }

// Doubt implements bench.Doubtful.
func (t *Tap) Doubt() string {
	s, ok := t.ask()
	if !ok {
		return ""
	}
	t.hub.mu.Lock()
	defer t.hub.mu.Unlock()
	unread := t.unreadAfter
	if t.sink != nil {
		unread = t.hub.unread
	}
	switch {
	case t.missed:
		return "packets of the device may have passed before its address was known, more than could be held"
	case unread > t.unreadBefore:
		return fmt.Sprintf("%d frames of the shared mirror showed no address: nobody can tell whose they are", unread-t.unreadBefore)
	}
	return s.doubt
}

// Mirror tells what the shared mirror's own numbers show of the frames of all devices: those that are missing, whosever they
// are.
func (t *Tap) Mirror() *trace.MirrorEvidence {
	t.hub.mu.Lock()
	defer t.hub.mu.Unlock()
	if t.session == nil {
		return nil
	}
	seen := t.seen()
	e := t.session.mirror.Evidence(seen-min(seen, t.received), nil)
	kept := e.Holes[:0]
	for _, h := range e.Holes {
		if h.To == 0 || h.To >= t.began.UnixNano() {
			kept = append(kept, h)
		}
	}
	e.Holes = kept
	return e
}

// Close implements bench.Tap: the last run's ends the shared tap.
func (t *Tap) Close() error { return t.hub.leave(t) }

// detach has nothing given any more, and keeps what the shared tap says now. It says whether the tap captured.
func (t *Tap) detach() bool {
	h := t.hub
	h.mu.Lock()
	was, session := t.sink != nil, t.session
	if was {
		t.until, t.unreadAfter = h.frames, h.unread
		for a := range t.follows {
			h.owners.remove(a, t)
		}
		h.open--
	}
	t.sink = nil
	if session == nil {
		t.state = closed
	}
	h.mu.Unlock()
	if !was {
		return false
	}
	last := ask(session.tap)
	h.mu.Lock()
	defer h.mu.Unlock()
	t.last, t.state = last, closed
	return true
}

// now is the bench's time, this machine's where the hub has no clock.
func (h *Hub) now() time.Time {
	if h.o.Clock == nil {
		return time.Now()
	}
	return h.o.Clock.Now()
}
