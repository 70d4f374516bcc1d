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
// capture holds what it repeats.
type retransmissions struct{ directed }

func retransmissionsKind() kind {
	return kindOf("retransmissions", "How many TCP segments were sent again (at most, as a rule).",
		adapt(directedForm("a retransmission count", pieces), func(d directed) retransmissions { return retransmissions{d} }), keyWindow, keyFlow)
}

func (c retransmissions) check(v *view) outcome {
	v = v.shell().deep()
	return c.each(func(dirs []flow.Direction, name string, b bound) outcome {
		m := measure{most: unlimited}
		var ws []verdict.Witness
		for _, part := range v.parts {
			if part.Kind != packet.TCP {
				continue
			}
			proved := v.sure() && (len(dirs) == 2 || v.oriented(part.Flow))
			repeated := repeats(part.Flow, v.proof.wary())
			for i := range part.packets {
				p := &part.packets[i]
				if p.Mark&flow.Retransmission == 0 || len(dirs) == 1 && p.Dir != dirs[0] {
					continue
				}
				m.got++
				if proved && repeated(p) {
					m.least++
				}
				ws = append(ws, witness(part.Flow, p, fmt.Sprintf("sent again by %s", whose(p.Dir))))
			}
		}
		got := strings.TrimSuffix(group(m.got)+" "+name, " in total")
		o := v.proof.judge(pieces, m, b, strings.TrimSuffix(plural(m.got, "retransmission")+" "+name, " in total"))
		o.got = got
		if o.verdict != verdict.Pass {
			o.witnesses = ws
		}
		return o
	})
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
