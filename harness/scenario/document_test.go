package scenario_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/scenario"
)

func TestDocumentErrors(t *testing.T) {
	deep := strings.Repeat("[", 80) + strings.Repeat("]", 80)
	laughs := "a: &a [x, x, x, x, x, x, x, x, x]\n"
	for _, k := range "bcdefghi" {
		laughs += string(k) + ": &" + string(k) + " [" + strings.Repeat("*"+string(k-1)+", ", 9) + "x]\n"
	}
	for _, c := range []struct{ name, text, want string }{
		{"nothing", "", "f.yaml:1:1: the file is empty"},
		{"only a comment", "# hello\n", "f.yaml:1:1: the file is empty"},
		{"null", "~\n", "f.yaml:1:1: the file is empty"},
		{"two documents", "a: 1\n---\nb: 2\n", "f.yaml:2:1: a second document: one file holds one"},
		{"twice", "a: 1\nb: 2\na: 3\n", "f.yaml:3:1: key \"a\" is written twice: first in line 1"},
		{"list as a key", "? [a, b]\n: 1\n", "f.yaml:1:3: a key must be a plain word"},
		{"merge", "a: &x {b: 1}\nc:\n  <<: *x\n", "f.yaml:3:3: merge keys (<<) are not part of the language: write the keys out"},
		{"tag", "a: !secret b\n", "f.yaml:1:4: tag !secret has no meaning here: leave it out"},
		{"binary", "a: !!binary aGVsbG8=\n", "f.yaml:1:4: tag !!binary has no meaning here: leave it out"},
		{"circle", "a: &x\n  - *x\n", "f.yaml:2:5: *x stands inside of what it repeats"},
		{"deep", "a: " + deep, "f.yaml:1:68: nested deeper than 64"},
		{"laughs", laughs, "more than 50000 values once aliases are written out"},
		{"unclosed list", "a: 1\nb: [1, 2\nc: 3\nd: 4\n", "f.yaml:2:1: not valid YAML: "},
		{"unclosed quote", "a: 1\nb: 'x\nc: 3\n", "f.yaml:2:1: not valid YAML: found unexpected end of stream"},
		{"two colons", "a: 1\nsteps:\n  - x: y: z\n", "f.yaml:3:3: not valid YAML: mapping values are not allowed in this context"},
		{"tabulator", "a: 1\nb:\n  c: 1\n\td: 2\n", "f.yaml:4:1: not valid YAML: found a tab character that violates indentation"},
		{"wrong indentation", "a: 1\nb:\n    c: 1\n  d: 2\ne: 3\n", "f.yaml:4:3: not valid YAML: did not find expected key"},
		{"unknown anchor", "a: 1\nb: *nobody\n", "f.yaml:2:1: not valid YAML: unknown anchor 'nobody' referenced"},
		{"error in a second document", "a: 1\n---\nb: [\n", "f.yaml:3:1: not valid YAML: "},
		{"not UTF-8", "a: 1\nb: \xff\n", "f.yaml:2:4: not UTF-8 text: save the file as UTF-8"},
		{"control characters", "a: 1\nb: \x01\n", "f.yaml:2:1: not valid YAML: control characters are not allowed"},
		{"too long", strings.Repeat("#", scenario.MaxBytes+1), "f.yaml:1:1: the file has 262145 bytes: at most 262144 are read"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := scenario.Document("f.yaml", 1, []byte(c.text))
			require.ErrorAs(t, err, new(scenario.Errors))
			require.Contains(t, err.Error(), c.want)
		})
	}
}

func TestDocumentGivesAllErrorsInOrder(t *testing.T) {
	_, err := scenario.Document("f.yaml", 11, []byte("a: !x 1\nb: {c: 1, c: 2}\na: 3\n"))
	require.EqualError(t, err, `f.yaml:11:4: tag !x has no meaning here: leave it out
f.yaml:12:11: key "c" is written twice: first in line 12
f.yaml:13:1: key "a" is written twice: first in line 11
3 errors`)
}

func TestDocumentKeepsPlacesOrderAndText(t *testing.T) {
	v, err := scenario.Document("f.yaml", 1, []byte("z: 010\na: &two [~, '1']\nm: {}\nagain: *two\n"))
	require.NoError(t, err)
	require.Len(t, v.Map, 4)
	require.Equal(t, "z", v.Map[0].Key)
	require.Equal(t, "010", *v.Map[0].Value.Scalar, "numbers stay as written")
	require.Equal(t, "!!int", v.Map[0].Value.Tag)
	require.Equal(t, scenario.Pos{File: "f.yaml", Line: 1, Column: 4}, v.Map[0].Value.Pos)
	list := v.Map[1].Value.List
	require.Nil(t, list[0].Scalar)
	require.Equal(t, "!!null", list[0].Tag)
	require.Equal(t, "!!str", list[1].Tag)
	require.NotNil(t, v.Map[2].Value.Map)
	require.Empty(t, v.Map[2].Value.Map)
	require.Equal(t, list, v.Map[3].Value.List)
}
