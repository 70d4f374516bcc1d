package flow

import (
	"time"

	"github.com/tollgate-iot/tollgate/harness/packet"
)

// duplicates recognises packets that the mirror sent twice: the same in everything that a sender would change in a
// packet sent again. It remembers fingerprints of the latest packets of all flows, four to a cache line. It grows with
// the packets seen up to a bound; a copy that comes many thousands of packets after its original is not recognised.
type duplicates struct {
	sets []fingerprintSet // a power of two
	seen int
}

type fingerprintSet [4]fingerprint

type fingerprint struct {
	print uint64
	time  int64
}

const (
	firstSets = 1 << 6
	mostSets  = 1 << 13
	// A copy comes at once. A packet sent again has another IP identification, or comes after the retransmission
	// time-out (at least 200 ms in practice); without an identification only a very short time tells.
	copyTime     = int64(100 * time.Millisecond)
	copyTimeNoID = int64(5 * time.Millisecond)
)

// copied says whether a packet is a copy, and remembers it where it is not.
func (d *duplicates) copied(flow uint32, end int, p *packet.Packet) bool {
	limit := copyTime
	if !p.HasIPID || p.IPID == 0 {
		limit = copyTimeNoID
		if p.PayloadLen == 0 && p.Kind == packet.TCP && p.Flags&(packet.SYN|packet.FIN) == 0 {
			return false // a second ACK may be genuine
		}
	}
	print := printOf(flow, end, p)
	set := &d.sets[print&uint64(len(d.sets)-1)]
	for i := range set {
		if set[i].print == print && p.Time-set[i].time <= limit && set[i].time-p.Time <= limit {
			return true
		}
	}
	if d.seen++; d.seen > len(d.sets) && len(d.sets) < mostSets {
		d.grow()
		set = &d.sets[print&uint64(len(d.sets)-1)]
	}
	set.add(fingerprint{print, p.Time})
	return false
}

func (d *duplicates) grow() {
	old := d.sets
	d.sets = make([]fingerprintSet, 4*len(old))
	for i := range old {
		for _, f := range old[i] {
			if f.print != 0 {
				d.sets[f.print&uint64(len(d.sets)-1)].add(f)
			}
		}
	}
}

// add puts a fingerprint in the place of the oldest.
func (s *fingerprintSet) add(f fingerprint) {
	oldest := 0
	for i := range s {
		if s[i].time < s[oldest].time {
			oldest = i
		}
	}
	s[oldest] = f
}

// printOf mixes what a copy has in common with its original. It is not seeded: what is recognised is the same in
// every run.
func printOf(flow uint32, end int, p *packet.Packet) uint64 {
	h := mix(uint64(flow)<<1|uint64(end)|uint64(p.Seq)<<32^0xA0761D6478BD642F,
		uint64(p.Ack)|uint64(p.Flags)<<32|uint64(p.TTL)<<40|uint64(p.Window)<<48^0xE7037ED1A0B428DB)
	h = mix(h^0x8EBC6AF09C88C6E3,
		uint64(p.IPID)|uint64(p.Checksum)<<16|uint64(uint16(p.WireLen))<<32|uint64(p.ICMPType)<<48|uint64(p.ICMPCode)<<56^0x589965CC75374CC3)
	if p.Checksum == 0 {
		for _, b := range p.Payload[:min(len(p.Payload), 64)] {
			h = (h ^ uint64(b)) * 0x100000001B3
		}
	}
	return h ^ h>>29
}
