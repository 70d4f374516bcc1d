package pcap

import (
	"math"
	"math/bits"
)

const second = 1_000_000_000 // in nanoseconds

// clock turns an interface's timestamps into nanoseconds since the Unix epoch. Times that an int64 can't hold
// (after the year 2262) are given as the latest it can.
type clock struct {
	multiply uint64 // nanoseconds of a unit; 0 where the unit is less than one
	divide   uint64 // units of a nanosecond; 0 where that is more than a uint64 holds
	shift    uint   // units are 2^-shift seconds
	binary   bool
	offset   int64 // seconds to add
}

// newClock takes the options if_tsresol and if_tsoffset (section 4.2 of the pcapng draft): the resolution's highest bit
// chooses between negative powers of 2 and of 10.
func newClock(resolution byte, offset int64) clock {
	c := clock{offset: offset}
	exponent := uint(resolution & 0x7f)
	switch {
	case resolution&0x80 != 0:
		c.binary, c.shift = true, exponent
	case exponent <= 9:
		c.multiply = power10(9 - exponent)
	case exponent-9 <= 19:
		c.divide = power10(exponent - 9)
	}
	return c
}

func power10(n uint) uint64 {
	p := uint64(1)
	for range n {
		p *= 10
	}
	return p
}

func (c *clock) nanoseconds(units uint64) int64 {
	var high, low uint64
	switch {
	case c.multiply != 0:
		high, low = bits.Mul64(units, c.multiply)
	case c.divide != 0:
		low = units / c.divide
	case c.binary:
		high, low = bits.Mul64(units, second)
		high, low = shiftRight(high, low, c.shift)
	}
	if high != 0 || low > math.MaxInt64 {
		return math.MaxInt64
	}
	if c.offset == 0 {
		return int64(low)
	}
	return c.shifted(int64(low))
}

// shifted adds the offset, as far as an int64 goes.
func (c *clock) shifted(t int64) int64 {
	switch {
	case c.offset > math.MaxInt64/second || c.offset > 0 && t > math.MaxInt64-c.offset*second:
		return math.MaxInt64
	case c.offset < math.MinInt64/second:
		return math.MinInt64
	}
	return t + c.offset*second // t is never negative, so that this can't go below the least
}

func shiftRight(high, low uint64, n uint) (uint64, uint64) {
	if n >= 64 {
		return 0, high >> (n - 64)
	}
	return high >> n, high<<(64-n) | low>>n
}
