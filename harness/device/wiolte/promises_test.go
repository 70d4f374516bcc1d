package wiolte_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/bench/benchtest"
	"github.com/tollgate-iot/tollgate/harness/device/wiolte"
	"github.com/tollgate-iot/tollgate/harness/sim"
)

// TestPromises holds the driver to bench.Device, on a simulated board at a real pseudo terminal. A board that hangs
// takes "udp" and says nothing more.
func TestPromises(t *testing.T) {
	benchtest.Device(t, func(t *testing.T) benchtest.DeviceFixture {
		w, err := sim.New(sim.Options{Seed: 1, Faults: sim.Faults{HangOn: "udp"}})
		if err != nil {
			t.Skip("the simulated bench does not run here: ", err)
		}
		t.Cleanup(func() { require.NoError(t, w.Close()) })
		device := wiolte.New(wiolte.Options{Port: func() (string, error) { return w.Port(), nil }, Clock: w.Clock()})
		return benchtest.DeviceFixture{
			Device: device,
			Clock:  w.Clock(),
			Works:  benchtest.Call{Verb: "activate"},
			Prints: true,
			Fails:  benchtest.Call{Verb: "http_get", Args: map[string]string{"url": "http://nowhere.invalid/"}},
			Hang: func(t *testing.T) {
				ctx, cancel := w.Clock().WithTimeout(context.Background(), time.Second)
				defer cancel()
				_, err := device.Do(ctx, "udp", map[string]string{"to": "beam.soracom.io:23080", "send": "x", "reply_within": "10s"})
				require.Error(t, err)
			},
		}
	})
}
