package runner

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/tollgate-iot/tollgate/harness/bench"
	"github.com/tollgate-iot/tollgate/harness/trace"
)

// carrier is the run's view of the carrier: the session events told so far, each once, and the device's addresses.
// It is used by the run's own goroutine alone.
type carrier struct {
	api    bench.Carrier // nil where the bench has none
	record *record
	wire   *wire
	from   time.Time // events before it are none of this run's
	told   map[string]bool
	events []bench.Event // of this run, in the order in which they were told
}

// callTime bounds, on the bench's clock, a call that the scenario did not ask for.
const callTime = 60 * time.Second

func newCarrier(api bench.Carrier, rec *record, w *wire) *carrier {
	return &carrier{api: api, record: rec, wire: w, told: map[string]bool{}}
}

// begin notes the address that the device has before the run, if it has one.
func (c *carrier) begin(ctx context.Context) {
	c.from = c.record.clock.Now()
	c.address(ctx)
}

// address asks for the device's present address and makes it known to the wire; invalid where there is none.
func (c *carrier) address(ctx context.Context) netip.Addr {
	if c.api == nil {
		return netip.Addr{}
	}
	ctx, cancel := c.record.clock.WithTimeout(ctx, callTime)
	defer cancel()
	a, err := c.api.Address(ctx)
	if err != nil {
		c.failed("address", err)
		return netip.Addr{}
	}
	c.know(a)
	return a
}

func (c *carrier) know(a netip.Addr) {
	if c.wire.know(a) {
		c.record.note(trace.Event{Kind: trace.EventCarrier, Name: "address", State: "ok", Text: a.String()})
	}
}

func (c *carrier) failed(call string, err error) {
	c.record.note(trace.Event{Kind: trace.EventCarrier, Name: call, State: "failed", Text: err.Error()})
}

// poll asks for new session events and notes them.
func (c *carrier) poll(ctx context.Context) error {
	if c.api == nil {
		return fmt.Errorf("the bench has no carrier to ask for session events")
	}
	events, err := c.api.Events(ctx, c.from)
	if err != nil {
		return fmt.Errorf("ask the carrier for session events: %w", err)
	}
	for _, e := range events {
		key := e.Name + " " + e.SessionID + " " + e.Time.String()
		if c.told[key] {
			continue
		}
		c.told[key] = true
		c.events = append(c.events, e)
		c.record.note(trace.Event{Time: e.Time, Clock: "carrier", Kind: trace.EventCarrier, Name: e.Name, State: "told", Values: eventValues(e)})
		c.know(e.Address)
	}
	return nil
}

func eventValues(e bench.Event) map[string]string {
	v := map[string]string{"session": e.SessionID}
	if e.Address.IsValid() {
		v["address"] = e.Address.String()
	}
	return v
}

// find gives the earliest event of that name at or after a time.
func (c *carrier) find(name string, since time.Time) (at time.Time, ok bool) {
	for _, e := range c.events {
		if e.Name == name && !e.Time.Before(since) && (!ok || e.Time.Before(at)) {
			at, ok = e.Time, true
		}
	}
	return at, ok
}

// finish collects the events not yet told and the carrier's own count, where that covers the run.
func (c *carrier) finish(ctx context.Context, t *trace.Trace) {
	if c.api == nil || c.from.IsZero() {
		return
	}
	ctx, cancel := c.record.clock.WithTimeout(ctx, callTime)
	defer cancel()
	if err := c.poll(ctx); err != nil {
		c.failed("events", err)
	}
	c.reconcile(ctx, t)
}

// statsTries is how often the carrier is asked for its count, statsPause apart on the bench's clock. A real carrier
// writes its samples minutes later; nobody waits for that.
const (
	statsTries = 3
	statsPause = 2 * time.Second
)

// statsGrain is how coarse a carrier's times are: a sample can hold a packet that passed a moment after it was due.
const statsGrain = time.Second

