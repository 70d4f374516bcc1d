package sim

import (
	"net/netip"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/header"

	"github.com/tollgate-iot/tollgate/harness/sim/api"
)

const (
	// radioMTU makes the longest segment 1357 bytes: the joined packet of 2768 bytes that the mirror was seen to send
	// is twice that and one set of headers.
	radioMTU        = 1397
	radioLatency    = 25 * time.Millisecond // one way, device to gateway
	radioGap        = 2 * time.Millisecond  // the shortest time between two packets on the air
	backhaulLatency = 3 * time.Millisecond  // one way, gateway to servers
)

// speedClasses are the plan's speed classes, in bits a second (facts: the API definition's list; the rates are the
// operator's public ones).
var speedClasses = map[string]int{
	"s1.minimum": 32_000, "s1.slow": 128_000, "s1.standard": 512_000, "s1.fast": 2_000_000, "s1.4xfast": 8_000_000,
}

const defaultSpeedClass = "s1.fast"

// network is the cellular network between the device's modem and the servers: two radio wires, two behind the gateway,
// and the gateway itself, where packets are counted and copied. Without a session no packet passes the gateway. Behind it
// there may be another one, with a mirror of its own: see GateOptions. Downlink pings come from behind both.
//
//	modem ══ radio ══ gateway ═══════ gate ══ backhaul ══ servers
//	                  │ counters,     │ mirror
//	                  │ mirror, carrier
type network struct {
	clock   *Clock
	carrier *carrier
	mirror  *mirror
	gate    *gate

	up, down         *wire // radio
	upBack, downBack *wire // backhaul

	mu    sync.Mutex
	pings map[uint16]chan<- uint16 // downlink pings in progress, by identifier: sequence numbers answered
}

// newNetwork joins a modem and servers, each given as what takes packets for it.
func newNetwork(clock *Clock, c *carrier, m *mirror, g *gate, toModem, toServers func([]byte)) *network {
	n := &network{clock: clock, carrier: c, mirror: m, gate: g, pings: map[uint16]chan<- uint16{}}
	n.up = &wire{clock: clock, latency: radioLatency, gap: radioGap, to: n.fromDevice}
	n.down = &wire{clock: clock, latency: radioLatency, gap: radioGap, to: toModem}
	n.upBack = &wire{clock: clock, latency: backhaulLatency, to: toServers}
	n.downBack = &wire{clock: clock, latency: backhaulLatency, to: n.toDevice}
	n.setSpeed(speedClasses[defaultSpeedClass])
	return n
}

func (n *network) setSpeed(bitsPerSecond int) {
	n.up.setRate(bitsPerSecond)
	n.down.setRate(bitsPerSecond)
}

// fromDevice takes a packet that came over the radio to the gateway.
func (n *network) fromDevice(packet []byte) {
	ip, ok := ipv4Of(packet)
	if !ok || !n.carrier.passUp(addrOf(ip.SourceAddress()), len(packet)) {
		return
	}
	n.mirror.copy(packet, true)
	if packet, ok = n.gate.up(packet); !ok {
		return
	}
	if addrOf(ip.DestinationAddress()) == gatewayAddr {
		n.pong(ip)
		return
	}
	n.upBack.send(packet)
}

// toDevice takes a packet that came from the servers, or from the gateway itself, for the device.
func (n *network) toDevice(packet []byte) {
	packet, ok := n.gate.down(packet)
	if !ok {
		return
	}
	ip, ok := ipv4Of(packet)
	if !ok || !n.carrier.passDown(addrOf(ip.DestinationAddress()), len(packet)) {
		return
	}
	n.mirror.copy(packet, false)
	n.down.send(packet)
}

// gatewayAddr is the gateway's own address, from which downlink pings come.
var gatewayAddr = netip.AddrFrom4([4]byte{100, 127, 10, 16})

// ping sends one ICMP echo request down to the device. The answer's sequence number goes to answered.
func (n *network) ping(to netip.Addr, ident, seq uint16, answered chan<- uint16) {
	n.mu.Lock()
	n.pings[ident] = answered
	n.mu.Unlock()
	n.toDevice(echoRequest(gatewayAddr, to, ident, seq, []byte("tollgate downlink ping")))
}

// endPing forgets a ping.
func (n *network) endPing(ident uint16) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.pings, ident)
}

// pong takes what the device sent to the gateway: answers to pings are told, everything else is dropped.
func (n *network) pong(ip header.IPv4) {
	icmp := header.ICMPv4(ip.Payload())
	if ip.TransportProtocol() != header.ICMPv4ProtocolNumber || len(icmp) < header.ICMPv4MinimumSize ||
		icmp.Type() != header.ICMPv4EchoReply {
		return
	}
	n.mu.Lock()
	answered := n.pings[icmp.Ident()]
	n.mu.Unlock()
	if answered == nil {
		return
	}
	select {
	case answered <- icmp.Sequence():
	default: // answered more often than asked
	}
}

// attach gives the device a session; lost tells the modem, from the clock's goroutine, that the network ended it.
func (n *network) attach(apn string, lost func()) (netip.Addr, error) {
	return n.carrier.begin(apn, lost)
}

// detach ends the session from the device's side.
func (n *network) detach() { n.carrier.end(endedByDevice) }

var _ api.Backend = (*carrier)(nil)
