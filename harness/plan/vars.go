package plan

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/tollgate-iot/tollgate/harness/scenario"
)

// Cycle is the variable that counts the cycles of the innermost repeat, from 1.
const Cycle = "cycle"

// Expand puts variables into a text. A variable that is not among vars is an error: the step that would have given it
// did not run, or its pattern has no such group.
func Expand(text string, vars map[string]string) (string, error) {
	var missing []string
	out := scenario.Variable.ReplaceAllStringFunc(text, func(ref string) string {
		value, ok := vars[reference(ref)]
		if !ok {
			missing = append(missing, ref)
		}
		return value
	})
	if len(missing) > 0 {
		return "", fmt.Errorf("%s has no value: no step has given it one", strings.Join(missing, ", "))
	}
	return out, nil
}

// Compile gives the pattern's regular expression for a run's variables. Their values stand for themselves: what a
// device answered is never taken for a pattern.
func (m Match) Compile(vars map[string]string) (*regexp.Regexp, error) {
	if m.Re != nil {
		return m.Re, nil
	}
	quoted := make(map[string]string, len(vars))
	for name, value := range vars {
		quoted[name] = regexp.QuoteMeta(value)
	}
	text, err := Expand(m.Text, quoted)
	if err != nil {
		return nil, fmt.Errorf("pattern '%s': %w", m.Text, err)
	}
	re, err := regexp.Compile(text)
	if err != nil {
		return nil, fmt.Errorf("pattern '%s': %w", m.Text, scenario.Regexp(err))
	}
	return re, nil
}

// reference gives the name in ${name}.
func reference(ref string) string { return ref[2 : len(ref)-1] }

// insert puts those variables in that are known, and leaves the others.
func insert(text string, vars map[string]string) string {
	return scenario.Variable.ReplaceAllStringFunc(text, func(ref string) string {
		if value, ok := vars[reference(ref)]; ok {
			return value
		}
		return ref
	})
}

// left gives the names that a text still refers to, without their indexes.
func left(text string) []string {
	var names []string
	for _, m := range scenario.Variable.FindAllStringSubmatch(text, -1) {
		name, _, _ := strings.Cut(m[1], "[")
		names = append(names, name)
	}
	return names
}

// resolveVars puts overrides in place and resolves what variables say of each other.
func (b *builder) resolveVars(overrides map[string]string) map[string]string {
	s := b.scenario
	written := maps.Clone(s.Vars)
	for _, name := range slices.Sorted(maps.Keys(overrides)) {
		if _, ok := written[name]; ok {
			written[name] = overrides[name]
			continue
		}
		at := scenario.Pos{File: s.Pos.File}
		if env, ok := s.Secrets[name]; ok {
			b.errs.Addf(at, "%q is a secret: set the environment variable %s instead", name, env)
			continue
		}
		b.errs.Addf(at, "no variable %q to set: %s", name, known(name, slices.Sorted(maps.Keys(s.Vars))))
	}
	r := resolver{builder: b, written: written, out: map[string]string{}}
	for _, name := range slices.Sorted(maps.Keys(written)) {
		r.resolve(name)
	}
	return r.out
}

// resolver resolves the scenario's variables, each once.
type resolver struct {
	*builder
	written, out map[string]string
	path         []string // variables being resolved: one of them again is a circle
}

func (r *resolver) resolve(name string) string {
	if value, done := r.out[name]; done {
		return value
	}
	if i := slices.Index(r.path, name); i >= 0 {
		r.errs.Addf(r.scenario.VarsAt[name], "vars.%s refers to itself: %s", name, strings.Join(append(r.path[i:], name), " → "))
		return ""
	}
	r.path = append(r.path, name)
	defer func() { r.path = r.path[:len(r.path)-1] }()
	r.wellFormed(r.scenario.VarsAt[name], r.written[name])
	value := scenario.Variable.ReplaceAllStringFunc(r.written[name], func(ref string) string {
		other, _, _ := strings.Cut(reference(ref), "[")
		if _, ok := r.written[other]; ok {
			return r.resolve(other)
		}
		if !r.everGiven(other) {
			r.unknown(r.scenario.VarsAt[name], ref, r.written)
		}
		return ref
	})
	if len(value) > maxValue {
		r.errs.Addf(r.scenario.VarsAt[name], "vars.%s grows beyond %d bytes", name, maxValue)
		value = ""
	}
	r.out[name] = value
	return value
}

// maxValue bounds what a variable can grow to when it holds others.
const maxValue = 1 << 16

// everGiven says whether a name is one that a plan leaves to the run, at any place.
func (b *builder) everGiven(name string) bool {
	_, secret := b.scenario.Secrets[name]
	return secret || name == Cycle || b.later[name]
}

// wellFormed refuses "${" that begins no reference: a mistyped one would be sent to the device as it stands.
func (b *builder) wellFormed(at scenario.Pos, text string) {
	rest := scenario.Variable.ReplaceAllString(text, "")
	if i := strings.Index(rest, "${"); i >= 0 {
		end := i + min(len(rest)-i, 20)
		b.errs.Addf(at, "%q is no reference to a variable: write ${name}", rest[i:end])
	}
}

// unknown notes a reference to nothing. Where a mistake of form may hide the name, that one is told already.
func (b *builder) unknown(at scenario.Pos, ref string, vars map[string]string) {
	name, _, _ := strings.Cut(strings.Trim(ref, "${}"), "[")
	if b.scenario.Words[name] {
		return
	}
	names := slices.Collect(maps.Keys(vars))
	names = slices.AppendSeq(names, maps.Keys(b.scenario.Secrets))
	slices.Sort(names)
	b.errs.Addf(at, "${%s}: unknown variable: %s", name, known(name, names))
}

// known lists what there is, with the closest first.
func known(word string, names []string) string {
	if len(names) == 0 {
		return "there is none"
	}
	list := "known: " + strings.Join(names, ", ")
	if near := scenario.Closest(word, names); near != "" {
		return fmt.Sprintf("did you mean %q? %s", near, list)
	}
	return list
}

// insertAll puts variables in; one without a value is empty.
func insertAll(text string, vars map[string]string) string {
	return scenario.Variable.ReplaceAllStringFunc(text, func(ref string) string { return vars[reference(ref)] })
}
