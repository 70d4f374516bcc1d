package expectations

import (
	"fmt"
	"strings"

	"github.com/tollgate-iot/tollgate/harness/flow"
	"github.com/tollgate-iot/tollgate/harness/packet"
	"github.com/tollgate-iot/tollgate/harness/verdict"
)

// retransmissions is a claim on the number of TCP segments that were sent again.
//
// Up to a limit it is an at-most claim. In a broken record a segment counts as proved to be a repeat only where the
// capture holds what it repeats. And in no record does one count for sure that a mirror may have made, by delivering a segment
// late or twice: where the verdict hangs on such, it is inconclusive.
type retransmissions struct{ directed }

func retransmissionsKind() kind {
	return kindOf("retransmissions", "How many TCP segments were sent again (at most, as a rule).",
		adapt(directedForm("a retransmission count", pieces), func(d directed) retransmissions { return retransmissions{d} }), keyWindow, keyFlow)
}

func (c retransmissions) check(v *view) outcome {
	v = v.shell().deep()
	return c.each(func(dirs []flow.Direction, name string, b bound) outcome {
		m, late := measure{most: unlimited}, int64(0)
		var ws []verdict.Witness
		for _, part := range v.parts {
			if part.Kind != packet.TCP {
				continue
			}
			proved := v.sure() && (len(dirs) == 2 || v.oriented(part.Flow))
			repeated := repeats(part.Flow, v.proof.wary())
			mirrored := mirrorMade(part.Flow)
			for i := range part.packets {
				p := &part.packets[i]
				if p.Mark&flow.Retransmission == 0 || len(dirs) == 1 && p.Dir != dirs[0] {
					continue
				}
				m.got++
				switch {
				case mirrored[p.Number]:
					late++
				case proved && repeated(p):
					m.least++
				}
				ws = append(ws, witness(part.Flow, p, fmt.Sprintf("sent again by %s", whose(p.Dir))))
			}
		}
		got := strings.TrimSuffix(group(m.got)+" "+name, " in total")
		o := v.proof.judge(pieces, m, b, strings.TrimSuffix(plural(m.got, "retransmission")+" "+name, " in total"))
		o.got = got
		if v.proof.hangs(m, b, late) {
			o.verdict, o.doubt = verdict.Inconclusive, fmt.Sprintf("%s of them came so soon that the mirror may have delivered a segment late or twice", group(late))
		}
		if o.verdict != verdict.Pass {
			o.witnesses = ws
		}
		return o
	})
}

// hangs says whether the verdict would be another one if not all of those that are doubtful counted.
func (p proof) hangs(m measure, b bound, doubtful int64) bool {
	as := p.rule(m, b).verdict
	for ; doubtful > 0; doubtful-- {
		if m.got--; p.rule(m, b).verdict != as {
			return true
		}
	}
	return false
}

// mirrorMade gives the numbers of the flow's packets that look as if they were sent again and may be the mirror's work. Sent
// again for sure is what has another IP identification than the packet that it repeats, and what comes flow.LateTime after a
// packet which shows that it had been sent: one at its numbers or beyond, or an acknowledgement of it.
func mirrorMade(f *flow.Flow) map[uint64]bool {
	var out map[uint64]bool
	var shown flow.Both[shown]
	first := map[segmentKey]*flow.Packet{}
	old := 0
	for i := range f.Packets {
		p := &f.Packets[i]
		for ; old < i && f.Packets[old].Time <= p.Time-flow.LateTime; old++ {
			q := &f.Packets[old]
			shown[q.Dir].sent(q)
			shown[1-q.Dir].acknowledged(q)
		}
		at := segmentKey{p.Dir, p.Seq, p.Payload, p.Flags & (packet.SYN | packet.FIN)}
		was := first[at]
		if was == nil {
			first[at] = p
		}
		if p.Mark&flow.Retransmission == 0 || shown[p.Dir].has(p) || was != nil && was.IPID != 0 && p.IPID != 0 && was.IPID != p.IPID {
			continue
		}
		if out == nil {
			out = map[uint64]bool{}
		}
		out[p.Number] = true
	}
	return out
}

// segmentKey is what a segment has in common with one that repeats it.
type segmentKey struct {
	dir          flow.Direction
	seq, payload uint32
	flags        packet.Flags
}

// shown is how far an end is known to have sent.
type shown struct {
	any, syn bool
	next     uint32
}

func (s *shown) upTo(next uint32) {
	if !s.any || int32(next-s.next) > 0 {
		s.any, s.next = true, next
	}
}

func (s *shown) sent(p *flow.Packet) {
	next := p.Seq + p.Payload
	if p.Flags&packet.SYN != 0 {
		s.syn = true
		next++
	}
	if p.Flags&packet.FIN != 0 {
		next++
	}
	s.upTo(next)
}

func (s *shown) acknowledged(p *flow.Packet) {
	if p.Flags&packet.ACK != 0 && p.Flags&packet.RST == 0 {
		s.upTo(p.Ack)
	}
}

// has says whether a segment had been sent by then. A SYN may be repeated with another number.
func (s *shown) has(p *flow.Packet) bool {
	return p.Flags&packet.SYN != 0 && s.syn || s.any && int32(s.next-p.Seq) > 0
}

// repeats tells of a retransmission whether the flow's own packets show what it repeats, which need be asked only where
// packets may be missing.
func repeats(f *flow.Flow, wary bool) func(*flow.Packet) bool {
	if !wary {
		return func(*flow.Packet) bool { return true }
	}
	type segment struct {
		dir flow.Direction
		seq uint32
	}
	first := map[segment]*flow.Packet{}
	for i := range f.Packets {
		p := &f.Packets[i]
		at := segment{p.Dir, p.Seq}
		if p.Payload > 0 && first[at] == nil {
			first[at] = p
		}
	}
	return func(p *flow.Packet) bool {
		// One byte may be a keep-alive that only looks like data for want of what came before it.
		was := first[segment{p.Dir, p.Seq}]
		return p.Payload > 1 && was != nil && was.Number != p.Number && was.Payload >= p.Payload
	}
}
