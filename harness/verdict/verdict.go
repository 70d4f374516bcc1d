// Package verdict holds the three values that a judgement can have, the findings that carry them, and how they join.
package verdict

import (
	"encoding/json"
	"fmt"
)

// Verdict is what became of a claim. The zero value is Inconclusive: only what was proved is Pass.
type Verdict uint8

// The verdicts.
const (
	Inconclusive Verdict = iota
	Pass
	Fail
)

var names = [...]string{"inconclusive", "pass", "fail"}

func (v Verdict) String() string { return names[v] }

// MarshalJSON writes the verdict as its name.
func (v Verdict) MarshalJSON() ([]byte, error) { return json.Marshal(v.String()) }

// UnmarshalJSON reads the name that MarshalJSON writes.
func (v *Verdict) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("read verdict: %w", err)
	}
	for i, n := range names {
		if n == s {
			*v = Verdict(i)
			return nil
		}
	}
	return fmt.Errorf("read verdict: %q is none of pass, fail, inconclusive", s)
}

// Join is the verdict of several: any fail → fail, else any inconclusive → inconclusive, else pass.
// A witness outranks doubt, doubt outranks success. Nothing at all is inconclusive.
func Join(vs ...Verdict) Verdict {
	if len(vs) == 0 {
		return Inconclusive
	}
	out := Pass
	for _, v := range vs {
		switch {
		case v == Fail:
			return Fail
		case v == Inconclusive:
			out = Inconclusive
		}
	}
	return out
}

// Witness is a packet (or a moment without a packet, Number 0) that a finding rests on.
type Witness struct {
	Number uint64 `json:"packet,omitempty"` // frame number in the capture
	Time   int64  `json:"time_ns"`          // nanoseconds since the Unix epoch
	Flow   int    `json:"flow"`             // flow.Flow.ID; -1 where none
	Note   string `json:"note,omitempty"`
}

// Finding is what became of one expectation.
type Finding struct {
	Claim     string    `json:"claim"`           // the expectation as a person writes it: "resets: none"
	Kind      string    `json:"kind"`            // "resets"
	Scope     string    `json:"scope,omitempty"` // "window get", "phase dns, window cycle[3]"; "" for the whole run
	Where     string    `json:"where,omitempty"` // file:line:column of the claim
	Verdict   Verdict   `json:"verdict"`
	Reason    string    `json:"reason"`          // one sentence a person understands
	Doubt     string    `json:"doubt,omitempty"` // what could not be seen; on a pass: why it is less than proved
	Got       string    `json:"got,omitempty"`   // the measured value, "10" or "1,134 B"
	Witnesses []Witness `json:"witnesses,omitempty"`
	Flows     []int     `json:"flows,omitempty"` // flows to show in full on a failure
}

// Of joins the verdicts of findings.
func Of(fs []Finding) Verdict {
	vs := make([]Verdict, len(fs))
	for i := range fs {
		vs[i] = fs[i].Verdict
	}
	return Join(vs...)
}
