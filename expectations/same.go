package expectations

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/tollgate-iot/tollgate/harness/flow"
	"github.com/tollgate-iot/tollgate/harness/packet"
	"github.com/tollgate-iot/tollgate/harness/scenario"
	"github.com/tollgate-iot/tollgate/harness/trace"
	"github.com/tollgate-iot/tollgate/harness/verdict"
)

// sameAt is a claim that the same packets pass two places, before and after a gateway, with the addresses and ports that they
// had: nothing is translated, dropped or made up on the way.
//
// A translated packet that was seen is one, whatever else is missing. A packet that was seen at one place alone is a fail only
// where the other place's record is whole; that none was is a pass where neither record is known to have holes.
type sameAt struct {
	places [2]string
	within time.Duration
}

// sameWithin is how long the way between two places may take, where the claim says nothing.
const sameWithin = 2 * time.Second

func sameAtKind() kind {
	places := scenario.ListOf(2, scenario.Text("a place such as before-gateway"))
	pair := func(list []string) sameAt {
		s := sameAt{within: sameWithin}
		copy(s.places[:], list)
		return s
	}
	two := scenario.Form[sameAt]{Schema: func(defs map[string]any) map[string]any {
		schema := places.Schema(defs)
		schema["maxItems"] = 2
		return schema
	}, Read: func(errs *scenario.Errors, name string, v scenario.Value) sameAt {
		list := places.Read(errs, name, v)
		if len(list) > 2 || len(list) == 2 && list[0] == list[1] {
			errs.Addf(v.Pos, "%s: want two different places, such as [before-gateway, behind-gateway]", name)
		}
		return pair(list)
	}}
	object := &scenario.Object[sameAt]{
		Name: "two places", Doc: "Two places on the way of the device's packets, as the bench's taps name them.",
		Keys: []scenario.Key[sameAt]{
			scenario.Needed(scenario.Each("places", "The two places.", two, func(s *sameAt, _ scenario.Entry, p sameAt) { s.places = p.places })),
			scenario.Each("within", "How long the way between them may take; 2s where not given.", scenario.Length(), func(s *sameAt, _ scenario.Entry, l scenario.Span) { s.within = l.Length }),
		},
	}
	long := adapt(object.Form(), func(s sameAt) sameAt {
		if s.within == 0 {
			s.within = sameWithin
		}
		return s
	})
	return kindOf("same_at", "The same packets pass two places, with the same addresses and ports (a translated packet fails; one seen at one place alone fails where the other place's record is whole).",
		either(two, long), keyWindow, keyFlow)
}

// passed is a packet as it passed a place.
type passed struct {
	trace.Passage
	flow    *flow.Flow
	packet  *flow.Packet
	matched bool
}

type route struct{ src, dst netip.AddrPort }

func (s sameAt) check(v *view) outcome {
	var at [2]*trace.Trace
	for i, place := range s.places {
		at[i] = v.t.At(place)
		if at[i] == nil {
			return outcome{reason: fmt.Sprintf("nothing was captured at %s: %s", place, placesOf(v.t))}
		}
		if steps := at[i].Capture.Steps; len(steps) > 0 {
			return outcome{reason: "a clock was set while the packets were captured at " + place + ": they can't be compared"}
		}
	}
	first, second := s.packets(v, at[0]), s.packets(v, at[1])
	ahead := trace.Ahead(at[0].Capture.Flows, at[1].Capture.Flows)
	s.match(first, second, ahead)
	in := func(p *passed, shift int64) bool { return p.packet.Time-shift >= v.from && p.packet.Time-shift < v.to }
	shifts := s.shifts(v, ahead)
	lost := [2][]*passed{left(first, second, func(p *passed) bool { return in(p, shifts[0]) }), left(second, first, func(p *passed) bool { return in(p, shifts[1]) })}
	seen := 0
	for _, p := range first {
		if in(p, shifts[0]) {
			seen++
		}
	}
	if seen+len(lost[1]) == 0 {
		return outcome{reason: "no packet" + v.where() + ": nothing to judge", doubt: v.proof.doubt}
	}
	if o, ok := s.translated(lost, ahead); ok {
		return o
	}
	return merge(s.missing(v, at[1], 0, 1, lost[0], seen), s.missing(v, at[0], 1, 0, lost[1], seen))
}

// shifts are how far each place's clock is ahead of the record's own, as far as windows need it.
func (s sameAt) shifts(v *view, ahead int64) [2]int64 {
	switch v.t.Capture.Place {
	case s.places[1]:
		return [2]int64{-ahead, 0}
	default:
		return [2]int64{0, ahead}
	}
}

func placesOf(t *trace.Trace) string {
	if t.Capture == nil || len(t.Capture.Places()) == 0 {
		return "the record names no places"
	}
	return "the record has " + strings.Join(t.Capture.Places(), ", ")
}

