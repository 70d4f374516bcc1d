package trigger_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/bench/benchtest"
	"github.com/tollgate-iot/tollgate/harness/device/trigger"
	"github.com/tollgate-iot/tollgate/harness/sim"
)

// TestPromises holds the driver to bench.Device, with each device that it can trigger on a simulated bench.
func TestPromises(t *testing.T) {
	for personality, works := range map[string]string{"button": "click", "gps-multiunit": "power_on"} {
		t.Run(personality, func(t *testing.T) {
			benchtest.Device(t, func(t *testing.T) benchtest.DeviceFixture {
				w, err := sim.New(sim.Options{Personality: personality, Seed: 1})
				if err != nil {
					t.Skip("the simulated bench does not run here: ", err)
				}
				t.Cleanup(func() { require.NoError(t, w.Close()) })
				return benchtest.DeviceFixture{
					Device: trigger.New(trigger.Options{Port: func() (string, error) { return w.Port(), nil }, Clock: w.Clock()}),
					Clock:  w.Clock(),
					Works:  benchtest.Call{Verb: works},
				}
			})
		})
	}
}
