package expectations

import (
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/tollgate-iot/tollgate/harness/flow"
	"github.com/tollgate-iot/tollgate/harness/scenario"
	"github.com/tollgate-iot/tollgate/harness/trace"
)

// Parse reads an expectations file: a mapping with `expect`, or the list of claims alone. The first line of data is line
// firstLine of the file. The error is scenario.Errors: every mistake at its place. A value that holds a variable
// (${cycles}) is a mistake, for none is known. With mistakes the set is nil, or holds the claims that are right: enough to
// look for further mistakes, not to judge by.
func Parse(file string, firstLine int, data []byte) (*Set, error) {
	return ParseVars(file, firstLine, data, Vars{})
}

// Vars are the variables that may stand in any value of a claim.
type Vars struct {
	Values map[string]string
	// Later says of a name without a value that it may have one by the time that the claims are judged: a value that
	// holds it goes unchecked. Such claims can't be judged. Nil says it of none.
	Later func(name string) bool
}

// ParseVars is Parse with variables put in.
func ParseVars(file string, firstLine int, data []byte, vars Vars) (*Set, error) {
	v, err := scenario.Document(file, firstLine, data)
	var errs scenario.Errors
	if err != nil && (v == nil || !errors.As(err, &errs)) {
		return nil, err
	}
	set, err := Claims(*v, vars)
	var more scenario.Errors
	errors.As(err, &more)
	return set, append(errs, more...).Err()
}

// Claims is ParseVars for claims that have been read from a file already, a scenario's above all.
func Claims(v scenario.Value, vars Vars) (*Set, error) {
	f := filling{vars: vars, unknown: map[scenario.Pos]bool{}}
	v = f.fill(v)
	var found scenario.Errors
	set := fileForm().Read(&found, "expect", v)
	for _, e := range found {
		if !f.unknown[e.Pos] { // what is not known can't be wrong, and one mistake is told once
			f.errs = append(f.errs, e)
		}
	}
	return &set, f.errs.Err()
}

// filling puts the values of variables into a document.
type filling struct {
	vars    Vars
	unknown map[scenario.Pos]bool // values that hold a variable without a value
	errs    scenario.Errors
}

// fill gives v with variables put in; v itself, which others may hold, stays as it is.
func (f *filling) fill(v scenario.Value) scenario.Value {
	if v.Scalar != nil && strings.Contains(*v.Scalar, "${") {
		text := scenario.Variable.ReplaceAllStringFunc(*v.Scalar, func(ref string) string { return f.value(v.Pos, ref) })
		v.Scalar = &text
	}
	v.List, v.Map = slices.Clone(v.List), slices.Clone(v.Map)
	for i := range v.List {
		v.List[i] = f.fill(v.List[i])
	}
	for i := range v.Map {
		v.Map[i].Value = f.fill(v.Map[i].Value)
	}
	return v
}

func (f *filling) value(at scenario.Pos, ref string) string {
	name := ref[len("${") : len(ref)-len("}")]
	value, ok := f.vars.Values[name]
	if ok {
		return value
	}
	f.unknown[at] = true
	if f.vars.Later == nil || !f.vars.Later(name) {
		f.errs.Addf(at, "${%s}: unknown variable: %s", name, scenario.Suggest(name, slices.Sorted(maps.Keys(f.vars.Values))))
	}
	return ref
}

// fileForm is the form of a file, and of the claims of a scenario.
func fileForm() scenario.Form[Set] {
	claims := scenario.ListOf(1, claimForm())
	object := &scenario.Object[file]{
		Name: "an expectation", Doc: "Claims about what a device did on the wire, with what they share.",
		Keys: []scenario.Key[file]{
			scenario.Field("about", "What the claims are for, in a sentence or two.", scenario.Text("a text"), func(f *file) *string { return &f.about }),
			scenario.Field(keyAccount, accountDoc, accountForm(), func(f *file) *string { return &f.account }),
			scenario.Field(keyWindow, "The window of the run that the claims are about, unless a claim names its own.", windowForm(), func(f *file) *windowRef { return &f.window }),
			scenario.Needed(scenario.Field("expect", "The claims. What is not claimed is not cared about.", claims, func(f *file) *[]*claim { return &f.claims })),
		},
	}
	return scenario.Form[Set]{
		Schema: func(defs map[string]any) map[string]any {
			return map[string]any{"anyOf": []any{object.Schema(defs), claims.Schema(defs)}}
		},
		Read: func(errs *scenario.Errors, name string, v scenario.Value) Set {
			var f file
			if v.List != nil {
				f.claims = claims.Read(errs, name, v)
			} else {
				f = object.Read(errs, name, v)
			}
			return f.set(v.Pos)
		},
	}
}

// file is an expectations file as read.
type file struct {
	about, account string
	window         windowRef
	claims         []*claim
}

