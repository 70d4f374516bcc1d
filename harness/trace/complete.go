package trace

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/tollgate-iot/tollgate/harness/flow"
)

// maxReasons is how many holes a Completeness names one by one.
const maxReasons = 8

// holeReasons names the first holes and counts the others.
func holeReasons(holes []Hole) []string {
	var out []string
	for _, h := range holes[:min(len(holes), maxReasons)] {
		out = append(out, h.Reason)
	}
	if n := len(holes) - maxReasons; n > 0 {
		out = append(out, fmt.Sprintf("and %s more of the like", Thousands(uint64(n))))
	}
	return out
}

// Scope is the part of a record that a claim is about. The zero value is the whole run.
type Scope struct {
	From, To time.Time  // [From, To); zero is the record's own begin or end
	Flows    []int      // flow.Flow.ID; empty means all
	Device   netip.Addr // invalid means all
	// Headers says that what the packets carried is no matter: how many there were and when, how long, from whom to whom, with
	// which flags and numbers. A packet that was cut behind its headers is as good as whole then.
	Headers bool
}

// concerns says whether something missing there could be missing from the scope.
func (s Scope) concerns(h Hole) bool {
	if h.To != 0 && h.To < h.From { // a clock was set back in between
		h.From, h.To = h.To, h.From
	}
	if !s.To.IsZero() && h.From != 0 && h.From >= s.To.UnixNano() {
		return false
	}
	if !s.From.IsZero() && h.To != 0 && h.To < s.From.UnixNano() {
		return false
	}
	if s.Device.IsValid() && h.Device.IsValid() && h.Device != s.Device {
		return false
	}
	return len(s.Flows) == 0 || h.Flow < 0 || slices.Contains(s.Flows, h.Flow)
}

// Completeness judges how complete the record is for a scope: by the packets themselves, the taps' own accounts and the
// carrier's count. A hole that can't concern the scope does not break it, but takes away the proof that it is whole: a
// mirror that loses packets there may lose them here.
//
// Whole takes something that counts the packets: the mirror's own numbers, from canary to canary, or the carrier. Canaries
// at both ends and drop counters of zero were once held to be enough. They are necessary, and show that the tap was not
// blind, but a mirror that loses a packet between them, and nothing that would leave a gap, leaves them as they are: laid
// over recorded runs, losses of one in a hundred to one in five then turned findings into their opposite. Such a record is
// unproven, as one without any canary is, and its reason says which.
func (t *Trace) Completeness(s Scope) Completeness {
	holes, proofs, doubts := t.evidence()
	if t.Capture != nil {
		holes = append(t.captureHoles(), holes...)
	}
	if s.Headers {
		holes = slices.DeleteFunc(holes, func(h Hole) bool { return h.Kind == HolePayload })
	}
	var out Completeness
	for _, h := range holes {
		if s.concerns(h) {
			out.Holes = append(out.Holes, h)
			out.Missing[h.Dir] += h.Bytes
		}
	}
	switch {
	case len(out.Holes) > 0:
		out.State, out.Reasons = Broken, holeReasons(out.Holes)
	case len(holes) > 0:
		out.Reasons = []string{"nothing is known to be missing here, but the record has holes elsewhere: " + holes[0].Reason}
	case len(proofs) > 0:
		out.State, out.Reasons = Whole, proofs
	default:
		out.Reasons = doubts
	}
	if doubt := t.ClockDoubt(); doubt != "" && !slices.Contains(out.Reasons, doubt) {
		out.Reasons = append(slices.Clone(out.Reasons), doubt)
	}
	if doubt := t.Capture.Unsorted(); doubt != "" && !slices.Contains(out.Reasons, doubt) {
		out.Reasons = append(slices.Clone(out.Reasons), doubt)
	}
	return out
}

// captureHoles gives the holes that the capture shows by itself. The outages that it tells of are left to the accounts of
// a run's taps: they are the same ones, and among several taps it is known from the accounts which of them others heal.
func (t *Trace) captureHoles() []Hole {
	return slices.DeleteFunc(slices.Clone(t.Capture.Completeness.Holes), func(h Hole) bool {
		return h.Kind == HoleTap && len(t.Evidence.Taps) > 0
	})
}

