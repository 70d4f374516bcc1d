package expectations

import (
	"fmt"
	"strings"

	"github.com/tollgate-iot/tollgate/harness/flow"
	"github.com/tollgate-iot/tollgate/harness/scenario"
	"github.com/tollgate-iot/tollgate/harness/trace"
	"github.com/tollgate-iot/tollgate/harness/verdict"
)

// directed holds bounds for each direction and for both together; nil is not cared about.
type directed struct {
	up, down, total *bound
}

// directedForm is a comparison alone, for both directions together, or a mapping with up, down and total.
func directedForm(name string, u unit) scenario.Form[directed] {
	b := adapt(boundForm(u), func(b bound) *bound { return &b })
	object := &scenario.Object[directed]{
		Name: name, Doc: "Bounds for each direction: up is from the device.",
		Keys: []scenario.Key[directed]{
			scenario.Field("up", "From the device.", b, func(d *directed) **bound { return &d.up }),
			scenario.Field("down", "To the device.", b, func(d *directed) **bound { return &d.down }),
			scenario.Field("total", "Both directions together.", b, func(d *directed) **bound { return &d.total }),
		},
		Check: atLeastOneKey[directed](name),
	}
	return either(adapt(b, func(b *bound) directed { return directed{total: b} }), object.Form())
}

// each calls judge for every bound that there is, with the directions that it is about.
func (d directed) each(judge func(dirs []flow.Direction, name string, b bound) outcome) outcome {
	var outs []outcome
	if d.up != nil {
		outs = append(outs, judge([]flow.Direction{flow.Up}, "up", *d.up))
	}
	if d.down != nil {
		outs = append(outs, judge([]flow.Direction{flow.Down}, "down", *d.down))
	}
	if d.total != nil {
		outs = append(outs, judge([]flow.Direction{flow.Up, flow.Down}, "in total", *d.total))
	}
	return merge(outs...)
}

// wantsNothing says whether the claim is that there is nothing at all.
func (d directed) wantsNothing() bool {
	for _, b := range []*bound{d.up, d.down, d.total} {
		if b != nil && b.high > 0 {
			return false
		}
	}
	return true
}

// volume is a claim on the number of packets or bytes.
//
// Up to a limit it is an at-most claim, from a limit on an at-least claim; a bare number is exactly. Which phase a
// packet belongs to can be misjudged under loss, except for dns, reset, icmp and arp, which show in the packet itself;
// so can how many packets a joined one stands for, where the handshake that tells it was not seen.
type volume struct {
	directed
	unit  unit
	noun  string // "packet", "" for bytes
	value func(v *view, p *flow.Packet) int64
}

func packetsKind() kind {
	return kindOf("packets", "How many packets went up, down, or both ways (at most, at least or exactly, as the comparison says). "+
		"A bare comparison is about both directions together.",
		adapt(directedForm("a packet count", pieces), func(d directed) volume {
			return volume{directed: d, unit: pieces, noun: "packet", value: (*view).packetsOf}
		}), keyWindow, keyFlow, keyPhase, keyCounted)
}

func bytesKind() kind {
	return kindOf("bytes", "How many bytes went up, down, or both ways, as the account counts them (at most, at least or exactly, as the "+
		"comparison says). A bare comparison is about both directions together.",
		adapt(directedForm("a byte count", octets), func(d directed) volume {
			return volume{directed: d, unit: octets, value: (*view).bytesOf}
		}), keyWindow, keyFlow, keyPhase, keyAccount, keyCounted)
}

// packetsOf gives how many packets a packet counts for.
func (v *view) packetsOf(p *flow.Packet) int64 {
	if v.scope.captured {
		return 1
	}
	return int64(max(p.Air, 1))
}

// bytesOf gives how many bytes a packet counts for.
func (v *view) bytesOf(p *flow.Packet) int64 {
	if v.scope.captured {
		return int64(v.account.Bytes(p.Dir, flow.Tally{Packets: 1, Bytes: uint64(p.Wire)}))
	}
	t := flow.Tally{AirPackets: uint64(max(p.Air, 1)), AirBytes: uint64(max(p.AirWire, p.Wire))}
	return int64(v.account.AirBytes(p.Dir, t))
}

func (c volume) check(v *view) outcome {
	v = v.shell()
	if v.scope.phase != nil && !shows(*v.scope.phase) {
		v = v.deep()
	}
	return c.each(func(dirs []flow.Direction, name string, b bound) outcome {
		m, past := c.measure(v, dirs, b)
		got := strings.TrimSpace(c.unit.format(m.got) + " " + name)
		what := got
		if c.noun != "" {
			what = plural(m.got, c.noun) + " " + name
		}
		if v.scope.phase != nil {
			what += " of phase " + v.scope.phase.String()
		}
		o := v.proof.judge(c.unit, m, b, what)
		o.got = got
		if o.verdict != verdict.Pass {
			o.witnesses = past
		}
		return o
	})
}

// measure counts what is in view, and collects the packets past the bound.
func (c volume) measure(v *view, dirs []flow.Direction, b bound) (m measure, past []verdict.Witness) {
	both := len(dirs) == 2
	for _, part := range v.parts {
		proved := v.sure() && v.phaseShows(part.Flow) && (both || v.oriented(part.Flow))
		handshake := !v.proof.wary() || seenBothMSS(part.Flow)
		for i := range part.packets {
			p := &part.packets[i]
			if !both && p.Dir != dirs[0] || v.scope.phase != nil && p.Phase != *v.scope.phase {
				continue
			}
			n := c.value(v, p)
			m.got += n
			switch {
			case !proved, stump(part.Flow, p):
			case handshake || p.Air <= 1:
				m.least += n
			default:
				whole := *v
				s := *v.scope
				s.captured = true
				whole.scope = &s
				m.least += c.value(&whole, p)
			}
			if m.got > b.high {
				past = append(past, witness(part.Flow, p, fmt.Sprintf("%s, %s so far", p.Dir, c.unit.format(m.got))))
			}
		}
	}
	m.most = unlimited
	return m, past
}

// phaseShows says whether it is certain which packets of a flow are of the phase that the claim is about.
func (v *view) phaseShows(f *flow.Flow) bool {
	return v.scope.phase == nil || shows(*v.scope.phase) || v.phasesKnown(f)
}

// phasesKnown says whether a flow's phases can be told for sure. Of one joined in the middle nobody knows what its first
// acknowledgements are of, unless the record is whole.
func (v *view) phasesKnown(f *flow.Flow) bool {
	return v.proof.state == trace.Whole || !v.proof.wary() && !f.BeganBeforeCapture
}

// shows says whether a packet's phase is plain from the packet itself rather than from what it acknowledges or follows.
func shows(p flow.Phase) bool {
	return p == flow.DNS || p == flow.Reset || p == flow.ICMP || p == flow.ARP
}

// seenBothMSS says whether the handshake that limits the flow's segments was seen.
func seenBothMSS(f *flow.Flow) bool {
	return !f.BeganBeforeCapture && f.Sides[flow.Up].MSS > 0 && f.Sides[flow.Down].MSS > 0
}

// witness points to a packet.
func witness(f *flow.Flow, p *flow.Packet, note string) verdict.Witness {
	return verdict.Witness{Number: p.Number, Time: p.Time, Flow: f.ID, Note: note}
}
