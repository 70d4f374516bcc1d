package catalog

import (
	"fmt"
	"os"

	"github.com/tollgate-iot/tollgate/harness/plan"
)

// Parts is what a bench has.
type Parts struct {
	Name    string
	Devices []plan.Abilities
	Taps    []string // name and driver
}

// List says what a bench has, without opening anything: an inventory file, or "" or SimName for the simulated bench.
func List(bench string) (*Parts, error) {
	if bench == "" || bench == SimName {
		return simList(), nil
	}
	data, err := os.ReadFile(bench)
	if err != nil {
		return nil, fmt.Errorf("read bench: %w", err)
	}
	inv, err := Inventory(bench, data)
	if err != nil {
		return nil, err
	}
	out := &Parts{Name: inv.Name}
	for i := range inv.Devices {
		d := &inv.Devices[i]
		a := deviceAbilities(d.Name, d.Model(), d.Driver, len(inv.Taps) > 0)
		if d.Carrier == "" {
			a.Carrier, a.Events = nil, nil
		}
		out.Devices = append(out.Devices, a)
	}
	for _, t := range inv.Taps {
		out.Taps = append(out.Taps, t.Name+" ("+t.Driver+")")
	}
	return out, nil
}

func simList() *Parts {
	out := &Parts{Name: SimName, Taps: []string{simTap + " (pipe)"}}
	for _, model := range names(simulated) {
		out.Devices = append(out.Devices, deviceAbilities(model, model, simulated[model].driver, true))
	}
	return out
}

// deviceAbilities is what a device can do by its driver, with the carrier that there is.
func deviceAbilities(name, model, driver string, tap bool) plan.Abilities {
	d, c := devices[driver], carriers["soracom"]
	return plan.Abilities{Device: name, Model: model, Driver: driver, Verbs: d.verbs(), NoConsole: d.noConsole,
		Carrier: c.verbs(), Events: c.events(), Tap: tap}
}
