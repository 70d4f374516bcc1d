// Package packet turns the bytes of a captured frame into the device's packet inside it: Ethernet, VLAN, MPLS, PPPoE,
// IP, TCP, UDP, ICMP and ARP, with GRE, ERSPAN, VXLAN, GENEVE, GTP-U and IP-in-IP taken off. It does no I/O and,
// once warm, allocates nothing per packet.
package packet

import (
	"net/netip"
	"time"
)

// Addr is an IP address in 16 bytes, IPv4 as ::ffff:a.b.c.d (RFC 4291, 2.5.5.2): one comparable form for both families.
type Addr [16]byte

// Netip gives the address in the library's form, IPv4 unmapped.
func (a Addr) Netip() netip.Addr { return netip.AddrFrom16(a).Unmap() }

// AddrFrom is the inverse of Netip.
func AddrFrom(a netip.Addr) Addr { return Addr(a.As16()) }

// Kind says what the innermost protocol that Tollgate reads is.
type Kind uint8

// The kinds. Other is every other IP protocol or Ethernet type.
const (
	Other Kind = iota
	TCP
	UDP
	ICMP
	ICMPv6
	ARP
)

// Flags are the TCP control bits (RFC 9293, 3.1), FIN being the lowest.
type Flags uint8

// The control bits.
const (
	FIN Flags = 1 << iota
	SYN
	RST
	PSH
	ACK
	URG
	ECE
	CWR
)

// Tunnel is what carried a packet to the tap.
type Tunnel uint8

// The tunnels. Where several are nested, a packet's tunnel is the innermost.
const (
	NoTunnel Tunnel = iota
	GRE
	ERSPAN
	VXLAN
	GENEVE
	GTPU
	IPIP
	NumTunnels
)

func (t Tunnel) String() string {
	return [...]string{"none", "gre", "erspan", "vxlan", "geneve", "gtpu", "ipip"}[t]
}

// Tunnels is a set of kinds of tunnels, a bit for each.
type Tunnels uint8

// Has says whether a kind of tunnel is in the set.
func (s Tunnels) Has(t Tunnel) bool { return s>>t&1 != 0 }

// tunnels gives the set of what one tunnel is: ERSPAN is carried by GRE and is both.
func tunnels(t Tunnel) Tunnels {
	if t == ERSPAN {
		return 1<<ERSPAN | 1<<GRE
	}
	return 1 << t
}

// MaxPaths is how many paths are told apart: the last of them stands for all that come later.
const MaxPaths = 1 << 16

// Path describes the way a packet came to the tap: everything around the device's own packet that tells one network
// from another. Packets with the same addresses and ports but different paths belong to different flows.
type Path struct {
	Tunnel Tunnel        // innermost tunnel
	Outer  [2]netip.Addr // addresses of the innermost tunnel's ends, lower first, so both directions share a path
	VNI    uint32        // VXLAN or GENEVE network, GRE key or ERSPAN session, TEID is not kept: it differs by direction
	VLANs  []uint16      // tags of all levels, outermost first
}

// Piece is an IP fragment that came before the one that completed its datagram.
type Piece struct {
	Number  uint64
	Time    int64
	WireLen int
}

// Packet is a device's packet without tunnel headers, decoded in place: its slices point into the frame
// and are valid until the next Decode.
type Packet struct {
	Number uint64 // of the frame in the capture, from 1
	Time   int64  // nanoseconds since the Unix epoch, as captured
	Path   uint16 // number of the Path; see Decoder.Path
	Kind   Kind
	Tunnel Tunnel  // the innermost
	Nested Tunnels // every kind of tunnel around it, the innermost too; empty where there is none
	Proto  uint8   // IP protocol number, 0 where there is no IP

	Src, Dst         Addr // for ARP the sender's and the target's protocol address
	SrcPort, DstPort uint16

	TTL       uint8
	HasIPID   bool
	IPID      uint16 // IPv4 identification
	Truncated bool   // the capture holds less of this packet than its headers say
	// HeadersCut says of a truncated packet that something of its headers may be missing, or that they contradict its frame:
	// what is known of it may be wrong. Of any other truncated one the headers say all that they say of a whole one.
	HeadersCut bool

	// TCP
	Flags       Flags
	Seq, Ack    uint32
	Window      uint16
	MSS         uint16 // maximum segment size option, 0 where absent
	WindowShift int8   // window scale option, -1 where absent

	// ICMP and ICMPv6; for ARP Code is the operation (1 request, 2 reply)
	ICMPType, ICMPCode uint8

	HasGRESeq bool
	GRESeq    uint32
	GRESource uint32 // whose sequence it is: a number for each sender, receiver and key, meaningful where HasGRESeq

	// HeaderLen counts the bytes before the transport payload, those of Ethernet (14, and 4 a tag) included. Where the
	// packet came without Ethernet (raw IP, SLL, PPP, GRE 0x0800), 14 stands for it, so that figures of all mirrors compare.
	HeaderLen  int
	WireLen    int    // the inner Ethernet frame without padding: HeaderLen + PayloadLen of this packet alone
	PayloadLen int    // transport payload by the headers' lengths; of the whole datagram where fragments were joined
	Payload    []byte // the captured part of it
	Pieces     []Piece
	Checksum   uint16 // transport checksum as captured, to tell the mirror's duplicates
}

// When gives Time as a time.Time in UTC.
func (p *Packet) When() time.Time { return time.Unix(0, p.Time).UTC() }
