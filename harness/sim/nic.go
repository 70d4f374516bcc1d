package sim

import (
	"sync"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// nic is a stack's way to the outside: whole IP packets, without a link layer.
type nic struct {
	out func([]byte) // gets every packet the stack sends, and may keep it

	mu         sync.RWMutex
	dispatcher stack.NetworkDispatcher
	mtu        uint32
}

var _ stack.LinkEndpoint = (*nic)(nil)

// deliver gives the stack a packet from outside. The packet is the stack's from then on.
func (n *nic) deliver(packet []byte) {
	n.mu.RLock()
	d := n.dispatcher
	n.mu.RUnlock()
	if d == nil {
		return
	}
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(packet)})
	defer pkt.DecRef()
	d.DeliverNetworkPacket(header.IPv4ProtocolNumber, pkt)
}

// WritePackets implements stack.LinkWriter.
func (n *nic) WritePackets(pkts stack.PacketBufferList) (int, tcpip.Error) {
	for _, pkt := range pkts.AsSlice() {
		view := pkt.ToView()
		packet := append([]byte(nil), view.AsSlice()...)
		view.Release()
		n.out(packet)
	}
	return pkts.Len(), nil
}

// MTU implements stack.LinkEndpoint.
func (n *nic) MTU() uint32 {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.mtu
}

// SetMTU implements stack.LinkEndpoint.
func (n *nic) SetMTU(mtu uint32) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mtu = mtu
}

// Attach implements stack.LinkEndpoint.
func (n *nic) Attach(d stack.NetworkDispatcher) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.dispatcher = d
}

// IsAttached implements stack.LinkEndpoint.
func (n *nic) IsAttached() bool {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.dispatcher != nil
}

// The rest of stack.LinkEndpoint: there is no link layer, and nothing runs that would have to be waited for.

func (*nic) MaxHeaderLength() uint16                      { return 0 }
func (*nic) LinkAddress() tcpip.LinkAddress               { return "" }
func (*nic) SetLinkAddress(tcpip.LinkAddress)             {}
func (*nic) Capabilities() stack.LinkEndpointCapabilities { return stack.CapabilityNone }
func (*nic) Wait()                                        {}
func (*nic) ARPHardwareType() header.ARPHardwareType      { return header.ARPHardwareNone }
func (*nic) AddHeader(*stack.PacketBuffer)                {}
func (*nic) ParseHeader(*stack.PacketBuffer) bool         { return true }
func (*nic) Close()                                       {}
func (*nic) SetOnCloseAction(func())                      {}
