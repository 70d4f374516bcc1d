package trace

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"

	"github.com/tollgate-iot/tollgate/harness/packet"
)

// addrSet counts the addresses of devices: 16 bytes each in open addressing, no more than half full. A map of netip.Addr
// costs several times as much for every flow. The hash is seeded at random, so that nobody can send addresses that all
// collide; nothing that can be seen depends on the order.
type addrSet struct {
	slots []packet.Addr // the zero address is an empty slot
	count int
	zero  bool // the zero address, ::, is in the set
	seed  [2]uint64
}

const addrSetSlots = 1 << 10 // at first

// add puts an address into the set.
func (s *addrSet) add(a packet.Addr) {
	if a == (packet.Addr{}) {
		s.zero = true
		return
	}
	if s.slots == nil {
		s.slots, s.seed = make([]packet.Addr, addrSetSlots), [2]uint64{rand.Uint64(), rand.Uint64()}
	}
	if s.place(a) && 2*s.count > len(s.slots) {
		old := s.slots
		s.slots, s.count = make([]packet.Addr, 2*len(old)), 0
		for _, a := range old {
			if a != (packet.Addr{}) {
				s.place(a)
			}
		}
	}
}

// place puts an address into the slots and says whether it is new.
func (s *addrSet) place(a packet.Addr) bool {
	hi, lo := bits.Mul64(binary.LittleEndian.Uint64(a[:])^s.seed[0], binary.LittleEndian.Uint64(a[8:])^s.seed[1])
	mask := uint64(len(s.slots) - 1)
	for i := (hi ^ lo) & mask; ; i = (i + 1) & mask {
		switch s.slots[i] {
		case a:
			return false
		case packet.Addr{}:
			s.slots[i] = a
			s.count++
			return true
		}
	}
}

// size is how many addresses are in the set.
func (s *addrSet) size() int {
	if s.zero {
		return s.count + 1
	}
	return s.count
}
