package hub

import (
	"encoding/binary"

	"github.com/tollgate-iot/tollgate/harness/packet"
)

// hold keeps the latest frames that nobody follows, in a ring of bytes.
type hold struct {
	ring  []byte
	list  []heldFrame // oldest first, from begin
	begin int
	write int
	last  []uint64 // number of the latest frame that was let go, by a hash of its addresses
}

type heldFrame struct {
	src, dst packet.Addr
	entry
	at int // of its data in the ring
}

// goneSize is how many addresses' frames let go are told apart: two that share a place only make doubt where there is none.
const goneSize = 1 << 14

func newHold(size int) hold { return hold{last: make([]uint64, goneSize), ring: make([]byte, size)} }

func place(a packet.Addr) uint64 {
	x := binary.LittleEndian.Uint64(a[:8]) ^ binary.LittleEndian.Uint64(a[8:])*0x9e3779b97f4a7c15
	return (x ^ x>>29) * 0xbf58476d1ce4e5b9 >> 50 % goneSize
}

// add keeps a frame, and lets older ones go where there is no room.
func (h *hold) add(src, dst packet.Addr, e entry) {
	n := len(e.record.Data)
	if n > len(h.ring) {
		h.forget(src, dst, e.number)
		return
	}
	if h.write+n > len(h.ring) { // what is left at the ring's end stays empty
		h.free(h.write, len(h.ring))
		h.write = 0
	}
	h.free(h.write, h.write+n)
	f := heldFrame{src: src, dst: dst, entry: e, at: h.write}
	f.record.Data = h.ring[h.write : h.write+n : h.write+n]
	copy(f.record.Data, e.record.Data)
	h.write += n
	if h.begin > 0 && len(h.list) == cap(h.list) {
		h.list = append(h.list[:0], h.list[h.begin:]...)
		h.begin = 0
	}
	h.list = append(h.list, f)
}

// free lets go of the oldest frames as long as they lie in a part of the ring.
func (h *hold) free(from, to int) {
	for h.begin < len(h.list) {
		f := &h.list[h.begin]
		if f.at >= to || f.at+len(f.record.Data) <= from && len(f.record.Data) > 0 {
			return
		}
		if f.at < from && len(f.record.Data) == 0 {
			return
		}
		h.forget(f.src, f.dst, f.number)
		h.begin++
	}
	h.list, h.begin = h.list[:0], 0
}

func (h *hold) forget(src, dst packet.Addr, number uint64) {
	h.last[place(src)], h.last[place(dst)] = number, number
}

// gone gives the number of the latest frame let go that may have been an address's, 0 where there is none.
func (h *hold) gone(a packet.Addr) uint64 { return h.last[place(a)] }

// each gives the frames of an address that came after a frame, in their order, with the address at their other end.
func (h *hold) each(a packet.Addr, after uint64, see func(other packet.Addr, e *entry)) {
	for i := h.begin; i < len(h.list); i++ {
		switch f := &h.list[i]; {
		case f.number <= after:
		case f.src == a:
			see(f.dst, &f.entry)
		case f.dst == a:
			see(f.src, &f.entry)
		}
	}
}
