package expectations

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/tollgate-iot/tollgate/harness/flow"
	"github.com/tollgate-iot/tollgate/harness/scenario"
	"github.com/tollgate-iot/tollgate/harness/verdict"
)

// duration is a claim on how long something took.
//
// From the first packet to the last: no less than what was seen, so a limit is an at-most claim. Of each flow the same,
// but in a broken record a flow can be two. Of a window: the run's own times, whatever packets are missing.
type duration struct{ packets, flow, window *bound }

func durationKind() kind {
	b := adapt(boundForm(spans), func(b bound) *bound { return &b })
	object := &scenario.Object[duration]{
		Name: "a duration", Doc: "How long something took.",
		Keys: []scenario.Key[duration]{
			scenario.Field("packets", "From the first packet to the last.", b, func(d *duration) **bound { return &d.packets }),
			scenario.Field("flow", "Each flow, from its first packet to its last.", b, func(d *duration) **bound { return &d.flow }),
			scenario.Field("window", "The window, by the run's own clock.", b, func(d *duration) **bound { return &d.window }),
		},
		Check: atLeastOneKey[duration]("a duration"),
	}
	return kindOf("duration", "How long the packets, each flow or the window took (as the comparison says). A bare comparison is about first packet to last.",
		either(adapt(b, func(b *bound) duration { return duration{packets: b} }), object.Form()), keyWindow, keyFlow)
}

func (d duration) check(v *view) outcome {
	v = v.shell()
	var outs []outcome
	if d.window != nil {
		outs = append(outs, d.ofWindow(v))
	}
	if d.packets != nil {
		outs = append(outs, d.ofPackets(v))
	}
	if d.flow != nil {
		for _, p := range v.parts {
			outs = append(outs, d.ofFlow(v, p))
		}
		if len(v.parts) == 0 {
			outs = append(outs, outcome{reason: "no flow" + v.where() + ": nothing to judge", doubt: v.proof.doubt})
		}
	}
	return merge(outs...)
}

func (d duration) ofWindow(v *view) outcome {
	if v.scope.window.name == "" {
		return outcome{reason: "the claim names no window"}
	}
	n := v.to - v.from
	o := v.proof.judge(spans, measure{n, n, n}, *d.window, "window "+v.label+" took "+span(time.Duration(n)))
	o.got = span(time.Duration(n))
	return o
}

func (d duration) ofPackets(v *view) outcome {
	first, last := moment{fits: packetMoments["packet"]}, moment{fits: packetMoments["packet"], last: true}
	a, ok := first.find(v, always)
	if !ok {
		return outcome{reason: "no packet" + v.where() + ": nothing to judge", doubt: v.proof.doubt}
	}
	z, _ := last.find(v, always)
	m := measure{got: z.at - a.at, most: unlimited}
	if v.sure() {
		m.least = m.got
	}
	o := v.proof.judge(spans, m, *d.packets, span(time.Duration(m.got))+" from the first packet to the last")
	o.got = span(time.Duration(m.got))
	if o.verdict != verdict.Pass {
		o.witnesses = []verdict.Witness{witness(a.flow, a.packet, "the first"), witness(z.flow, z.packet, "the last")}
	}
	return o
}

func (d duration) ofFlow(v *view, p part) outcome {
	first, last := &p.packets[0], &p.packets[0]
	for i := range p.packets {
		if q := &p.packets[i]; q.Time < first.Time {
			first = q
		} else if q.Time > last.Time {
			last = q
		}
	}
	m := measure{got: last.Time - first.Time, most: unlimited}
	if !v.proof.wary() {
		m.least = m.got
	}
	o := v.proof.judge(spans, m, *d.flow, fmt.Sprintf("the flow with %s took %s", peerOf(p.Flow), span(time.Duration(m.got))))
	o.got = span(time.Duration(m.got))
	if o.verdict != verdict.Pass {
		o.witnesses = []verdict.Witness{witness(p.Flow, first, "the first"), witness(p.Flow, last, "the last")}
	}
	return o
}

// gap is a claim on the longest time without a packet, between packets.
//
// A packet that is missing would make a gap shorter, one beyond the first or last would add one: both kinds of proof are
// needed, so only a whole record fails it, and a broken one decides nothing.
type gap struct{ longest, up, down *bound }

func gapKind() kind {
	b := adapt(boundForm(spans), func(b bound) *bound { return &b })
	object := &scenario.Object[gap]{
		Name: "a longest gap", Doc: "The longest time between two packets that follow each other.",
		Keys: []scenario.Key[gap]{
			scenario.Field("longest", "Of packets in both directions.", b, func(g *gap) **bound { return &g.longest }),
			scenario.Field("up", "Of packets from the device.", b, func(g *gap) **bound { return &g.up }),
			scenario.Field("down", "Of packets to the device.", b, func(g *gap) **bound { return &g.down }),
		},
		Check: atLeastOneKey[gap]("a longest gap"),
	}
	return kindOf("gaps", "The longest time between two packets (exactly: fails only where the record is whole). A bare comparison is about both directions.",
		either(adapt(b, func(b *bound) gap { return gap{longest: b} }), object.Form()), keyWindow, keyFlow)
}

