package catalog

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/tollgate-iot/tollgate/harness/bench"
	"github.com/tollgate-iot/tollgate/harness/scenario"
)

// OpenTap makes a tap for use by itself, as on a command line: its driver, and its options as KEY=VALUE, which are those of
// a bench file. Where a list may stand, VALUE is taken apart at its commas, and a command at its spaces. Mistakes are
// scenario.Errors.
func OpenTap(driver string, options []string) (bench.Tap, error) {
	at := scenario.Pos{File: strings.TrimSpace("tap " + driver)}
	p := &bench.Part{Pos: at, DriverPos: at, Name: driver, Driver: driver}
	var errs scenario.Errors
	for _, o := range options {
		key, value, ok := strings.Cut(o, "=")
		switch {
		case !ok || key == "":
			errs.Addf(at, "%q: write KEY=VALUE; %s", o, optionsOf(driver))
		case slices.ContainsFunc(p.Options, func(e scenario.Entry) bool { return e.Key == key }):
			errs.Addf(at, "%s is given twice", key)
		default:
			p.Options = append(p.Options, scenario.Entry{Key: key, Pos: at, Value: valueOf(driver, key, value, at)})
		}
	}
	if driver == "" {
		errs.Addf(at, "which driver? %s", scenario.Suggest("", names(taps)))
	}
	checkTap(&errs, p)
	if err := errs.Err(); err != nil {
		return nil, err
	}
	tap, err := taps[driver].open(p, &bench.Bench{Clock: wallClock{}})
	if err != nil {
		return nil, fmt.Errorf("open tap %s: %w", driver, err)
	}
	return tap, nil
}

// BenchTap makes a tap of a bench file for use by itself.
func BenchTap(file, name string) (bench.Tap, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read bench: %w", err)
	}
	inv, err := Inventory(file, data)
	if err != nil {
		return nil, err
	}
	known := make([]string, len(inv.Taps))
	for i := range inv.Taps {
		p := &inv.Taps[i]
		if known[i] = p.Name; p.Name != name {
			continue
		}
		tap, err := taps[p.Driver].open(p, &bench.Bench{Clock: wallClock{}})
		if err != nil {
			return nil, fmt.Errorf("open tap %s of bench %s: %w", name, inv.Name, err)
		}
		return tap, nil
	}
	return nil, fmt.Errorf("bench %s has no tap %q: %s", inv.Name, name, scenario.Suggest(name, known))
}

// valueOf makes of a text what a bench file would hold.
func valueOf(driver, key, text string, at scenario.Pos) scenario.Value {
	words := []string{text}
	switch listOf(driver, key) {
	case onlyList:
		words = strings.Fields(text)
	case orList:
		words = strings.Split(text, ",")
		if len(words) > 1 {
			break
		}
		fallthrough
	case noList:
		return scenario.Value{Pos: at, Scalar: &text, Tag: "!!str"}
	}
	v := scenario.Value{Pos: at, List: []scenario.Value{}}
	for _, w := range words {
		v.List = append(v.List, scenario.Value{Pos: at, Scalar: &w, Tag: "!!str"})
	}
	return v
}

// lists says whether an option is a list.
type lists int

const (
	noList lists = iota
	orList
	onlyList
)

// listOf reads it from the option's schema.
func listOf(driver, key string) lists {
	schema, _ := tapProperties(driver)[key].(map[string]any)
	if schema["type"] == "array" {
		return onlyList
	}
	either, _ := schema["anyOf"].([]any)
	for _, form := range either {
		if m, ok := form.(map[string]any); ok && m["type"] == "array" {
			return orList
		}
	}
	return noList
}

// tapProperties gives the schemas of a driver's options, by their names.
func tapProperties(driver string) map[string]any {
	d, ok := taps[driver]
	if !ok {
		return nil
	}
	defs := map[string]any{}
	d.schema(defs)
	definition, _ := defs["tap"].(map[string]any)
	properties, _ := definition["properties"].(map[string]any)
	return properties
}

// optionsOf says what options a driver has.
func optionsOf(driver string) string {
	return "known: " + strings.Join(names(tapProperties(driver)), ", ")
}

// TapHelp tells of every driver and its options.
func TapHelp() string {
	var b strings.Builder
	b.WriteString("Drivers of taps, with their options:\n")
	for _, driver := range names(taps) {
		fmt.Fprintf(&b, "  %s\n", driver)
		properties := tapProperties(driver)
		for _, key := range names(properties) {
			schema, _ := properties[key].(map[string]any)
			fmt.Fprintf(&b, "    %-12s %s\n", key, schema["description"])
		}
	}
	return strings.TrimRight(b.String(), "\n")
}