// reconcile takes the carrier's own count into the evidence, once that reaches the last packet: samples come late, and
// one taken before the last packet can't be held against the tap's count. One that ends within a grain of the last
// packet will do when it has not grown since it was asked for before.
func (c *carrier) reconcile(ctx context.Context, t *trace.Trace) {
	var before bench.Count
	for try := 1; try <= statsTries; try++ {
		count, err := c.api.Stats(ctx, c.from, c.record.clock.Now())
		if err != nil {
			c.failed("stats", err)
			return
		}
		last := c.wire.lastPacket()
		if last.IsZero() {
			return
		}
		settled := try > 1 && count == before && !count.At.Add(statsGrain).Before(last)
		if settled || !count.At.Before(last) {
			t.Evidence.Carrier = &trace.CarrierCount{Packets: count.Packets, Bytes: count.Bytes, Wide: count.Wide}
			return
		}
		before = count
		if try < statsTries && c.record.clock.Sleep(ctx, statsPause) != nil {
			return
		}
	}
}

// canaryPlace says to which end of the steps a canary belongs.
type canaryPlace bool

const (
	beforeSteps canaryPlace = false
	afterSteps  canaryPlace = true
)

// canaryTime is how long, on the bench's clock, a canary may take to come through, and answerTime the device's answer.
const (
	canaryTime = 10 * time.Second
	answerTime = 3 * time.Second
)

// canary makes the network send the device something and looks for it in every tap. It says whether one was sent.
// A canary that can't be sent or does not come through proves nothing and fails nothing.
func (r *run) canary(ctx context.Context, place canaryPlace) bool {
	if r.bench.Carrier == nil || len(r.wire.tapped) == 0 {
		return false
	}
	address := r.carrier.address(ctx)
	if !address.IsValid() {
		return false
	}
	limit, cancel := r.bench.Clock.WithTimeout(ctx, callTime)
	defer cancel()
	since := r.record.note(trace.Event{Kind: trace.EventCarrier, Name: "canary", State: "begin"}).Time
	if err := r.bench.Carrier.Canary(limit); err != nil {
		r.carrier.failed("canary", err)
		return false
	}
	r.awaitCanary(ctx, address, since)
	// What comes next, a window perhaps, begins later than the canary's last packet, on the clock's grain too.
	_ = r.bench.Clock.Sleep(ctx, pollPackets)
	r.wire.canarySeen(place, address, since)
	return true
}

// awaitCanary looks for the canary, and for the device's answer to it, so that neither falls into a window. It looks
// until the bench's clock and this machine's both say that it is late: on a bench that runs faster than the wall, a few
// seconds are too short for this machine's scheduler. A device need not answer.
func (r *run) awaitCanary(ctx context.Context, address netip.Addr, since time.Time) {
	if !r.wire.live() { // nobody looks before the run's end: it has as long as the device's answer
		_ = r.bench.Clock.Sleep(ctx, answerTime)
		return
	}
	wall := time.Now().Add(r.opts.Settle)
	for {
		pinged, answered := r.wire.allPingedSince(address, since)
		waited := r.bench.Clock.Now().Sub(since)
		late := waited > canaryTime && time.Now().After(wall) || pinged && waited > answerTime
		if pinged && answered || late || r.bench.Clock.Sleep(ctx, pollPackets) != nil {
			return
		}
	}
}

// canarySeen notes for each tap what became of a canary; of a deferred one that is not known yet.
func (w *wire) canarySeen(place canaryPlace, address netip.Addr, since time.Time) {
	w.canaries = append(w.canaries, sentCanary{place, address, since, w.clock.Now()})
	for _, t := range w.tapped {
		if isDeferred(t.tap) {
			w.tapEvent(t, "canary sent", "")
			continue
		}
		seen, _ := w.pingedSince(t, address, since)
		w.canaryOf(t, place, seen, time.Time{})
	}
}

// canaryOf notes what became of a canary at a tap, at a time; now where that is zero.
func (w *wire) canaryOf(t *tapped, place canaryPlace, seen bool, at time.Time) {
	if place == beforeSteps {
		t.evidence.CanaryBefore = seen
	} else {
		t.evidence.CanaryAfter = seen
	}
	state := "canary"
	if !seen {
		state = "canary missed"
	}
	w.record.note(trace.Event{Time: at, Kind: trace.EventTap, Name: t.tap.Name(), State: state})
}
