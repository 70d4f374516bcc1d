// Package flow follows the conversations of devices: it takes packets one by one, in the order of the capture, and
// says of each which flow it belongs to, in which direction it went and what it was for (its phase), and of each flow
// how it began, what was lost or sent again, and how it ended.
package flow

import (
	"math/bits"
	"net/netip"

	"github.com/tollgate-iot/tollgate/harness/packet"
)

// Direction is up (from the device) or down (to the device).
type Direction uint8

// The directions.
const (
	Up Direction = iota
	Down
)

func (d Direction) String() string { return [...]string{"up", "down"}[d] }

// Phase says what a packet was for. Every packet of a device has exactly one.
type Phase uint8

// The phases, in the order in which reports show them.
const (
	DNS Phase = iota
	TCPHandshake
	TLSHandshake
	MQTTConnect
	MQTTSubscribe
	MQTTPublish
	MQTTPing
	MQTTDisconnect
	Request
	Response
	TLSAlert
	Keepalive
	TeardownPhase
	Reset
	ARP
	ICMP
	Other
	NumPhases
)

var phaseNames = [NumPhases]string{"dns", "tcp_handshake", "tls_handshake", "mqtt_connect", "mqtt_subscribe", "mqtt_publish",
	"mqtt_ping", "mqtt_disconnect", "request", "response", "tls_alert", "keepalive", "teardown", "reset", "arp", "icmp", "other"}

func (p Phase) String() string { return phaseNames[p] }

// ParsePhase is the inverse of Phase.String.
func ParsePhase(name string) (Phase, bool) {
	for p, n := range phaseNames {
		if n == name {
			return Phase(p), true
		}
	}
	return 0, false
}

// Tally counts packets and the bytes of their inner Ethernet frames without padding (the wire account; other accounts
// are linear in the two numbers). Air* count the same traffic as the air carried it: a packet that the mirror joined
// from several stands for all of them (see trace.Account).
type Tally struct {
	Packets, Bytes       uint64
	AirPackets, AirBytes uint64
}

// Add adds another tally.
func (t *Tally) Add(o Tally) {
	t.Packets += o.Packets
	t.Bytes += o.Bytes
	t.AirPackets += o.AirPackets
	t.AirBytes += o.AirBytes
}

// Both holds a value for each direction: Both[Up], Both[Down].
type Both[T any] [2]T

// Phases holds a tally for each phase and direction.
type Phases [NumPhases]Both[Tally]

// PhaseSet is a set of phases, a bit for each.
type PhaseSet uint32

// First gives the first phase of a set that is not empty. A loop over all of them is
//
//	for left := set; left != 0; left &= left - 1 { phase := left.First() … }
func (s PhaseSet) First() Phase { return Phase(bits.TrailingZeros32(uint32(s))) }

// Close says how a TCP flow ended.
type Close uint8

// The ways a flow ends, as the design defines them. NoClose is for flows that are not TCP.
const (
	NoClose         Close = iota
	Clean                 // a FIN each way, each acknowledged, no RST afterwards
	ResetAfterClose       // both FINs, then RST
	ResetBefore           // RST before both FINs ("reset")
	HalfClosed            // a FIN never answered by the other side's FIN
	Refused               // SYN answered by RST
	Unanswered            // SYN only
	Open                  // still open at the end
	NumCloses
)

func (c Close) String() string {
	return [...]string{"none", "clean", "reset_after_close", "reset", "half_closed", "refused", "unanswered", "open"}[c]
}

// Mark holds what is special about one packet.
type Mark uint16

// The marks.
const (
	Retransmission  Mark = 1 << iota // carries sequence numbers already seen, or fills a hole too late to be mere reordering
	OutOfOrder                       // came after later data, soon enough to be reordering
	MirrorDuplicate                  // the mirror's second copy of a packet: counted nowhere but under duplicates
	KeepaliveProbe
	ZeroWindow
	Cut         // the capture holds less of it than was sent
	Joined      // longer than the flow's MSS: joined on the way, stands for several packets of the air
	Fragmented  // one of an IP datagram's fragments
	AckedUnseen // acknowledges data that the capture never saw
	AfterGap    // begins beyond the next expected sequence number: something before it is missing at this moment
)

// Packet is one packet of a flow, as judged: small, and free of the capture's bytes.
type Packet struct {
	Number  uint64 // frame number in the capture, from 1
	Time    int64  // nanoseconds since the Unix epoch
	Dir     Direction
	Phase   Phase
	Flags   packet.Flags
	Mark    Mark
	Seq     uint32 // as on the wire; 0 where not TCP
	Ack     uint32
	Window  uint16
	IPID    uint16
	Air     uint16 // packets that the air carried for this one: 1, or more where it was joined
	Payload uint32 // bytes of transport payload
	Wire    uint32 // bytes of the inner Ethernet frame without padding
	AirWire uint32 // the same as the air carried it
	// ICMPType is the type of an ICMP or ICMPv6 message: 8 and 128 are echo requests.
	ICMPType uint8
}