// evidence gives what the run knows beyond what the packets show: holes, what counted the packets and found all of them
// there, and else why that is not proved.
func (t *Trace) evidence() (holes []Hole, proofs, doubts []string) {
	if t.Capture == nil {
		return []Hole{{Kind: HoleTap, Flow: -1, Reason: "there is no capture"}}, nil, nil
	}
	holes, account, doubts := t.judgeTaps()
	more, agreed, uncounted := t.reconcile()
	if account != "" {
		doubts = append(doubts, account+": not blind, but "+uncounted)
	} else if t.Evidence.Carrier != nil {
		doubts = append(doubts, uncounted)
	}
	ends := t.Begin.IsZero() || t.spansRun()
	switch {
	case t.Capture.Counted != "" && ends:
		proofs = append(proofs, t.Capture.Counted)
	case t.Capture.Counted != "":
		doubts = append(doubts, "the mirror's numbers run without a gap from the first packet seen to the last, but no canary says that there was none before or after")
	default:
		doubts = append(doubts, t.Capture.Uncounted...)
	}
	holes = append(holes, t.Evidence.Recording.judge(t.Capture.Frames)...)
	if m := t.Evidence.Mirror; m != nil {
		holes = append(holes, m.Holes...)
		if m.Whole != "" && ends {
			proofs = append(proofs, m.Whole)
		}
	}
	if more != nil {
		holes = append(holes, *more)
	}
	if agreed != "" {
		proofs = append(proofs, agreed)
	}
	if account != "" && len(proofs) > 0 {
		proofs = slices.Insert(proofs, 0, account)
	}
	return holes, proofs, doubts
}

// spansRun says whether the capture reaches from before the run's first step to after its last, by the canaries. The
// mirror's sequence numbers say nothing of what was lost before the first packet seen or after the last.
func (t *Trace) spansRun() bool {
	return slices.ContainsFunc(t.Evidence.Taps, func(tap TapEvidence) bool { return tap.CanaryBefore && tap.CanaryAfter })
}

// judge gives a tap's holes, and why it may have missed packets beyond them, "" where it was not blind and counts its losses.
//
// cut is what the tap took of the packets that it cut short.
func (e TapEvidence) judge(cut HoleKind) (holes []Hole, why string) {
	if e.Error != "" {
		holes = append(holes, Hole{Kind: HoleTap, Flow: -1, Reason: fmt.Sprintf("tap %s failed: %s", e.Name, e.Error)})
	}
	if e.Dropped > 0 {
		holes = append(holes, Hole{Kind: HoleDrops, Flow: -1, Packets: e.Dropped, Reason: fmt.Sprintf("tap %s dropped %s", e.Name, packets(e.Dropped))})
	}
	if e.Truncated > 0 {
		h := Hole{Kind: cut, Flow: -1, Packets: e.Truncated, Reason: fmt.Sprintf("tap %s cut %s short", e.Name, packets(e.Truncated))}
		if cut == HolePayload {
			h.Reason += " behind their headers"
		}
		holes = append(holes, h)
	}
	for _, o := range e.Outages {
		holes = append(holes, o.hole(e.Name))
	}
	if !e.ReadyBefore {
		holes = append(holes, Hole{Kind: HoleTap, Flow: -1, Reason: fmt.Sprintf("tap %s was not capturing before the first step", e.Name)})
	}
	if !e.Flushed {
		holes = append(holes, Hole{Kind: HoleTap, Flow: -1, Reason: fmt.Sprintf("tap %s was not flushed after the last step", e.Name)})
	}
	switch {
	case !e.CanaryBefore && !e.CanaryAfter:
		why = fmt.Sprintf("no canary was seen by tap %s: it may have been blind", e.Name)
	case !e.CanaryBefore:
		why = fmt.Sprintf("no canary was seen by tap %s before the first step", e.Name)
	case !e.CanaryAfter:
		why = fmt.Sprintf("no canary was seen by tap %s after the last step", e.Name)
	case e.Doubt != "":
		why = fmt.Sprintf("what tap %s lost is not all counted: %s", e.Name, e.Doubt)
	}
	return holes, why
}

