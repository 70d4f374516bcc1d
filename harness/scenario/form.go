package scenario

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Form is what a value in a file may look like, told once: how it is read, and the JSON Schema that tells an editor
// the same. So parser and schema can't come apart.
type Form[T any] struct {
	// Read gives the value read, noting in errs what is wrong with it. The name is the key's, for messages.
	Read func(errs *Errors, name string, v Value) T
	// Schema gives the JSON Schema (draft 7) of the form. Definitions that it refers to are put into defs.
	Schema func(defs map[string]any) map[string]any
}

// fixed is a schema that refers to no definitions.
func fixed(schema map[string]any) func(map[string]any) map[string]any {
	return func(map[string]any) map[string]any { return schema }
}

// scalar is a form of one plain value; parse is given its text as written.
func scalar[T any](want string, schema map[string]any, parse func(v Value, text string) (T, error)) Form[T] {
	return Form[T]{Schema: fixed(schema), Read: func(errs *Errors, name string, v Value) (out T) {
		if v.Scalar == nil {
			errs.Addf(v.Pos, "%s: want %s, got %s", name, want, v.Kind())
			return out
		}
		out, err := parse(v, *v.Scalar)
		if err != nil {
			errs.Addf(v.Pos, "%s: %s", name, err)
		}
		return out
	}}
}

// Text is any text, number or truth value, kept as it was written.
func Text(what string) Form[string] {
	return scalar(what, map[string]any{"type": []string{"string", "number", "boolean"}},
		func(_ Value, text string) (string, error) { return strings.TrimRight(text, "\n"), nil })
}

// Filled is the schema of a plain value that is not empty. YAML may take it for a number or a truth: a host called 1e3.
func Filled() map[string]any {
	return map[string]any{"type": []string{"string", "number", "boolean"}, "minLength": 1}
}

// Word is a text of a certain shape, as in "a window's name such as get_1".
func Word(what string, shape *regexp.Regexp) Form[string] {
	return scalar(what, map[string]any{"type": []string{"string", "number", "boolean"}, "pattern": shape.String()},
		func(_ Value, text string) (string, error) {
			if !shape.MatchString(text) {
				return "", fmt.Errorf("%q is not %s", text, what)
			}
			return text, nil
		})
}

// Choice is one of some words.
func Choice(what string, words ...string) Form[string] {
	return scalar(what, map[string]any{"enum": words}, func(_ Value, text string) (string, error) {
		if slices.Contains(words, text) {
			return text, nil
		}
		return "", fmt.Errorf("unknown %s %q: %s", what, text, Suggest(text, words))
	})
}

// Truth is true or false, and no other word for them.
func Truth() Form[bool] {
	return scalar("true or false", map[string]any{"enum": []any{true, false, "true", "false"}}, func(_ Value, text string) (bool, error) {
		if text != "true" && text != "false" {
			return false, fmt.Errorf("want true or false, got %q", text)
		}
		return text == "true", nil
	})
}

// Suggest ends a message about an unknown word: did you mean the closest, or else all that are known.
func Suggest(word string, known []string) string {
	if near := Closest(word, known); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	if len(known) == 0 {
		return "none is known"
	}
	return "known: " + strings.Join(known, ", ")
}

// Count is a whole number from low to high, with quotes or without.
func Count(low, high int) Form[int] {
	what := fmt.Sprintf("a whole number from %d to %d", low, high)
	schema := map[string]any{"anyOf": []any{map[string]any{"type": "integer", "minimum": low, "maximum": high},
		map[string]any{"type": "string", "pattern": `^[+-]?[0-9]+$`}}}
	return scalar(what, schema, func(_ Value, text string) (int, error) {
		n, err := strconv.Atoi(text)
		if err != nil || n < low || n > high {
			return 0, fmt.Errorf("%q is not %s", text, what)
		}
		return n, nil
	})
}

// Length is a length of time; it may hold variables, and is then left to package plan.
func Length() Form[Span] {
	schema := map[string]any{"type": "string", "pattern": `^` + LengthShape + `$|\$\{`}
	return scalar("a length of time such as 90s", schema, func(v Value, text string) (Span, error) {
		s := Span{Pos: v.Pos, Text: text}
		if strings.Contains(text, "${") {
			return s, nil
		}
		var err error
		s.Length, err = ParseLength(text)
		return s, err
	})
}

// LengthShape is how a length of time is written, as a regular expression without anchors: days, and Go's durations
// without a sign. Go writes the micro sign as U+00B5 or, as Greek keyboards do, U+03BC.
const LengthShape = `([0-9]{1,5}d|([0-9]{1,5}d)?(([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+)`

