package expectations

import (
	"fmt"
	"strings"
	"time"

	"github.com/tollgate-iot/tollgate/harness/flow"
	"github.com/tollgate-iot/tollgate/harness/packet"
	"github.com/tollgate-iot/tollgate/harness/verdict"
)

// resets is a claim on the number of RST segments.
//
// Up to a limit, as in `resets: none`, it is an at-most claim: one RST seen is a RST, whatever else is missing.
type resets struct{ directed }

func resetsKind() kind {
	return kindOf("resets", "How many RST segments were sent: up by the device, down by its peers (at most, as a rule: none).",
		adapt(directedForm("a reset count", pieces), func(d directed) resets { return resets{d} }), keyWindow, keyFlow)
}

func (c resets) wantsNothing() bool { return false } // no RST among no packets proves nothing

func (c resets) check(v *view) outcome {
	v = v.shell()
	return c.each(func(dirs []flow.Direction, name string, b bound) outcome {
		m := measure{most: unlimited}
		var ws []verdict.Witness
		var told []string
		for _, part := range v.parts {
			proved := v.sure() && (len(dirs) == 2 || v.oriented(part.Flow))
			for i := range part.packets {
				p := &part.packets[i]
				if p.Flags&packet.RST == 0 || part.Kind != packet.TCP || len(dirs) == 1 && p.Dir != dirs[0] {
					continue
				}
				m.got++
				if proved {
					m.least++
				}
				told = append(told, tellRST(part.Flow, p))
				ws = append(ws, witness(part.Flow, p, "RST from "+whose(p.Dir)))
			}
		}
		return c.word(v, m, b, name, told, ws)
	})
}

func (c resets) word(v *view, m measure, b bound, name string, told []string, ws []verdict.Witness) outcome {
	what := "no RST"
	switch {
	case m.got == 1:
		what = "1 RST " + told[0]
	case m.got > 1:
		what = plural(m.got, "RST") + ": " + atMost(told, "; ")
	}
	if name != "in total" && m.got == 0 {
		what += " " + name
	}
	o := v.proof.judge(pieces, m, b, what)
	o.got = strings.TrimSuffix(group(m.got)+" "+name, " in total")
	if o.verdict != verdict.Pass {
		o.witnesses = ws
		if b.high == 0 {
			o.reason = strings.Replace(o.reason, ", "+b.limit(pieces), "", 1)
		}
	}
	return o
}

// tellRST describes a RST: "from the device at 11:59:53.512 (packet 17), 60.0 s after both FINs".
func tellRST(f *flow.Flow, p *flow.Packet) string {
	text := fmt.Sprintf("from %s at %s (packet %d)", whose(p.Dir), clock(p.Time), p.Number)
	switch {
	case f.ClosedAt > 0 && p.Time >= f.ClosedAt:
		text += fmt.Sprintf(", %s after both FINs", span(time.Duration(p.Time-f.ClosedAt)))
	case f.FinSeen:
		text += fmt.Sprintf(", after only %s's FIN", whose(f.FirstClose))
	case f.Close == flow.Refused:
		text += ", in answer to the SYN"
	default:
		text += ", before any FIN"
	}
	return text
}

// tellRSTs describes the RSTs of a flow.
func tellRSTs(f *flow.Flow) []string {
	var told []string
	for i := range f.Packets {
		if p := &f.Packets[i]; p.Flags&packet.RST != 0 {
			told = append(told, "RST "+tellRST(f, p))
		}
	}
	return told
}
