package flow

import (
	"math/bits"
	"time"

	"github.com/tollgate-iot/tollgate/harness/packet"
)

// duplicates recognises packets that the mirror sent twice: the same in everything that a sender would change in a
// packet sent again. It remembers fingerprints of the latest packets of all flows, four to a cache line. The sets stay as
// few as the traffic allows, and so in the processor's cache: they grow, up to a bound, when a fingerprint would be
// forgotten before its copy could have come.
type duplicates struct {
	sets    []fingerprintSet // a power of two of them
	fetched uint64           // of no meaning: it keeps the compiler from leaving out the reading
}

// fingerprintSet holds the latest fingerprints, the newest first.
type fingerprintSet [4]fingerprint

type fingerprint struct {
	print uint64
	time  int64
}

const (
	firstSets = 1 << 6
	mostSets  = 1 << 14 // setBits tell no more than 1<<16 apart
	// A copy comes at once. A packet sent again has another IP identification, or comes after the retransmission
	// time-out (at least 200 ms in practice); without an identification only a very short time tells.
	copyTime     = int64(100 * time.Millisecond)
	copyTimeNoID = int64(5 * time.Millisecond)
)

func newDuplicates() duplicates { return duplicates{sets: make([]fingerprintSet, firstSets)} }

func (d *duplicates) set(print uint64) *fingerprintSet { return &d.sets[print&uint64(len(d.sets)-1)] }

// fetch reads from the sets that packets belong to, so that they are near when their turn comes.
func (d *duplicates) fetch(r []Ready) {
	var sum uint64
	for i := range r {
		sum += d.set(r[i].print)[0].print
	}
	d.fetched = sum
}

// copied says whether a packet is a copy, and remembers its fingerprint where it is not.
func (d *duplicates) copied(p *packet.Packet, print uint64) bool {
	if print == 0 {
		return false
	}
	set := d.set(print)
	// Nearly no packet is a copy: all four are held against it at once, and times are looked at only then.
	if (set[0].print == print || set[1].print == print || set[2].print == print || set[3].print == print) && set.holds(p, print) {
		return true
	}
	if oldest := &set[len(set)-1]; len(d.sets) < mostSets && oldest.print != 0 && p.Time-oldest.time <= copyTime {
		d.grow()
		set = d.set(print)
	}
	set.push(fingerprint{print, p.Time})
	return false
}

// holds says whether a packet's fingerprint is among those that are recent enough.
func (s *fingerprintSet) holds(p *packet.Packet, print uint64) bool {
	limit := copyTime
	if !numbered(p) {
		limit = copyTimeNoID
	}
	for i := range s {
		if s[i].print == print && p.Time-s[i].time <= limit && s[i].time-p.Time <= limit {
			return true
		}
	}
	return false
}

// numbered says whether a packet carries a number that its sender changes from one to the next.
func numbered(p *packet.Packet) bool { return p.HasIPID && p.IPID != 0 || isEcho(p) }

// isEcho says whether a packet is an echo request or reply: each has a number of its own (RFC 792; RFC 4443, 4.1), which
// its checksum shows.
func isEcho(p *packet.Packet) bool {
	switch p.Kind {
	case packet.ICMP:
		return p.ICMPType == 8 || p.ICMPType == 0
	case packet.ICMPv6:
		return p.ICMPType == 128 || p.ICMPType == 129
	}
	return false
}

func (d *duplicates) grow() {
	old := d.sets
	d.sets = make([]fingerprintSet, 2*len(old))
	for i := range old {
		for j := len(old[i]) - 1; j >= 0; j-- {
			if f := old[i][j]; f.print != 0 {
				d.set(f.print).push(f)
			}
		}
	}
}

// push puts a fingerprint first and forgets the last. To look for the oldest instead would be a guess for the processor.
func (s *fingerprintSet) push(f fingerprint) {
	s[3], s[2], s[1], s[0] = s[2], s[1], s[0], f
}

// setBits are the lowest bits of a fingerprint, which choose its set.
const setBits = 1<<16 - 1

// printOf mixes what a copy has in common with its original: the key of its flow, the end that sent it, and its headers.
// seeded is the key mixed with a seed: nobody can send packets that pass for copies. The bits that choose the set have
// nothing of the seed, so that what is forgotten is the same in every run. It gives 0 for an ACK without a number, of
// which a second one alike may be genuine.
func printOf(k *key, seeded uint64, end uint8, p *packet.Packet) uint64 {
	if p.PayloadLen == 0 && p.Kind == packet.TCP && p.Flags&(packet.SYN|packet.FIN) == 0 && !numbered(p) {
		return 0
	}
	ends := k.a.low ^ bits.RotateLeft64(k.b.low, 16) ^ k.rest
	h := mix(uint64(p.Seq)<<32|uint64(p.Ack)^ends^0xA0761D6478BD642F,
		uint64(p.IPID)|uint64(p.Checksum)<<16|uint64(uint16(p.WireLen))<<32|uint64(p.Window)<<48^0xE7037ED1A0B428DB)
	if p.Checksum == 0 {
		for _, b := range p.Payload[:min(len(p.Payload), 64)] {
			h = (h ^ uint64(b)) * 0x100000001B3
		}
	}
	print := mix(h^seeded^0x8EBC6AF09C88C6E3,
		uint64(p.Flags)|uint64(p.TTL)<<8|uint64(end)<<16|uint64(p.ICMPType)<<24|uint64(p.ICMPCode)<<32^0x589965CC75374CC3)
	return max(print&^setBits|h&setBits, 1)
}
