package catalog

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/bench"
	"github.com/tollgate-iot/tollgate/harness/carrier/soracom"
	"github.com/tollgate-iot/tollgate/harness/pcap"
	"github.com/tollgate-iot/tollgate/harness/scenario"
	"github.com/tollgate-iot/tollgate/harness/sim"
)

func TestParseSim(t *testing.T) {
	c, err := parseSim("speed=10,seed=7,firmware=patched,mirror=vxlan,mirror_sequence=true,mirror_loss=0.05,mirror_lose=7+9,mirror_snaplen=96," +
		"keep_address=true,deleted_lag=5s,events_late=30s,carrier_429=3,hang_on=http_get")
	require.NoError(t, err)
	require.Equal(t, sim.Options{Speed: 10, Seed: 7, Firmware: "patched", Faults: sim.Faults{HangOn: "http_get"},
		Mirror:  sim.MirrorOptions{Wrapping: sim.VXLAN, Sequence: true, Loss: 0.05, Lose: []int{7, 9}, SnapLen: 96},
		Carrier: sim.CarrierOptions{KeepAddress: true, DeletedLag: 5 * time.Second}}, c.world)
	require.Equal(t, 30*time.Second, c.api.Events.Late)
	require.Equal(t, http.StatusTooManyRequests, c.api.Faults[0].Status)
	require.Equal(t, 3, c.api.Faults[0].Times)

	c, err = parseSim("")
	require.NoError(t, err)
	require.Zero(t, c.world.Mirror.Loss)

	c, err = parseSim("gate=translate,gate_drop=3+4,gate_loss=0.1")
	require.NoError(t, err)
	require.Equal(t, sim.GateOptions{On: true, Translate: true, Drop: []int{3, 4}, Loss: 0.1}, c.world.Gate)
	c, err = parseSim("gate_drop=3")
	require.NoError(t, err)
	require.True(t, c.world.Gate.On, "what loses is there")
	c, err = parseSim("gate=false")
	require.NoError(t, err)
	require.False(t, c.world.Gate.On)
}

func TestParseSimRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"mirror_los=1":    `unknown name "mirror_los": did you mean "mirror_loss"`,
		"speed":           `"speed": write NAME=VALUE`,
		"speed=0":         "speed=0: write a number from 1 to 10000",
		"speed=NaN":       "write a number",
		"mirror_loss=1.1": "write a share from 0 to 1",
		"mirror_loss=NaN": "write a share from 0 to 1",
		"gate=yes":        "write true, translate or false",
		"gate_drop=x":     "write the packets' numbers from 1",
		"mirror_lose=0":   "write the packets' numbers from 1",
		"mirror=erspan":   "write gre or vxlan",
		"mirror_join=yep": "write true or false",
		"seed=-1":         "write a whole number",
		"events_late=3":   "no unit",
		"carrier_500=0":   "1 or more",
		"mirror_snaplen=": "14 or more",
	} {
		_, err := parseSim(text)
		require.ErrorContains(t, err, want, text)
	}
}

// Every name of --sim is documented, and its example is one that it takes.
func TestSimHelp(t *testing.T) {
	help := SimHelp()
	for _, o := range simOptions {
		require.Contains(t, help, o.name+"="+o.value)
		example, _, _ := strings.Cut(o.value, "|")
		_, err := parseSim(o.name + "=" + example)
		require.NoError(t, err, o.name)
	}
}

const desk = `bench: desk
carriers:
  soracom:
    driver: soracom
    sims: ["440103123456789"]
    limits: {cuts: 200, calls: 2000}
devices:
  wio-1:
    driver: wio-lte
    port: {path: /dev/does-not-exist}
    carrier: soracom
    imsi: "440103123456789"
    labels: {model: wio-lte, firmware: "1.4.2"}
  wio-2:
    driver: wio-lte
    port: {path: /dev/ttyACM1}
    labels: {model: wio-lte, firmware: "1.5.0"}
taps:
  junction: {driver: ssh, host: mirror-host}
  file: {driver: pipe, path: /tmp/x.pcap}
`

