package flow

import (
	"math/bits"
	"math/rand/v2"
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

// fold makes a hash of what a key's words were mixed to.
func fold(mixed uint64) uint32 { return uint32(mixed ^ mixed>>32) }

// mixed multiplies the words of a key pairwise, in the manner of wyhash.
func (k *key) mixed(seed *[2]uint64) uint64 {
	low, high := mix(k.a.low^seed[0], k.b.low^seed[1]), mix(k.a.high^seed[1], k.b.high^seed[0])
	return mix(low^k.rest, high^seed[0])
}

// find gives the state with the key and its handle, or 0.
func (t *table) find(b *slab, k *key, hash uint32) (uint32, *state) {
	for i := hash & t.mask; ; i = (i + 1) & t.mask {
		e := t.slots[i]
		if e.handle == 0 {
			return 0, nil
		}
		if e.hash != hash {
			continue
		}
		if s := b.at(e.handle); s.key.same(k) {
			return e.handle, s
		}
	}
}

// same compares keys by words: what the compiler makes of == calls a function.
func (k *key) same(o *key) bool {
	return (k.a.low^o.a.low)|(k.b.low^o.b.low)|(k.a.high^o.a.high)|(k.b.high^o.b.high)|(k.rest^o.rest) == 0
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
