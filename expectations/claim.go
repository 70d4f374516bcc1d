package expectations

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tollgate-iot/tollgate/harness/flow"
	"github.com/tollgate-iot/tollgate/harness/scenario"
	"github.com/tollgate-iot/tollgate/harness/trace"
	"github.com/tollgate-iot/tollgate/harness/verdict"
)

// checker is a kind of claim with its numbers: it judges one view of the record.
type checker interface{ check(v *view) outcome }

// absence is a checker whose claim can be that there is nothing at all. Only such a claim can pass on a part of the
// record that holds no packet.
type absence interface{ wantsNothing() bool }

// timeline is a checker that judges what was done rather than packets: it needs neither a capture nor packets in scope.
type timeline interface{ fromTimeline() }

// claim is an expectation as it stands in a file.
type claim struct {
	pos     scenario.Pos
	kind    string
	text    string // "resets: none"
	scope   scope
	checker checker
}

// bounds on what a finding carries
const (
	mostWitnesses = 8
	mostFlows     = 4
)

// Judge implements Claim.
func (c *claim) Judge(t *trace.Trace, o Options) verdict.Finding {
	out, open := c.judge(t, o)
	if open && !o.Strict && out.verdict != verdict.Inconclusive && out.doubt == "" {
		// What is derived decides in an unproven record, and says that it could be otherwise.
		if strict, _ := c.judge(t, Options{Strict: true}); strict.verdict != out.verdict {
			out.doubt = strict.doubt
		}
	}
	out = out.hedge()
	f := verdict.Finding{Claim: c.text, Kind: c.kind, Scope: c.scope.label(t), Where: place(c.pos), Verdict: out.verdict,
		Reason: out.reason, Doubt: out.doubt, Got: out.got, Witnesses: bounded(out.witnesses)}
	if out.verdict != verdict.Pass {
		f.Flows = flowsOf(out.witnesses)
	}
	return f
}

// judge says what became of the claim, and whether in an open record: neither whole nor broken.
func (c *claim) judge(t *trace.Trace, o Options) (out outcome, open bool) {
	_, fromTimeline := c.checker.(timeline)
	views, cause := c.scope.views(t, o)
	if cause != "" {
		if fromTimeline && t.Capture == nil {
			return c.checker.check(&view{t: t, scope: &c.scope, from: always, to: never, strict: o.Strict,
				proof: proof{state: trace.Unproven, strict: o.Strict, doubt: cause}, derived: proof{state: trace.Unproven, strict: o.Strict, doubt: cause}}), true
		}
		return outcome{reason: cause}, false
	}
	if doubt := c.untimely(t); doubt != "" {
		return outcome{reason: "the times of the packets can't be trusted", doubt: doubt}, false
	}
	if doubt := t.Capture.Unsorted(); doubt != "" && c.byPhase() {
		return outcome{reason: "the phases of the packets can't be trusted", doubt: doubt}, false
	}
	outs := make([]outcome, len(views))
	for i, v := range views {
		outs[i] = c.checker.check(v)
		open = open || v.proof.state == trace.Unproven || v.shell().proof.state == trace.Unproven
		if !fromTimeline {
			outs[i] = c.notEmpty(v, outs[i])
		}
	}
	if len(views) == 1 {
		return outs[0], open
	}
	return cycles(views, outs), open
}

// notEmpty keeps a claim from passing where there was nothing to judge.
func (c *claim) notEmpty(v *view, o outcome) outcome {
	if len(v.parts) > 0 || o.verdict != verdict.Pass {
		return o
	}
	if !anyPacket(v.t) {
		return outcome{reason: "the record holds no packet of the device", got: o.got}
	}
	if a, ok := c.checker.(absence); ok && a.wantsNothing() {
		return o
	}
	return outcome{reason: fmt.Sprintf("no packet%s: nothing to judge", v.where()), got: o.got}
}

func anyPacket(t *trace.Trace) bool {
	return slices.ContainsFunc(t.Capture.Flows, func(f *flow.Flow) bool { return !nobodys(f) })
}

// cycles joins what became of a claim in each cycle of a window: each cycle that decides is told of by its name.
func cycles(views []*view, outs []outcome) outcome {
	vs := make([]verdict.Verdict, len(outs))
	for i, o := range outs {
		vs[i] = o.verdict
	}
	out := outcome{verdict: verdict.Join(vs...)}
	var reasons []string
	var got []string
	deciding := 0
	for i, o := range outs {
		if !slices.Contains(got, o.got) && o.got != "" {
			got = append(got, o.got)
		}
		if out.doubt == "" && out.verdict != verdict.Fail { // a fail is proved
			out.doubt = o.doubt
		}
		if o.verdict != out.verdict {
			continue
		}
		deciding++
		out.witnesses = append(out.witnesses, o.witnesses...)
		if len(reasons) < mostWitnesses {
			reasons = append(reasons, views[i].label+": "+o.reason)
		}
	}
	out.got = atMost(got, ", ")
	if out.verdict == verdict.Pass {
		out.reason = fmt.Sprintf("holds in each of %d windows %s", len(views), views[0].scope.window.name)
		return out
	}
	out.reason = fmt.Sprintf("%d of %d windows: %s", deciding, len(views), strings.Join(reasons, "; "))
	if more := deciding - len(reasons); more > 0 {
		out.reason += fmt.Sprintf("; and %d more", more)
	}
	return out
}

// atMost joins the first words and says how many follow.
func atMost(words []string, sep string) string {
	if more := len(words) - mostWitnesses; more > 0 {
		return fmt.Sprintf("%s%sand %d more", strings.Join(words[:mostWitnesses], sep), sep, more)
	}
	return strings.Join(words, sep)
}

// bounded keeps the first witnesses and notes on the last how many more there are.
func bounded(ws []verdict.Witness) []verdict.Witness {
	more := len(ws) - mostWitnesses
	if more <= 0 {
		return ws
	}
	ws = slices.Clone(ws[:mostWitnesses])
	last := &ws[mostWitnesses-1]
	last.Note = strings.TrimPrefix(fmt.Sprintf("%s, and %d more", last.Note, more), ", ")
	return ws
}

// flowsOf gives the flows to show in full: those of the witnesses, the first few.
func flowsOf(ws []verdict.Witness) []int {
	var ids []int
	for _, w := range ws {
		if w.Flow >= 0 && !slices.Contains(ids, w.Flow) && len(ids) < mostFlows {
			ids = append(ids, w.Flow)
		}
	}
	return ids
}