func TestInventory(t *testing.T) {
	inv, err := Inventory("desk.yaml", []byte(desk))
	require.NoError(t, err)
	for name, c := range map[string]struct {
		want         scenario.DeviceWant
		name, device string
	}{
		"first of a model": {scenario.DeviceWant{Model: "wio-lte"}, "", "wio-1"},
		"by label":         {scenario.DeviceWant{Model: "wio-lte", Labels: map[string]string{"firmware": "1.5.0"}}, "", "wio-2"},
		"by driver":        {scenario.DeviceWant{Driver: "wio-lte"}, "", "wio-1"},
		"by name":          {scenario.DeviceWant{Model: "wio-lte"}, "wio-2", "wio-2"},
		"no such model":    {scenario.DeviceWant{Model: "button"}, "", ""},
		"no such label":    {scenario.DeviceWant{Labels: map[string]string{"firmware": "2"}}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := choose(inv, c.want, c.name)
			if c.device == "" {
				require.ErrorAs(t, err, new(scenario.Errors))
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.device, d.Name)
		})
	}
}

func TestInventoryMistakes(t *testing.T) {
	_, err := Inventory("bench.yaml", []byte(`bench: desk
carriers:
  c: {driver: kddi}
devices:
  a: {driver: wio-lte}
  b: {driver: wio-lte, port: {path: /dev/x, baud: 9600}, carrier: c}
taps:
  t1: {driver: pipe, path: x, stdin: true}
  t2: {driver: ssh, hots: y}
`))
	var errs scenario.Errors
	require.ErrorAs(t, err, &errs)
	text := errs.Error()
	for _, want := range []string{
		`bench.yaml:3:15: carrier "c": no driver "kddi"`, `bench.yaml:5:3: `, `"baud"`, `device "b" has a carrier but no imsi`,
		"needs exactly one of path, command and stdin", `"hots"`, "did you mean \"host\"",
	} {
		require.Contains(t, text, want)
	}
}

// The mistakes of a bench file that need no driver to be seen hide none of those that do, and are told once.
func TestInventoryMistakesAreToldTogether(t *testing.T) {
	_, err := Inventory("bench.yaml", []byte(`bench: desk
carrier:
  c: {driver: soracom}
devices:
  a: {driver: wio-lte, port: {path: /dev/x, baud: 9600}, carrier: c, imsi: 12x}
  b: {port: {path: /dev/y}}
`))
	require.EqualError(t, err, `bench.yaml:2:1: unknown key "carrier" in a bench: did you mean "carriers"?
bench.yaml:5:45: unknown key "baud" in a port: known: path
bench.yaml:5:76: imsi: "12x" is not an IMSI, up to 15 digits
bench.yaml:6:6: a device needs "driver"
4 errors`)
}

func TestFindOpensNothing(t *testing.T) {
	file := filepath.Join(t.TempDir(), "desk.yaml")
	require.NoError(t, os.WriteFile(file, []byte(desk), 0o644))
	a, err := Find(scenario.DeviceWant{Labels: map[string]string{"firmware": "1.5.0"}}, Options{Bench: file})
	require.NoError(t, err)
	b, err := Open(t.Context(), scenario.DeviceWant{Labels: map[string]string{"firmware": "1.5.0"}}, Options{Bench: file})
	require.NoError(t, err)
	require.Equal(t, Abilities(b), a, "what Open gives")
	for _, tap := range b.Taps {
		require.NoError(t, tap.Close())
	}
	require.NoError(t, b.Close())

	a, err = Find(scenario.DeviceWant{Model: "button"}, Options{})
	require.NoError(t, err)
	require.True(t, a.NoConsole && a.Tap)
	for _, o := range []Options{{Sim: "sped=3"}, {Bench: file, Sim: "speed=3"}, {Bench: file + "x"}} {
		_, err := Find(scenario.DeviceWant{}, o)
		require.Error(t, err)
	}
	_, err = Find(scenario.DeviceWant{Model: "toaster"}, Options{})
	require.ErrorAs(t, err, new(scenario.Errors))
}

