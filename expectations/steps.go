package expectations

import (
	"github.com/tollgate-iot/tollgate/harness/trace"
	"github.com/tollgate-iot/tollgate/harness/verdict"
)

// steps gives the findings that a run carries with it, whatever is claimed: what the device failed to do is a fail; a
// bench that broke and a run that was interrupted are inconclusive.
func steps(t *trace.Trace) []verdict.Finding {
	var out []verdict.Finding
	add := func(v verdict.Verdict, reason string) {
		out = append(out, verdict.Finding{Claim: "steps", Kind: "step", Verdict: v, Reason: reason})
	}
	if t.Failed != "" {
		add(verdict.Fail, t.Failed)
	}
	if t.Trouble != "" {
		add(verdict.Inconclusive, t.Trouble)
	}
	if t.Interrupted {
		add(verdict.Inconclusive, "the run was interrupted")
	}
	return out
}
