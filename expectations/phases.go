package expectations

import (
	"fmt"
	"strings"

	"github.com/tollgate-iot/tollgate/harness/flow"
	"github.com/tollgate-iot/tollgate/harness/scenario"
	"github.com/tollgate-iot/tollgate/harness/verdict"
)

// phases is a claim on which phases there are: present ones are an at-least claim, absent ones an at-most claim.
// In a broken record only dns, reset, icmp and arp show in a packet itself; all other phases prove nothing.
type phases struct{ present, absent []flow.Phase }

func phasesKind() kind {
	list := scenario.OneOrMany(phaseForm())
	object := &scenario.Object[phases]{
		Name: "a phases claim", Doc: "Which phases there are.",
		Keys: []scenario.Key[phases]{
			scenario.Field("present", "At least one packet of each.", list, func(c *phases) *[]flow.Phase { return &c.present }),
			scenario.Field("absent", "No packet of any.", list, func(c *phases) *[]flow.Phase { return &c.absent }),
		},
		Check: atLeastOneKey[phases]("a phases claim"),
	}
	return kindOf("phases", "Which phases are present (at least one packet) and which are absent (at most: none).", object.Form(), keyWindow, keyFlow)
}

func (c phases) wantsNothing() bool { return len(c.present) == 0 }

func (c phases) check(v *view) outcome {
	whole, shell := v.deep(), v.shell().deep()
	by := func(p flow.Phase) *view {
		if headersTell(p) {
			return shell
		}
		return whole
	}
	var count, known [flow.NumPhases]int64
	var first [flow.NumPhases]verdict.Witness
	var there []string
	for _, part := range v.parts {
		for i := range part.packets {
			p := &part.packets[i]
			if count[p.Phase]++; count[p.Phase] == 1 {
				first[p.Phase] = witness(part.Flow, p, p.Phase.String())
			}
			if v := by(p.Phase); shows(p.Phase) && v.sure() || v.phasesKnown(part.Flow) {
				known[p.Phase]++
			}
		}
	}
	for p, n := range count {
		if n > 0 {
			there = append(there, flow.Phase(p).String())
		}
	}
	var outs []outcome
	for _, p := range c.present {
		outs = append(outs, onePhase(by(p), p, measure{got: count[p], least: known[p], most: unlimited}, bound{low: 1, high: unlimited}, first[p]))
	}
	for _, p := range c.absent {
		outs = append(outs, onePhase(by(p), p, measure{got: count[p], least: known[p], most: unlimited}, bound{}, first[p]))
	}
	o := merge(outs...)
	o.got = strings.Join(there, ", ")
	if o.verdict == verdict.Pass {
		o.reason = "phases seen: " + o.got
	}
	return o
}

func onePhase(v *view, p flow.Phase, m measure, b bound, first verdict.Witness) outcome {
	what := fmt.Sprintf("%s of phase %s", plural(m.got, "packet"), p)
	o := v.proof.judge(pieces, m, b, what)
	if m.got > 0 && o.verdict != verdict.Pass {
		o.reason = fmt.Sprintf("%s, the first at %s (packet %d)", o.reason, clock(first.Time), first.Number)
		o.witnesses = []verdict.Witness{first}
	}
	return o
}
