package harness

import (
	"os"

	"gopkg.in/yaml.v3"

	"github.com/tollgate-iot/tollgate/expectations"
	"github.com/tollgate-iot/tollgate/harness/catalog"
	"github.com/tollgate-iot/tollgate/harness/scenario"
)

// Lint checks a file without driving anything: a scenario with the expectations that it names, expectations, or a bench;
// its keys say which. The error is scenario.Errors where the file has mistakes.
func Lint(file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return &UsageError{readError("file", err)}
	}
	switch kindOf(data) {
	case benchFile:
		_, err := catalog.Inventory(file, data)
		return err
	case expectationFile:
		_, err := expectations.Parse(file, 1, data)
		return err
	}
	s, err := parseScenario(file, data)
	if err != nil {
		return err
	}
	return LintScenario(s)
}

// LintScenario checks a scenario against the drivers that it would be carried out with, and the expectations that it
// names. A driver that is not in the catalog leaves its verbs unchecked.
func LintScenario(s *scenario.Scenario) error {
	_, _, err := prepare(s, catalog.AbilitiesOf(s.Device), nil)
	return err
}

// fileKind is what a YAML file is for.
type fileKind uint8

const (
	scenarioFile fileKind = iota // also what can't be told: its parser says best what is wrong
	expectationFile
	benchFile
)

// kindOf tells by the top-level keys what a file is for.
func kindOf(data []byte) fileKind {
	var keys map[string]yaml.Node
	if err := yaml.Unmarshal(data, &keys); err != nil {
		return scenarioFile
	}
	has := func(key string) bool { _, ok := keys[key]; return ok }
	switch {
	case has("bench") || has("devices") || has("taps") || has("carriers"):
		return benchFile
	case has("expect") && !has("steps") && !has("device"):
		return expectationFile
	}
	return scenarioFile
}
