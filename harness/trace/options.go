package trace

import (
	"net/netip"
	"time"

	"github.com/tollgate-iot/tollgate/harness/packet"
)

// Options say how a capture is read.
type Options struct {
	// Devices says who is a device; empty means whoever opened the flows.
	Devices []netip.Prefix `json:"devices,omitempty"`
	// VXLANPorts are UDP ports that carry VXLAN besides 4789.
	VXLANPorts []uint16 `json:"vxlan_ports,omitempty"`
	// SameMirror says that every tunnel, VLAN and VNI shows the same network: equal 5-tuples are one flow.
	SameMirror bool `json:"same_mirror,omitempty"`
	// Filtered says that packets of other devices than Devices were left out of the capture: what numbers the mirror gave,
	// and how others' packets run, is not to be judged by it (MirrorEvidence tells of that).
	Filtered bool `json:"filtered,omitempty"`
	// KeepFlows keeps the flows and the devices' sums. Without it only Total is made, and memory grows with the flows
	// that are open at a time, and by some 60 bytes for each device's address, never with the flows seen.
	KeepFlows bool `json:"-"`
	// KeepPackets keeps each flow's packets. It needs KeepFlows.
	KeepPackets bool `json:"-"`
	// Idle and Linger say when a flow is let go: after that long without a packet, and that long after its close.
	// Zero means the tracker's own times.
	Idle   time.Duration `json:"idle,omitempty"`
	Linger time.Duration `json:"linger,omitempty"`
	// Decoded, where not nil, is called with each device's packet before it is analysed, on the caller's goroutine. The packet
	// is valid during the call.
	Decoded func(*packet.Packet) `json:"-"`
	// Progress is called every 65,536 frames and at the end, with the frames read and the captured bytes in them.
	Progress func(frames, bytes uint64) `json:"-"`
}
