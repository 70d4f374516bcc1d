package catalog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/tollgate-iot/tollgate/harness/bench"
	"github.com/tollgate-iot/tollgate/harness/carrier/soracom"
	"github.com/tollgate-iot/tollgate/harness/scenario"
)

// Inventory reads a bench file and checks all that its drivers know of their options. The error is scenario.Errors: every
// mistake in the file.
func Inventory(file string, data []byte) (*bench.Inventory, error) {
	inv, err := bench.ParseInventory(file, data)
	var errs scenario.Errors
	if err != nil && (inv == nil || !errors.As(err, &errs)) {
		return nil, err
	}
	for i := range inv.Devices {
		checkDevice(&errs, &inv.Devices[i])
	}
	for i := range inv.Carriers {
		checkPart(&errs, &inv.Carriers[i], "carrier", names(carriers), carrierObject())
	}
	for i := range inv.Taps {
		checkTap(&errs, &inv.Taps[i])
	}
	checkPeek(&errs, inv)
	if err := errs.Err(); err != nil {
		return nil, err
	}
	return inv, nil
}

// deviceOptions are the options of the device drivers here: all of them have a serial port.
type deviceOptions struct{ port string }

// carrierOptions are the options of soracom.
type carrierOptions struct {
	profile, endpoint string
	sims              []string
	cuts, calls       int
}

func deviceObject() *scenario.Object[deviceOptions] {
	path := &scenario.Object[deviceOptions]{Name: "a port", Keys: []scenario.Key[deviceOptions]{
		scenario.Needed(scenario.Field("path", "The device file (/dev/ttyACM0, COM3), or the name by which udev knows the socket it is in (pci-0000:00:14.0-usb-0:2:1.0).",
			scenario.Text("a port's path"), func(o *deviceOptions) *string { return &o.port })),
	}}
	return &scenario.Object[deviceOptions]{Name: "a device", Keys: []scenario.Key[deviceOptions]{
		scenario.Needed(scenario.Field("port", "The serial port.", path.Form(), func(o *deviceOptions) *deviceOptions { return o })),
	}}
}

func carrierObject() *scenario.Object[carrierOptions] {
	limits := &scenario.Object[carrierOptions]{Name: "limits", Keys: []scenario.Key[carrierOptions]{
		scenario.Field("cuts", "Sessions deleted in a run at most.", scenario.Count(1, 1_000_000), func(o *carrierOptions) *int { return &o.cuts }),
		scenario.Field("calls", "Calls to the API in a run at most.", scenario.Count(1, 1_000_000), func(o *carrierOptions) *int { return &o.calls }),
	}}
	return &scenario.Object[carrierOptions]{Name: "a carrier", Keys: []scenario.Key[carrierOptions]{
		scenario.Field("profile", "The vendor command's profile to sign in with.", scenario.Text("a profile's name"), func(o *carrierOptions) *string { return &o.profile }),
		scenario.Field("endpoint", "Another address of the API.", scenario.Text("a URL"), func(o *carrierOptions) *string { return &o.endpoint }),
		scenario.Field("sims", "The SIMs that may be touched; no other ever is.", scenario.ListOf(1, scenario.Text("an IMSI or a SIM ID")), func(o *carrierOptions) *[]string { return &o.sims }),
		scenario.Each("limits", "What a run may do at most.", limits.Form(), func(o *carrierOptions, _ scenario.Entry, v carrierOptions) { o.cuts, o.calls = v.cuts, v.calls }),
	}}
}

func checkDevice(errs *scenario.Errors, d *bench.DevicePart) {
	checkPart(errs, &d.Part, "device", names(devices), deviceObject())
	if d.Carrier != "" && d.IMSIPos.Line == 0 {
		errs.Addf(d.Pos, "device %q has a carrier but no imsi: the carrier must know which SIM is meant", d.Name)
	}
}

// checkPart checks a part's driver and options, and gives the options.
func checkPart[T any](errs *scenario.Errors, p *bench.Part, what string, known []string, o *scenario.Object[T]) T {
	var none T
	if p.Driver == "" { // a mistake that has been told
		return none
	}
	if !slices.Contains(known, p.Driver) {
		errs.Addf(p.DriverPos, "%s %q: no driver %q: %s", what, p.Name, p.Driver, scenario.Suggest(p.Driver, known))
		return none
	}
	return o.Read(errs, fmt.Sprintf("%s %q", what, p.Name), scenario.Value{Pos: p.Pos, Map: append([]scenario.Entry{}, p.Options...)})
}

