package scenario_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/scenario"
	"github.com/tollgate-iot/tollgate/harness/scenario/schematest"
)

func TestSchemaAcceptsWhatTheParserAccepts(t *testing.T) {
	schema := schematest.Compile(t, scenario.Schema())
	texts := map[string][]byte{"everything": []byte(whole)}
	for _, expect := range []string{"wio-lte/http", "[a, b]", "[{resets: none}]", "{window: get, expect: [{resets: none}]}"} {
		texts["expect "+expect] = []byte("name: x\nsteps:\n  - wait: 1s\nexpect: " + expect + "\n")
	}
	shipped, err := filepath.Glob("../../scenarios/*/*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, shipped)
	for _, file := range shipped {
		texts[file], err = os.ReadFile(file)
		require.NoError(t, err)
	}
	for name, text := range texts {
		t.Run(name, func(t *testing.T) {
			_, err := scenario.Parse(name, text)
			require.NoError(t, err)
			require.NoError(t, schema.Judge(t, text))
		})
	}
}

func TestSchemaTakesWhatIsParsed(t *testing.T) {
	head, tail := "name: x\nsteps:\n  - ", "name: x\nsteps:\n  - wait: 1s\n"
	places := []string{"name: %s\nsteps:\n  - wait: 1s\n", tail + "about: %s\n", tail + "device: {model: %s}\n", tail + "device: {labels: {a: %s}}\n", tail + "vars: {a: %s}\n",
		tail + "secrets: {a: %s}\n", tail + "expect: %s\n", tail + "expect: [a, %s]\n", head + "wait: %s\n", head + "device.x: %s\n", head + "carrier.x: %s\n",
		head + "steps: [wait: 1s]\n    window: w\n    repeat: %s\n", head + "steps: [wait: 1s]\n    repeat: 2\n    every: %s\n"}
	for _, beside := range []string{"window: %s", "expect: %s", "expect: [a, %s]", "never: %s", "within: %s", "as: %s", "when: %s", "retry: %s", "vars: {a: %s}"} {
		places = append(places, head+"device.x: y\n    "+beside+"\n")
	}
	for _, condition := range []string{"quiet: %s", "event: %s", "mqtt: %s", "console: %s", "packet: {direction: %s}", "packet: {to: %s}", "packet: {phase: %s}", "packet: {proto: %s}"} {
		places = append(places, head+"await: {"+condition+"}\n")
	}
	words := slices.Concat(scenario.Directions, scenario.Protocols, scenario.Phases, scenario.MQTTTypes, []string{"wio-lte/http", "90s", "1d12h", "session.created", "${cycles}", "a.example:80"})
	schematest.TakesWhatIsParsed(t, scenario.Schema(), func(text []byte) error {
		_, err := scenario.Parse("f.yaml", text)
		return err
	}, places, words)
}

func TestSchemaRefusesWhatTheParserRefuses(t *testing.T) {
	schema := schematest.Compile(t, scenario.Schema())
	head := "name: x\nsteps:\n  - "
	for _, text := range []string{
		"name: x\n",
		"steps:\n  - wait: 1s\n",
		"name: ../x\nsteps:\n  - wait: 1s\n",
		"name: x\nsteps: []\n",
		"name: x\nstep:\n  - wait: 1s\n",
		"name: x\ndevice: wio-lte\nsteps:\n  - wait: 1s\n",
		"name: x\nvars: {a-b: 1}\nsteps:\n  - wait: 1s\n",
		"name: x\nvars: {a: }\nsteps:\n  - wait: 1s\n",
		"name: x\nsecrets: {a: A-B}\nsteps:\n  - wait: 1s\n",
		"name: x\nsteps:\n  - wait: 1s\nexpect:\n",
		"name: x\nsteps:\n  - wait: 1s\nexpect: [a, {b: c}]\n",
		head + "device.x:\n    expext: y\n",
		head + "device.HTTP: y\n",
		head + "wait: 60\n",
		head + "wait: \"60\"\n",
		head + "device.x:\n    wait: 1s\n",
		head + "device.x:\n    carrier.y:\n",
		head + "within: 5s\n",
		head + "wait: 1s\n    within: 5s\n",
		head + "device.x:\n    repeat: 3\n",
		head + "every: 1m\n    steps:\n      - wait: 1s\n",
		head + "device.x:\n    expect: ''\n",
		head + "device.x:\n    expect: []\n",
		head + "await: {}\n",
		head + "await: {quiet: 1s, event: a.b}\n",
		head + "await: {packet: {direction: upp}}\n",
		head + "await: {mqtt: pubak}\n",
		head + "repeat: many\n    steps:\n      - wait: 1s\n",
		head + "repeat: 2\n    steps:\n      - wait: 1\n",
		head + "device.x:\n    retry: 1000\n",
	} {
		_, err := scenario.Parse("f.yaml", []byte(text))
		require.Error(t, err, "the parser: %s", text)
		require.Error(t, schema.Judge(t, []byte(text)), "the schema: %s", text)
	}
}

func TestSchemaIsTheSameEveryTime(t *testing.T) {
	require.Equal(t, string(scenario.Schema()), string(scenario.Schema()))
}
