package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// Addresses of the servers beyond the network. Those of the operator's own services are in the carrier-grade NAT range,
// as the real ones are.
var (
	dnsAddr      = netip.AddrFrom4([4]byte{100, 127, 0, 53})
	beamAddr     = netip.AddrFrom4([4]byte{100, 127, 127, 100})
	unifiedAddr  = netip.AddrFrom4([4]byte{100, 127, 69, 42})
	metadataAddr = netip.AddrFrom4([4]byte{100, 127, 100, 127})
	harvestAddr  = netip.AddrFrom4([4]byte{100, 127, 111, 111})
	websiteAddr  = netip.AddrFrom4([4]byte{52, 219, 0, 180})
	objectsAddr  = netip.AddrFrom4([4]byte{52, 219, 0, 182})
	publicAddr   = netip.AddrFrom4([4]byte{203, 0, 113, 10})
)

const (
	serverMTU = 1500
	backlog   = 64
	// serverMaxRTO and patience make a FIN that is never answered come nine times in all, as the metadata service's
	// did: at 0, 1, 3, 7, 15, 31, 61, 91 and 121 seconds.
	serverMaxRTO = 30 * time.Second
	patience     = 140 * time.Second
	// thinkTime is how long a server takes to answer.
	thinkTime = 20 * time.Millisecond
)

// servers are all the servers beyond the network, on one stack.
type servers struct {
	clock *Clock
	nic   *nic
	stack *stack.Stack
	back  *wire // set before anything is sent
	acks  *ackDelay

	ctx    context.Context
	cancel context.CancelFunc
	tasks  sync.WaitGroup

	mu    sync.Mutex
	close []io.Closer // listeners and sockets
	ipids map[tcpip.Address]uint16
}

func newServers(clock *Clock) (*servers, error) {
	s := &servers{clock: clock, ipids: map[tcpip.Address]uint16{}}
	s.acks = newAckDelay(clock, s.transmit)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.nic = &nic{out: s.egress, mtu: serverMTU}
	st, err := newStack(clock, s.nic, serverMaxRTO)
	if err != nil {
		return nil, err
	}
	s.stack = st
	if err := s.listen(); err != nil {
		s.shut()
		return nil, err
	}
	return s, nil
}

// listen opens everything that the simulated world offers.
func (s *servers) listen() error {
	for _, a := range []netip.Addr{
		dnsAddr, beamAddr, unifiedAddr, metadataAddr, harvestAddr, websiteAddr, objectsAddr, publicAddr,
	} {
		if err := addAddress(s.stack, a); err != nil {
			return err
		}
	}
	for _, t := range []struct {
		addr  netip.Addr
		port  uint16
		serve func(net.Conn)
	}{
		{websiteAddr, 80, s.serveWebsite},
		{publicAddr, 80, s.serveWebsite},
		{objectsAddr, 443, s.serveObjects},
		{beamAddr, 8888, s.serveBeamHTTP},
		{beamAddr, 23080, s.serveBeamTCP},
		{metadataAddr, 80, s.serveMetadata},
		{harvestAddr, 80, s.serveHarvestHTTP},
		{harvestAddr, 8514, s.serveHarvestTCP},
		{unifiedAddr, 80, s.serveHarvestHTTP},
		{unifiedAddr, 23080, s.serveHarvestTCP},
	} {
		if err := s.acceptOn(netip.AddrPortFrom(t.addr, t.port), t.serve); err != nil {
			return err
		}
	}
	for _, u := range []struct {
		addr   netip.Addr
		port   uint16
		answer func([]byte) []byte
	}{
		{dnsAddr, 53, answerDNS},
		{beamAddr, 23080, func([]byte) []byte { return []byte(beamReply) }},
		{unifiedAddr, 23080, func([]byte) []byte { return []byte(harvestReply) }},
		{harvestAddr, 8514, func([]byte) []byte { return []byte(harvestReply) }},
	} {
		if err := s.answerOn(netip.AddrPortFrom(u.addr, u.port), u.answer); err != nil {
			return err
		}
	}
	return nil
}