// packets gives what passed a place, in the order of time.
func (s sameAt) packets(v *view, at *trace.Trace) []*passed {
	var out []*passed
	for _, f := range at.Capture.Flows {
		if nobodys(f) || v.scope.flow != nil && !v.scope.flow.takes(f) {
			continue
		}
		for i := range f.Packets {
			p := &f.Packets[i]
			out = append(out, &passed{Passage: trace.PassageOf(f, p), flow: f, packet: p})
		}
	}
	slices.SortStableFunc(out, func(a, b *passed) int { return cmp.Compare(a.packet.Time, b.packet.Time) })
	return out
}

// match finds each packet of one place at the other: as often as it is there, in the order of time.
func (s sameAt) match(first, second []*passed, ahead int64) {
	there := map[trace.Passage][]*passed{}
	for _, p := range second {
		there[p.Passage] = append(there[p.Passage], p)
	}
	for _, p := range first {
		k := p.Passage
		list := there[k]
		for len(list) > 0 && list[0].packet.Time-ahead < p.packet.Time-int64(s.within) {
			list = list[1:]
		}
		if len(list) > 0 && list[0].packet.Time-ahead <= p.packet.Time+int64(s.within) {
			p.matched, list[0].matched = true, true
			list = list[1:]
		}
		there[k] = list
	}
}

// left gives the packets that the other place did not show, those left out whose bytes it has in other segments: a network
// card joins and cuts them.
func left(here, there []*passed, in func(*passed) bool) []*passed {
	segments := map[route][][2]uint32{}
	for _, p := range there {
		if p.flow.Kind == packet.TCP && p.packet.Payload > 0 {
			r := route{p.Src, p.Dst}
			segments[r] = append(segments[r], [2]uint32{p.packet.Seq, p.packet.Seq + p.packet.Payload})
		}
	}
	var out []*passed
	for _, p := range here {
		if p.matched || !in(p) || p.flow.Kind == packet.TCP && p.packet.Payload > 0 && covered(p.packet, segments[route{p.Src, p.Dst}]) {
			continue
		}
		out = append(out, p)
	}
	return out
}

// covered says whether segments together hold all bytes of a packet, none of them being the packet itself.
func covered(p *flow.Packet, segments [][2]uint32) bool {
	at, end := p.Seq, p.Seq+p.Payload
	for grew := true; grew && int32(end-at) > 0; {
		grew = false
		for _, s := range segments {
			if int32(at-s[0]) >= 0 && int32(s[1]-at) > 0 && (s[0] != p.Seq || s[1] != end) {
				at, grew = s[1], true
			}
		}
	}
	return int32(end-at) <= 0
}

// translated finds a packet that is at the other place with another address or port at one of its ends.
func (s sameAt) translated(lost [2][]*passed, ahead int64) (outcome, bool) {
	there := map[trace.Content][]*passed{}
	for _, p := range lost[1] {
		there[p.Content] = append(there[p.Content], p)
	}
	for _, p := range lost[0] {
		telling := p.flow.Kind == packet.TCP && p.packet.Seq != 0 || p.packet.IPID != 0 && p.packet.Payload > 0
		if !telling {
			continue
		}
		for _, q := range there[p.Content] {
			apart := q.packet.Time - ahead - p.packet.Time
			if (p.Src == q.Src) == (p.Dst == q.Dst) || apart > int64(s.within) || apart < -int64(s.within) {
				continue
			}
			was, is, end := p.Src, q.Src, "sender"
			if p.Src == q.Src {
				was, is, end = p.Dst, q.Dst, "receiver"
			}
			o := outcome{verdict: verdict.Fail, got: "translated", witnesses: []verdict.Witness{witness(p.flow, p.packet, "at "+s.places[0]), {Number: q.packet.Number, Time: q.packet.Time, Flow: -1, Note: "at " + s.places[1]}}}
			o.reason = fmt.Sprintf("translated on the way: the %s of packet %d is %s at %s, and %s in packet %d at %s", end, p.packet.Number, was, s.places[0], is, q.packet.Number, s.places[1])
			return o, true
		}
	}
	return outcome{}, false
}

// missing judges that all packets of one place are at the other, whose record is there.
func (s sameAt) missing(v *view, there *trace.Trace, here, other int, lost []*passed, seen int) outcome {
	own, _ := prove(there, trace.Scope{Headers: !v.byName()}, v.strict)
	if len(lost) == 0 {
		return outcome{verdict: own.unseen(), doubt: own.doubt, got: plural(int64(seen), "packet"),
			reason: fmt.Sprintf("every packet at %s is at %s", s.places[here], s.places[other])}
	}
	p := lost[0]
	o := outcome{verdict: own.unmet(), doubt: own.doubt, got: plural(int64(len(lost)), "packet") + " at one place alone",
		reason: fmt.Sprintf("%s seen at %s and not at %s, the first %s at %s (packet %d)", plural(int64(len(lost)), "packet"), s.places[here], s.places[other],
			p.packet.Dir, clock(p.packet.Time), p.packet.Number)}
	for _, p := range lost {
		id := p.flow.ID
		if v.t.Capture.Place != s.places[here] {
			id = -1 // of another place's flows
		}
		o.witnesses = append(o.witnesses, verdict.Witness{Number: p.packet.Number, Time: p.packet.Time, Flow: id, Note: "at " + s.places[here] + " alone"})
	}
	return o
}
