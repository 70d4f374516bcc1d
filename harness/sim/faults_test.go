package sim_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/bench"
	"github.com/tollgate-iot/tollgate/harness/sim"
)

func TestReset(t *testing.T) {
	t.Parallel()
	r := newRig(t, sim.Options{})
	r.must("activate", nil)
	r.must("reset", nil)
	require.Equal(t, "inactive", r.must("status", nil))
	r.must("activate", nil)
	require.Equal(t, "hello", r.must("http_get", map[string]string{"url": beam}))
	boots := 0
	for _, l := range r.shown() {
		if l == "### Setup completed." {
			boots++
		}
	}
	require.Equal(t, 2, boots)
}

func TestHang(t *testing.T) {
	t.Parallel()
	r := newRig(t, sim.Options{Faults: sim.Faults{HangOn: "http_get"}})
	r.must("activate", nil)
	_, err := r.do("http_get", map[string]string{"url": beam})
	var device *bench.DeviceError
	require.ErrorAs(t, err, &device, "silence after a command that it had accepted is the device's fault")
	require.Contains(t, device.Reason, "no answer within 2m0s")
}

func TestPortVanishesAndComesBackUnderAnotherName(t *testing.T) {
	t.Parallel()
	r := newRig(t, sim.Options{Faults: sim.Faults{VanishOn: "udp"}})
	before := r.world.Port()
	r.must("activate", nil)
	_, err := r.do("udp", map[string]string{"to": socket, "send": "hello"})
	require.ErrorContains(t, err, before+": the port is gone")
	var device *bench.DeviceError
	require.NotErrorAs(t, err, &device)
	require.Equal(t, "200 hello", r.must("udp", map[string]string{"to": socket, "send": "hello"}))
	require.NotEqual(t, before, r.world.Port())
}

func TestSendIsFree(t *testing.T) {
	t.Parallel()
	r := newRig(t, sim.Options{})
	r.must("send", map[string]string{"text": "what the sketch does not understand"})
	r.must("send", map[string]string{"text": "#x nor this"})
	require.Equal(t, "inactive", r.must("status", nil))
}
