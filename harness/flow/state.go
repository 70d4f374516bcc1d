package flow

import (
	"encoding/binary"
	"math/bits"

	"github.com/tollgate-iot/tollgate/harness/packet"
)

// key names a flow: the unordered pair of address and port, the protocol and the path. Ports and protocol are zero where
// the kind has none. a is the lower end, in an order that means nothing, so that both directions have one key.
type key struct {
	a, b address
	rest uint64 // the ports of a and b, the path, kind and IP protocol, lowest first: one word to compare and to mix
}

// address is an IP address in two words, which compare and mix as numbers.
type address struct{ high, low uint64 }

func addressOf(a *packet.Addr) address {
	return address{binary.LittleEndian.Uint64(a[:8]), binary.LittleEndian.Uint64(a[8:])}
}

func (a address) addr() (to packet.Addr) {
	binary.LittleEndian.PutUint64(to[:8], a.high)
	binary.LittleEndian.PutUint64(to[8:], a.low)
	return to
}

func (k *key) aPort() uint16     { return uint16(k.rest) }
func (k *key) bPort() uint16     { return uint16(k.rest >> 16) }
func (k *key) path() uint16      { return uint16(k.rest >> 32) }
func (k *key) kind() packet.Kind { return packet.Kind(k.rest >> 48) }
func (k *key) proto() uint8      { return uint8(k.rest >> 56) }

// state is what every open flow costs. It holds no pointer, so the collector never looks at it, and everything that
// only few flows need is in more.
type state struct {
	key         key
	hash        uint32
	id          int64
	start, last int64  // first and latest packet, nanoseconds since the Unix epoch
	seen        uint32 // second of the tracker's clock at the latest packet
	due         uint32 // second at which the wheel looks at it
	next, prev  uint32 // neighbours in its bucket of the wheel; next links the free list too
	more        uint32 // handle of its more, 0 where none
	counter     uint32 // handle of its device's IP identification counter, 0 where none
	synAt       uint32 // microseconds from start to the latest SYN
	rtt         uint32 // microseconds from there to the ACK that completed the handshake, 0 where unknown
	flags       stateFlags
	device      uint8 // which of both ends is the device: 0 for a, 1 for b
	trust       trust // how sure device is
	app         app

	// The first RST, for the close.
	rstTime        int64
	rstSeq, rstAck uint32

	cells [hotCells][2]cell // by hotCell of the phase and by end
	sides [2]side           // by end
}

type stateFlags uint16

const (
	flagResumed stateFlags = 1 << iota
	flagForeign
	flagInferred
	flagClosed    // it is over but for stragglers: Linger applies
	flagRST       // an RST was seen
	flagRSTByB    // the first RST came from end b
	flagRSTHasAck // and its acknowledgement number means something
	flagSYN       // a SYN without ACK was seen
	flagSYNACK
	flagMid // payload was first seen without a SYN: a stream joined in the middle
)

// cell counts the packets of one phase and end. When a number would overflow it is moved to more.
type cell struct{ packets, bytes uint32 }

// side is one end of a TCP flow as a sender. Ends of other protocols use payload only.
type side struct {
	payload       uint64
	finTime       int64             // of the first FIN, where sideFIN
	base          uint32            // lowest sequence number known
	next          uint32            // after the highest sequence number known to have been sent
	ack           uint32            // highest acknowledgement number sent, where sideAck
	finEnd        uint32            // after the first FIN
	finAck        uint32            // what the first FIN acknowledged
	lastAt        uint32            // its latest packet, in tenths of milliseconds since the flow's start
	ends          [maxRanges]uint32 // see ranges.go
	phases        [maxRanges]Phase
	syn, fin, rst uint32
	mss           uint16
	ipID          uint16 // of its latest packet
	ipRun         uint8  // how many packets in a row raised ipID by a little
	ranges        uint8
	flags         sideFlags
}

type sideFlags uint8

const (
	sideSeen  sideFlags = 1 << iota // base and next come from its own packets
	sideGuess                       // base and next come from what the other end acknowledged
	sideSYN
	sideFIN
	sideAck
	sideHoles // more has holes of it
	sideFar   // its latest segment was nowhere near the others
)

