// Package schematest holds the JSON Schema that editors are given against the parser that it was written with: what the
// parser takes, an editor must not mark as wrong.
package schematest

import (
	"bytes"
	"math"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
	"pgregory.net/rapid"

	"github.com/tollgate-iot/tollgate/harness/scenario"
)

// Schema judges YAML texts as an editor does.
type Schema struct{ compiled *jsonschema.Schema }

// Compile reads a JSON Schema.
func Compile(t require.TestingT, schema []byte) Schema {
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(schema))
	require.NoError(t, err)
	compiler := jsonschema.NewCompiler()
	require.NoError(t, compiler.AddResource("file.schema.json", document))
	compiled, err := compiler.Compile("file.schema.json")
	require.NoError(t, err)
	return Schema{compiled}
}

// Judge says what an editor marks in a text that is YAML.
func (s Schema) Judge(t require.TestingT, text []byte) error {
	v, err := scenario.Document("f.yaml", 1, text)
	require.NoError(t, err)
	return s.compiled.Validate(asJSON(*v))
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

// TakesWhatIsParsed is the law: wherever in a file a person may write a plain value, the schema takes what the parser
// does. A place is a text with one %s in it; words are plain values that mean something there. They are tried as they
// are, put together and spoilt: numbers with signs, points and zeros, units, comparisons, quotes.
func TakesWhatIsParsed(t *testing.T, schema []byte, parse func(text []byte) error, places, words []string) {
	s := Compile(t, schema)
	for _, place := range places {
		require.Equal(t, 1, strings.Count(place, "%s"), place)
	}
	parsed := 0
	rapid.Check(t, func(t *rapid.T) {
		place := rapid.SampledFrom(places).Draw(t, "place")
		text := []byte(strings.Replace(place, "%s", scalar(words).Draw(t, "value"), 1))
		if parse(text) == nil {
			parsed++
			require.NoError(t, s.Judge(t, text), "%s", text)
		}
	})
	require.Positive(t, parsed, "a law about nothing")
}

// scalar is a plain value as somebody may write it.
func scalar(words []string) *rapid.Generator[string] {
	part := rapid.OneOf(
		rapid.SampledFrom(words),
		rapid.SampledFrom([]string{"", "", "-", "+", "=", "==", "<=", "<", ">=", ">", "..", " .. ", "±", "+-", "+/-", "%", " ", "\u00a0", "_", ".", "/", ":", "${x}"}),
		rapid.StringMatching(`[-+]?(0|0x|0o)?[0-9]{1,4}(\.[0-9]{0,2})?(e[0-9])?`),
		rapid.StringMatching(`[0-9]{1,3}(\.[0-9]{0,2})?(ns|us|µs|μs|ms|s|m|h|d|w)`),
		rapid.StringMatching(`[0-9]{1,3}(\.[0-9]{0,2})? ?(B|kB|KB|KiB|kb|MB|MiB|GB|GiB)`),
		rapid.SampledFrom([]string{"true", "false", "True", "yes", "on", "none", "null", "~", ".inf", ".nan", "2026-01-02", "1:30", "99999999999999999999"}),
	)
	return rapid.Custom(func(t *rapid.T) string {
		text := strings.Join(rapid.SliceOfN(part, 1, 4).Draw(t, "parts"), "")
		quote := rapid.SampledFrom([]string{"", "", "'", `"`}).Draw(t, "quote")
		return quote + text + quote
	})
}