var (
	bareNumber = regexp.MustCompile(`^[0-9]*\.?[0-9]+$`)
	length     = regexp.MustCompile(`^` + LengthShape + `$`)
)

// ParseLength reads a length of time above zero: Go's durations, and days (2d, 1d12h). A number without a unit is
// refused: nobody can tell the seconds from the minutes that were meant.
func ParseLength(text string) (time.Duration, error) {
	below, negative := strings.CutPrefix(text, "-")
	switch {
	case text == "0", negative && length.MatchString(below):
		return 0, fmt.Errorf("%q is not above zero", text)
	case bareNumber.MatchString(text):
		return 0, fmt.Errorf("%q has no unit: write %ss, 2m, 500ms", text, text)
	case !length.MatchString(text):
		return 0, fmt.Errorf("%q is not a length of time: write 60s, 2m, 500ms, 1h30m, 2d", text)
	}
	rest, sum := text, time.Duration(0)
	if days, after, ok := strings.Cut(text, "d"); ok {
		n, _ := strconv.Atoi(days) // at most five digits
		sum, rest = time.Duration(n)*24*time.Hour, after
	}
	if rest != "" {
		d, err := time.ParseDuration(rest)
		if err != nil || d > math.MaxInt64-sum {
			return 0, fmt.Errorf("%q is too long: 290 years are the most", text)
		}
		sum += d
	}
	if sum == 0 {
		return 0, fmt.Errorf("%q is not above zero", text)
	}
	return sum, nil
}

// PatternForm is a regular expression. It is compiled here where no variable stands in it, else by package plan.
func PatternForm() Form[Pattern] {
	return scalar("a pattern", Filled(),
		func(v Value, text string) (Pattern, error) {
			p := Pattern{Pos: v.Pos, Text: text}
			if text == "" {
				return p, fmt.Errorf("an empty pattern matches everything")
			}
			if strings.Contains(text, "${") {
				return p, nil
			}
			_, err := regexp.Compile(text)
			return p, Regexp(err)
		})
}

// ListOf is a list, with at least low members.
func ListOf[T any](low int, member Form[T]) Form[[]T] {
	return Form[[]T]{
		Schema: func(defs map[string]any) map[string]any {
			return map[string]any{"type": "array", "items": member.Schema(defs), "minItems": low}
		},
		Read: func(errs *Errors, name string, v Value) []T {
			if v.List == nil {
				errs.Addf(v.Pos, "%s: want a list, got %s", name, v.Kind())
				return nil
			}
			if len(v.List) < low {
				errs.Addf(v.Pos, "%s: the list is empty", name)
			}
			out := make([]T, 0, len(v.List))
			for i, m := range v.List {
				out = append(out, member.Read(errs, fmt.Sprintf("%s[%d]", name, i), m))
			}
			return out
		},
	}
}

// OneOrMany is one value or a list of such.
func OneOrMany[T any](member Form[T]) Form[[]T] {
	many := ListOf(1, member)
	return Form[[]T]{
		Schema: func(defs map[string]any) map[string]any {
			return map[string]any{"anyOf": []any{member.Schema(defs), many.Schema(defs)}}
		},
		Read: func(errs *Errors, name string, v Value) []T {
			if v.List != nil {
				return many.Read(errs, name, v)
			}
			return []T{member.Read(errs, name, v)}
		},
	}
}

// MapOf is a mapping from names of a certain shape.
func MapOf[T any](what string, shape *regexp.Regexp, member Form[T]) Form[map[string]T] {
	return Form[map[string]T]{
		Schema: func(defs map[string]any) map[string]any {
			return map[string]any{"type": "object", "additionalProperties": false,
				"patternProperties": map[string]any{shape.String(): member.Schema(defs)}}
		},
		Read: func(errs *Errors, name string, v Value) map[string]T {
			if v.Map == nil {
				errs.Addf(v.Pos, "%s: want a mapping, got %s", name, v.Kind())
				return nil
			}
			out := make(map[string]T, len(v.Map))
			for _, e := range v.Map {
				if !shape.MatchString(e.Key) {
					errs.Addf(e.Pos, "%s: %q is not %s", name, e.Key, what)
					continue
				}
				out[e.Key] = member.Read(errs, name+"."+e.Key, e.Value)
			}
			return out
		},
	}
}

// Anything is any value, left to others.
func Anything() Form[Value] {
	return Form[Value]{Schema: fixed(map[string]any{}), Read: func(_ *Errors, _ string, v Value) Value { return v }}
}
