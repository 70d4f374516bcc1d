// Package expectations holds the kinds of claims that can be made about a trace, in Go, with the numbers of each device
// in YAML files beside it. Judging is pure: no clock, no network, no files.
//
// # What missing packets can do to a claim
//
// A claim compares a measured value with a bound. From a whole record the value is the truth. From any other it is only
// known to lie between a least and a most: of packets that were seen none can become unseen, so a count can only have
// been higher; what was not seen may still have happened. Three rules follow, and every kind of claim says in its own
// doc which of them it uses:
//
//   - at most (no RST, ≤ 1134 bytes, no other destination): a violation seen is a fail even in a leaky record; none
//     seen is a pass only where the record is whole.
//   - at least (≥ 3 queries, saw the PUBACK): seen is a pass even in a leaky record; not seen is a fail only where it
//     is whole.
//   - exactly (a bare number, a clean teardown, a time): both.
//
// Where nothing proves the record whole and nothing proves it broken, at-most claims pass and say what they rest on;
// Options.Strict makes them inconclusive. A record that is broken anywhere by an uncounted loss is trusted nowhere: the
// mirror that lost one packet without counting it may have lost another.
//
// A value that is derived (which phase a pure ACK belongs to, how a flow ended, what a peer is called) can be wrong in
// either direction under loss. Such a value proves nothing once the record is broken, nor in a strict judgement unless it
// is whole; a fail that rests on one in an unproven record says so in its doubt.
//
// A packet that was cut behind its headers is missing only for claims that read what packets carry: names, DNS, TLS, MQTT and
// the phases that payload tells. For all others it is as good as whole.
package expectations

import (
	"fmt"
	"slices"

	"github.com/tollgate-iot/tollgate/harness/scenario"
	"github.com/tollgate-iot/tollgate/harness/trace"
	"github.com/tollgate-iot/tollgate/harness/verdict"
)

// Set is an expectations file: claims with what they share.
type Set struct {
	Pos     scenario.Pos
	About   string
	Account string // "" for the trace's own
	Window  string // "" for the whole run; a capture of no run stands for the window as a whole
	Claims  []Claim
}

// Claim is one expectation, parsed and ready to be judged.
type Claim interface {
	// Judge says what became of the claim. It never changes the trace.
	Judge(t *trace.Trace, o Options) verdict.Finding
}

// Options change how claims are judged.
type Options struct {
	Strict bool // on an unproven record only what packets seen prove by themselves is decided
}

// Judge says what became of every claim, in the order of the file, after what became of the run's own steps: a step
// that the device failed is a fail, a bench that broke or a run that was interrupted is inconclusive. A set without
// claims gives one inconclusive finding, never silence.
func (s *Set) Judge(t *trace.Trace, o Options) []verdict.Finding {
	findings := steps(t)
	if len(s.Claims) == 0 {
		return append(findings, verdict.Finding{Claim: "expect", Kind: "expect", Where: place(s.Pos),
			Reason: "nothing is claimed: no expectation was given"})
	}
	for _, c := range s.Claims {
		findings = append(findings, c.Judge(t, o))
	}
	return findings
}

// CheckWindows tells of each claim about a window that a scenario never opens: nothing could ever be decided by it. A
// window that a file names for all its claims is told of once. Hidden says of a window that a mistake elsewhere may have
// hidden its being opened: nothing is told of it. Nil says it of none.
func (s *Set) CheckWindows(opened []string, hidden func(window string) bool) error {
	var errs scenario.Errors
	told := map[string]bool{}
	for _, one := range s.Claims {
		c, ok := one.(*claim)
		if !ok || c.scope.window.name == "" || slices.Contains(opened, c.scope.window.name) {
			continue
		}
		if hidden != nil && hidden(c.scope.window.name) {
			continue
		}
		shared := c.pos.File + " " + c.scope.window.name
		if c.scope.window.shared && told[shared] {
			continue
		}
		told[shared] = c.scope.window.shared
		errs.Addf(c.pos, "the claim is about window %q, and the scenario opens %s", c.scope.window.name, windowsOpened(c.scope.window.name, opened))
	}
	return errs.Err()
}

// Windows gives the names of the windows that claims are about, each once, in order.
func (s *Set) Windows() []string {
	var names []string
	for _, one := range s.Claims {
		if c, ok := one.(*claim); ok && c.scope.window.name != "" && !slices.Contains(names, c.scope.window.name) {
			names = append(names, c.scope.window.name)
		}
	}
	return names
}

func windowsOpened(wanted string, opened []string) string {
	if len(opened) == 0 {
		return "none"
	}
	return "none of that name: " + scenario.Suggest(wanted, opened)
}

// place writes a position as file:line:column, "" where there is none.
func place(p scenario.Pos) string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}
