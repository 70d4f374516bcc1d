package harness

import (
	"errors"
	"os"
	"slices"

	"github.com/tollgate-iot/tollgate/expectations"
	"github.com/tollgate-iot/tollgate/harness/catalog"
	"github.com/tollgate-iot/tollgate/harness/plan"
	"github.com/tollgate-iot/tollgate/harness/scenario"
)

// Lint checks a file without driving anything: a scenario with the expectations that it names, expectations, or a bench;
// its keys say which. The error is scenario.Errors where the file has mistakes: all of them.
//
// What a variable stands for is known of a scenario's claims, and of expectations that a scenario names. In an
// expectations file by itself a value that holds one goes unchecked.
func Lint(file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return &UsageError{readError("file", err)}
	}
	switch kindOf(file, data) {
	case benchFile:
		_, err := catalog.Inventory(file, data)
		return err
	case expectationFile:
		_, err := expectations.ParseVars(file, 1, data, expectations.Vars{Later: func(string) bool { return true }})
		return err
	}
	_, err = lintScenario(file, data)
	return err
}

// Scenario reads a scenario file, or a built-in by its name, and checks all of it that can be checked without a bench:
// its form, its steps against the drivers that its device would have, and its claims. A driver that is not in the catalog
// leaves its verbs unchecked. The error is scenario.Errors where there are mistakes: all of them.
func Scenario(name string) (*scenario.Scenario, error) {
	file, data, err := scenarioSource(name)
	if err != nil {
		return nil, &UsageError{err}
	}
	return lintScenario(file, data)
}

func lintScenario(file string, data []byte) (*scenario.Scenario, error) {
	s, err := scenario.Parse(file, data)
	if s == nil {
		return nil, err
	}
	all := mistakes{}
	all.add(err)
	all.add(catalog.CheckWant(s.Device))
	_, _, err = prepare(s, catalog.AbilitiesOf(s.Device), nil)
	return s, all.with(err)
}

// CheckScenario is Scenario for a run: the steps are checked against the device that it would have on the bench that the options
// name, variables have the values that they would have, and secrets must be there. Nothing is opened.
func CheckScenario(name string, o Options) (*scenario.Scenario, error) {
	o = o.defaults()
	file, data, err := scenarioSource(name)
	if err != nil {
		return nil, &UsageError{err}
	}
	s, err := scenario.Parse(file, data)
	if s == nil {
		return nil, err
	}
	all := mistakes{}
	all.add(err)
	can, err := catalog.Find(s.Device, catalog.Options{Bench: o.Bench, Sim: o.Sim})
	switch {
	case err != nil && !all.add(err):
		return nil, usageOf(err)
	case err != nil, s.Words != nil && s.Device.Any():
		can = catalog.AbilitiesOf(s.Device) // which device was meant is not known
	}
	_, err = secretsOf(s, o.Getenv)
	all.add(err)
	_, _, err = prepare(s, can, o.Vars)
	return s, all.with(err)
}

// mistakes are those of one scenario, gathered from all who check it.
type mistakes struct{ all scenario.Errors }

// add keeps mistakes, unless they stand where one has been told of already: the same one, seen by somebody else. It
// says whether err is such; nil is.
func (m *mistakes) add(err error) bool {
	var more scenario.Errors
	if err != nil && !errors.As(err, &more) {
		return false
	}
	for _, e := range more {
		if !slices.ContainsFunc(m.all, func(told *scenario.Error) bool { return told.Pos == e.Pos }) {
			m.all = append(m.all, e)
		}
	}
	return true
}

// with adds the last ones, and gives all. Trouble that is no mistake in a file outranks them.
func (m *mistakes) with(err error) error {
	if !m.add(err) {
		return err
	}
	return m.all.Err()
}

// prepare makes the plan, and reads the expectations before anything is driven: a mistake in them must not cost a run.
// The mistakes of both are told together. Of a scenario with mistakes of form they are those that do not follow from them.
func prepare(s *scenario.Scenario, can plan.Abilities, vars map[string]string) (*plan.Plan, *sources, error) {
	var all mistakes
	p, err := plan.Make(s, can, vars)
	if !all.add(err) {
		return nil, nil, err
	}
	src, err := sourcesOf(s, p.Vars)
	if !all.add(err) {
		return nil, nil, err
	}
	hidden := func(name string) bool { return s.Words[name] }
	set, err := src.parse(hidden)
	if !all.add(err) {
		return nil, nil, err
	}
	return p, src, all.with(src.checkWindows(set, p.Windows(), hidden))
}

// fileKind is what a YAML file is for.
type fileKind uint8

const (
	scenarioFile fileKind = iota // also what can't be told: its parser says best what is wrong
	expectationFile
	benchFile
)

// kindOf tells by its top level what a file is for.
func kindOf(file string, data []byte) fileKind {
	v, _ := scenario.Document(file, 1, data) // its mistakes are told by the file's own reader
	switch {
	case v == nil:
		return scenarioFile
	case v.List != nil:
		return expectationFile
	}
	has := func(keys ...string) bool {
		return slices.ContainsFunc(v.Map, func(e scenario.Entry) bool { return slices.Contains(keys, e.Key) })
	}
	switch {
	case has("bench", "devices", "taps", "carriers"):
		return benchFile
	case has("expect", "account", "window") && !has("name", "device", "vars", "secrets", "setup", "steps", "cleanup"):
		return expectationFile
	}
	return scenarioFile
}
