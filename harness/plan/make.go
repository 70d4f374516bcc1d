package plan

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tollgate-iot/tollgate/harness/scenario"
)

// DefaultWithin is the deadline of a verb or an await where neither the step nor the driver says another.
const DefaultWithin = 60 * time.Second

// MaxRepeat bounds a repeat: a count beyond it is a slip of the keyboard.
const MaxRepeat = 1_000_000

// Make joins a scenario with what a bench can do. Overrides put other values in the place of the scenario's variables.
// The error is of type scenario.Errors: every mistake, in the order of their places. With mistakes the plan is given too,
// for its variables and windows: it can't be carried out.
//
// Of a scenario with mistakes of form (scenario.Parse) the plan tells of those that are not a consequence of them.
func Make(s *scenario.Scenario, a Abilities, overrides map[string]string) (*Plan, error) {
	b := &builder{scenario: s, can: a, later: map[string]bool{}, given: map[string]bool{}, windows: map[string]scenario.Pos{}}
	b.device()
	for _, steps := range [][]scenario.Step{s.Setup, s.Steps, s.Cleanup} {
		b.gatherNames(steps)
	}
	p := &Plan{Scenario: s, Secrets: maps.Clone(s.Secrets), Vars: b.resolveVars(overrides), Expect: s.Expect}
	top := scope{vars: p.Vars}
	p.Setup = b.steps("setup", s.Setup, top)
	p.Steps = b.steps("steps", s.Steps, top)
	p.Cleanup = b.steps("cleanup", s.Cleanup, top)
	b.expect(top)
	return p, b.errs.Err()
}

// builder is the making of one plan.
type builder struct {
	scenario *scenario.Scenario
	can      Abilities
	later    map[string]bool         // every name that some step gives by `as`
	given    map[string]bool         // those given by the steps before the present one
	windows  map[string]scenario.Pos // where each window stands
	errs     scenario.Errors
}

// scope is what holds where a step stands.
type scope struct {
	vars   map[string]string
	repeat bool // inside a repeat: ${cycle} has a value
}

// device refuses a bench's device that is not the one the scenario is about.
func (b *builder) device() {
	want, can := b.scenario.Device, b.can
	if want.Model != "" && can.Model != "" && want.Model != can.Model {
		b.errs.Addf(want.Pos, "the scenario is about model %q, and device %q of the bench is a %q: choose another device", want.Model, can.Device, can.Model)
	}
	if want.Driver != "" && can.Driver != "" && want.Driver != can.Driver {
		b.errs.Addf(want.Pos, "the scenario needs driver %q, and device %q of the bench has %q: choose another device", want.Driver, can.Device, can.Driver)
	}
}

// gatherNames notes what steps give by `as`, and refuses names that mean something else already.
func (b *builder) gatherNames(steps []scenario.Step) {
	for i := range steps {
		s := &steps[i]
		if s.As != "" {
			b.nameFree(s.At["as"], s.As)
			b.later[s.As] = true
		}
		b.gatherNames(s.Steps)
	}
}

func (b *builder) nameFree(at scenario.Pos, name string) {
	if _, ok := b.scenario.Vars[name]; ok {
		b.errs.Addf(at, "%q is a variable already: choose another name", name)
	}
	b.notReserved(at, name)
}

func (b *builder) notReserved(at scenario.Pos, name string) {
	if _, ok := b.scenario.Secrets[name]; ok {
		b.errs.Addf(at, "%q is a secret already: choose another name", name)
	}
	if name == Cycle {
		b.errs.Addf(at, "%q counts the cycles of a repeat: choose another name", name)
	}
}

func (b *builder) steps(path string, steps []scenario.Step, in scope) []Step {
	out := make([]Step, 0, len(steps))
	for i := range steps {
		out = append(out, b.step(path+"["+strconv.Itoa(i)+"]", &steps[i], in))
	}
	return out
}

func (b *builder) step(path string, s *scenario.Step, in scope) Step {
	in.vars = b.stepVars(s, in)
	out := Step{Pos: s.Pos, Path: path, Text: s.Text, Verb: s.Verb, Window: b.window(s), As: s.As, Retry: s.Retry, Repeat: 1}
	out.When = b.when(s, in)
	out.Expect, out.Never = b.patterns(s.Expect, in), b.patterns(s.Never, in)
	out.Within = b.span("within", s.Within, in)
	switch {
	case s.Who == scenario.Device:
		out.Kind = DeviceVerb
		b.deviceVerb(&out, s, in)
	case s.Who == scenario.Carrier:
		out.Kind = CarrierVerb
		b.carrierVerb(&out, s, in)
	case s.Verb == "wait":
		out.Kind, out.Wait = Wait, b.span("wait", s.Wait, in)
	case s.Verb == "await":
		out.Kind = Await
		b.await(&out, s, in)
	default:
		out.Kind = Group
		b.group(&out, s, in)
	}
	if s.As != "" {
		b.given[s.As] = true
	}
	return out
}

func (b *builder) group(out *Step, s *scenario.Step, in scope) {
	if s.Repeat != "" {
		out.Repeat, out.Cycles = b.count(s, in), true
		out.Every = b.span("every", s.Every, in)
		in.repeat = true
	}
	out.Steps = b.steps(out.Path+".steps", s.Steps, in)
}