// The phases that nearly every flow has are counted in the state itself. A flow that is not TCP has one of the phases
// that share the first cell.
const hotCells = 5

// cellPhases are the phases of the cells.
var cellPhases = [hotCells]Phase{TCPHandshake, Request, Response, TeardownPhase, Reset}

// hotCell is the cell of each phase of a flow of a kind, -1 for those that have none.
var hotCell = func() (h [packet.ARP + 1][NumPhases]int8) {
	for kind := range h {
		for phase := range h[kind] {
			h[kind][phase] = -1
		}
		for i, phase := range cellPhases {
			h[kind][phase] = int8(i)
		}
		if kind := packet.Kind(kind); kind != packet.TCP {
			h[kind][sharedCell(kind)] = 0
		}
	}
	return h
}()

// sharedCell says which phase the first cell counts for a flow that is not TCP.
func sharedCell(k packet.Kind) Phase {
	switch k {
	case packet.UDP:
		return DNS
	case packet.ICMP, packet.ICMPv6:
		return ICMP
	case packet.ARP:
		return ARP
	}
	return Other
}

// dir gives the direction of packets sent by an end.
func (s *state) dir(end int) Direction {
	if end == int(s.device) {
		return Up
	}
	return Down
}

// sinceStart gives a time in the unit of side.lastAt.
func (s *state) sinceStart(at int64) uint32 { return uint32(max(0, at-s.start) / 100_000) }

// silent is how long an end has been silent at a time, in the same unit; less than none where its latest packet has a later
// time, as in a capture that keeps the times at which packets passed and not their order.
func (s *state) silent(end int, at int64) int32 { return int32(s.sinceStart(at) - s.sides[end].lastAt) }

// keyOf gives the key of a packet's flow and the end that sent it. It handles addresses in words of eight bytes, as the
// decoder has just written them: read back in one piece of sixteen, they would have to wait for both halves.
func keyOf(p *packet.Packet, k *key) (end int) {
	var sp, dp uint16
	if p.Kind == packet.TCP || p.Kind == packet.UDP {
		sp, dp = p.SrcPort, p.DstPort
	}
	src, dst := addressOf(&p.Src), addressOf(&p.Dst)
	// Which end is lower is as good as a coin's toss from packet to packet, so it is not decided by a branch: the borrow of
	// destination less source, as one long number, is 1 where the destination is the lower end.
	_, borrow := bits.Sub64(uint64(dp), uint64(sp), 0)
	_, borrow = bits.Sub64(dst.high, src.high, borrow)
	_, borrow = bits.Sub64(dst.low, src.low, borrow)
	change := -borrow
	high, low := (src.high^dst.high)&change, (src.low^dst.low)&change
	k.a.high, k.a.low = src.high^high, src.low^low
	k.b.high, k.b.low = dst.high^high, dst.low^low
	k.rest = uint64(bits.RotateLeft32(uint32(sp)|uint32(dp)<<16, int(borrow*16))) |
		uint64(p.Path)<<32 | uint64(p.Kind)<<48 | uint64(p.Proto)<<56
	return int(borrow)
}

// slab holds all states. Handle 0 is no state.
type slab struct {
	chunks []*chunk
	free   uint32
	used   uint32 // handles ever given out
	open   int
}

const chunkBits = 8

type chunk [1 << chunkBits]state

func (b *slab) at(h uint32) *state { return &b.chunks[h>>chunkBits][h&(1<<chunkBits-1)] }

func (b *slab) take() (uint32, *state) {
	b.open++
	if h := b.free; h != 0 {
		s := b.at(h)
		b.free = s.next
		*s = state{}
		return h, s
	}
	b.used++
	if int(b.used>>chunkBits) >= len(b.chunks) {
		b.chunks = append(b.chunks, new(chunk))
	}
	return b.used, b.at(b.used)
}

func (b *slab) give(h uint32) {
	b.open--
	s := b.at(h)
	s.next, b.free = b.free, h
}
