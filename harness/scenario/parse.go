package scenario

import (
	"errors"
	"fmt"
	"regexp/syntax"
	"strings"
)

// Parse reads a scenario file. The error is of type Errors: every mistake of form, in the order of their places.
// What a bench can do, and what variables stand for, is checked by package plan.
//
// Of a file with mistakes the scenario is given too, unless nothing of it can be read: what is right in it can still be
// checked, so that all mistakes are told at once. It can't be carried out.
func Parse(file string, data []byte) (*Scenario, error) {
	root, err := Document(file, 1, data)
	var errs Errors
	if err != nil && (root == nil || !errors.As(err, &errs)) {
		return nil, err
	}
	s := language.Read(&errs, "the file", *root)
	s.Source = data
	if len(errs) > 0 {
		s.Words = map[string]bool{}
		words(*root, s.Words)
	}
	return &s, errs.Err()
}

// words gathers every key and every plain value, but for those of claims.
func words(v Value, into map[string]bool) {
	if v.Scalar != nil {
		into[*v.Scalar] = true
	}
	for _, m := range v.List {
		words(m, into)
	}
	for _, e := range v.Map {
		if into[e.Key] = true; e.Key != "expect" {
			words(e.Value, into)
		}
	}
}

// Schema is the JSON Schema (draft 7) of scenario files, for editors. It is written from the tables that Parse reads by.
func Schema() []byte { return SchemaOf("Tollgate scenario", language.Form()) }

// expectForm is the form of a scenario's claims: names, or claims in place, which package expectations reads.
func expectForm() Form[Expect] {
	name := Filled()
	claims := map[string]any{"type": "object", "minProperties": 1}
	return Form[Expect]{
		Schema: fixed(map[string]any{"anyOf": []any{name, claims,
			map[string]any{"type": "array", "minItems": 1, "items": name},
			map[string]any{"type": "array", "minItems": 1, "items": claims}}}),
		Read: readExpect,
	}
}

func readExpect(errs *Errors, name string, v Value) Expect {
	x := Expect{Pos: v.Pos}
	switch {
	case len(v.Map) > 0:
		x.Claims = &v
	case v.Scalar != nil && *v.Scalar != "":
		x.Names, x.NamesAt = []string{*v.Scalar}, []Pos{v.Pos}
	case len(v.List) > 0 && v.List[0].Map != nil:
		x.Claims = &v
		for i, m := range v.List {
			switch {
			case m.Map == nil:
				errs.Addf(m.Pos, "%s[%d]: want a claim like the first, got %s", name, i, m.Kind())
			case len(m.Map) == 0:
				errs.Addf(m.Pos, "%s[%d]: the claim says nothing", name, i)
			}
		}
	case len(v.List) > 0:
		for i, m := range v.List {
			if m.Scalar == nil || *m.Scalar == "" {
				errs.Addf(m.Pos, "%s[%d]: want the name of an expectations file%s, got %s", name, i, likeFirst(i), m.Kind())
				continue
			}
			x.Names, x.NamesAt = append(x.Names, *m.Scalar), append(x.NamesAt, m.Pos)
		}
	default:
		errs.Addf(v.Pos, "%s: want the name of an expectations file, several, or claims; got %s", name, v.Kind())
	}
	return x
}

// likeFirst says why a member of a list must be like the first.
func likeFirst(i int) string {
	if i == 0 {
		return " or a claim"
	}
	return " like the first"
}

// Regexp says what is wrong with a pattern, nil where nothing is.
func Regexp(err error) error {
	var wrong *syntax.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &wrong):
		return fmt.Errorf("bad pattern: %s at %q%s", wrong.Code, wrong.Expr, perlHint(wrong))
	}
	return fmt.Errorf("bad pattern: %w", err)
}

func perlHint(wrong *syntax.Error) string {
	if wrong.Code == syntax.ErrInvalidPerlOp || strings.HasPrefix(wrong.Expr, `\`) && wrong.Code == syntax.ErrInvalidEscape {
		return " (patterns are RE2: no look-around, no back-references)"
	}
	return ""
}
