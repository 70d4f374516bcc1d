package plan

import (
	"fmt"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/tollgate-iot/tollgate/harness/scenario"
)

// ListSeparator joins the members of a list argument.
const ListSeparator = "\x00"

func (b *builder) deviceVerb(out *Step, s *scenario.Step, in scope) {
	b.verb(out, s, in, b.can.Verbs, fmt.Sprintf("a %s has no verb", b.can.Driver))
}

func (b *builder) carrierVerb(out *Step, s *scenario.Step, in scope) {
	if len(b.can.Carrier) == 0 && !b.can.Unknown {
		b.errs.Addf(s.VerbAt, "carrier.%s: device %q of the bench has no carrier: name one in the bench file", s.Verb, b.can.Device)
		return
	}
	b.verb(out, s, in, b.can.Carrier, "the carrier has no verb")
}

// verb finds a step's verb and fills in its arguments and its deadline.
func (b *builder) verb(out *Step, s *scenario.Step, in scope, offered []VerbSpec, none string) {
	name := string(s.Who) + "." + s.Verb
	if b.can.Unknown {
		b.anyArguments(out, s.Arg, in)
		return
	}
	i := slices.IndexFunc(offered, func(v VerbSpec) bool { return v.Name == s.Verb })
	if i < 0 {
		names := make([]string, len(offered))
		for i, v := range offered {
			names[i] = v.Name
		}
		b.errs.Addf(s.VerbAt, "%s: %s %q: %s", name, none, s.Verb, known(s.Verb, names))
		return
	}
	spec := &offered[i]
	out.Args = b.arguments(name, s, spec, in)
	if out.Within == 0 {
		out.Within = spec.Timeout
	}
	if out.Within == 0 {
		out.Within = DefaultWithin
	}
}

// anyArguments checks the variables of arguments whose verb is not known.
func (b *builder) anyArguments(out *Step, v scenario.Value, in scope) {
	if v.Scalar != nil {
		b.text(v.Pos, *v.Scalar, in, true)
	}
	for _, m := range v.List {
		b.anyArguments(out, m, in)
	}
	for _, e := range v.Map {
		b.anyArguments(out, e.Value, in)
	}
	if out.Within == 0 {
		out.Within = DefaultWithin
	}
}

// arguments checks a verb's arguments and fills in what was left out.
func (b *builder) arguments(name string, s *scenario.Step, spec *VerbSpec, in scope) map[string]string {
	args := make(map[string]string, len(spec.Args))
	arg := s.Arg
	given := map[string]bool{}
	switch {
	case arg.Map != nil:
		for _, e := range arg.Map {
			a := spec.arg(e.Key)
			if a == nil {
				b.errs.Addf(e.Pos, "%s: unknown argument %q: %s", name, e.Key, known(e.Key, spec.names()))
				given[scenario.Closest(e.Key, spec.names())] = true // one mistake is told once
				continue
			}
			given[a.Name] = true
			args[a.Name] = b.argument(name, a, e.Value, in)
		}
	case (arg.Scalar != nil || arg.List != nil) && spec.arg(spec.Main) != nil:
		given[spec.Main] = true
		args[spec.Main] = b.argument(name, spec.arg(spec.Main), arg, in)
	case arg.Scalar != nil || arg.List != nil:
		hint := "it takes none"
		if len(spec.Args) > 0 {
			hint = "name its arguments: {" + strings.Join(spec.names(), ": …, ") + ": …}"
		}
		b.errs.Addf(arg.Pos, "%s: %s stands for no argument: %s", name, arg.Kind(), hint)
		return args
	}
	for i := range spec.Args {
		a := &spec.Args[i]
		switch {
		case given[a.Name]:
		case a.Required:
			b.errs.Addf(s.VerbAt, "%s: argument %q is missing: %s", name, a.Name, a.Doc)
		case a.Default != "":
			args[a.Name] = a.Default
		}
	}
	return args
}

func (v *VerbSpec) arg(name string) *ArgSpec {
	for i := range v.Args {
		if v.Args[i].Name == name {
			return &v.Args[i]
		}
	}
	return nil
}

func (v *VerbSpec) names() []string {
	names := make([]string, len(v.Args))
	for i, a := range v.Args {
		names[i] = a.Name
	}
	return names
}

// argument checks one argument and gives it in the form that drivers are promised.
func (b *builder) argument(verb string, a *ArgSpec, v scenario.Value, in scope) string {
	if a.Type == List {
		return b.list(verb, a, v, in)
	}
	if v.Scalar == nil {
		b.errs.Addf(v.Pos, "%s: %s: want %s, got %s", verb, a.Name, a.Type.what(), v.Kind())
		return ""
	}
	text := b.text(v.Pos, *v.Scalar, in, true)
	if scenario.Variable.MatchString(text) { // the run knows; the driver checks
		return text
	}
	value, err := a.check(text)
	if err != nil {
		b.errs.Addf(v.Pos, "%s: %s: %s", verb, a.Name, err)
	}
	return value
}

func (b *builder) list(verb string, a *ArgSpec, v scenario.Value, in scope) string {
	members := v.List
	if v.Scalar != nil {
		members = []scenario.Value{v}
	}
	if members == nil {
		b.errs.Addf(v.Pos, "%s: %s: want %s, got %s", verb, a.Name, a.Type.what(), v.Kind())
		return ""
	}
	texts := make([]string, 0, len(members))
	for _, m := range members {
		switch {
		case m.Scalar == nil:
			b.errs.Addf(m.Pos, "%s: %s: want a text in the list, got %s", verb, a.Name, m.Kind())
		case strings.Contains(*m.Scalar, ListSeparator):
			b.errs.Addf(m.Pos, "%s: %s: a NUL byte can't stand in a list", verb, a.Name)
		default:
			texts = append(texts, b.text(m.Pos, *m.Scalar, in, true))
		}
	}
	return strings.Join(texts, ListSeparator)
}

// check says whether a text is a value of the argument, and gives it in the form that drivers are promised.
func (a *ArgSpec) check(text string) (string, error) {
	if len(a.Choices) > 0 && !slices.Contains(a.Choices, text) {
		return "", fmt.Errorf("%q: %s", text, known(text, a.Choices))
	}
	switch a.Type {
	case Int:
		if _, err := strconv.ParseInt(text, 10, 64); err != nil {
			return "", fmt.Errorf("want %s, got %q", a.Type.what(), text)
		}
	case Bool:
		if text != "true" && text != "false" {
			return "", fmt.Errorf("want %s, got %q", a.Type.what(), text)
		}
	case Duration:
		d, err := scenario.ParseLength(text)
		return d.String(), err
	case Pattern:
		_, err := regexp.Compile(text)
		return text, scenario.Regexp(err)
	case Address:
		return text, checkAddress(text)
	}
	return text, nil
}

func checkAddress(text string) error {
	host, port, err := net.SplitHostPort(text)
	if err != nil || host == "" {
		return fmt.Errorf("want %s, got %q", Address.what(), text)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("%q is not a port from 1 to 65535", port)
	}
	return nil
}

// what names the type in messages.
func (t ArgType) what() string {
	switch t {
	case Int:
		return "a whole number"
	case Bool:
		return "true or false"
	case Duration:
		return "a length of time such as 5s"
	case Pattern:
		return "a pattern"
	case Address:
		return "host:port"
	case List:
		return "a list"
	}
	return "a text"
}
