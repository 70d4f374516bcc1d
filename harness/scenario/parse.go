package scenario

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"regexp/syntax"
	"strings"

	"gopkg.in/yaml.v3"
)

// Parse reads a scenario file. The error is of type Errors: every mistake of form, in the order of their places.
// What a bench can do, and what variables stand for, is checked by package plan.
func Parse(file string, data []byte) (*Scenario, error) {
	root, err := Document(file, 1, data)
	if err != nil {
		return nil, err
	}
	var errs Errors
	s := language.Read(&errs, "the file", *root)
	if s.Expect.Names == nil {
		inline(&s.Expect, file, data, *root)
	}
	return &s, errs.Err()
}

// Schema is the JSON Schema (draft 7) of scenario files, for editors. It is written from the tables that Parse reads by.
func Schema() []byte { return SchemaOf("Tollgate scenario", language.Form()) }

// expectForm is the form of a scenario's claims: names, or claims in place, which package expectations reads.
func expectForm() Form[Expect] {
	name := map[string]any{"type": "string", "minLength": 1}
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
	case v.Scalar != nil && *v.Scalar != "":
		x.Names = []string{*v.Scalar}
	case len(v.List) > 0:
		for i, m := range v.List {
			switch {
			case (m.Map != nil) != (v.List[0].Map != nil), m.Map == nil && m.Scalar == nil:
				errs.Addf(m.Pos, "%s[%d]: want %s like the first, got %s", name, i, v.List[0].Kind(), m.Kind())
			case m.Scalar != nil:
				x.Names = append(x.Names, *m.Scalar)
			}
		}
	default:
		errs.Addf(v.Pos, "%s: want the name of an expectations file, several, or claims; got %s", name, v.Kind())
	}
	return x
}

// inline keeps the claims that stand in the scenario as a document of their own, in the form of an expectations file,
// with the lines and columns that they have in the scenario file.
func inline(x *Expect, file string, data []byte, root Value) {
	for i, e := range root.Map {
		if e.Key != "expect" {
			continue
		}
		lines := bytes.SplitAfter(data, []byte("\n"))
		end := len(lines)
		if i+1 < len(root.Map) {
			end = root.Map[i+1].Pos.Line - 1
		}
		if end >= e.Pos.Line {
			x.Line, x.Inline = e.Pos.Line, cutOut(lines[e.Pos.Line-1:end], e)
		}
		if same(file, x, e) {
			return
		}
		// The file is written in flow style, or uses aliases: the places of single claims are lost, the claims are not.
		x.Line, x.Inline = e.Pos.Line, rewrite(e)
	}
}

// cutOut gives the lines of `expect:`, without the key where the claims are a whole expectations document.
func cutOut(lines [][]byte, e Entry) []byte {
	text := bytes.Join(lines, nil)
	if e.Value.Map == nil {
		return text
	}
	key := bytes.IndexByte(text, ':') + 1 // the key is the plain word expect, so this is its colon
	return append(bytes.Repeat([]byte(" "), key), text[key:]...)
}

// same says whether the cut out document says what the scenario says, at the same places.
func same(file string, x *Expect, e Entry) bool {
	if x.Inline == nil {
		return false
	}
	v, err := Document(file, x.Line, x.Inline)
	if err != nil {
		return false
	}
	if e.Value.Map == nil {
		return len(v.Map) == 1 && reflect.DeepEqual(v.Map[0], e)
	}
	return reflect.DeepEqual(*v, e.Value)
}

func rewrite(e Entry) []byte {
	v := e.Value
	if v.Map == nil {
		v = Value{Map: []Entry{e}}
	}
	text, err := yaml.Marshal(node(v))
	if err != nil {
		panic(fmt.Sprintf("scenario: write claims: %v", err)) // plain nodes, all of them made by node
	}
	return text
}

func node(v Value) *yaml.Node {
	switch {
	case v.Scalar != nil:
		n := &yaml.Node{Kind: yaml.ScalarNode, Value: *v.Scalar}
		if v.Tag == "!!str" {
			n.Style = yaml.DoubleQuotedStyle
		}
		return n
	case v.List != nil:
		n := &yaml.Node{Kind: yaml.SequenceNode}
		for _, m := range v.List {
			n.Content = append(n.Content, node(m))
		}
		return n
	case v.Map != nil:
		n := &yaml.Node{Kind: yaml.MappingNode}
		for _, e := range v.Map {
			n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: e.Key, Style: yaml.DoubleQuotedStyle}, node(e.Value))
		}
		return n
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: "null"}
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
