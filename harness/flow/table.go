package flow

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"

	"github.com/tollgate-iot/tollgate/harness/packet"
)

// table finds a flow's state by its key: open addressing with linear probing over (hash, handle) pairs, eight bytes
// each. The hash is seeded at random, so that nobody can send packets whose flows all collide; nothing that can be
// seen depends on the order of the table.
type table struct {
	slots []slot
	mask  uint32
	count int
	seed  [2]uint64
}

type slot struct{ hash, handle uint32 }

const firstSlots = 1 << 12

func newTable() table {
	return table{slots: make([]slot, firstSlots), mask: firstSlots - 1, seed: [2]uint64{rand.Uint64() | 1, rand.Uint64() | 1}}
}

func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

// unseeded is for hashes that decide what is seen, which must come out the same in every run.
var unseeded = [2]uint64{0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9}

// high and low are the halves of an address, as words to mix and compare.
func high(a *packet.Addr) uint64 { return binary.LittleEndian.Uint64(a[:8]) }
func low(a *packet.Addr) uint64  { return binary.LittleEndian.Uint64(a[8:]) }

// hash multiplies the words of a key pairwise, in the manner of wyhash.
func (k *key) hash(seed *[2]uint64) uint32 {
	h := k.mixed(seed)
	return uint32(h ^ h>>32)
}

func (k *key) mixed(seed *[2]uint64) uint64 {
	ports := uint64(k.aPort) | uint64(k.bPort)<<16 | uint64(k.path)<<32
	h := mix(low(&k.a)^seed[0], low(&k.b)^seed[1])
	h ^= mix(ports^seed[1], h^uint64(k.kind)<<8^uint64(k.proto)^0x9E3779B97F4A7C15)
	if hi := high(&k.a) | high(&k.b); hi != 0 {
		h = mix(high(&k.a)^h, high(&k.b)^seed[0])
	}
	return h
}

// find gives the handle of the state with the key, or 0.
func (t *table) find(b *slab, k *key, hash uint32) uint32 {
	for i := hash & t.mask; ; i = (i + 1) & t.mask {
		e := t.slots[i]
		if e.handle == 0 {
			return 0
		}
		if e.hash == hash && b.at(e.handle).key.same(k) {
			return e.handle
		}
	}
}

// same compares keys by words: what the compiler makes of == calls a function.
func (k *key) same(o *key) bool {
	return low(&k.b) == low(&o.b) && low(&k.a) == low(&o.a) && k.aPort == o.aPort && k.bPort == o.bPort && k.path == o.path &&
		k.kind == o.kind && k.proto == o.proto && high(&k.a) == high(&o.a) && high(&k.b) == high(&o.b)
}

func (t *table) insert(hash, handle uint32) {
	if t.count*3 >= len(t.slots)*2 {
		t.grow()
	}
	t.count++
	t.place(slot{hash, handle})
}

func (t *table) place(e slot) {
	i := e.hash & t.mask
	for t.slots[i].handle != 0 {
		i = (i + 1) & t.mask
	}
	t.slots[i] = e
}

func (t *table) grow() {
	old := t.slots
	t.slots = make([]slot, 2*len(old))
	t.mask = uint32(len(t.slots) - 1)
	for _, e := range old {
		if e.handle != 0 {
			t.place(e)
		}
	}
}

// remove takes an entry out and moves later ones of its run back, so that no marker stays behind.
func (t *table) remove(hash, handle uint32) {
	i := hash & t.mask
	for t.slots[i].handle != handle {
		i = (i + 1) & t.mask
	}
	t.count--
	for j := (i + 1) & t.mask; t.slots[j].handle != 0; j = (j + 1) & t.mask {
		home := t.slots[j].hash & t.mask
		if (j-home)&t.mask >= (j-i)&t.mask {
			t.slots[i] = t.slots[j]
			i = j
		}
	}
	t.slots[i] = slot{}
}
