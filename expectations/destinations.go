package expectations

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tollgate-iot/tollgate/harness/flow"
	"github.com/tollgate-iot/tollgate/harness/packet"
	"github.com/tollgate-iot/tollgate/harness/scenario"
	"github.com/tollgate-iot/tollgate/harness/trace"
	"github.com/tollgate-iot/tollgate/harness/verdict"
)

// destinations is a claim on where the device sent packets.
//
// It is an at-most claim: a packet to a place that is not allowed is a fail even in a leaky record. But a place is often
// known by its name only, and the name by a DNS answer: where that may be missing, a peer without a fitting name is no
// proved violation, and in a broken record a name is no proof either, since the answer that told it may be outdated.
type destinations struct{ only, deny []*target }

func destinationsKind() kind {
	places := scenario.OneOrMany(targetForm())
	object := &scenario.Object[destinations]{
		Name: "a destinations claim", Doc: "Where the device may send packets: names (.example.com for all below it), addresses, networks, with or without " +
			":port, ports alone (:123), and dns for the resolver.",
		Keys: []scenario.Key[destinations]{
			scenario.Field("only", "Nowhere else than here.", places, func(d *destinations) *[]*target { return &d.only }),
			scenario.Field("deny", "Not here.", places, func(d *destinations) *[]*target { return &d.deny }),
		},
		Check: atLeastOneKey[destinations]("a destinations claim"),
	}
	short := adapt(places, func(ts []*target) destinations { return destinations{only: ts} })
	return kindOf("destinations", "Where the device sent packets (at most: no other place than these, or none of these). A bare place or list is the same as only.",
		either(short, object.Form()), keyWindow)
}

func (c destinations) check(v *view) outcome {
	if !slices.ContainsFunc(slices.Concat(c.only, c.deny), func(t *target) bool { return t.name != "" }) {
		v = v.shell()
	}
	v = v.deep()
	var outs []outcome
	var places []string
	for _, part := range v.parts {
		first := talk(part)
		if first == nil {
			continue
		}
		if at := peerOf(part.Flow); !slices.Contains(places, at) {
			places = append(places, at)
		}
		if o, violated := c.flow(v, part.Flow, first); violated {
			outs = append(outs, o)
		}
	}
	got := atMost(places, ", ")
	if len(places) == 0 {
		got = "nowhere"
	}
	if len(outs) == 0 {
		outs = append(outs, outcome{verdict: v.proof.unseen(), doubt: v.proof.doubt, reason: "packets went to " + got})
	}
	o := merge(outs...)
	o.got = got
	return o
}

// talk gives the first packet with which the device talked to the flow's peer, nil where it did not. Of ICMP only echo
// requests are talk (RFC 792; RFC 4443, 4.1): answers and errors are the network's manners.
func talk(p part) *flow.Packet {
	for i := range p.packets {
		q := &p.packets[i]
		speaks := p.Kind == packet.TCP || p.Kind == packet.UDP || p.Kind == packet.ICMP && q.ICMPType == 8 || p.Kind == packet.ICMPv6 && q.ICMPType == 128
		if speaks && q.Dir == flow.Up {
			return q
		}
	}
	return nil
}

// flow judges one flow; violated says whether it is anything but allowed.
func (c destinations) flow(v *view, f *flow.Flow, first *flow.Packet) (o outcome, violated bool) {
	denied := slices.IndexFunc(c.deny, func(t *target) bool { return t.flow(f) })
	allowed := c.only == nil || slices.ContainsFunc(c.only, func(t *target) bool { return t.flow(f) })
	if denied < 0 && allowed {
		return outcome{}, false
	}
	o = outcome{verdict: verdict.Fail, reason: fmt.Sprintf("packets to %s, the first at %s (packet %d)", peerOf(f), clock(first.Time), first.Number)}
	o.witnesses = []verdict.Witness{witness(f, first, "to "+peerOf(f))}
	if denied >= 0 {
		o.reason += ", denied by " + c.deny[denied].text
	}
	if doubt := c.doubt(v, f, denied); doubt != "" {
		o.verdict, o.doubt = verdict.Inconclusive, doubt
		return o, true
	}
	return o, true
}

// doubt says why a violation is not proved, "" where it is.
func (c destinations) doubt(v *view, f *flow.Flow, denied int) string {
	if v.proof.state == trace.Whole {
		return ""
	}
	if v.proof.wary() && !v.oriented(f) {
		return v.proof.doubt + "; who began to talk is not known for sure"
	}
	if denied >= 0 {
		t := c.deny[denied]
		byOwnName := t.name == "" || t.holds(f.Peer.Addr(), f.Peer.Port(), ownNames(f))
		if v.proof.wary() && !byOwnName {
			return v.proof.doubt + "; the name may be that of an outdated DNS answer"
		}
		return ""
	}
	named := slices.ContainsFunc(c.only, func(t *target) bool { return t.name != "" && (t.port == 0 || t.port == int(f.Peer.Port())) })
	switch {
	case !named:
		return ""
	case v.proof.wary():
		return v.proof.doubt + "; the DNS answer that names the peer may be among what is missing"
	case len(namesOf(f)) == 0:
		return strings.TrimPrefix(v.proof.doubt+"; no name of the peer was seen", "; ")
	}
	return ""
}
