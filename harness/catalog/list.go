package catalog

import (
	"fmt"
	"os"

	"github.com/tollgate-iot/tollgate/harness/bench"
	"github.com/tollgate-iot/tollgate/harness/plan"
	"github.com/tollgate-iot/tollgate/harness/scenario"
)

// Parts is what a bench has.
type Parts struct {
	Name    string
	Devices []plan.Abilities
	Taps    []string // name and driver
}

// List says what a bench has, without opening anything: an inventory file, or "" or SimName for the simulated bench.
func List(name string) (*Parts, error) {
	if (Options{Bench: name}).simulated() {
		return simList(), nil
	}
	inv, err := readInventory(name)
	if err != nil {
		return nil, err
	}
	out := &Parts{Name: inv.Name}
	for i := range inv.Devices {
		out.Devices = append(out.Devices, partAbilities(inv, &inv.Devices[i]))
	}
	for _, t := range inv.Taps {
		out.Taps = append(out.Taps, t.Name+" ("+t.Driver+")")
	}
	return out, nil
}

// Find says what the device that a scenario wants can do, without opening anything. The error is Open's for a mistake in
// a file or an option.
func Find(want scenario.DeviceWant, o Options) (plan.Abilities, error) {
	if o.simulated() {
		config, err := parseSim(o.Sim)
		if err != nil {
			return plan.Abilities{}, err
		}
		model, err := simModel(want)
		if err != nil {
			return plan.Abilities{}, err
		}
		a := deviceAbilities(model, model, simulated[model].driver, true)
		a.Deferred = config.peek && !config.world.Gate.On
		return a, nil
	}
	inv, err := o.inventory()
	if err != nil {
		return plan.Abilities{}, err
	}
	d, err := choose(inv, want, o.Device)
	if err != nil {
		return plan.Abilities{}, err
	}
	return partAbilities(inv, d), nil
}

func readInventory(file string) (*bench.Inventory, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read bench: %w", err)
	}
	return Inventory(file, data)
}

// partAbilities is what a device of an inventory can do.
func partAbilities(inv *bench.Inventory, d *bench.DevicePart) plan.Abilities {
	a := deviceAbilities(d.Name, d.Model(), d.Driver, len(inv.Taps) > 0)
	a.Deferred = deferredTaps(inv)
	if d.Carrier == "" {
		a.Carrier, a.Events = nil, nil
	}
	return a
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
