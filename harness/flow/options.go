package flow

import (
	"net/netip"
	"time"

	"github.com/tollgate-iot/tollgate/harness/packet"
)

// The times after which flows are let go, where Options does not say otherwise.
const (
	DefaultIdle    = 124 * time.Minute // TCP without a packet: as long as what is on the way must keep it (RFC 5382, REQ-5)
	DefaultIdleUDP = 5 * time.Minute   // every other protocol without a packet (RFC 4787, REQ-5), and never longer than Idle
	DefaultLinger  = 2 * time.Minute   // TCP without a packet after its close
)

// atEase is how many open flows a Tracker keeps without looking at the clock. A clock can be wrong: where captures were
// joined it runs ahead and comes back, and flows would be cut in two that were never silent.
const atEase = 1 << 10

// Options say how a Tracker follows flows. The zero value follows them at full speed: nothing is kept of a flow
// beyond its sums, and devices are inferred from who opened the flows.
type Options struct {
	// Devices says who is a device. Empty: inferred. A flow of which neither side is a device is marked Foreign.
	Devices []netip.Prefix
	// KeepFlows gathers the detail of flows (names, queries, TLS, exchanges, messages) and makes every *Flow given to
	// Done the caller's to keep. Without it, a *Flow is valid only during the call of Done and holds sums only.
	KeepFlows bool
	// KeepPackets keeps the packets of each flow in Flow.Packets. It implies KeepFlows.
	KeepPackets bool
	// Idle is how long a flow may be without a packet before it is let go, Linger the same for a TCP flow that has
	// closed. A later packet begins a new flow, marked Resumed where it does not open one. Zero means the default.
	// A silent flow may stay with the Tracker longer, until a later packet of it or the need for room ends it.
	Idle, Linger time.Duration
	// PathOf gives the path of packet.Packet.Path; usually Decoder.Path. Nil leaves Flow.Path empty.
	PathOf func(uint16) packet.Path
	// Done is called with each flow when it is let go, and from Flush.
	Done func(*Flow)
	// Seen is called with each packet at once, the mirror's duplicates left out. The Flow is brought up to date before
	// each call and stays the same pointer that Done gets; the Packet is valid during the call. The phase of a packet
	// that came before what it belongs to (an ACK before its data) is a guess that is put right later in Flow.Phases
	// and Flow.Packets. Seen implies KeepFlows and costs much; leave it nil for captures.
	Seen func(*Flow, *Packet)
}

// IDHole is a stretch of numbers that a sender counted up through and the capture never saw.
type IDHole struct {
	Device   netip.Addr // whose IP identification; invalid where several devices' holes are summed up
	Path     uint16     // see packet.Packet.Path
	From, To int64      // seen last before the hole, seen first after it; nanoseconds since the Unix epoch
	Packets  uint64     // numbers missing
}
