package runner

import (
	"context"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/bench"
	"github.com/tollgate-iot/tollgate/harness/plan"
	"github.com/tollgate-iot/tollgate/harness/trace"
)

// frankTap is a fake tap that tells of its shortcomings, and of the port that its VXLAN comes on.
type frankTap struct{ *fakeTap }

func (frankTap) Notes() []string      { return []string{"a small buffer", "hunter22"} }
func (frankTap) Doubt() string        { return "nobody counts for hunter22" }
func (frankTap) VXLANPorts() []uint16 { return []uint16{8472, 5789, 8472} }

// What a tap says of itself is in the record, and the capture is read, live and later, as it says.
func TestTapsSpeakOfThemselves(t *testing.T) {
	r := newRig(t)
	r.bench.Taps = []bench.Tap{frankTap{r.tap}}
	r.opts.Secrets = map[string]string{"key": "hunter22"}
	r.device.script = func(*fakeDevice, context.Context, string, map[string]string) (string, error) {
		r.tap.push(r.clock.Now(), onPort(8472, ping(serverAddr, deviceAddr)))
		return "", nil
	}
	tr := r.run(t.Context(), makePlan(nil, []plan.Step{do("get")}, nil))
	require.Equal(t, "nobody counts for "+mask, tr.Evidence.Taps[0].Doubt)
	require.Equal(t, []uint16{5789, 8472}, tr.Analysis.VXLANPorts)
	var notes []string
	for _, e := range tr.Timeline {
		if e.Kind == trace.EventTap && e.State == "note" {
			notes = append(notes, e.Text)
		}
	}
	require.Equal(t, []string{"a small buffer", mask}, notes)
	require.NoError(t, tr.Save(r.dir))
	loaded, err := trace.Load(r.dir)
	require.NoError(t, err)
	require.EqualValues(t, 1, loaded.Capture.Tunnels["vxlan"])
	require.Equal(t, trace.Unproven, loaded.Completeness(trace.Scope{}).State, "the canary alone proves nothing here")
}

// onPort wraps a frame in VXLAN on a UDP port.
func onPort(port uint16, inner []byte) []byte {
	return frame(serverAddr, serverAddr, &layers.UDP{SrcPort: 50000, DstPort: layers.UDPPort(port)}, gopacket.Payload("\x08\x00\x00\x00\x00\x00\x0a\x00"+string(inner)))
}
