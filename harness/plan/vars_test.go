package plan

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestExpand(t *testing.T) {
	vars := map[string]string{"a": "1", "a[2]": "two", "b.c": "${a}"}
	for _, c := range []struct{ text, want, err string }{
		{"", "", ""},
		{"no variables, $a and {a}", "no variables, $a and {a}", ""},
		{"${a}-${a[2]}", "1-two", ""},
		{"${b.c}", "${a}", ""}, // a value is not looked into
		{"${x} ${a} ${y[1]}", "", "${x}, ${y[1]} has no value: no step has given it one"},
	} {
		got, err := Expand(c.text, vars)
		if c.err != "" {
			require.EqualError(t, err, c.err)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, c.want, got)
	}
}

func TestCompileTakesAnswersForWhatTheyAre(t *testing.T) {
	re, err := Match{Text: `^got ${a}\d$`}.Compile(map[string]string{"a": ".*("})
	require.NoError(t, err)
	require.True(t, re.MatchString("got .*(7"))
	require.False(t, re.MatchString("got x7"))
	_, err = Match{Text: "${a}"}.Compile(nil)
	require.EqualError(t, err, "pattern '${a}': ${a} has no value: no step has given it one")
	_, err = Match{Text: "(${a}"}.Compile(map[string]string{"a": "x"})
	require.ErrorContains(t, err, "pattern '(${a}': bad pattern: missing closing )")
}

func TestHolds(t *testing.T) {
	vars := map[string]string{"a": "x y", "no": "No", "zero": "0", "one": "1", "eq": "a == b"}
	for _, c := range []struct {
		when string
		want bool
	}{
		{"", true},
		{"${one}", true}, {"${zero}", false}, {"${no}", false}, {"${nobody}", false}, {"${a}", true},
		{"${a} == x y", true}, {"${a} == 'x y'", true}, {`${a} == "x y"`, true}, {"${a} != x y", false},
		{"${a}==x y", true}, {"${a} == y", false}, {"x y == ${a}", true}, {"${one} == ${one}", true},
		{`${eq} == "a == b"`, true}, {"${eq} != b", true}, {"${nobody} == ", true}, {`${nobody} == ""`, true},
	} {
		got, err := Holds(c.when, vars)
		require.NoError(t, err, c.when)
		require.Equal(t, c.want, got, c.when)
	}
	for _, when := range []string{" ", "a = b", "a == b == c", "a === b", "=", `"a`} {
		_, err := Holds(when, nil)
		require.Error(t, err, when)
	}
}

// A condition means the same after it was written, whatever its texts hold: quotes, operators, bytes that are no text.
func TestConditionsSurviveBeingWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := condition{left: rapid.String().Draw(t, "left"), op: rapid.SampledFrom([]string{"", "==", "!="}).Draw(t, "op")}
		if c.op != "" {
			c.right = string(rapid.SliceOf(rapid.Byte()).Draw(t, "right"))
		}
		got, err := parseCondition(c.String())
		require.NoError(t, err)
		require.Equal(t, c, got)
	})
}
