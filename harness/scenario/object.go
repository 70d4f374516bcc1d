package scenario

import (
	"encoding/json"
	"maps"
	"strings"
)

// Object is a mapping with known keys, read into a T.
type Object[T any] struct {
	Name string // in messages: "a step"
	Like string // an example for messages: "{model: wio-lte}"; may be left out
	Doc  string
	Keys []Key[T]
	// Rest takes keys that are not among Keys; without it they are mistakes.
	Rest func(t *T, e Entry)
	// Check judges what no single key can tell, after all keys were read; known says that every key was a known one.
	Check func(errs *Errors, t *T, v Value, known bool)
	// Rules are schemas that say what Check judges, as far as a schema can.
	Rules []map[string]any
}

// Key is one key of an Object. With a Name that ends in "." it stands for all keys that begin so.
type Key[T any] struct {
	Name, Doc string
	Required  bool
	read      func(errs *Errors, t *T, e Entry)
	schema    func(defs map[string]any) map[string]any
}

// Field is a key whose value is put where at says.
func Field[T, V any](name, doc string, form Form[V], at func(*T) *V) Key[T] {
	return Each(name, doc, form, func(t *T, _ Entry, v V) { *at(t) = v })
}

// Each is a key whose value is handed to put, with the entry as written.
func Each[T, V any](name, doc string, form Form[V], put func(t *T, e Entry, v V)) Key[T] {
	return Key[T]{Name: name, Doc: doc, schema: form.Schema,
		read: func(errs *Errors, t *T, e Entry) { put(t, e, form.Read(errs, e.Key, e.Value)) }}
}

// Needed makes a key one that must not be missing.
func Needed[T any](k Key[T]) Key[T] {
	k.Required = true
	return k
}

// Form is the object's form. The object may be filled in later: it may hold itself.
func (o *Object[T]) Form() Form[T] { return Form[T]{Read: o.Read, Schema: o.Schema} }

// Read reads a mapping; see Form.
func (o *Object[T]) Read(errs *Errors, name string, v Value) (t T) {
	if v.Map == nil {
		like := "a mapping"
		if o.Like != "" {
			like += " such as " + o.Like
		}
		errs.Addf(v.Pos, "%s: want %s, %s; got %s", name, o.Name, like, v.Kind())
		return t
	}
	seen, known := map[string]bool{}, true
	for _, e := range v.Map {
		k := o.key(e.Key)
		if k == nil && o.Rest != nil {
			o.Rest(&t, e)
			continue
		}
		if k == nil {
			known = false
			errs.Addf(e.Pos, "unknown key %q in %s: %s", e.Key, o.Name, o.suggest(e.Key))
			continue
		}
		seen[k.Name] = true
		k.read(errs, &t, e)
	}
	for _, k := range o.Keys {
		if k.Required && !seen[k.Name] && known {
			errs.Addf(v.Pos, "%s needs %q", o.Name, k.Name)
		}
	}
	if o.Check != nil {
		o.Check(errs, &t, v, known)
	}
	return t
}

// key finds the key for a name. What follows a prefix must be a plain word.
func (o *Object[T]) key(name string) *Key[T] {
	for i := range o.Keys {
		k := &o.Keys[i]
		if k.Name == name && !strings.HasSuffix(name, ".") {
			return k
		}
		if rest, ok := strings.CutPrefix(name, k.Name); ok && strings.HasSuffix(k.Name, ".") && verbName.MatchString(rest) {
			return k
		}
	}
	return nil
}

// suggest ends the message about an unknown key: what was probably meant, or else what there is.
func (o *Object[T]) suggest(name string) string {
	prefix, rest, dotted := strings.Cut(name, ".")
	var plain, shown []string
	for _, k := range o.Keys {
		before, isPrefix := strings.CutSuffix(k.Name, ".")
		if !isPrefix {
			plain, shown = append(plain, k.Name), append(shown, k.Name)
			continue
		}
		shown = append(shown, k.Name+"VERB")
		if dotted && verbName.MatchString(rest) && Closest(prefix, []string{before}) != "" {
			return Suggest(name, []string{k.Name + rest})
		}
	}
	if near := Closest(name, plain); near != "" {
		return Suggest(name, plain)
	}
	return "known: " + strings.Join(shown, ", ")
}

// Schema gives the object's JSON Schema as a definition; see Form.
func (o *Object[T]) Schema(defs map[string]any) map[string]any {
	words := strings.Fields(o.Name) // "a packet to wait for" → packet_to_wait_for
	name := strings.Join(words[min(1, len(words)-1):], "_")
	ref := map[string]any{"$ref": "#/definitions/" + name}
	if _, ok := defs[name]; ok {
		return ref
	}
	definition := map[string]any{"type": "object", "additionalProperties": o.Rest != nil}
	defs[name] = definition // before the keys: they may hold this object again
	properties, patterns, required := map[string]any{}, map[string]any{}, []string{}
	for _, k := range o.Keys {
		schema := maps.Clone(k.schema(defs))
		if _, isRef := schema["$ref"]; isRef { // in draft 7 nothing beside $ref counts
			schema = map[string]any{"allOf": []any{schema}}
		}
		schema["description"] = k.Doc
		if prefix, ok := strings.CutSuffix(k.Name, "."); ok {
			patterns[`^`+prefix+`\.`+verbShape+`$`] = schema
		} else {
			properties[k.Name] = schema
		}
		if k.Required {
			required = append(required, k.Name)
		}
	}
	definition["properties"] = properties
	if o.Doc != "" {
		definition["description"] = o.Doc
	}
	if len(patterns) > 0 {
		definition["patternProperties"] = patterns
	}
	if len(required) > 0 {
		definition["required"] = required
	}
	if len(o.Rules) > 0 {
		definition["allOf"] = o.Rules
	}
	return ref
}

// SchemaOf gives a whole JSON Schema (draft 7, which editors know best) for files of a form.
func SchemaOf[T any](title string, f Form[T]) []byte {
	defs := map[string]any{}
	root := maps.Clone(f.Schema(defs))
	if ref, ok := root["$ref"]; ok {
		delete(root, "$ref")
		root["allOf"] = []any{map[string]any{"$ref": ref}}
	}
	root["$schema"] = "http://json-schema.org/draft-07/schema#"
	root["title"] = title
	root["definitions"] = defs
	text, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		panic("scenario: schema of " + title + ": " + err.Error()) // maps, lists and words: they can always be written
	}
	return append(text, '\n')
}
