package scenario_test

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"github.com/tollgate-iot/tollgate/harness/scenario"
)

// compile makes a validator of a schema.
func compile(t testing.TB, schema []byte) *jsonschema.Schema {
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
	v, err := scenario.Document("f.yaml", 1, text)
	require.NoError(t, err)
	return schema.Validate(asJSON(*v))
}

// asJSON is a value as JSON has it: numbers are numbers, keys are texts.
func asJSON(v scenario.Value) any {
	switch {
	case v.Scalar != nil:
		var plain any
		if v.Tag != "!!str" && v.Tag != "!!timestamp" && yaml.Unmarshal([]byte(*v.Scalar), &plain) == nil {
			if f, ok := plain.(float64); !ok || !math.IsNaN(f) && !math.IsInf(f, 0) {
				return plain
			}
		}
		return *v.Scalar
	case v.List != nil:
		list := make([]any, len(v.List))
		for i, m := range v.List {
			list[i] = asJSON(m)
		}
		return list
	case v.Map != nil:
		mapping := make(map[string]any, len(v.Map))
		for _, e := range v.Map {
			mapping[e.Key] = asJSON(e.Value)
		}
		return mapping
	}
	return nil
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
