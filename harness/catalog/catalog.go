// Package catalog knows every driver, carrier, tap and bench by its name: one literal table, no registration on import.
// It opens benches for a run, and tells what a device can do without opening anything.
package catalog

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/tollgate-iot/tollgate/harness/bench"
	"github.com/tollgate-iot/tollgate/harness/carrier/soracom"
	"github.com/tollgate-iot/tollgate/harness/device/trigger"
	"github.com/tollgate-iot/tollgate/harness/device/wiolte"
	"github.com/tollgate-iot/tollgate/harness/plan"
	"github.com/tollgate-iot/tollgate/harness/scenario"
)

// portFunc finds a device's serial port each time that it is opened: a board that was reset may be back under another
// name.
type portFunc = func() (string, error)

// deviceDriver operates devices.
type deviceDriver struct {
	verbs     func() []plan.VerbSpec
	noConsole bool
	open      func(port portFunc, clock bench.Clock) bench.Device
}

// devices are the device drivers by name.
var devices = map[string]deviceDriver{
	"wio-lte": {verbs: wiolte.Verbs, open: func(p portFunc, c bench.Clock) bench.Device { return wiolte.New(wiolte.Options{Port: p, Clock: c}) }},
	"trigger": {verbs: trigger.Verbs, noConsole: true, open: func(p portFunc, c bench.Clock) bench.Device { return trigger.New(trigger.Options{Port: p, Clock: c}) }},
}

// carrierDriver is a client of a carrier's API.
type carrierDriver struct {
	verbs  func() []plan.VerbSpec
	events func() []string
	open   func(o carrierOptions, imsi string, clock bench.Clock) (bench.Carrier, error)
}

// carriers are the carriers by name.
var carriers = map[string]carrierDriver{
	"soracom": {verbs: soracom.Verbs, events: soracom.EventNames, open: openSoracom},
}

// taps are the taps by driver name.
var taps = map[string]tapDriver{
	"afpacket": tapOf(afpacketObject(), openAFPacket),
	"file":     tapOf(fileObject(), openFile),
	"gre":      tapOf(greObject(), openGRE),
	peekDriver: peekTap(),
	"pipe":     tapOf(pipeObject(), openPipe),
	"ssh":      tapOf(sshObject(), openSSH),
	"vxlan":    tapOf(vxlanObject(), openVXLAN),
}

// simulated are the models that the simulated bench has, with the driver that operates each and its personality.
var simulated = map[string]struct{ driver, personality string }{
	"wio-lte":       {"wio-lte", "wio-lte"},
	"button":        {"trigger", "button"},
	"gps-multiunit": {"trigger", "gps-multiunit"},
}

// SimName is the name of the simulated bench.
const SimName = "sim"

// Options say which bench to open.
type Options struct {
	Bench string // an inventory file; "" or SimName for the simulated bench
	Sim   string // see SimHelp
	// Shared are the taps that this bench shares with others of the process; nil where it shares none.
	Shared *Shared
	// Device is the name of the one device of an inventory that will do; "" for the first that fits.
	Device string
}

// BrokenError is a bench that is described well and could not be opened: the run is inconclusive.
type BrokenError struct {
	Bench string
	Err   error
}

func (e *BrokenError) Error() string { return fmt.Sprintf("open bench %s: %v", e.Bench, e.Err) }

// Unwrap gives the cause.
func (e *BrokenError) Unwrap() error { return e.Err }

// Open makes a bench ready for one run of a device that a scenario wants. A *BrokenError means that the bench is at
// fault; every other error is a mistake in a file or an option, as scenario.Errors or by itself.
func Open(ctx context.Context, want scenario.DeviceWant, o Options) (*bench.Bench, error) {
	if o.simulated() {
		return openSim(want, o.Sim)
	}
	inv, err := o.inventory()
	if err != nil {
		return nil, err
	}
	return openInventory(ctx, want, o, inv)
}

func (o Options) simulated() bool { return o.Bench == "" || o.Bench == SimName }

// inventory reads the bench file.
func (o Options) inventory() (*bench.Inventory, error) {
	if o.Sim != "" {
		return nil, fmt.Errorf("--sim says how the simulated bench behaves: leave it or --bench %s out", o.Bench)
	}
	return readInventory(o.Bench)
}

// Abilities says what an open bench can do, for planning.
func Abilities(b *bench.Bench) plan.Abilities {
	a := plan.Abilities{Device: b.DevName, Model: b.Model, Driver: b.Driver, Tap: len(b.Taps) > 0, Deferred: allDeferred(b.Taps), NoConsole: devices[b.Driver].noConsole}
	if b.Device != nil {
		a.Verbs = b.Device.Verbs()
	}
	if b.Carrier != nil {
		a.Carrier = b.Carrier.Verbs()
		a.Events = soracom.EventNames()
	}
	return a
}

// AbilitiesOf says what a device that a scenario wants could do on a bench with a carrier and a tap, as far as the
// catalog knows it, for checking files without a bench.
func AbilitiesOf(want scenario.DeviceWant) plan.Abilities {
	driver := want.Driver
	if driver == "" {
		driver = simulated[want.Model].driver
	}
	if _, ok := devices[driver]; !ok {
		return plan.Abilities{Unknown: true}
	}
	return deviceAbilities(want.Model, want.Model, driver, true)
}

// names gives the keys of a table, in order, for messages.
func names[T any](table map[string]T) []string { return slices.Sorted(maps.Keys(table)) }
