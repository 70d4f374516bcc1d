package trace

import (
	"encoding/binary"

	"github.com/tollgate-iot/tollgate/harness/packet"
)

// What it takes to believe that a source's IPv4 identifications count up: steps of exactly one on both sides of a gap.
// Hosts that draw them at random, per destination or always zero (RFC 6864 leaves them free) never look so.
const (
	ipidBefore = 4  // steps of one in a row before a gap
	ipidAround = 8  // before and behind it together
	ipidGap    = 64 // the widest gap that is taken for loss
)

// ipidSlots bounds the memory: sources share a slot by their hash, and the later one turns the earlier one out, whose
// count of steps then begins anew. That can hide a gap, never make one.
const (
	ipidBits  = 13
	ipidSlots = 1 << ipidBits
)

// ipids follows the IPv4 identifications of every source.
type ipids struct {
	slots []ipidSource
	gaps  []ipidGapSeen
	more  uint64
}

type ipidSource struct {
	src      packet.Addr
	path     uint32
	used     bool
	last     uint16
	before   uint16 // steps of one in a row, before the gap where there is one
	after    uint16 // behind it
	missing  uint16 // numbers missing in the gap, 0 where there is none
	gapStart uint16 // the number before it
	since    int64  // times of the packets around it
	till     int64
	lastTime int64
}

// ipidGapSeen is a gap that was believed.
type ipidGapSeen struct {
	src         packet.Addr
	missing     uint16
	since, till int64
}

func (s *ipids) add(p *packet.Packet) {
	if s.slots == nil {
		s.slots = make([]ipidSource, ipidSlots)
	}
	e := &s.slots[ipidHash(p)]
	if !e.used || e.src != p.Src || e.path != p.Path {
		if e.used {
			s.settle(e)
		}
		*e = ipidSource{src: p.Src, path: p.Path, used: true, last: p.IPID, lastTime: p.Time}
		return
	}
	switch step := int16(p.IPID - e.last); {
	case step == 1:
		if e.missing > 0 {
			e.after = min(e.after+1, ipidAround)
			if e.before+e.after >= ipidAround {
				s.settle(e)
			}
		} else {
			e.before = min(e.before+1, ipidAround)
		}
	case step == 0: // a fragment, or the mirror's copy
	case step < 0 && step >= -ipidGap-ipidAround:
		e.lateID(p.IPID)
		return
	case step > 1 && step <= ipidGap && e.before >= ipidBefore && e.missing == 0:
		e.missing, e.gapStart, e.since, e.till, e.after = uint16(step)-1, e.last, e.lastTime, p.Time, 0
	default:
		s.settle(e)
		e.before, e.after, e.missing = 0, 0, 0
	}
	// A packet longer than any link carries was joined from several, and used up a number for each.
	if p.PayloadLen > 1460 {
		e.before, e.after, e.missing = 0, 0, 0
	}
	e.last, e.lastTime = p.IPID, p.Time
}

// lateID takes a number below the last one: it fills the gap where it falls inside, and is a copy otherwise.
func (e *ipidSource) lateID(id uint16) {
	if off := id - e.gapStart; e.missing > 0 && off > 0 && off <= ipidGap {
		if e.missing--; e.missing == 0 {
			e.before, e.after = min(e.before+e.after+1, ipidAround), 0
		}
	}
}

// settle keeps the source's gap where it is to be believed, and forgets it.
func (s *ipids) settle(e *ipidSource) {
	if e.missing > 0 && e.after > 0 && e.before+e.after >= ipidAround {
		if len(s.gaps) < maxHoles {
			s.gaps = append(s.gaps, ipidGapSeen{src: e.src, missing: e.missing, since: e.since, till: e.till})
		} else {
			s.more++
		}
	}
	if e.missing > 0 {
		e.before, e.after, e.missing = e.after, 0, 0
	}
}

// finish settles every source.
func (s *ipids) finish() {
	for i := range s.slots {
		if s.slots[i].used {
			s.settle(&s.slots[i])
		}
	}
}

func ipidHash(p *packet.Packet) uint32 {
	x := (binary.BigEndian.Uint64(p.Src[8:]) ^ uint64(p.Path)<<40) * 0x9E3779B97F4A7C15
	return uint32(x >> (64 - ipidBits))
}
