package runner

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/fixtures/synth"
	"github.com/tollgate-iot/tollgate/harness/plan"
	"github.com/tollgate-iot/tollgate/harness/scenario"
	"github.com/tollgate-iot/tollgate/harness/trace"
)

// A mirror that delivers the answer of a lookup behind the packet that it led to hides that packet from nobody who waits for
// it by its name.
func TestAwaitedByANameThatIsToldLate(t *testing.T) {
	w := synth.New(synth.Options{Mirror: synth.GRE})
	device, server := synth.NewHost(deviceAddr.String(), 100), synth.NewHost(serverAddr.String(), 1)
	w.Lookup(device, 40000, synth.NewHost("100.127.0.53", 1), 7, "beam.soracom.io", synth.Answer{Addrs: []*synth.Host{server}})
	w.UDP(device, 40001, server, 23080).Send(synth.Up, []byte("hello"))
	query, answer, hello := w.Frames[0], w.Frames[1], w.Frames[2]
	r := newRig(t)
	r.device.script = func(*fakeDevice, context.Context, string, map[string]string) (string, error) {
		for _, f := range []synth.Frame{query, hello, answer} {
			r.tap.push(r.clock.Now(), f.Data)
		}
		return "", nil
	}
	s := awaiting(plan.Wanted{Packet: &scenario.PacketWant{Direction: "up", To: "beam.soracom.io:23080"}})
	s.Within = 5 * time.Second
	tr := r.run(t.Context(), makePlan(nil, []plan.Step{do("udp"), s}, nil))
	require.Empty(t, tr.Failed)
	require.Empty(t, tr.Trouble)
	require.Equal(t, []string{"seen"}, states(tr, trace.EventPacket))
}
