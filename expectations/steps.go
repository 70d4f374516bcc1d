package expectations

import (
	"github.com/tollgate-iot/tollgate/harness/trace"
	"github.com/tollgate-iot/tollgate/harness/verdict"
)

// steps gives the findings that a run carries with it, whatever is claimed: what the device failed to do is a fail; a
// bench that broke and a run that was interrupted are inconclusive. A packet that was awaited and not seen is an at-least
// claim like any other: the device failed only where nothing is missing.
func steps(t *trace.Trace) []verdict.Finding {
	var out []verdict.Finding
	add := func(v verdict.Verdict, reason string) {
		out = append(out, verdict.Finding{Claim: "steps", Kind: "step", Verdict: v, Reason: reason})
	}
	if t.Failed != "" {
		out = append(out, failed(t))
	}
	if t.Trouble != "" {
		add(verdict.Inconclusive, t.Trouble)
	}
	if t.Interrupted {
		add(verdict.Inconclusive, "the run was interrupted")
	}
	return out
}

// failed is the finding about the step that the device failed.
func failed(t *trace.Trace) verdict.Finding {
	o := outcome{verdict: verdict.Fail, reason: t.Failed}
	if t.Unseen {
		all := t.Completeness(trace.Scope{})
		p := proof{state: all.State, doubt: sentence(all.Reasons, "nothing proves the record whole")}
		o.verdict = p.unmet()
		if o.verdict != verdict.Fail {
			o.doubt = p.doubt
		}
	}
	o = o.hedge()
	return verdict.Finding{Claim: "steps", Kind: "step", Verdict: o.verdict, Reason: o.reason, Doubt: o.doubt}
}
