package harness

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/expectations"
	"github.com/tollgate-iot/tollgate/harness/verdict"
)

// A mirror that delivers packets up to 200 ms late, far beyond its neighbours, makes segments look as if they were sent again,
// whatever else is known of the record: where a finding about that hangs on such, it is inconclusive.
func TestLateDeliveryIsNoRetransmission(t *testing.T) {
	const cases = 100
	runs := lossRuns(t)
	right, open := 0, 0
	for n := range cases {
		rng := rand.New(rand.NewPCG(*lossSeed, uint64(n)))
		run := runs[rng.IntN(len(runs))]
		m := drawMirror(rng, 0)
		m.snap, m.reorder, m.jitter = 0, 0.1+0.4*rng.Float64(), time.Duration(10+rng.IntN(190))*time.Millisecond
		tr := run.touched(t, m.mirror(rng, run.recorded), knowledge(rng.IntN(int(numKnowledge))))
		some := only(run.sets[allKinds], "retransmissions")
		require.NotEmpty(t, some.truth)
		found := some.set.Judge(tr, expectations.Options{})
		for i, f := range found[len(found)-len(some.truth):] {
			if f.Verdict == verdict.Inconclusive {
				open++
				continue
			}
			require.Equal(t, some.truth[i].Verdict, f.Verdict, "case %d: %s; mirror: %s\n  %s %s: %s", n, run.name, m, f.Claim, f.Scope, f.Reason)
			right++
		}
	}
	t.Logf("%d findings right, %d inconclusive", right, open)
	require.Greater(t, right, open, "most are decided all the same")
}

// only gives the claims of a kind that are decided in the untouched run.
func only(c claims, kind string) claims {
	out := claims{set: &expectations.Set{}}
	for i, f := range c.truth {
		if f.Kind == kind && f.Verdict != verdict.Inconclusive {
			out.set.Claims, out.truth = append(out.set.Claims, c.set.Claims[i]), append(out.truth, f)
		}
	}
	return out
}