// openInventory makes a bench of the first device that a scenario may have.
func openInventory(_ context.Context, want scenario.DeviceWant, o Options, inv *bench.Inventory) (*bench.Bench, error) {
	d, err := choose(inv, want, o.Device)
	if err != nil {
		return nil, err
	}
	if err := checkShared(inv, d); err != nil {
		return nil, err
	}
	b := &bench.Bench{Name: inv.Name, Places: map[string]string{}, Clock: wallClock{}, Model: d.Model(), Driver: d.Driver, DevName: d.Name, Close: func() error { return nil }}
	var errs scenario.Errors // none: the inventory was checked
	b.Device = devices[d.Driver].open(portAt(checkPart(&errs, &d.Part, "device", names(devices), deviceObject()).port), b.Clock)
	if d.Carrier != "" {
		if b.Carrier, err = deviceCarrier(inv, d, b.Clock); err != nil {
			return nil, &BrokenError{inv.Name, err}
		}
	}
	for i := range inv.Taps {
		p := &inv.Taps[i]
		tap, err := openTap(p, b, o)
		if err != nil {
			return nil, &BrokenError{inv.Name, errors.Join(fmt.Errorf("tap %s: %w", p.Name, err), closeCarrier(b))}
		}
		b.Taps = append(b.Taps, tap)
		if p.Place != "" {
			b.Places[p.Name] = p.Place
		}
	}
	return b, nil
}

// deviceCarrier opens the carrier of a device's SIM.
func deviceCarrier(inv *bench.Inventory, d *bench.DevicePart, clock bench.Clock) (bench.Carrier, error) {
	p := inv.Carrier(d.Carrier)
	var errs scenario.Errors // none: the inventory was checked
	carrier, err := carriers[p.Driver].open(checkPart(&errs, p, "carrier", names(carriers), carrierObject()), d.IMSI, clock)
	if err != nil {
		return nil, fmt.Errorf("carrier %s: %w", p.Name, err)
	}
	return carrier, nil
}

func closeCarrier(b *bench.Bench) error {
	if b.Carrier == nil {
		return nil
	}
	return b.Carrier.Close()
}

// choose gives the first device that has the model, the driver and all the labels that are wanted, and the name where
// one is given. The error is scenario.Errors, at the place of the wish.
func choose(inv *bench.Inventory, want scenario.DeviceWant, name string) (*bench.DevicePart, error) {
	for i := range inv.Devices {
		if d := &inv.Devices[i]; (name == "" || d.Name == name) && fits(d, want) {
			return d, nil
		}
	}
	var errs scenario.Errors
	errs.Addf(want.Pos, "bench %s has no device with %s: it has %s", inv.Name, wanted(want), deviceNames(inv))
	return nil, errs
}

func fits(d *bench.DevicePart, want scenario.DeviceWant) bool {
	if want.Model != "" && d.Model() != want.Model || want.Driver != "" && d.Driver != want.Driver {
		return false
	}
	for k, v := range want.Labels {
		if d.Labels[k] != v {
			return false
		}
	}
	return true
}

func wanted(w scenario.DeviceWant) string {
	var parts []string
	if w.Model != "" {
		parts = append(parts, "model "+w.Model)
	}
	if w.Driver != "" {
		parts = append(parts, "driver "+w.Driver)
	}
	for _, k := range names(w.Labels) {
		parts = append(parts, k+" "+w.Labels[k])
	}
	return strings.Join(parts, ", ")
}

func deviceNames(inv *bench.Inventory) string {
	var parts []string
	for i := range inv.Devices {
		d := &inv.Devices[i]
		parts = append(parts, fmt.Sprintf("%s (model %s, driver %s)", d.Name, d.Model(), d.Driver))
	}
	return strings.Join(parts, ", ")
}

// byPath is where udev names serial ports by the socket that they are in.
const byPath = "/dev/serial/by-path"

// portAt gives a port's path: of a device file itself, or of the one that udev keeps for a socket.
func portAt(path string) portFunc {
	return func() (string, error) {
		if runtime.GOOS != "linux" || filepath.IsAbs(path) {
			return path, nil
		}
		port, err := filepath.EvalSymlinks(filepath.Join(byPath, path))
		if errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("no serial port in %s: is the board plugged in there? `ls %s` shows what there is", path, byPath)
		}
		return port, err
	}
}

func openSoracom(o carrierOptions, imsi string, clock bench.Clock) (bench.Carrier, error) {
	return soracom.New(soracom.Options{SIM: imsi, Allowed: o.sims, Profile: o.profile, Endpoint: o.endpoint, Clock: clock,
		Budget: &soracom.Budget{Cuts: o.cuts, Calls: o.calls}})
}

// wallClock is this machine's clock, for real hardware.
type wallClock struct{}

func (wallClock) Now() time.Time { return time.Now().UTC() }

func (wallClock) Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (wallClock) WithTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, d, context.DeadlineExceeded)
}
