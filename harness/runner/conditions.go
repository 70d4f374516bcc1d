package runner

import (
	"github.com/tollgate-iot/tollgate/harness/plan"
)

// patterns compiles those patterns that hold variables which only the run knows.
func (r *run) patterns(ms []plan.Match) ([]plan.Match, error) {
	out := make([]plan.Match, len(ms))
	for i, m := range ms {
		re, err := m.Compile(r.vars)
		if err != nil {
			return nil, err
		}
		out[i] = m
		out[i].Re = re
	}
	return out, nil
}

// keep remembers a step's answer under the name that the step gives it, and what the groups of its last expected
// pattern matched as name[1], name[2], …
func (r *run) keep(s *plan.Step, answer string, groups []string) {
	if s.As == "" {
		return
	}
	r.vars[s.As] = answer
	for i, g := range groups {
		r.vars[s.As+"["+itoa(i+1)+"]"] = g
	}
}
