package sim

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// nicID is the number of a stack's only interface.
const nicID = 1

// newStack makes a TCP/IP stack on an interface. Retransmission begins after a second at the earliest, so that a busy
// machine makes none that the air did not cause, and never backs off further than maxRTO.
func newStack(clock *Clock, n *nic, maxRTO time.Duration) (*stack.Stack, error) {
	s := stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol},
		Clock:              clock,
	})
	minimum, maximum := tcpip.TCPMinRTOOption(time.Second), tcpip.TCPMaxRTOOption(maxRTO)
	sack, recovery := tcpip.TCPSACKEnabled(false), tcpip.TCPRecovery(0)
	for _, o := range []tcpip.SettableTransportProtocolOption{&minimum, &maximum, &sack, &recovery} {
		if err := s.SetTransportProtocolOption(tcp.ProtocolNumber, o); err != nil {
			s.Destroy()
			return nil, fmt.Errorf("set %T of a simulated TCP stack: %s", o, err)
		}
	}
	if err := s.CreateNIC(nicID, n); err != nil {
		s.Destroy()
		return nil, fmt.Errorf("create the interface of a simulated TCP/IP stack: %s", err)
	}
	s.SetRouteTable([]tcpip.Route{{Destination: header.IPv4EmptySubnet, NIC: nicID}})
	return s, nil
}

// addAddress gives the stack an address.
func addAddress(s *stack.Stack, a netip.Addr) error {
	err := s.AddProtocolAddress(nicID, tcpip.ProtocolAddress{
		Protocol:          ipv4.ProtocolNumber,
		AddressWithPrefix: tcpip.AddressWithPrefix{Address: tcpip.AddrFrom4(a.As4()), PrefixLen: 32},
	}, stack.AddressProperties{})
	if err != nil {
		return fmt.Errorf("give a simulated stack the address %s: %s", a, err)
	}
	return nil
}

// fullAddress gives an address and port in the stack's form.
func fullAddress(a netip.AddrPort) tcpip.FullAddress {
	return tcpip.FullAddress{NIC: nicID, Addr: tcpip.AddrFrom4(a.Addr().As4()), Port: a.Port()}
}

// tcpConn is a TCP connection with the stack's endpoint, which can do what net.Conn can't: abort.
type tcpConn struct {
	*gonet.TCPConn
	ep    tcpip.Endpoint
	local netip.AddrPort
	peer  netip.AddrPort
}

// abort drops the connection with an RST.
func (c *tcpConn) abort() { c.ep.Abort() }

// The connections run on the simulated clock, deadlines of the wall's mean nothing to them.

func (*tcpConn) SetDeadline(time.Time) error      { return nil }
func (*tcpConn) SetReadDeadline(time.Time) error  { return nil }
func (*tcpConn) SetWriteDeadline(time.Time) error { return nil }

// dialTCP opens a connection from a local port. It gives up when ctx ends.
func dialTCP(ctx context.Context, s *stack.Stack, local, peer netip.AddrPort) (*tcpConn, error) {
	var wq waiter.Queue
	ep, terr := s.NewEndpoint(tcp.ProtocolNumber, ipv4.ProtocolNumber, &wq)
	if terr != nil {
		return nil, errors.New(terr.String())
	}
	if terr := ep.Bind(fullAddress(local)); terr != nil {
		ep.Close()
		return nil, errors.New(terr.String())
	}
	entry, writable := waiter.NewChannelEntry(waiter.WritableEvents)
	wq.EventRegister(&entry)
	defer wq.EventUnregister(&entry)
	terr = ep.Connect(fullAddress(peer))
	if _, started := terr.(*tcpip.ErrConnectStarted); started {
		select {
		case <-writable:
			terr = ep.LastError()
		case <-ctx.Done():
			ep.Abort()
			return nil, context.Cause(ctx)
		}
	}
	if terr != nil {
		ep.Close()
		return nil, errors.New(terr.String())
	}
	return &tcpConn{TCPConn: gonet.NewTCPConn(&wq, ep), ep: ep, local: local, peer: peer}, nil
}

// dialUDP opens a UDP socket to one peer.
func dialUDP(s *stack.Stack, local, peer netip.AddrPort) (*gonet.UDPConn, error) {
	from, to := fullAddress(local), fullAddress(peer)
	return gonet.DialUDP(s, &from, &to, ipv4.ProtocolNumber)
}
