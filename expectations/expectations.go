// Package expectations holds the kinds of claims that can be made about a trace, in Go, with the numbers of each device
// in YAML files beside it. Judging is pure: no clock, no network, no files.
package expectations

import (
	"github.com/tollgate-iot/tollgate/harness/scenario"
	"github.com/tollgate-iot/tollgate/harness/trace"
	"github.com/tollgate-iot/tollgate/harness/verdict"
)

// Set is an expectations file: claims with what they share.
type Set struct {
	Pos     scenario.Pos
	About   string
	Account string // "" for the trace's own
	Window  string // "" for the whole run
	Claims  []Claim
}

// Claim is one expectation, parsed and ready to be judged.
type Claim interface {
	// Judge says what became of the claim. It never changes the trace.
	Judge(t *trace.Trace, o Options) verdict.Finding
}

// Options change how claims are judged.
type Options struct {
	Strict bool // at-most claims on an unproven record are inconclusive
}
