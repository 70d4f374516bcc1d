package runner

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tollgate-iot/tollgate/harness/flow"
	"github.com/tollgate-iot/tollgate/harness/plan"
	"github.com/tollgate-iot/tollgate/harness/scenario"
	"github.com/tollgate-iot/tollgate/harness/trace"
)

// How often an await looks, on the bench's clock. Packets are at hand; an event costs a call to the carrier.
const (
	pollPackets = 200 * time.Millisecond
	pollEvents  = 2 * time.Second
)

// await waits for the step's condition and gives the moment at which it came true, which may be earlier than now.
// A condition that does not come true in time is the device's fault, unless the bench could not have seen it or the
// carrier is late in telling of it.
func (r *run) await(ctx context.Context, s *plan.Step, begin time.Time) (time.Time, error) {
	end := r.bench.Clock.Now().Add(s.Within)
	limit, cancel := r.bench.Clock.WithTimeout(ctx, s.Within)
	defer cancel()
	at, err := r.condition(ctx, limit, s, begin, end)
	if err == nil || ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
		return at, err
	}
	fault := &deviceFault{step: s, reason: r.unfulfilled(s), unseen: s.Await.Packet != nil || s.Await.MQTT != ""}
	switch {
	case s.Await.Event != "":
		return at, r.untold(ctx, s.Await.Event, fault)
	case s.Await.Quiet > 0:
		if _, deaf := r.wire.deaf(begin); deaf != nil {
			return at, fmt.Errorf("%s, and %w", fault.reason, deaf)
		}
		if blind := r.wire.blind(); blind != nil {
			return at, blind
		}
	case s.Await.Console == nil:
		if blind := r.wire.blind(); blind != nil {
			return at, blind
		}
		if was, ok := r.wire.misdated(r.since, r.wanted(s.Await)); ok {
			return at, fmt.Errorf("%s with a time of now, and one came with the time %s: the clock of the tap's host was set, or is far behind; keep it right with NTP",
				fault.reason, was.Format(timeFormat))
		}
	}
	return at, fault
}

// wanted gives what an await for a packet or an MQTT message looks for.
func (r *run) wanted(a *plan.Wanted) func(sighting) bool {
	if a.MQTT != "" {
		return func(p sighting) bool { return slices.Contains(p.messages, a.MQTT) }
	}
	want, err := r.packetWant(a.Packet)
	if err != nil {
		return func(sighting) bool { return false } // the await itself has told
	}
	return func(p sighting) bool { return matches(want, p) }
}

// untold says whose fault it is that an event was not told in time: the device's where the carrier says that the session
// is as it would be without the event, the carrier's where the event only is late or lost.
func (r *run) untold(ctx context.Context, event string, fault *deviceFault) error {
	ctx, cancel := r.bench.Clock.WithTimeout(ctx, callTime)
	defer cancel()
	address, err := r.bench.Carrier.Address(ctx)
	if err != nil {
		return fmt.Errorf("%s, and can't be asked whether the device has a session: %w", fault.reason, err)
	}
	switch {
	case event == "session.created" && address.IsValid():
		return fmt.Errorf("%s, though it says that the device has a session: its events are late or lost", fault.reason)
	case event == "session.deleted" && !address.IsValid():
		return fmt.Errorf("%s, though it says that the device has no session: its events are late or lost", fault.reason)
	case event == "session.created" || event == "session.deleted":
		return fault
	}
	return errors.New(fault.reason) // the carrier's own doing
}

// condition waits for the step's condition until ctx ends, which is limited by the step's time, over at end; run is the
// run's own. Where ctx ends the condition is looked at once more: a bench that is held up, or a tap that is late, is not to
// be taken for a device that did nothing in time.
func (r *run) condition(run, ctx context.Context, s *plan.Step, begin, end time.Time) (time.Time, error) {
	a := s.Await
	switch {
	case a.Quiet > 0:
		return r.awaitQuiet(run, ctx, a.Quiet, begin, end)
	case a.Event != "":
		return r.awaitEvent(ctx, a.Event)
	case a.Packet != nil:
		want, err := r.packetWant(a.Packet)
		if err != nil {
			return time.Time{}, err
		}
		return r.awaitPacket(run, ctx, end, func(p sighting) bool { return matches(want, p) })
	case a.MQTT != "":
		return r.awaitPacket(run, ctx, end, func(p sighting) bool { return slices.Contains(p.messages, a.MQTT) })
	}
	return r.awaitConsole(ctx, a.Console, end)
}