// set gives the claims what they share.
func (f *file) set(pos scenario.Pos) Set {
	s := Set{Pos: pos, About: f.about, Account: f.account, Window: f.window.text}
	for _, c := range f.claims {
		if c == nil {
			continue
		}
		if c.scope.window.name == "" && takes(c.kind, keyWindow) {
			c.scope.window = f.window
			c.scope.window.shared = true
		}
		if c.scope.account == "" && takes(c.kind, keyAccount) {
			c.scope.account = f.account
		}
		s.Claims = append(s.Claims, c)
	}
	return s
}

func takes(kindName, key string) bool {
	k, _ := kindNamed(kindName)
	return slices.Contains(k.beside, key)
}

const accountDoc = "How bytes are counted: wire (the inner Ethernet frame without padding) or soracom (36 bytes more for each packet up). The run's own where not given."

func accountForm() scenario.Form[string] {
	return scenario.Choice("account", trace.Wire.Name, trace.Soracom.Name)
}

func windowForm() scenario.Form[windowRef] {
	return adapt(scenario.Word("a window such as get or cycle[3]", windowShape), func(text string) windowRef {
		w, _ := parseWindow(text)
		return w
	})
}

func phaseForm() scenario.Form[flow.Phase] {
	words := make([]string, flow.NumPhases)
	for p := range flow.NumPhases {
		words[p] = p.String()
	}
	return adapt(scenario.Choice("phase", words...), func(text string) flow.Phase {
		p, _ := flow.ParsePhase(text)
		return p
	})
}

// claimForm is the form of one claim: one kind, and what stands beside it.
func claimForm() scenario.Form[*claim] {
	object := &scenario.Object[item]{Name: "a claim", Doc: "One claim: one kind with its value, and what part of the record it is about.", Check: oneKind}
	var one []map[string]any
	for _, k := range kinds() {
		object.Keys = append(object.Keys, k.key)
		one = append(one, k.rule())
	}
	object.Rules = []map[string]any{{"oneOf": one}}
	object.Keys = append(object.Keys,
		scenario.Field(keyWindow, "The window that the claim is about; every cycle of one that repeats, or one of them: cycle[3].", windowForm(), func(t *item) *windowRef { return &t.scope.window }),
		scenario.Field(keyFlow, "Which flows the claim is about.", selectorForm(), func(t *item) **selector { return &t.scope.flow }),
		scenario.Each(keyPhase, "Which packets the claim is about, by what they were for.", phaseForm(), func(t *item, _ scenario.Entry, p flow.Phase) { t.scope.phase = &p }),
		scenario.Field(keyAccount, accountDoc, accountForm(), func(t *item) *string { return &t.scope.account }),
		scenario.Each(keyCounted, "on_air (the default) counts a packet that the mirror joined as those that the air carried; captured counts it as one.",
			scenario.Choice("way of counting", "on_air", "captured"), func(t *item, _ scenario.Entry, way string) { t.scope.captured = way == "captured" }),
	)
	return scenario.Form[*claim]{
		Schema: object.Schema,
		Read: func(errs *scenario.Errors, name string, v scenario.Value) *claim {
			t := object.Read(errs, name, v)
			if len(t.kinds) != 1 {
				return nil
			}
			e := t.kinds[0]
			return &claim{pos: e.Pos, kind: e.Key, text: e.Key + ": " + e.Value.Text(), scope: t.scope, checker: t.checker}
		},
	}
}

// rule is the part of the schema that says what may stand beside the kind.
func (k kind) rule() map[string]any {
	forbidden := map[string]any{}
	for _, key := range []string{keyWindow, keyFlow, keyPhase, keyAccount, keyCounted} {
		if !slices.Contains(k.beside, key) {
			forbidden[key] = false
		}
	}
	rule := map[string]any{"required": []string{k.name}}
	if len(forbidden) > 0 {
		rule["properties"] = forbidden
	}
	return rule
}

// oneKind checks that a claim is of one kind, and that what stands beside it means something there.
func oneKind(errs *scenario.Errors, t *item, v scenario.Value, known bool) {
	switch len(t.kinds) {
	case 0:
		if known {
			names := make([]string, 0, len(kinds()))
			for _, k := range kinds() {
				names = append(names, k.name)
			}
			errs.Addf(v.Pos, "the claim says nothing: one of %s is missing", strings.Join(names, ", "))
		}
		return
	case 1:
	default:
		errs.Addf(t.kinds[1].Pos, "%q beside %q: these are two claims, write each as its own item of the list", t.kinds[1].Key, t.kinds[0].Key)
		return
	}
	k, _ := kindNamed(t.kinds[0].Key)
	for _, e := range v.Map {
		beside := e.Key == keyWindow || e.Key == keyFlow || e.Key == keyPhase || e.Key == keyAccount || e.Key == keyCounted
		if beside && !slices.Contains(k.beside, e.Key) {
			what := "nothing may"
			if len(k.beside) > 0 {
				what = strings.Join(k.beside, ", ") + " may"
			}
			errs.Addf(e.Pos, "%q means nothing beside %q: %s stand there", e.Key, k.name, what)
		}
	}
}
