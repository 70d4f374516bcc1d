package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

const (
	registerTakes   = 1500 * time.Millisecond // until the network has let the modem in
	activateTakes   = 700 * time.Millisecond  // AT+QIACT
	deactivateTakes = 400 * time.Millisecond
	connectWithin   = 150 * time.Second // AT+QIOPEN's own time-out
	dnsWithin       = 5 * time.Second
	dnsTries        = 3
	modemMaxRTO     = 60 * time.Second
	firstPort       = 40001
	lastPort        = 59999
)

// errInactive is what sockets give when there is no data session, or no more.
var errInactive = errors.New("no data session")

// modem is the device's cellular modem: a session with the network, a TCP/IP stack on it, a resolver that keeps every
// answer while the session lasts, and the ways of a real modem's stack (see traits.go).
type modem struct {
	clock *Clock
	nic   *nic
	stack *stack.Stack
	net   *network // set before the modem is used
	acks  *ackDelay

	mu      sync.Mutex
	rng     *rand.Rand
	address netip.Addr // of the present session; invalid where there is none
	session context.Context
	end     context.CancelFunc
	ipid    uint16
	port    uint16
	names   map[string]netip.Addr
	flows   map[flowKey]*modemFlow
	onLost  func() // told, from the clock's goroutine, when the network ended the session
}

func newModem(clock *Clock, seed uint64) (*modem, error) {
	m := &modem{clock: clock, rng: rand.New(rand.NewPCG(seed, 0x6d6f64656d)), port: firstPort}
	m.acks = newAckDelay(clock, m.releaseAck)
	m.nic = &nic{out: m.egress, mtu: radioMTU}
	s, err := newStack(clock, m.nic, modemMaxRTO)
	if err != nil {
		return nil, err
	}
	m.stack = s
	return m, nil
}

// activate registers and begins a session. One that is there already stays.
func (m *modem) activate(ctx context.Context, apn string) (netip.Addr, error) {
	if a, ok := m.active(); ok {
		return a, nil
	}
	if err := m.clock.Sleep(ctx, registerTakes+activateTakes); err != nil {
		return netip.Addr{}, err
	}
	address, err := m.net.attach(apn, m.lose)
	if err != nil {
		return netip.Addr{}, err
	}
	if err := addAddress(m.stack, address); err != nil {
		return netip.Addr{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.address = address
	m.session, m.end = context.WithCancel(context.Background())
	m.names, m.flows = map[string]netip.Addr{}, map[flowKey]*modemFlow{}
	m.ipid = uint16(m.rng.Uint32())
	return address, nil
}

// active gives the address of the present session.
func (m *modem) active() (netip.Addr, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.address, m.address.IsValid()
}

// deactivate ends the session properly.
func (m *modem) deactivate(ctx context.Context) error {
	if _, ok := m.active(); !ok {
		return nil
	}
	if err := m.clock.Sleep(ctx, deactivateTakes); err != nil {
		return err
	}
	m.drop()
	m.net.detach()
	return nil
}

// lose is what happens when the network ended the session: +QIURC: "pdpdeact".
func (m *modem) lose() {
	if !m.drop() {
		return
	}
	m.mu.Lock()
	told := m.onLost
	m.mu.Unlock()
	if told != nil {
		told()
	}
}

// drop forgets the session without a word to the network, as a loss of power does. It says whether there was one.
func (m *modem) drop() bool {
	m.mu.Lock()
	address, end := m.address, m.end
	m.address, m.end, m.flows = netip.Addr{}, nil, nil
	m.mu.Unlock()
	if !address.IsValid() {
		return false
	}
	end() // sockets of the session abort
	m.stack.RemoveAddress(nicID, tcpip.AddrFrom4(address.As4()))
	return true
}

// close ends the modem.
func (m *modem) close() {
	m.drop()
	m.stack.Destroy()
}

// begin gives what a new socket needs: a local port, and a context that ends with ctx or with the session.
func (m *modem) begin(ctx context.Context) (local netip.AddrPort, alive context.Context, cancel context.CancelFunc, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.address.IsValid() {
		return netip.AddrPort{}, nil, nil, errInactive
	}
	local = netip.AddrPortFrom(m.address, m.port)
	if m.port++; m.port > lastPort {
		m.port = firstPort
	}
	alive, stop := context.WithCancelCause(ctx)
	unlink := context.AfterFunc(m.session, func() { stop(errInactive) })
	return local, alive, func() { unlink(); stop(context.Canceled) }, nil
}

// lookup gives a name's address, from memory where it was asked for before in this session.
func (m *modem) lookup(ctx context.Context, name string) (netip.Addr, error) {
	if a, err := netip.ParseAddr(name); err == nil {
		return a, nil
	}
	m.mu.Lock()
	known, ok := m.names[name]
	m.mu.Unlock()
	if ok {
		return known, nil
	}
	for range dnsTries {
		a, err := m.ask(ctx, name)
		if err == nil {
			m.mu.Lock()
			m.names[name] = a
			m.mu.Unlock()
			return a, nil
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			return netip.Addr{}, fmt.Errorf("look up %s: %w", name, err)
		}
	}
	return netip.Addr{}, fmt.Errorf("look up %s: no answer", name)
}

// ask sends one DNS query and waits for its answer.
func (m *modem) ask(ctx context.Context, name string) (netip.Addr, error) {
	m.mu.Lock()
	id := uint16(m.rng.Uint32())
	m.mu.Unlock()
	query, err := dnsQuery(id, name)
	if err != nil {
		return netip.Addr{}, err
	}
	wait, cancel := m.clock.WithTimeout(ctx, dnsWithin)
	defer cancel()
	answer, err := m.exchangeUDP(wait, netip.AddrPortFrom(dnsAddr, 53), query)
	if err != nil {
		return netip.Addr{}, err
	}
	return dnsAddress(answer, id)
}

// dnsQuery builds a query for a name's IPv4 address.
func dnsQuery(id uint16, name string) ([]byte, error) {
	n, err := dnsmessage.NewName(name + ".")
	if err != nil {
		return nil, err
	}
	q := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: id, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: n, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}},
	}
	return q.Pack()
}

