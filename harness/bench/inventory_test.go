package bench_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/bench"
	"github.com/tollgate-iot/tollgate/harness/scenario"
	"github.com/tollgate-iot/tollgate/harness/scenario/schematest"
)

const desk = `bench: desk
carriers:
  one: {driver: soracom, profile: default, sims: ["001010000000001"]}
devices:
  wio-1:
    driver: wio-lte
    port: {path: usb-1}
    carrier: one
    imsi: 001010000000001
    labels: {model: wio-lte, firmware: "1.4.2"}
  black-1: {driver: blackbox}
taps:
  junction: {driver: ssh, host: mirror-host}
`

func TestParseInventory(t *testing.T) {
	v, err := bench.ParseInventory("bench.yaml", []byte(desk))
	require.NoError(t, err)
	at := func(line, column int) scenario.Pos {
		return scenario.Pos{File: "bench.yaml", Line: line, Column: column}
	}
	require.Equal(t, "desk", v.Name)
	require.Equal(t, "soracom", v.Carrier("one").Driver)
	require.Nil(t, v.Carrier("two"))
	require.Len(t, v.Devices, 2, "in the file's order")
	wio := v.Devices[0]
	require.Equal(t, "wio-1", wio.Name)
	require.Equal(t, at(5, 3), wio.Pos)
	require.Equal(t, at(6, 13), wio.DriverPos)
	require.Equal(t, "one", wio.Carrier)
	require.Equal(t, "001010000000001", wio.IMSI, "as written, not as a number")
	require.Equal(t, "wio-lte", wio.Model())
	port, ok := wio.Option("port")
	require.True(t, ok)
	require.Equal(t, "path", port.Map[0].Key)
	_, ok = wio.Option("labels")
	require.False(t, ok, "the bench's own keys are no options")
	require.Equal(t, "blackbox", v.Devices[1].Model(), "without a label the driver says what it is")
	require.Equal(t, "junction", v.Taps[0].Name)
	require.Equal(t, "host", v.Taps[0].Options[0].Key)
}

func TestParseInventoryErrors(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"empty", "", "b.yaml:1:1: the file is empty"},
		{"no devices", "bench: a\n", `b.yaml:1:1: a bench needs "devices"`},
		{"none in devices", "bench: a\ndevices: {}\n", "b.yaml:2:10: devices: a bench needs at least one"},
		{"key", "bench: a\ndevcies:\n  a: {driver: b}\n", `b.yaml:2:1: unknown key "devcies" in a bench: did you mean "devices"?`},
		{"no driver", "bench: a\ndevices:\n  a: {port: b}\n", `b.yaml:3:6: a device needs "driver"`},
		{"driver", "bench: a\ndevices:\n  a: {driver: Wio LTE}\n", `b.yaml:3:15: driver: "Wio LTE" is not a driver's name such as wio-lte`},
		{"name", "bench: a\ndevices:\n  a b: {driver: c}\n", `b.yaml:3:3: devices: "a b" is not a name such as wio-1`},
		{"carrier", "bench: a\ncarriers: {soracom: {driver: soracom}}\ndevices:\n  a: {driver: b, carrier: soracmo}\n", `b.yaml:4:27: device "a": the bench has no carrier "soracmo": did you mean "soracom"?`},
		{"no carriers", "bench: a\ndevices:\n  a: {driver: b, carrier: c}\n", `b.yaml:3:27: device "a": the bench has no carrier "c": none is known`},
		{"imsi", "bench: a\ndevices:\n  a: {driver: b, imsi: abc}\n", `b.yaml:3:24: imsi: "abc" is not an IMSI, up to 15 digits`},
		{"imsi twice", "bench: a\ndevices:\n  a: {driver: b, imsi: 001010000000001}\n  c: {driver: b, imsi: 001010000000001}\n", `b.yaml:4:3: device "c" has the IMSI of device "a": a SIM is in one device`},
		{"a list", "bench: a\ndevices: [a]\n", "b.yaml:2:10: devices: want a mapping, got a list"},
		{"labels", "bench: a\ndevices:\n  a: {driver: b, labels: [c]}\n", "b.yaml:3:26: labels: want a mapping, got a list"},
		{"twice", "bench: a\ndevices:\n  a: {driver: b}\n  a: {driver: b}\n", `b.yaml:4:3: key "a" is written twice: first in line 3`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := bench.ParseInventory("b.yaml", []byte(c.text))
			require.ErrorAs(t, err, new(scenario.Errors))
			require.Contains(t, err.Error(), c.want)
		})
	}
}

func TestInventorySchema(t *testing.T) {
	schema := schematest.Compile(t, bench.Schema())
	require.NoError(t, schema.Judge(t, []byte(desk)))
	for _, bad := range []string{"bench: a\n", "bench: a\ndevices:\n  a: {port: b}\n", "bench: a\ndevices: [a]\n", "bench: a\ndevcies: {}\n",
		"bench: a\ndevices:\n  a: {driver: Wio LTE}\n", "bench: a\ndevices:\n  a b: {driver: c}\n"} {
		require.Error(t, schema.Judge(t, []byte(bad)), bad)
	}
}

func TestInventorySchemaTakesWhatIsParsed(t *testing.T) {
	var places []string
	for _, device := range []string{"driver: %s", "driver: b, imsi: %s", "driver: b, carrier: %s", "driver: b, labels: {a: %s}", "driver: b, port: %s"} {
		places = append(places, "bench: a\ncarriers: {c: {driver: b}}\ndevices: {a: {"+device+"}}\n")
	}
	for _, tap := range []string{"driver: %s", "driver: b, place: %s", "driver: b, shared: %s", "driver: b, interface: %s"} {
		places = append(places, "bench: a\ndevices: {a: {driver: b}}\ntaps: {t: {"+tap+"}}\n")
	}
	places = append(places, "bench: %s\ndevices: {a: {driver: b}}\n")
	schematest.TakesWhatIsParsed(t, bench.Schema(), func(text []byte) error {
		_, err := bench.ParseInventory("b.yaml", text)
		return err
	}, places, []string{"wio-lte", "c", "before-gateway", "true", "001010000000001", "/dev/ttyACM0"})
}

func TestExampleBench(t *testing.T) {
	shared := os.Getenv("TOLLGATE_SHARED")
	if shared == "" {
		shared = "../../../shared"
	}
	file := filepath.Join(shared, "examples", "bench.yaml")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Skipf("the examples are not here: %v", err)
	}
	v, err := bench.ParseInventory(file, data)
	require.NoError(t, err)
	require.Equal(t, "desk", v.Name)
	require.Equal(t, "soracom", v.Devices[0].Carrier)
}

func FuzzParseInventory(f *testing.F) {
	f.Add([]byte(desk))
	f.Add([]byte("bench: a\ndevices: {a: {driver: b, carrier: c}}\n"))
	schema := schematest.Compile(f, bench.Schema())
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := bench.ParseInventory("b.yaml", data)
		if err == nil {
			require.NoError(t, schema.Judge(t, data), "what the parser takes, an editor does not mark as wrong")
			require.NotEmpty(t, v.Devices)
			return
		}
		var errs scenario.Errors
		require.ErrorAs(t, err, &errs)
		for _, e := range errs {
			require.Positive(t, e.Pos.Line)
			require.Positive(t, e.Pos.Column)
		}
	})
}