// Query is a DNS question of the device.
type Query struct {
	Name     string // without the last dot
	Type     string // "A", "AAAA", …
	Time     int64
	Number   uint64 // of the query's packet
	Answered bool
	AnswerAt int64
	RCode    string // "NOERROR", "NXDOMAIN", … where answered
	Repeats  int    // how often the same query was sent again
}

// TLS is what the unencrypted part of a TLS session shows.
type TLS struct {
	Version     uint16 // negotiated: 0x0301 … 0x0304; 0 while unknown
	ServerName  string // SNI
	Certificate int    // bytes of the server's Certificate message; 0 where it was encrypted (TLS 1.3) or not seen
}

// Exchange is an HTTP/1 request with its answer.
type Exchange struct {
	Method, Host, Target string
	Status               int // 0 where no answer was seen
	Time                 int64
	Number               uint64
}

// Message is an MQTT control packet.
type Message struct {
	Type    string // "connect", "connack", "publish", "puback", …
	Dir     Direction
	Time    int64
	Number  uint64 // of the packet that completed it
	Topic   string // of a publish, or the first of a subscribe
	QoS     int
	Retain  bool
	ID      uint16
	Reason  int // return or reason code of an acknowledgement, 0 where none
	Version int // 4 for 3.1.1, 5 for 5.0, 3 for 3.1
	Bytes   int // whole control packet
}

// Side is what is known of one direction of a flow.
type Side struct {
	Tally           Tally
	Payload         uint64 // transport payload bytes, repeats included
	SYN, FIN, RST   int    // segments seen, repeats included
	Retransmissions int
	OutOfOrder      int
	Duplicates      int    // the mirror's copies, not counted in Tally
	Missing         uint64 // payload bytes proved missing: holes in sequence numbers and bytes acknowledged but never seen
	LostSegments    int    // times a gap opened before a segment, those that mere reordering filled left out
	AckedUnseen     int    // times this side acknowledged data that the capture had not seen, reordering left out
	Keepalives      int
	ZeroWindows     int
	Truncated       int
	MSS             uint16 // announced by this side, 0 where not seen

	copies    copies // what Duplicates were
	reordered int    // gaps that reordering filled
}

// GapKind says by what evidence a gap in a TCP stream is known.
type GapKind uint8

// The kinds of gaps.
const (
	GapSequence GapKind = iota // later sequence numbers were seen
	GapAcked                   // the other side acknowledged it
)

func (k GapKind) String() string { return [...]string{"sequence", "acked"}[k] }

// Gap is a stretch of a TCP stream that the capture never saw, although it was sent.
type Gap struct {
	Kind     GapKind
	Dir      Direction // of the missing bytes
	From, To int64     // missed between these times, nanoseconds since the Unix epoch: the last packet of the direction before the gap, and the packet that showed the gap
	Packets  uint64    // at least so many packets
	Bytes    uint64    // payload bytes; 0 where only a SYN or FIN is missing
}

// MaxGaps bounds Flow.Gaps. Side.Missing counts the gaps beyond it too.
const MaxGaps = 64

// Flow is a conversation of a device with a peer.
type Flow struct {
	ID     int // from 0, in the order of first packets
	Kind   packet.Kind
	Proto  uint8 // IP protocol
	Device netip.AddrPort
	Peer   netip.AddrPort
	Name   string // of the peer: from the device's DNS answers, SNI or Host; "" where unknown
	Path   packet.Path

	Start, End         int64
	BeganBeforeCapture bool // TCP whose SYN was not seen
	Resumed            bool // continues a flow of the same addresses that was let go (Options.Idle, Options.Linger)
	Inferred           bool // which side is the device was inferred
	Foreign            bool // neither side is among Options.Devices, so no device takes part; Device is whoever opened the flow

	Sides  Both[Side]
	Phases Phases
	Had    PhaseSet // the phases that Phases counts packets of

	Close      Close
	FirstClose Direction // who sent the first FIN; meaningful where FinSeen
	FinSeen    bool
	ClosedAt   int64 // when the later of both FINs was first seen, 0 where not both
	// CloseDoubt says why Close may differ from the truth: it is not empty where missing packets could change it.
	CloseDoubt string

	// Gaps are the stretches still missing when the flow was let go, at most MaxGaps of them.
	Gaps []Gap

	Queries   []Query
	TLS       *TLS
	Exchanges []Exchange
	Messages  []Message

	// Packets are the flow's packets in order of capture, the mirror's duplicates left out. Kept only on request.
	Packets []Packet
}

// Count gives the tally of a direction.
func (f *Flow) Count(d Direction) Tally { return f.Sides[d].Tally }
