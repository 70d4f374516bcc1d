package sim

import (
	"net/netip"
	"sync/atomic"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// traits are the ways of a real modem's TCP that no stack of ours has. They are put into the packets' path between the
// stack and the radio, so everything else stays a live TCP.
type traits struct {
	// resetAfter makes the modem send an RST so long after a close that it began was complete on both sides. The
	// Wio LTE does so after about a minute where its HTTP client closed, and at once where a socket was closed.
	resetAfter time.Duration
	// doubleAck makes the modem acknowledge the peer's last FIN twice, as seen after TLS.
	doubleAck bool
	// deafToFIN makes the modem not hear the peer's FINs, and never send one: the GPS Multiunit.
	deafToFIN bool
}

const (
	lateReset   = 60 * time.Second
	promptReset = 5 * time.Millisecond
	forgetAfter = 2 * time.Minute // until a flow that closed is forgotten
)

// flowKey names a flow of the modem's.
type flowKey struct{ local, peer netip.AddrPort }

// modemFlow is what the path knows of a flow. Its fields belong to the modem's lock.
type modemFlow struct {
	key    flowKey
	ways   traits
	next   uint32 // the device's next sequence number
	ack    uint32 // the last acknowledgement that the device sent
	window uint16

	finUp, finDown bool
	began          bool   // the device closed first
	peerEnd        uint32 // acknowledges the peer's FIN
	done           bool
	closed         chan struct{} // both FINs are acknowledged by the device, or its RST was sent
	reset          atomic.Bool
}

// wasReset says whether the device sent an RST, once closed is closed.
func (f *modemFlow) wasReset() bool { return f.reset.Load() }

// watch begins to follow a flow.
func (m *modem) watch(local, peer netip.AddrPort, ways traits) *modemFlow {
	f := &modemFlow{key: flowKey{local, peer}, ways: ways, closed: make(chan struct{})}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.flows != nil {
		m.flows[f.key] = f
	}
	return f
}

// egress takes what the modem's stack sends.
func (m *modem) egress(packet []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	ip, ok := ipv4Of(packet)
	if !ok || !m.address.IsValid() || addrOf(ip.SourceAddress()) != m.address {
		return
	}
	tcp, ok := tcpOf(ip)
	if !ok {
		m.transmit(packet)
		return
	}
	if tcp.Flags().Contains(header.TCPFlagSyn) {
		packet = dropTimestamps(packet)
		ip = header.IPv4(packet)
		tcp = header.TCP(ip.Payload())
	}
	from, to := endsOf(ip, tcp)
	key := flowKey{from, to}
	f := m.flows[key]
	if f == nil {
		m.transmit(packet)
		return
	}
	if m.acks.hold(key, tcp, packet) {
		return
	}
	if f.ways.deafToFIN && tcp.Flags().Intersects(header.TCPFlagFin|header.TCPFlagRst) {
		return
	}
	m.transmit(packet)
	f.sent(tcp)
	if !f.done && f.finUp && f.finDown && f.ack == f.peerEnd {
		f.done = true
		m.afterClose(f, packet)
	}
}

// sent notes what the device sent.
func (f *modemFlow) sent(tcp header.TCP) {
	if end := tcp.SequenceNumber() + seqLen(tcp); int32(end-f.next) > 0 || f.next == 0 {
		f.next = end
	}
	f.ack, f.window = tcp.AckNumber(), tcp.WindowSize()
	if tcp.Flags().Contains(header.TCPFlagFin) && !f.finUp {
		f.finUp, f.began = true, !f.finDown
	}
}

// afterClose does what the flow's ways ask for once both sides have closed. m.mu is held.
func (m *modem) afterClose(f *modemFlow, lastAck []byte) {
	if f.ways.doubleAck {
		m.transmit(append([]byte(nil), lastAck...))
	}
	if f.ways.resetAfter == 0 || !f.began {
		close(f.closed)
		m.clock.AfterFunc(forgetAfter, func() { m.forget(f) })
		return
	}
	late := f.ways.resetAfter > time.Second
	if late { // nobody waits for it
		close(f.closed)
	}
	m.clock.AfterFunc(f.ways.resetAfter, func() {
		m.sendReset(f)
		m.forget(f)
		if !late {
			close(f.closed)
		}
	})
}

// sendReset sends an RST with the flow's last numbers, unless the session is gone.
func (m *modem) sendReset(f *modemFlow) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.flows[f.key] != f {
		return
	}
	m.transmit(bareSegment(f.key.local, f.key.peer, header.TCPFlagRst|header.TCPFlagAck, f.next, f.ack, 0))
	f.reset.Store(true)
}

func (m *modem) forget(f *modemFlow) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.flows[f.key] == f {
		delete(m.flows, f.key)
		m.acks.forget(f.key)
	}
}

// transmit gives a packet the next IP identification, one more than the one before, and sends it. m.mu is held.
func (m *modem) transmit(packet []byte) {
	ip := header.IPv4(packet)
	ip.SetID(m.ipid)
	m.ipid++
	sealIP(ip)
	m.net.up.send(packet)
}

// releaseAck sends an acknowledgement that was kept back, unless the session is gone.
func (m *modem) releaseAck(packet []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.address.IsValid() && addrOf(header.IPv4(packet).SourceAddress()) == m.address {
		m.transmit(packet)
	}
}

// ingress takes what the radio brings.
func (m *modem) ingress(packet []byte) {
	if m.heard(packet) {
		m.nic.deliver(packet)
	}
}

// heard notes what came for a flow, and says whether the stack is to hear it.
func (m *modem) heard(packet []byte) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	ip, ok := ipv4Of(packet)
	if !ok || addrOf(ip.DestinationAddress()) != m.address {
		return false
	}
	tcp, ok := tcpOf(ip)
	if !ok {
		return true
	}
	from, to := endsOf(ip, tcp)
	f := m.flows[flowKey{to, from}]
	if f == nil {
		return true
	}
	if isAlert(tcp) {
		m.acks.expect(f.key, tcp) // the FIN follows at once
	}
	if !tcp.Flags().Contains(header.TCPFlagFin) {
		return true
	}
	if f.ways.deafToFIN {
		return false
	}
	f.finDown, f.peerEnd = true, tcp.SequenceNumber()+seqLen(tcp)
	return true
}
