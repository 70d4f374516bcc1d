package sim

import (
	"slices"
	"sync"

	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// GateOptions says what there is between the network's gateway and the servers. The zero value is nothing: with On there is a
// gateway of the operator's customer, through which everything passes both ways, with a mirror of its own on its far side.
type GateOptions struct {
	On        bool
	Translate bool    // it gives the device's packets other ports
	Drop      []int   // packets that it loses, by number from 1, as they come from either side
	Loss      float64 // share of the copies that its mirror loses
}

// gate is that gateway. A nil gate passes everything as it is.
type gate struct {
	opts   GateOptions
	mirror *mirror

	mu     sync.Mutex
	number int
}

// newGate gives nil where there is to be none. Its mirror wraps as the network's own does.
func newGate(clock *Clock, seed uint64, o GateOptions, m MirrorOptions) *gate {
	if !o.On {
		return nil
	}
	return &gate{opts: o, mirror: newMirror(clock, seed+1, MirrorOptions{Wrapping: m.Wrapping, Sequence: m.Sequence, Loss: o.Loss})}
}

// up takes a packet from the device, and gives it as it leaves on the far side.
func (g *gate) up(packet []byte) ([]byte, bool) {
	if g == nil {
		return packet, true
	}
	if g.drops() {
		return nil, false
	}
	if g.opts.Translate {
		packet = translated(packet, true)
	}
	g.mirror.copy(packet, true)
	return packet, true
}

// down takes a packet for the device on its far side, and gives it as it goes on.
func (g *gate) down(packet []byte) ([]byte, bool) {
	if g == nil {
		return packet, true
	}
	g.mirror.copy(packet, false)
	if g.drops() {
		return nil, false
	}
	if g.opts.Translate {
		packet = translated(packet, false)
	}
	return packet, true
}

// drops counts a packet and says whether it is lost here.
func (g *gate) drops() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.number++
	return slices.Contains(g.opts.Drop, g.number)
}

// otherPort is what a port is changed by: done twice it is undone, so nothing need be remembered.
const otherPort = 0x4000

// translated gives a packet with another port at the device's end; what has no ports stays as it is.
func translated(packet []byte, up bool) []byte {
	out := slices.Clone(packet)
	ip, ok := ipv4Of(out)
	if !ok || ip.FragmentOffset() != 0 {
		return packet
	}
	if tcp, ok := tcpOf(ip); ok {
		if up {
			tcp.SetSourcePortWithChecksumUpdate(tcp.SourcePort() ^ otherPort)
		} else {
			tcp.SetDestinationPortWithChecksumUpdate(tcp.DestinationPort() ^ otherPort)
		}
		return out
	}
	udp := header.UDP(ip.Payload())
	if ip.TransportProtocol() != header.UDPProtocolNumber || len(udp) < header.UDPMinimumSize {
		return packet
	}
	if up {
		udp.SetSourcePortWithChecksumUpdate(udp.SourcePort() ^ otherPort)
	} else {
		udp.SetDestinationPortWithChecksumUpdate(udp.DestinationPort() ^ otherPort)
	}
	return out
}
