package expectations

import (
	"fmt"
	"strings"

	"github.com/tollgate-iot/tollgate/harness/flow"
	"github.com/tollgate-iot/tollgate/harness/packet"
	"github.com/tollgate-iot/tollgate/harness/scenario"
	"github.com/tollgate-iot/tollgate/harness/verdict"
)

// flowCount is a claim on the number of flows, by protocol.
//
// Up to a limit it is an at-most claim, from a limit on an at-least claim; a bare number is exactly. In a broken record
// one conversation can fall into two, so that only different pairs of addresses and ports prove different flows.
type flowCount struct {
	tcp, udp, icmp, arp, other, total *bound
}

func flowsKind() kind {
	b := adapt(boundForm(pieces), func(b bound) *bound { return &b })
	object := &scenario.Object[flowCount]{
		Name: "a flow count", Doc: "How many flows there are of each protocol.",
		Keys: []scenario.Key[flowCount]{
			scenario.Field("tcp", "TCP connections.", b, func(c *flowCount) **bound { return &c.tcp }),
			scenario.Field("udp", "UDP exchanges, DNS among them.", b, func(c *flowCount) **bound { return &c.udp }),
			scenario.Field("icmp", "ICMP and ICMPv6 exchanges.", b, func(c *flowCount) **bound { return &c.icmp }),
			scenario.Field("arp", "ARP exchanges.", b, func(c *flowCount) **bound { return &c.arp }),
			scenario.Field("other", "Everything else.", b, func(c *flowCount) **bound { return &c.other }),
			scenario.Field("total", "All flows.", b, func(c *flowCount) **bound { return &c.total }),
		},
		Check: atLeastOneKey[flowCount]("a flow count"),
	}
	form := either(adapt(b, func(b *bound) flowCount { return flowCount{total: b} }), object.Form())
	return kindOf("flows", "How many flows there are (at most, at least or exactly, as the comparison says). A bare comparison is about all protocols together.",
		form, keyWindow, keyFlow)
}

// proto is a bound with the kinds of flows that it counts.
type proto struct {
	name  string
	bound *bound
	kinds []packet.Kind
}

func (c flowCount) protos() []proto {
	all := []proto{
		{"TCP flow", c.tcp, []packet.Kind{packet.TCP}}, {"UDP flow", c.udp, []packet.Kind{packet.UDP}},
		{"ICMP flow", c.icmp, []packet.Kind{packet.ICMP, packet.ICMPv6}}, {"ARP flow", c.arp, []packet.Kind{packet.ARP}},
		{"other flow", c.other, []packet.Kind{packet.Other}}, {"flow", c.total, nil},
	}
	var wanted []proto
	for _, p := range all {
		if p.bound != nil {
			wanted = append(wanted, p)
		}
	}
	return wanted
}

func (c flowCount) wantsNothing() bool {
	for _, p := range c.protos() {
		if p.bound.high > 0 {
			return false
		}
	}
	return true
}

func (c flowCount) check(v *view) outcome {
	v = v.shell().deep()
	var outs []outcome
	for _, p := range c.protos() {
		outs = append(outs, p.check(v))
	}
	return merge(outs...)
}

func (p proto) check(v *view) outcome {
	m := measure{most: unlimited}
	var past []verdict.Witness
	pairs := map[string]bool{}
	for _, part := range v.parts {
		if !p.takes(part.Kind) {
			continue
		}
		pair := pairOf(part.Flow)
		if part.Resumed && pairs[pair] {
			continue // the same flow after a long silence
		}
		m.got++
		if part.Kind != packet.Other || !stumps(part.Flow) { // cut before its ports, a packet may be of any flow
			pairs[pair] = true
		}
		if m.got > p.bound.high {
			past = append(past, witness(part.Flow, &part.packets[0], "begins a flow with "+peerOf(part.Flow)))
		}
	}
	switch {
	case !v.proof.wary():
		m.least = m.got
	case v.sure():
		m.least = int64(len(pairs))
	}
	o := v.proof.judge(pieces, m, *p.bound, plural(m.got, p.name))
	o.got = plural(m.got, p.name)
	if o.verdict != verdict.Pass {
		o.witnesses = past
	}
	return o
}

func (p proto) takes(k packet.Kind) bool {
	if p.kinds == nil {
		return true
	}
	for _, want := range p.kinds {
		if want == k {
			return true
		}
	}
	return false
}

// pairOf names the ends of a flow and the way its packets came, whichever side is the device.
func pairOf(f *flow.Flow) string {
	a, b := f.Device, f.Peer
	if b.Compare(a) < 0 {
		a, b = b, a
	}
	return fmt.Sprint(f.Kind, f.Proto, a, b, f.Path)
}

// peerOf names a flow's peer for a person: beam.soracom.io:8888 (100.127.69.42).
func peerOf(f *flow.Flow) string {
	if f.Peer.Port() == 0 {
		return strings.TrimPrefix(f.Name+" "+f.Peer.Addr().String(), " ")
	}
	if f.Name == "" {
		return f.Peer.String()
	}
	return fmt.Sprintf("%s:%d (%s)", f.Name, f.Peer.Port(), f.Peer.Addr())
}
