package sim

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// Wrapping is how the mirror wraps what it copies.
type Wrapping string

// The wrappings. The default is GRE as SORACOM Junction sends it: protocol 0x6558, no optional fields.
const (
	GRE   Wrapping = "gre"
	VXLAN Wrapping = "vxlan" // UDP port 4789, network 10
)

// MirrorOptions says how the network's mirror behaves. The zero value is a mirror that loses nothing.
type MirrorOptions struct {
	Wrapping Wrapping
	Sequence bool // GRE sequence numbers (RFC 2890)
	// Join makes the mirror join two full TCP segments down that follow each other at once into one packet longer than
	// the air allows, as SORACOM's was seen to do.
	Join bool

	Loss      float64 // share of the copies that are lost, from 0 to 1
	Lose      []int   // copies lost by number, from 1 in the order of the network's packets
	Duplicate float64 // share of the copies that come twice
	Reorder   float64 // share of the copies that come after the one that follows
	SnapLen   int     // bytes of a copy that are captured at most, 0 for all
}

const (
	innerMin     = 60 // an inner frame is padded to so much (facts: every mirrored packet has at least 98 bytes)
	vxlanPort    = 4789
	vxlanNetwork = 10
	vxlanHeader  = 8
	tcpdumpSnap  = 262144 // what tcpdump -s 0 writes into the file's header
	holdBack     = time.Second
	joinWithin   = 20 * time.Millisecond // every other packet ends the waiting, so order stays
)

var (
	mirrorMAC  = [6]byte{0x02, 0x54, 0x47, 0, 0, 0x01} // outer: the mirror's source
	hostMAC    = [6]byte{0x02, 0x54, 0x47, 0, 0, 0x02} // outer: the host that captures
	deviceMAC  = [6]byte{0x02, 0x54, 0x47, 0, 0, 0x11} // inner
	gatewayMAC = [6]byte{0x02, 0x54, 0x47, 0, 0, 0x12}
	mirrorFrom = tcpip.AddrFrom4([4]byte{100, 64, 0, 4})
	mirrorTo   = tcpip.AddrFrom4([4]byte{172, 16, 0, 20})
)

// mirror copies the network's packets to whoever captures.
type mirror struct {
	clock *Clock
	opts  MirrorOptions

	mu      sync.Mutex
	rng     *rand.Rand
	streams []*stream
	number  int
	ipid    uint16
	gre     uint32
	held    *copied // a copy that waits to be overtaken, or for a segment to be joined to it
	joining bool
	closed  bool
}

// copied is one copied packet.
type copied struct {
	at      time.Time
	frame   []byte // with its inner Ethernet header
	wrapped []byte // and with the tunnel's headers, which number it; nil until it has been sent
}

func newMirror(clock *Clock, seed uint64, opts MirrorOptions) *mirror {
	return &mirror{clock: clock, opts: opts, rng: rand.New(rand.NewPCG(seed, 0x6d6972726f72))}
}

// open starts a capture: a pcap stream, its header first, each packet written whole as it comes, like
// `tcpdump -U -s 0 -w -` on the host that the mirror sends to.
func (m *mirror) open() *stream {
	var s *stream
	s = newStream(func() { m.drop(s) })
	h := make([]byte, 0, 24)
	h = binary.LittleEndian.AppendUint32(h, 0xa1b2c3d4) // microseconds
	h = binary.LittleEndian.AppendUint16(h, 2)
	h = binary.LittleEndian.AppendUint16(h, 4)
	h = append(h, make([]byte, 8)...)
	h = binary.LittleEndian.AppendUint32(h, tcpdumpSnap)
	h = binary.LittleEndian.AppendUint32(h, 1) // Ethernet
	s.write(h)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		s.end()
		return s
	}
	m.streams = append(m.streams, s)
	return s
}

// finish ends a capture and gives what it has.
func (m *mirror) finish(s *stream) []byte {
	m.mu.Lock()
	m.release()
	m.mu.Unlock()
	return s.finish()
}

func (m *mirror) drop(s *stream) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.streams = slices.DeleteFunc(m.streams, func(o *stream) bool { return o == s })
}

// close ends every capture after what it has.
func (m *mirror) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.release()
	m.closed = true
	for _, s := range m.streams {
		s.end()
	}
	m.streams = nil
}

// copy mirrors a packet that passes the network now.
func (m *mirror) copy(packet []byte, up bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.opts.Join && m.join(packet, up) {
		return
	}
	m.number++
	c := &copied{at: m.clock.Now(), frame: innerFrame(packet, up)}
	switch {
	case slices.Contains(m.opts.Lose, m.number) || m.chance(m.opts.Loss):
		if m.joining { // its neighbour did not come
			m.release()
		}
		m.send(c) // it is lost on the way, after it was numbered
	case m.held == nil && m.opts.Join && !up && fullSegment(packet):
		m.hold(c, joinWithin)
		m.joining = true
	case m.held == nil && m.chance(m.opts.Reorder):
		m.send(c)
		m.hold(c, holdBack)
	default:
		if m.joining { // it waited for its neighbour, not to be overtaken
			m.release()
		}
		m.write(c)
		m.release()
		if m.chance(m.opts.Duplicate) {
			m.write(c)
		}
	}
}

func (m *mirror) chance(share float64) bool { return share > 0 && m.rng.Float64() < share }

