package scenario_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"github.com/tollgate-iot/tollgate/harness/scenario"
)

// compile makes a validator of a schema.
func compile(t *testing.T, schema []byte) *jsonschema.Schema {
	t.Helper()
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(schema))
	require.NoError(t, err)
	compiler := jsonschema.NewCompiler()
	require.NoError(t, compiler.AddResource("scenario.schema.json", document))
	compiled, err := compiler.Compile("scenario.schema.json")
	require.NoError(t, err)
	return compiled
}

// validate judges a YAML text by a schema, as an editor does.
func validate(t *testing.T, schema *jsonschema.Schema, text []byte) error {
	t.Helper()
	var value any
	require.NoError(t, yaml.Unmarshal(text, &value))
	return schema.Validate(value)
}

func TestSchemaAcceptsWhatTheParserAccepts(t *testing.T) {
	schema := compile(t, scenario.Schema())
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
			require.NoError(t, validate(t, schema, text))
		})
	}
}

func TestSchemaRefusesWhatTheParserRefuses(t *testing.T) {
	schema := compile(t, scenario.Schema())
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
		require.Error(t, validate(t, schema, []byte(text)), "the schema: %s", text)
	}
}

func TestSchemaIsTheSameEveryTime(t *testing.T) {
	require.Equal(t, string(scenario.Schema()), string(scenario.Schema()))
}