// acceptOn serves TCP connections, each in a goroutine of its own.
func (s *servers) acceptOn(at netip.AddrPort, serve func(net.Conn)) error {
	l, err := listenTCP(s.stack, at)
	if err != nil {
		return fmt.Errorf("listen on the simulated %s: %w", at, err)
	}
	s.keep(l)
	s.tasks.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.tasks.Go(func() {
				defer conn.Close()
				serve(conn)
			})
		}
	})
	return nil
}

// answerOn answers datagrams, one by one, after a moment's thought.
func (s *servers) answerOn(at netip.AddrPort, answer func([]byte) []byte) error {
	local := fullAddress(at)
	conn, err := gonet.DialUDP(s.stack, &local, nil, ipv4.ProtocolNumber)
	if err != nil {
		return fmt.Errorf("listen on the simulated %s: %w", at, err)
	}
	s.keep(conn)
	s.tasks.Go(func() {
		buf := make([]byte, 65536)
		for {
			n, peer, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			reply := answer(buf[:n])
			if reply == nil || s.think() != nil {
				continue
			}
			if _, err := conn.WriteTo(reply, peer); err != nil && s.ctx.Err() != nil {
				return
			}
		}
	})
	return nil
}

// think lets a server's time pass.
func (s *servers) think() error { return s.clock.Sleep(s.ctx, thinkTime) }

func (s *servers) keep(c io.Closer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.close = append(s.close, c)
}

// shut stops everything and waits for it.
func (s *servers) shut() {
	s.cancel()
	s.mu.Lock()
	open := s.close
	s.close = nil
	s.mu.Unlock()
	for _, c := range open {
		if l, ok := c.(*gonet.TCPListener); ok {
			l.Shutdown()
		}
		_ = c.Close()
	}
	s.stack.Close() // aborts every connection, which ends those that serve them
	s.tasks.Wait()
	s.stack.Wait()
}

// ingress takes what the network brings. The acknowledgements of a FIN and of a TLS alert wait for the server's own.
func (s *servers) ingress(packet []byte) {
	if ip, ok := ipv4Of(packet); ok {
		if seg, ok := tcpOf(ip); ok {
			from, to := endsOf(ip, seg)
			switch key := (flowKey{local: to, peer: from}); {
			case seg.Flags().Intersects(header.TCPFlagSyn | header.TCPFlagRst):
				s.acks.forget(key)
			case seg.Flags().Contains(header.TCPFlagFin) || isAlert(seg):
				s.acks.expect(key, seg)
			}
		}
	}
	s.nic.deliver(packet)
}

// egress takes what the servers' stack sends. An RST without an ACK is an answer to an acknowledgement for a connection
// that is gone (RFC 9293, 3.10.7.1), here the modem's second one: the load balancers in front of real servers swallow
// it, and none was seen.
func (s *servers) egress(packet []byte) {
	if ip, ok := ipv4Of(packet); ok {
		if seg, ok := tcpOf(ip); ok {
			if seg.Flags() == header.TCPFlagRst {
				return
			}
			from, to := endsOf(ip, seg)
			if s.acks.hold(flowKey{local: from, peer: to}, seg, packet) {
				return
			}
		}
	}
	s.transmit(packet)
}

// transmit gives a packet its server's next IP identification, by which a mirror's copy can be told from a packet that
// was sent twice, and sends it. Our stack would give them all the same.
func (s *servers) transmit(packet []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ip, ok := ipv4Of(packet); ok {
		s.ipids[ip.SourceAddress()]++
		ip.SetID(s.ipids[ip.SourceAddress()])
		sealIP(ip)
	}
	s.back.send(packet)
}

// listenTCP listens for connections that do not wait longer than patience for an acknowledgement (TCP_USER_TIMEOUT).
func listenTCP(s *stack.Stack, at netip.AddrPort) (*gonet.TCPListener, error) {
	var wq waiter.Queue
	ep, terr := s.NewEndpoint(tcp.ProtocolNumber, ipv4.ProtocolNumber, &wq)
	if terr != nil {
		return nil, errors.New(terr.String())
	}
	timeout := tcpip.TCPUserTimeoutOption(patience)
	if terr = ep.SetSockOpt(&timeout); terr == nil {
		if terr = ep.Bind(fullAddress(at)); terr == nil {
			terr = ep.Listen(backlog)
		}
	}
	if terr != nil {
		ep.Close()
		return nil, errors.New(terr.String())
	}
	return gonet.NewTCPListener(s, &wq, ep), nil
}