func (b *builder) count(s *scenario.Step, in scope) int {
	text := b.fixed(s.At["repeat"], "repeat", s.Repeat, in)
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > MaxRepeat {
		if text != "" {
			b.errs.Addf(s.At["repeat"], "repeat: %q is not a count from 1 to %d", text, MaxRepeat)
		}
		return 1
	}
	return n
}

// stepVars gives the variables that hold in a step: its own, which may refer to those outside, before all others.
func (b *builder) stepVars(s *scenario.Step, in scope) map[string]string {
	if len(s.Vars) == 0 {
		return in.vars
	}
	vars := maps.Clone(in.vars)
	for _, name := range slices.Sorted(maps.Keys(s.Vars)) {
		b.notReserved(s.VarsAt[name], name)
		if b.later[name] {
			b.errs.Addf(s.VarsAt[name], "%q is the name of a step's answer already: choose another name", name)
		}
		vars[name] = b.text(s.VarsAt[name], s.Vars[name], in, true)
	}
	return vars
}

// window refuses a name that stands elsewhere already: a claim about it would not say which.
func (b *builder) window(s *scenario.Step) string {
	if s.Window == "" {
		return ""
	}
	if first, ok := b.windows[s.Window]; ok {
		b.errs.Addf(s.At["window"], "window %q stands in line %d already: choose another name", s.Window, first.Line)
	}
	b.windows[s.Window] = s.At["window"]
	return s.Window
}

func (b *builder) when(s *scenario.Step, in scope) string {
	if s.When == "" {
		return ""
	}
	c, err := parseCondition(s.When)
	if err != nil {
		b.errs.Addf(s.At["when"], "when: %s", err)
		return ""
	}
	c.left = b.text(s.At["when"], c.left, in, false)
	c.right = b.text(s.At["when"], c.right, in, false)
	return c.String()
}

func (b *builder) patterns(ps []scenario.Pattern, in scope) []Match {
	out := make([]Match, 0, len(ps))
	for _, p := range ps {
		out = append(out, b.pattern(p, in))
	}
	return out
}

func (b *builder) pattern(p scenario.Pattern, in scope) Match {
	if b.can.NoConsole {
		b.errs.Addf(p.Pos, "device %q has no console on which lines could appear: await a packet instead", b.can.Device)
	}
	m := Match{Pos: p.Pos, Text: b.text(p.Pos, p.Text, in, false)}
	// What only the run knows is tried out with a word in its place: an error in the rest shows now.
	re, err := regexp.Compile(scenario.Variable.ReplaceAllString(m.Text, "x"))
	if err != nil {
		b.errs.Addf(p.Pos, "%s", scenario.Regexp(err))
	}
	if !scenario.Variable.MatchString(m.Text) {
		m.Re = re
	}
	return m
}

func (b *builder) span(key string, s scenario.Span, in scope) time.Duration {
	if s.Text == "" || s.Length != 0 {
		return s.Length
	}
	text := b.fixed(s.Pos, key, s.Text, in)
	if text == "" {
		return 0
	}
	d, err := scenario.ParseLength(text)
	if err != nil {
		b.errs.Addf(s.Pos, "%s: %s", key, err)
	}
	return d
}

// fixed puts variables into a text that must be known before the run; "" where it isn't.
func (b *builder) fixed(at scenario.Pos, key, text string, in scope) string {
	before := len(b.errs)
	out := b.text(at, text, in, false)
	names := left(out)
	for _, name := range names {
		if len(b.errs) == before && !b.scenario.Words[name] {
			b.errs.Addf(at, "%s: ${%s} is known only during the run, and this must be known before", key, name)
		}
	}
	if len(b.errs) > before || len(names) > 0 {
		return ""
	}
	if out == "" {
		b.errs.Addf(at, "%s: %s is empty", key, text)
	}
	return out
}

// text puts variables in and checks that what is left will be known when the run comes here.
func (b *builder) text(at scenario.Pos, text string, in scope, secrets bool) string {
	b.wellFormed(at, text)
	out := insert(text, in.vars)
	for _, name := range left(out) {
		_, secret := b.scenario.Secrets[name]
		switch {
		case secret && secrets, b.given[name], name == Cycle && in.repeat:
		case secret:
			b.errs.Addf(at, "${%s} is a secret: only verbs' arguments may use it, for all else is recorded", name)
		case name == Cycle:
			b.errs.Addf(at, "${cycle} has a value only inside a repeat")
		case b.later[name]:
			b.errs.Addf(at, "${%s} has no value yet: the step that gives it stands further down", name)
		default:
			b.unknown(at, name, in.vars)
		}
	}
	return out
}

// expect checks the variables of claims that stand in the scenario. Package expectations puts their values in.
func (b *builder) expect(in scope) {
	if claims := b.scenario.Expect.Claims; claims != nil {
		b.claims(*claims, in)
	}
}

// claims checks the variables in claims: all must be known before the run.
func (b *builder) claims(v scenario.Value, in scope) {
	if v.Scalar != nil && strings.Contains(*v.Scalar, "${") {
		b.fixed(v.Pos, "expect", *v.Scalar, in)
	}
	for _, m := range v.List {
		b.claims(m, in)
	}
	for _, e := range v.Map {
		b.claims(e.Value, in)
	}
}