// hold keeps a copy back until another came or some time has passed.
func (m *mirror) hold(c *copied, atMost time.Duration) {
	m.held, m.joining = c, false
	m.clock.AfterFunc(atMost, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.held == c {
			m.release()
		}
	})
}

// release writes the copy that was kept back.
func (m *mirror) release() {
	if c := m.held; c != nil {
		m.held, m.joining = nil, false
		m.write(c)
	}
}

// join adds a segment to the one kept back, where it continues it.
func (m *mirror) join(packet []byte, up bool) bool {
	if !m.joining || up {
		return false
	}
	ip, ok := ipv4Of(m.held.frame[ethernetLen:])
	if !ok {
		return false
	}
	first, _ := tcpOf(ip)
	nextIP, ok := ipv4Of(packet)
	if !ok {
		return false
	}
	next, ok := tcpOf(nextIP)
	if !ok || len(next.Payload()) == 0 || next.SequenceNumber() != first.SequenceNumber()+uint32(len(first.Payload())) {
		return false
	}
	from, to := endsOf(ip, first)
	if f, t := endsOf(nextIP, next); f != from || t != to {
		return false
	}
	frame := append(append([]byte(nil), m.held.frame...), next.Payload()...)
	ip = header.IPv4(frame[ethernetLen:])
	ip.SetTotalLength(uint16(len(ip)))
	whole := header.TCP(ip.Payload())
	whole.SetFlags(uint8(first.Flags() | next.Flags()))
	sealTCP(ip, whole)
	sealIP(ip)
	m.held.frame = frame
	m.release()
	return true
}

// fullSegment says whether a packet is a TCP segment as long as the air allows.
func fullSegment(packet []byte) bool {
	ip, ok := ipv4Of(packet)
	if !ok || len(packet) < radioMTU {
		return false
	}
	_, ok = tcpOf(ip)
	return ok
}

// send gives a copy its tunnel headers, where it has none yet: their numbers are those of the order of sending.
func (m *mirror) send(c *copied) {
	if c.wrapped == nil {
		c.wrapped = m.wrap(c.frame)
	}
}

// write gives a copy to every capture, in one record of the file.
func (m *mirror) write(c *copied) {
	m.send(c)
	frame := c.wrapped
	captured := frame
	if m.opts.SnapLen > 0 && len(frame) > m.opts.SnapLen {
		captured = frame[:m.opts.SnapLen]
	}
	var rec [16]byte
	binary.LittleEndian.PutUint32(rec[0:], uint32(c.at.Unix()))
	binary.LittleEndian.PutUint32(rec[4:], uint32(c.at.Nanosecond()/1000))
	binary.LittleEndian.PutUint32(rec[8:], uint32(len(captured)))
	binary.LittleEndian.PutUint32(rec[12:], uint32(len(frame)))
	for _, s := range m.streams {
		s.write(rec[:], captured)
	}
}

// innerFrame gives a packet its Ethernet header and the padding that fills the smallest frame.
func innerFrame(packet []byte, up bool) []byte {
	from, to := gatewayMAC, deviceMAC
	if up {
		from, to = deviceMAC, gatewayMAC
	}
	return append(etherHeader(to, from), packet...)
}

func etherHeader(to, from [6]byte) []byte {
	b := append(append(make([]byte, 0, ethernetLen), to[:]...), from[:]...)
	return binary.BigEndian.AppendUint16(b, uint16(header.IPv4ProtocolNumber))
}

// wrap puts the tunnel's headers in front of an inner frame.
func (m *mirror) wrap(inner []byte) []byte {
	for len(inner) < innerMin {
		inner = append(inner[:len(inner):len(inner)], make([]byte, innerMin-len(inner))...)
	}
	proto, tunnel := uint8(47), m.greHeader()
	if m.opts.Wrapping == VXLAN {
		proto, tunnel = uint8(header.UDPProtocolNumber), vxlanHeaders(len(inner))
	}
	m.ipid++
	ip := header.IPv4(make([]byte, header.IPv4MinimumSize))
	ip.Encode(&header.IPv4Fields{
		TotalLength: uint16(len(ip) + len(tunnel) + len(inner)), TTL: 64, Protocol: proto, ID: m.ipid,
		SrcAddr: mirrorFrom, DstAddr: mirrorTo,
	})
	sealIP(ip)
	return slices.Concat(etherHeader(hostMAC, mirrorMAC), ip, tunnel, inner)
}

// greHeader builds a GRE header (RFC 2784) for transparent Ethernet, with its sequence number where wanted.
func (m *mirror) greHeader() []byte {
	var flags uint16
	if m.opts.Sequence {
		flags = 0x1000
	}
	b := binary.BigEndian.AppendUint16(nil, flags)
	b = binary.BigEndian.AppendUint16(b, 0x6558)
	if m.opts.Sequence {
		b = binary.BigEndian.AppendUint32(b, m.gre)
		m.gre++
	}
	return b
}

// vxlanHeaders builds the UDP and VXLAN headers (RFC 7348) in front of so many bytes.
func vxlanHeaders(inner int) []byte {
	b := make([]byte, header.UDPMinimumSize+vxlanHeader)
	header.UDP(b).Encode(&header.UDPFields{
		SrcPort: 50000, DstPort: vxlanPort, Length: uint16(len(b) + inner),
	})
	b[header.UDPMinimumSize] = 0x08 // the network's number is valid
	binary.BigEndian.PutUint32(b[header.UDPMinimumSize+4:], vxlanNetwork<<8)
	return b
}