// unfulfilled says what did not come true.
func (r *run) unfulfilled(s *plan.Step) string {
	a, within := s.Await, span(s.Within)
	switch {
	case a.Quiet > 0:
		return fmt.Sprintf("the device was never quiet for %s within %s", span(a.Quiet), within)
	case a.Event != "":
		return fmt.Sprintf("the carrier told of no %s within %s", a.Event, within)
	case a.MQTT != "":
		return fmt.Sprintf("no MQTT %s was seen within %s", a.MQTT, within)
	case a.Packet != nil:
		return fmt.Sprintf("no such packet was seen within %s", within)
	}
	return fmt.Sprintf("no console line matched '%s' within %s", a.Console.Text, within)
}

// awaitQuiet waits until no packet of the device has been seen for so long, counted from its last packet, or from the
// step's begin where none was seen. The taps are flushed before silence is believed, and before it is held never to have
// been; where that outlasts the step's time, it is the bench that was slow, and not the device that was loud. The silence
// goes on when the step ends, unless its time is over: then one that was will do.
func (r *run) awaitQuiet(run, ctx context.Context, quiet time.Duration, begin, end time.Time) (time.Time, error) {
	s := silence{quiet: quiet, begin: begin, before: r.wire.heard()}
	for {
		if err := r.wire.blind(); err != nil {
			return time.Time{}, err
		}
		if _, due := r.wire.complete(s); due.After(r.bench.Clock.Now()) {
			err := r.bench.Clock.Sleep(ctx, due.Sub(r.bench.Clock.Now()))
			if err == nil {
				continue
			}
			if over := contextCause(ctx, err); !errors.Is(over, context.DeadlineExceeded) {
				return time.Time{}, over
			}
		}
		if err := r.catchUp(run); err != nil {
			return time.Time{}, err
		}
		first, due := r.wire.complete(s)
		if now := r.bench.Clock.Now(); !due.After(now) && !due.After(end) {
			return now, nil
		}
		if ctx.Err() == nil {
			continue
		}
		if !first.After(end) {
			return first, nil
		}
		return time.Time{}, context.Cause(ctx)
	}
}

// catchUp has the taps hand over what has reached them, and learns the device's address, which may be a new session's.
func (r *run) catchUp(run context.Context) error {
	r.wire.flush(run)
	r.carrier.address(run)
	return context.Cause(run)
}

func (r *run) awaitEvent(ctx context.Context, name string) (time.Time, error) {
	for {
		if err := r.carrier.poll(ctx); err != nil {
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			return time.Time{}, err
		}
		if at, ok := r.carrier.find(name, r.since); ok {
			return at, nil
		}
		if err := r.bench.Clock.Sleep(ctx, pollEvents); err != nil {
			return time.Time{}, contextCause(ctx, err)
		}
	}
}

func (r *run) awaitPacket(run, ctx context.Context, end time.Time, ok func(sighting) bool) (time.Time, error) {
	r.carrier.address(ctx)
	for polls := 1; ; polls++ {
		if at, found := r.wire.find(r.since, ok); found {
			return r.sighted(at), nil
		}
		if err := r.wire.blind(); err != nil {
			return time.Time{}, err
		}
		if err := r.bench.Clock.Sleep(ctx, pollPackets); err != nil {
			return r.lastLook(run, end, ok, contextCause(ctx, err))
		}
		if polls%50 == 0 { // now and then: the address may have changed
			r.carrier.address(ctx)
		}
	}
}

