package catalog

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tollgate-iot/tollgate/harness/bench"
	"github.com/tollgate-iot/tollgate/harness/scenario"
)

// OpenTap makes a tap for use by itself, as on a command line: its driver, and its options as KEY=VALUE, which are those of
// a bench file. Where a list may stand, VALUE is taken apart at its commas, and a command at its spaces. Mistakes are
// scenario.Errors. What is given is a bench of the tap and, where the tap needs one, its carrier: CloseParts closes both.
func OpenTap(driver string, options []string) (*bench.Bench, error) {
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
	if d, known := taps[driver]; known {
		d.byItself().check(&errs, p)
	} else {
		checkTap(&errs, p)
	}
	if err := errs.Err(); err != nil {
		return nil, err
	}
	b := &bench.Bench{ByItself: true, Clock: wallClock{}}
	tap, err := taps[driver].byItself().open(p, b)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open tap %s: %w", driver, err), closeCarrier(b))
	}
	b.Taps = []bench.Tap{tap}
	return b, nil
}

// BenchTap makes a tap of a bench file for use by itself, as OpenTap does. The one option that it may have is sim=NAME: the
// device, or its IMSI, whose SIM a tap in the carrier's network captures; the only device with a carrier where it has none.
func BenchTap(file, name string, options []string) (*bench.Bench, error) {
	inv, err := readInventory(file)
	if err != nil {
		return nil, err
	}
	known := make([]string, len(inv.Taps))
	for i := range inv.Taps {
		known[i] = inv.Taps[i].Name
	}
	i := slices.Index(known, name)
	if i < 0 {
		return nil, fmt.Errorf("bench %s has no tap %q: %s", inv.Name, name, scenario.Suggest(name, known))
	}
	p, b := &inv.Taps[i], &bench.Bench{Name: inv.Name, ByItself: true, Clock: wallClock{}}
	if err := giveCarrier(b, inv, file, p, options); err != nil {
		return nil, err
	}
	tap, err := taps[p.Driver].open(p, b)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open tap %s of bench %s: %w", name, inv.Name, err), closeCarrier(b))
	}
	b.Taps = []bench.Tap{tap}
	return b, nil
}

// giveCarrier gives a bench the carrier of the device whose SIM a tap captures; other taps need none.
func giveCarrier(b *bench.Bench, inv *bench.Inventory, file string, p *bench.Part, options []string) error {
	sim := ""
	for _, o := range options {
		key, value, _ := strings.Cut(o, "=")
		if taps[p.Driver].alone == nil || key != "sim" || sim != "" || value == "" {
			return fmt.Errorf("tap %s is described in %s: leave %s out, or --bench", p.Name, file, o)
		}
		sim = value
	}
	if taps[p.Driver].alone == nil {
		return nil
	}
	d, err := whose(inv, p.Name, sim)
	if err != nil {
		return err
	}
	b.Carrier, err = deviceCarrier(inv, d, b.Clock)
	return err
}

// whose finds the device whose SIM is meant: by its name, by its IMSI, or as the only one that has a carrier.
func whose(inv *bench.Inventory, tap, sim string) (*bench.DevicePart, error) {
	var can []*bench.DevicePart
	var known []string
	for i := range inv.Devices {
		d := &inv.Devices[i]
		if d.Carrier == "" {
			continue
		}
		if sim == d.Name || sim == d.IMSI {
			return d, nil
		}
		can, known = append(can, d), append(known, d.Name)
	}
	switch {
	case sim != "":
		return nil, fmt.Errorf("bench %s has no device %q with a carrier: %s", inv.Name, sim, scenario.Suggest(sim, known))
	case len(can) > 1:
		return nil, fmt.Errorf("tap %s captures the packets of one SIM, and bench %s has several: say which with sim=%s", tap, inv.Name, strings.Join(known, " or sim="))
	}
	return can[0], nil // a bench without any is refused as it is read
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

// tapProperties gives the schemas of the options of a driver's tap by itself, by their names.
func tapProperties(driver string) map[string]any {
	d, ok := taps[driver]
	if !ok {
		return nil
	}
	defs := map[string]any{}
	d.byItself().schema(defs)
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