func (g gap) check(v *view) outcome {
	v = v.shell()
	var outs []outcome
	for _, one := range []struct {
		bound *bound
		name  string
		fits  func(*flow.Packet) bool
	}{{g.longest, "", packetMoments["packet"]}, {g.up, " up", packetMoments["packet_up"]}, {g.down, " down", packetMoments["packet_down"]}} {
		if one.bound != nil {
			outs = append(outs, longestGap(v, *one.bound, one.name, one.fits))
		}
	}
	return merge(outs...)
}

func longestGap(v *view, b bound, name string, fits func(*flow.Packet) bool) outcome {
	var seen []found
	for _, part := range v.parts {
		for i := range part.packets {
			if p := &part.packets[i]; fits(p) {
				seen = append(seen, found{p.Time, p, part.Flow})
			}
		}
	}
	if len(seen) < 2 {
		return outcome{reason: fmt.Sprintf("%s%s%s: no gap to judge", plural(int64(len(seen)), "packet"), name, v.where()), doubt: v.proof.doubt}
	}
	slices.SortStableFunc(seen, func(a, b found) int { return cmp.Compare(a.at, b.at) })
	at := 1
	for i := 2; i < len(seen); i++ {
		if seen[i].at-seen[i-1].at > seen[at].at-seen[at-1].at {
			at = i
		}
	}
	n := seen[at].at - seen[at-1].at
	o := v.proof.judge(spans, derived(n), b, fmt.Sprintf("%s without a packet%s, from %s (packet %d) to %s (packet %d)", span(time.Duration(n)), name,
		clock(seen[at-1].at), seen[at-1].packet.Number, clock(seen[at].at), seen[at].packet.Number))
	o.got = span(time.Duration(n))
	if o.verdict != verdict.Pass {
		o.witnesses = []verdict.Witness{witness(seen[at-1].flow, seen[at-1].packet, "the gap begins"), witness(seen[at].flow, seen[at].packet, "the gap ends")}
	}
	return o
}

// between is a claim on the time from one moment to the next other one.
//
// Where the first is no packet (a window's begin, the carrier's cut) and the second is a first packet, a packet seen is a
// packet that came no later: within the limit is a pass even in a leaky record. All else combines both proofs. After a cut
// a first packet proves nothing that may have been sent before it (see late.go).
type timeFrom struct {
	from, to moment
	is       bound
}

func timeKind() kind {
	m := momentForm()
	object := &scenario.Object[timeFrom]{
		Name: "a time", Doc: "The time from one moment to another.",
		Keys: []scenario.Key[timeFrom]{
			scenario.Needed(scenario.Field("from", "The moment from which: begin, end, cut, session, first_… or last_… of packet, packet_up, packet_down, syn, fin, rst or a phase.", m, func(c *timeFrom) *moment { return &c.from })),
			scenario.Needed(scenario.Field("to", "The moment up to which: the first after from, or the last.", m, func(c *timeFrom) *moment { return &c.to })),
			scenario.Needed(scenario.Field("is", "How long.", boundForm(spans), func(c *timeFrom) *bound { return &c.is })),
		},
	}
	return kindOf("time", "The time from one moment to another (at most, at least or exactly; fails for being too long only where the record is whole).", object.Form(), keyWindow, keyFlow)
}

func (c timeFrom) check(v *view) outcome {
	if c.from.headersTell() && c.to.headersTell() {
		v = v.shell()
	}
	v = v.deep()
	a, ok := c.from.find(v, always)
	if !ok {
		return outcome{reason: fmt.Sprintf("%s was not seen%s: nothing to judge", c.from.text, v.where()), doubt: v.proof.doubt}
	}
	after := a.at
	if a.packet == nil {
		after--
	}
	z, ok := c.to.find(v, after+1)
	o := c.took(v, a, z, ok)
	if ok && c.from.event != "" && !c.from.fresh(v) && z.packet != nil && !a.surely(z.flow, z.packet) {
		later, ok := c.to.find(v, a.at+flow.LateTime)
		if c.took(v, a, later, ok).verdict != o.verdict {
			o.verdict, o.doubt = verdict.Inconclusive, mayPrecede
		}
	}
	return o
}

// took judges the time from a to z, where there is such a moment.
func (c timeFrom) took(v *view, a, z found, ok bool) outcome {
	if !ok {
		return outcome{verdict: v.proof.unmet(), doubt: v.proof.doubt, reason: fmt.Sprintf("no %s after %s", c.to.text, a.tell(c.from))}
	}
	n := z.at - a.at
	m := derived(n)
	if a.packet == nil && v.sure() {
		switch {
		case z.packet == nil:
			m = measure{n, n, n}
		case !c.to.last && !v.t.Capture.Inferred:
			m.most = n
		}
	}
	o := v.proof.judge(spans, m, c.is, fmt.Sprintf("%s from %s to %s", span(time.Duration(n)), a.tell(c.from), z.tell(c.to)))
	o.got = span(time.Duration(n))
	if o.verdict != verdict.Pass && z.packet != nil {
		o.witnesses = []verdict.Witness{witness(z.flow, z.packet, c.to.text)}
	}
	return o
}
