// Package plan joins a scenario with what a bench can do: variables are put in, verbs and their arguments are checked
// against the drivers' own lists, deadlines are set. A plan is data; package runner carries it out. No I/O.
package plan

import (
	"regexp"
	"slices"
	"time"

	"github.com/tollgate-iot/tollgate/harness/scenario"
)

// ArgType is the type of a verb's argument.
type ArgType string

// The types of arguments.
const (
	String   ArgType = "string"
	Int      ArgType = "int"
	Bool     ArgType = "bool"
	Duration ArgType = "duration"
	Pattern  ArgType = "pattern" // regular expression
	Address  ArgType = "address" // host:port
	List     ArgType = "list"    // of strings
)

// ArgSpec describes one argument of a verb.
type ArgSpec struct {
	Name     string
	Doc      string
	Type     ArgType
	Required bool
	Default  string
	Choices  []string // where not empty: the only values it may have
}

// VerbSpec describes a verb that a driver or carrier offers.
type VerbSpec struct {
	Name string
	Doc  string
	// Main is the argument that a bare scalar stands for (`device.http_get: URL`), "" where the verb takes none.
	Main    string
	Args    []ArgSpec
	Timeout time.Duration // deadline where the step has no `within`
}

// Abilities is what one device of a bench, with its carrier, can do.
type Abilities struct {
	Device  string // name on the bench
	Model   string
	Driver  string
	Verbs   []VerbSpec // device.…
	Carrier []VerbSpec // carrier.…; empty where there is no carrier
	Events  []string   // carrier events that can be awaited
	Tap     bool       // packets can be awaited and judged
	// Deferred says that packets come when the run ends: they can be judged and not awaited.
	Deferred bool
	// NoConsole says that the device has no console: patterns on its lines are refused.
	NoConsole bool
	// Unknown says that no bench is known, as when files are checked without one: verbs, their arguments and what can
	// be awaited go unchecked. Such a plan can't be carried out.
	Unknown bool
}

// Plan is a scenario made ready for one device of one bench.
//
// A plan never holds a secret. Where a verb's argument uses one, ${name} stays in Step.Args; the runner reads the
// environment variable that Secrets names and hands the value to Expand with the run-time variables. Nothing else may
// use a secret: texts, patterns, windows and conditions are recorded.
type Plan struct {
	Scenario *scenario.Scenario
	Vars     map[string]string // after overrides, references among them resolved; claims in place use them too
	Secrets  map[string]string // name → environment variable that holds it
	Expect   scenario.Expect   // the scenario's claims; Vars may stand in those in place, and all are known
	Setup    []Step
	Steps    []Step
	Cleanup  []Step
}

// Kind is what a step does.
type Kind uint8

// The kinds of steps.
const (
	Group      Kind = iota // its Steps, Repeat times, in a window where one is named
	DeviceVerb             // Verb with Args, answer against Expect and Never
	CarrierVerb
	Wait
	Await
)

// Step is a step of a plan. Args, patterns, conditions and awaited packets may still hold ${…} that only the run knows;
// see Expand. Those are ${cycle}, which counts the innermost repeat from 1; ${name} for a step's `as`, the answer of its
// verb; ${name[1]} for what the first group of its last `expect` pattern matched.
type Step struct {
	Pos    scenario.Pos
	Path   string // "steps[0].steps[1]"
	Text   string // as written, on one line
	Kind   Kind
	Verb   string
	Args   map[string]string // by name, defaults filled in; durations as Go durations, lists joined by "\x00"
	Window string
	Expect []Match
	Never  []Match
	Within time.Duration // never 0 for a verb or an await
	Repeat int           // at least 1
	Cycles bool          // written with repeat, even if once: ${cycle} counts and windows are numbered
	Every  time.Duration // from one cycle's begin to the next's
	As     string
	When   string // see Holds
	Retry  int
	Wait   time.Duration
	Await  *Wanted
	Steps  []Step
}

// Match is a pattern with its source. Variables that the plan knows are part of the pattern as they are written.
type Match struct {
	Pos  scenario.Pos
	Text string         // with variables put in
	Re   *regexp.Regexp // nil where Text holds what only the run knows: see Compile
}

// Wanted is a condition to wait for, ready to be tested.
type Wanted struct {
	Quiet   time.Duration
	Event   string
	MQTT    string
	Packet  *scenario.PacketWant
	Console *Match
}

// Windows gives the names of all windows that the plan's steps open, each once, in order.
func (p *Plan) Windows() []string {
	var names []string
	var look func([]Step)
	look = func(steps []Step) {
		for i := range steps {
			if w := steps[i].Window; w != "" && !slices.Contains(names, w) {
				names = append(names, w)
			}
			look(steps[i].Steps)
		}
	}
	look(p.Setup)
	look(p.Steps)
	look(p.Cleanup)
	return names
}