// cutBy says what a tap took of the packets that it cut short, of which it knows only that they were longer: nothing but what
// they carried where each of them is in the record, or was looked at by the run, with all of its headers.
func (t *Trace) cutBy(e TapEvidence) HoleKind {
	c := t.Capture
	known := c.Truncated
	if i := slices.IndexFunc(c.Taps, func(tap Tap) bool { return tap.Name == e.Name }); i >= 0 {
		known = c.Taps[i].Truncated
	} else if m := t.Evidence.Mirror; m != nil {
		known = max(known, m.Truncated)
	}
	if c.HeadersCut > 0 || c.Undecodable > 0 || e.Truncated > known {
		return HoleCut
	}
	return HolePayload
}

// hole makes of an outage the hole that it leaves.
func (o Outage) hole(tap string) Hole {
	h := Hole{Kind: HoleTap, From: o.From.UnixNano(), Flow: -1, Reason: fmt.Sprintf("tap %s did not capture from %s on, to the end of the run: %s", tap, clockTime(o.From), o.Cause)}
	if !o.To.IsZero() {
		h.To = o.To.UnixNano()
		h.Reason = fmt.Sprintf("tap %s did not capture for %s, from %s on: %s", tap, o.To.Sub(o.From).Round(time.Millisecond), clockTime(o.From), o.Cause)
	}
	return h
}

// clockTime writes a moment of a run as its timeline does: the run's day is known.
func clockTime(t time.Time) string { return t.UTC().Format("15:04:05.000") }

// sighted says of taps that they were not blind.
func sighted(taps []TapEvidence) string {
	names := make([]string, len(taps))
	for i, t := range taps {
		names[i] = t.Name
	}
	return fmt.Sprintf("tap %s ready before the first step, canary seen at both ends, 0 dropped", strings.Join(names, ", "))
}

// reconcile compares the carrier's count of packets with the tap's, as the air carried them.
//
// It gives what is missing by that, or the proof that nothing is, or why neither is known: what was counted beyond what
// the tap saw may have passed before the run, where the carrier's periods reach back so far.
func (t *Trace) reconcile() (more *Hole, agreed, uncounted string) {
	count := t.Evidence.Carrier
	if count == nil {
		return nil, "", "nobody counted the packets; ask for the mirror's GRE sequence numbers or the carrier's count"
	}
	tally := t.deviceTally()
	seen := flow.Both[uint64]{tally[flow.Up].AirPackets, tally[flow.Down].AirPackets}
	for d := range seen {
		if count.Packets[d] > seen[d] {
			told := fmt.Sprintf("the carrier counted %s %s, the tap saw %s", packets(count.Packets[d]), flow.Direction(d), Thousands(seen[d]))
			if count.Wide {
				return nil, "", told + ", and the carrier's periods reach back before the run"
			}
			return &Hole{Kind: HoleCarrier, Flow: -1, Dir: flow.Direction(d), Packets: count.Packets[d] - seen[d], Reason: told}, "", told
		}
	}
	switch {
	case seen != count.Packets:
		return nil, "", fmt.Sprintf("the carrier counted %s up and %s down, fewer than the %s and %s that the tap saw",
			packets(count.Packets[flow.Up]), Thousands(count.Packets[flow.Down]), Thousands(seen[flow.Up]), Thousands(seen[flow.Down]))
	case !t.sameBytes(count.Bytes):
		return nil, "", "the carrier counted as many packets, and other bytes"
	case seen[flow.Up]+seen[flow.Down] == 0:
		return nil, "", "the carrier counted no packet, and the tap saw none"
	}
	return nil, fmt.Sprintf("the carrier counted the same: %s up, %s down", packets(seen[flow.Up]), Thousands(seen[flow.Down])), ""
}

// sameBytes says whether the carrier's bytes are those of the run's account, where it told any.
func (t *Trace) sameBytes(counted flow.Both[uint64]) bool {
	tally := t.deviceTally()
	for d := range counted {
		if counted[d] != 0 && counted[d] != t.Account.AirBytes(flow.Direction(d), tally[d]) {
			return false
		}
	}
	return true
}

// deviceTally sums what the run's device sent and got; all devices of the record where the run names none.
func (t *Trace) deviceTally() (out flow.Both[flow.Tally]) {
	if len(t.DeviceAddrs) == 0 {
		return t.Capture.Total.Tally
	}
	for _, dev := range t.Capture.Devices {
		if slices.Contains(t.DeviceAddrs, dev.Address) {
			for d := range out {
				out[d].Add(dev.Tally[d])
			}
		}
	}
	return out
}