// lastLook looks for a packet that passed before the step's time was over, and came here only now: as late as a mirror may
// be. Over is why the waiting ended.
func (r *run) lastLook(run context.Context, end time.Time, ok func(sighting) bool, over error) (time.Time, error) {
	if !errors.Is(over, context.DeadlineExceeded) {
		return time.Time{}, over
	}
	if err := r.bench.Clock.Sleep(run, time.Duration(flow.LateTime)); err != nil {
		return time.Time{}, contextCause(run, err)
	}
	if err := r.catchUp(run); err != nil {
		return time.Time{}, err
	}
	at, found := r.wire.find(r.since, func(p sighting) bool { return p.at <= end.UnixNano() && ok(p) })
	if !found {
		return time.Time{}, over
	}
	return r.sighted(at), nil
}

// sighted notes that an awaited packet was seen.
func (r *run) sighted(at time.Time) time.Time {
	r.record.note(trace.Event{Time: at, Kind: trace.EventPacket, State: "seen"})
	return at
}

func (r *run) awaitConsole(ctx context.Context, m *plan.Match, end time.Time) (time.Time, error) {
	want, err := r.patterns([]plan.Match{*m})
	if err != nil {
		return time.Time{}, err
	}
	w := newWatch(r.since, end, want, nil)
	r.console.beginBack(w)
	defer r.console.end()
	select {
	case <-w.done:
	case <-ctx.Done():
	}
	r.console.settle()
	r.console.mu.Lock()
	defer r.console.mu.Unlock()
	select {
	case <-w.done: // at the last moment, it may be
		return w.lastAt, nil
	default:
		return time.Time{}, context.Cause(ctx)
	}
}

// contextCause prefers why a context ended to what a sleeper made of it.
func contextCause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func (r *run) packetWant(p *scenario.PacketWant) (*scenario.PacketWant, error) {
	out := *p
	for _, field := range []*string{&out.To, &out.From} {
		v, err := plan.Expand(*field, r.vars)
		if err != nil {
			return nil, fmt.Errorf("packet: %w", err)
		}
		*field = v
	}
	return &out, nil
}

// matches says whether a packet is one that the scenario waits for.
func matches(want *scenario.PacketWant, s sighting) bool {
	if want.Direction != "" && want.Direction != s.dir.String() {
		return false
	}
	if want.Proto != "" && want.Proto != s.proto {
		return false
	}
	if want.Phase != "" && want.Phase != s.phase.String() {
		return false
	}
	to, toName, from, fromName := s.peer, s.name, s.device, ""
	if s.dir == flow.Down {
		to, toName, from, fromName = from, fromName, to, toName
	}
	return isEnd(want.To, to, toName) && isEnd(want.From, from, fromName)
}

// isEnd says whether an end of a flow is the one that the text means: a name or an address, with or without a port.
func isEnd(text string, end netip.AddrPort, name string) bool {
	if text == "" {
		return true
	}
	host := text
	if i := strings.LastIndexByte(text, ':'); i >= 0 && (strings.Count(text, ":") == 1 || text[i-1] == ']') {
		port, err := strconv.ParseUint(text[i+1:], 10, 16)
		if err != nil || uint16(port) != end.Port() {
			return false
		}
		host = text[:i]
	}
	host = strings.Trim(host, "[]")
	if a, err := netip.ParseAddr(host); err == nil {
		return a.Unmap() == end.Addr()
	}
	return strings.EqualFold(strings.TrimSuffix(host, "."), name)
}

// awaitsPackets says whether any step of a plan waits for a packet or an MQTT message.
func awaitsPackets(p *plan.Plan) bool {
	var any func([]plan.Step) bool
	any = func(steps []plan.Step) bool {
		return slices.ContainsFunc(steps, func(s plan.Step) bool {
			return s.Await != nil && (s.Await.Packet != nil || s.Await.MQTT != "" || s.Await.Quiet > 0) || any(s.Steps)
		})
	}
	return any(p.Setup) || any(p.Steps) || any(p.Cleanup)
}