func TestOpenInventory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "desk.yaml")
	require.NoError(t, os.WriteFile(file, []byte(desk), 0o644))
	_, err := Open(t.Context(), scenario.DeviceWant{Pos: scenario.Pos{File: "s.yaml", Line: 2, Column: 3}, Model: "button"}, Options{Bench: file})
	require.EqualError(t, err, "s.yaml:2:3: bench desk has no device with model button: it has wio-1 (model wio-lte, driver wio-lte), wio-2 (model wio-lte, driver wio-lte)\n1 error")

	b, err := Open(t.Context(), scenario.DeviceWant{Labels: map[string]string{"firmware": "1.5.0"}}, Options{Bench: file})
	require.NoError(t, err)
	require.Equal(t, "wio-2", b.DevName)
	require.Nil(t, b.Carrier)
	require.Len(t, b.Taps, 2)
	a := Abilities(b)
	require.True(t, a.Tap)
	require.Empty(t, a.Carrier)
	require.NotEmpty(t, a.Verbs)
	for _, tap := range b.Taps {
		require.NoError(t, tap.Close())
	}
	require.NoError(t, b.Close())

	t.Setenv("SORACOM_PROFILE_DIR", t.TempDir())
	_, err = Open(t.Context(), scenario.DeviceWant{Model: "wio-lte"}, Options{Bench: file})
	var broken *BrokenError
	require.ErrorAs(t, err, &broken, "no profile to sign in with: the bench's fault")

	_, err = Open(t.Context(), scenario.DeviceWant{}, Options{Bench: file, Sim: "speed=1"})
	require.ErrorContains(t, err, "--sim says how the simulated bench behaves")
	_, err = Open(t.Context(), scenario.DeviceWant{}, Options{Bench: "missing.yaml"})
	require.ErrorContains(t, err, "read bench")
	require.False(t, errors.As(err, &broken))
}

// The simulated bench has every model that it lists, each with a driver of the table, and they work.
func TestOpenSim(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the simulated bench needs a pseudo terminal, which Windows has not")
	}
	for _, model := range names(simulated) {
		t.Run(model, func(t *testing.T) {
			b, err := Open(t.Context(), scenario.DeviceWant{Model: model}, Options{})
			require.NoError(t, err)
			defer func() { require.NoError(t, b.Close()) }()
			require.Equal(t, model, b.Model)
			require.NoError(t, b.Taps[0].Start(t.Context(), func(pcap.Record) {}))
			console := make(chan bench.Line)
			done := make(chan struct{})
			go func() {
				for {
					select {
					case <-console:
					case <-done:
						return
					}
				}
			}()
			require.NoError(t, b.Device.Open(t.Context(), console))
			_, err = b.Carrier.Address(t.Context())
			require.NoError(t, err)
			require.NoError(t, b.Device.Close())
			close(done)
			require.NoError(t, b.Taps[0].Close())
			require.NoError(t, b.Carrier.Close())
		})
	}
	_, err := Open(t.Context(), scenario.DeviceWant{Model: "toaster"}, Options{})
	require.ErrorContains(t, err, "the simulated bench has no device with model toaster")
	_, err = Open(t.Context(), scenario.DeviceWant{Model: "wio-lte"}, Options{Sim: "firmware=toaster"})
	require.ErrorContains(t, err, "firmware=toaster: a wio-lte has stock, patched")
}

func TestAbilitiesOf(t *testing.T) {
	require.True(t, AbilitiesOf(scenario.DeviceWant{Driver: "process"}).Unknown)
	a := AbilitiesOf(scenario.DeviceWant{Model: "wio-lte"})
	require.False(t, a.Unknown)
	require.Equal(t, soracom.EventNames(), a.Events)
	require.Equal(t, "trigger", AbilitiesOf(scenario.DeviceWant{Model: "button"}).Driver)
}

func TestList(t *testing.T) {
	parts, err := List("")
	require.NoError(t, err)
	require.Len(t, parts.Devices, len(simulated))
	_, err = List("missing.yaml")
	require.Error(t, err)
}

func TestPortAt(t *testing.T) {
	port, err := portAt("/dev/ttyACM3")()
	require.NoError(t, err)
	require.Equal(t, "/dev/ttyACM3", port)
	if runtime.GOOS == "linux" {
		_, err = portAt("pci-no-such-socket")()
		require.ErrorContains(t, err, "is the board plugged in there?")
	}
}

func TestWallClock(t *testing.T) {
	ctx, cancel := wallClock{}.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	<-ctx.Done()
	require.ErrorIs(t, context.Cause(ctx), context.DeadlineExceeded)
	require.ErrorIs(t, wallClock{}.Sleep(ctx, time.Hour), context.DeadlineExceeded)
	require.NoError(t, wallClock{}.Sleep(t.Context(), time.Nanosecond))
}
