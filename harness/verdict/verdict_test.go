package verdict

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestTheZeroValueClaimsNothing(t *testing.T) {
	var v Verdict
	require.Equal(t, Inconclusive, v)
	require.Equal(t, Inconclusive, Join())
	require.Equal(t, Inconclusive, Of(nil))
	require.Equal(t, Inconclusive, Finding{}.Verdict)
}

func TestAWitnessOutranksDoubtAndDoubtOutranksSuccess(t *testing.T) {
	for _, c := range []struct {
		vs   []Verdict
		want Verdict
	}{
		{[]Verdict{Pass}, Pass},
		{[]Verdict{Pass, Pass}, Pass},
		{[]Verdict{Pass, Inconclusive}, Inconclusive},
		{[]Verdict{Inconclusive, Fail}, Fail},
		{[]Verdict{Pass, Fail, Inconclusive}, Fail},
	} {
		require.Equal(t, c.want, Join(c.vs...), "%v", c.vs)
		findings := make([]Finding, len(c.vs))
		for i, v := range c.vs {
			findings[i].Verdict = v
		}
		require.Equal(t, c.want, Of(findings))
	}
}

func TestJoinIsLawful(t *testing.T) {
	verdicts := rapid.SliceOfN(rapid.SampledFrom([]Verdict{Inconclusive, Pass, Fail}), 1, 6)
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := verdicts.Draw(t, "a"), verdicts.Draw(t, "b"), verdicts.Draw(t, "c")
		ja, jb, jc := Join(a...), Join(b...), Join(c...)
		require.Equal(t, Join(ja, jb), Join(jb, ja), "commutative")
		require.Equal(t, Join(Join(ja, jb), jc), Join(ja, Join(jb, jc)), "associative")
		require.Equal(t, ja, Join(ja, ja), "idempotent")
		require.Equal(t, Join(append(append([]Verdict{}, a...), b...)...), Join(ja, jb), "in parts or at once")
		require.Equal(t, Fail, Join(append(a, Fail)...), "a fail absorbs all")
		require.Equal(t, ja, Join(ja, Pass), "a pass changes nothing")
		require.Equal(t, ja, Join(rapid.Permutation(a).Draw(t, "again")...), "in any order")
	})
}

func TestJSON(t *testing.T) {
	for _, v := range []Verdict{Inconclusive, Pass, Fail} {
		text, err := json.Marshal(v)
		require.NoError(t, err)
		require.Equal(t, `"`+v.String()+`"`, string(text))
		var back Verdict
		require.NoError(t, json.Unmarshal(text, &back))
		require.Equal(t, v, back)
	}
	var v Verdict
	require.EqualError(t, json.Unmarshal([]byte(`"ok"`), &v), `read verdict: "ok" is none of pass, fail, inconclusive`)
	require.ErrorContains(t, json.Unmarshal([]byte(`3`), &v), "read verdict")

	text, err := json.Marshal(Finding{Claim: "resets: none", Kind: "resets", Verdict: Fail, Reason: "1 RST",
		Witnesses: []Witness{{Number: 17, Time: 5, Flow: 0}}})
	require.NoError(t, err)
	require.JSONEq(t, `{"claim": "resets: none", "kind": "resets", "verdict": "fail", "reason": "1 RST", "witnesses": [{"packet": 17, "time_ns": 5, "flow": 0}]}`, string(text))
}
