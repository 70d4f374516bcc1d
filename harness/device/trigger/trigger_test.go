package trigger_test

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/bench"
	"github.com/tollgate-iot/tollgate/harness/bench/benchtest"
	"github.com/tollgate-iot/tollgate/harness/device/trigger"
	"github.com/tollgate-iot/tollgate/harness/sim"
)

// simulated gives a personality's world with the driver before it, where this machine can have one.
func simulated(t *testing.T, personality string) (*sim.World, *trigger.Device) {
	t.Helper()
	if runtime.GOOS != "linux" && runtime.GOOS != "darwin" {
		t.Skip("the simulated bench needs a pseudo terminal, which Tollgate can't make on " + runtime.GOOS)
	}
	w, err := sim.New(sim.Options{Personality: personality})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.Close()) })
	return w, trigger.New(trigger.Options{Port: func() (string, error) { return w.Port(), nil }, Clock: w.Clock()})
}

func TestContract(t *testing.T) {
	for personality, works := range map[string]benchtest.Call{
		"button":        {Verb: "click"},
		"gps-multiunit": {Verb: "power_on"},
	} {
		t.Run(personality, func(t *testing.T) {
			benchtest.Device(t, func(t *testing.T) benchtest.DeviceFixture {
				w, d := simulated(t, personality)
				return benchtest.DeviceFixture{Device: d, Clock: w.Clock(), Works: works, Hang: func(*testing.T) { w.Hang() }}
			})
		})
	}
}

func TestWhatTheActuatorRefusesIsTheBenchs(t *testing.T) {
	_, d := simulated(t, "button")
	lines := make(chan bench.Line, 100)
	require.NoError(t, d.Open(t.Context(), lines))
	defer d.Close()
	require.Equal(t, "button stock", d.Model())
	_, err := d.Do(t.Context(), "power_on", nil)
	require.ErrorContains(t, err, "the actuator: power_on: unknown verb")
	var device *bench.DeviceError
	require.NotErrorAs(t, err, &device)
}