// dnsAddress reads the first IPv4 address of an answer.
func dnsAddress(answer []byte, id uint16) (netip.Addr, error) {
	var a dnsmessage.Message
	if err := a.Unpack(answer); err != nil {
		return netip.Addr{}, fmt.Errorf("an answer that can't be read: %w", err)
	}
	if a.ID != id || a.RCode != dnsmessage.RCodeSuccess {
		return netip.Addr{}, fmt.Errorf("the name server says %s", strings.TrimPrefix(a.RCode.String(), "RCode"))
	}
	for _, r := range a.Answers {
		if body, ok := r.Body.(*dnsmessage.AResource); ok {
			return netip.AddrFrom4(body.A), nil
		}
	}
	return netip.Addr{}, errors.New("the answer holds no IPv4 address")
}

// exchangeUDP sends a datagram and waits for one that comes back.
func (m *modem) exchangeUDP(ctx context.Context, peer netip.AddrPort, payload []byte) ([]byte, error) {
	local, alive, cancel, err := m.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	conn, err := dialUDP(m.stack, local, peer)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(alive, func() { _ = conn.Close() })()
	if _, err := conn.Write(payload); err != nil {
		return nil, err
	}
	buf := make([]byte, radioMTU)
	n, err := conn.Read(buf)
	if err != nil {
		if alive.Err() != nil {
			return nil, context.Cause(alive)
		}
		return nil, err
	}
	return buf[:n], nil
}

// socket is a TCP connection of the modem's.
type socket struct {
	*tcpConn
	clock   *Clock
	flow    *modemFlow
	alive   context.Context
	release func() // to be called when the socket is done with; it does not close the connection
}

// connect opens a TCP connection whose flow shows the ways given. It aborts when ctx or the session ends.
func (m *modem) connect(ctx context.Context, peer netip.AddrPort, ways traits) (*socket, error) {
	local, alive, cancel, err := m.begin(ctx)
	if err != nil {
		return nil, err
	}
	flow := m.watch(local, peer, ways)
	opening, done := m.clock.WithTimeout(alive, connectWithin)
	defer done()
	conn, err := dialTCP(opening, m.stack, local, peer)
	if err != nil {
		if alive.Err() != nil {
			err = context.Cause(alive)
		}
		cancel()
		return nil, fmt.Errorf("connect to %s: %w", peer, err)
	}
	unlink := context.AfterFunc(alive, conn.abort)
	return &socket{tcpConn: conn, clock: m.clock, flow: flow, alive: alive, release: func() { unlink(); cancel() }}, nil
}

// Read implements net.Conn; it says why a connection was aborted.
func (s *socket) Read(b []byte) (int, error) {
	n, err := s.tcpConn.Read(b)
	if err != nil && err != io.EOF && s.alive.Err() != nil {
		err = context.Cause(s.alive)
	}
	return n, err
}

// finish closes the connection and waits until it is closed on both sides. It says whether that took an RST.
func (s *socket) finish(ctx context.Context) (reset bool, err error) {
	defer context.AfterFunc(ctx, s.abort)()
	if err := s.CloseWrite(); err == nil {
		_, _ = io.Copy(io.Discard, s) // until the peer has closed too; what fails it shows in the flow
	}
	_ = s.tcpConn.Close()
	select {
	case <-s.flow.closed:
		return s.flow.wasReset(), nil
	case <-ctx.Done():
		return false, context.Cause(ctx)
	case <-s.alive.Done():
		return false, context.Cause(s.alive)
	}
}
