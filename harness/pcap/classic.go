package pcap

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

// The magic numbers of pcap as a little-endian reader sees a little-endian file (section 4).
const (
	magicMicro    = 0xa1b2c3d4
	magicNano     = 0xa1b23c4d
	magicModified = 0xa1b2cd34 // Kuznetzov's libpcap: 8 more bytes in each record's header
)

const classicHeader = 24

// lengthOrder says in which order a record's header has its two lengths.
type lengthOrder uint8

const (
	capturedFirst lengthOrder = iota
	smallerFirst              // version 2.3: some writers took the one order, some the other
	wireFirst                 // before version 2.3
)

// classic is what the header of a pcap file says.
type classic struct {
	head  int   // bytes of a record's header
	scale int64 // nanoseconds of the fraction's unit
	link  LinkType
	swap  bool // the file's byte order is big-endian
	order lengthOrder
	odd   bool // swap, or an order of older versions
}

// openClassic reads the file header.
func (r *Reader) openClassic(head []byte) error {
	c, ok := classicMagic(head)
	if !ok {
		return notCapture(&r.src, r.compression)
	}
	if !r.src.need(classicHeader) {
		return fmt.Errorf("%w: the file ends inside the 24 bytes of its header", ErrFormat)
	}
	h := r.src.rest()[:classicHeader]
	major, minor := c.uint16(h[4:]), c.uint16(h[6:])
	switch {
	case major < 2 || major == 2 && minor < 3:
		c.order = wireFirst
	case major == 2 && minor == 3:
		c.order = smallerFirst
	}
	// The upper half of the field holds the length of the frame check sequence and reserved bits (section 4).
	c.link = LinkType(c.uint32(h[20:]))
	c.odd = c.swap || c.order != capturedFirst
	r.src.pos += classicHeader
	r.classic = c
	return nil
}

func classicMagic(head []byte) (classic, bool) {
	if len(head) < 4 {
		return classic{}, false
	}
	magic := binary.LittleEndian.Uint32(head)
	for _, swap := range []bool{false, true} {
		switch magic {
		case magicMicro:
			return classic{swap: swap, head: 16, scale: 1000}, true
		case magicNano:
			return classic{swap: swap, head: 16, scale: 1}, true
		case magicModified:
			return classic{swap: swap, head: 24, scale: 1000}, true
		}
		magic = bits.ReverseBytes32(magic)
	}
	return classic{}, false
}

// isHeader says whether the first two fields of an empty record are a pcap file's magic number and its version, 2.4, in the
// file's own byte order: nobody records an empty packet in the year 2055, and two writers do share a named pipe.
func isHeader(seconds, fraction uint32) bool {
	return (seconds == magicMicro || seconds == magicNano || seconds == magicModified) && (fraction == 4<<16|2 || fraction == 2<<16|4)
}

func (c *classic) uint16(b []byte) uint16 {
	v := binary.LittleEndian.Uint16(b)
	if c.swap {
		v = bits.ReverseBytes16(v)
	}
	return v
}

func (c *classic) uint32(b []byte) uint32 {
	v := binary.LittleEndian.Uint32(b)
	if c.swap {
		v = bits.ReverseBytes32(v)
	}
	return v
}

// readClassic is the hot path of every analysis of a pcap file: it calls nothing but fill when the buffer is used up,
// copies nothing and allocates nothing.
func (r *Reader) readClassic(rec *Record) error {
	c, s := &r.classic, &r.src
	if s.end-s.pos < c.head && !s.fill(c.head) {
		return r.end()
	}
	h := s.buf[s.pos : s.pos+16]
	seconds, fraction := binary.LittleEndian.Uint32(h), binary.LittleEndian.Uint32(h[4:])
	captured, length := binary.LittleEndian.Uint32(h[8:]), binary.LittleEndian.Uint32(h[12:])
	if c.odd {
		seconds, fraction, captured, length = c.straighten(seconds, fraction, captured, length)
	}
	if captured == 0 && length == 0 && isHeader(seconds, fraction) {
		return r.damage("another capture's header stands where a record should: two captures were written one after the other")
	}
	if captured > MaxRecord {
		return r.damage("the next record claims %d bytes, and at most %d are believed", captured, MaxRecord)
	}
	total := c.head + int(captured)
	if s.end-s.pos < total && !s.fill(total) {
		return r.end()
	}
	r.number++
	rec.Number = r.number
	rec.Time = int64(seconds)*second + int64(fraction)*c.scale
	rec.Link, rec.Interface, rec.Drops = c.link, 0, 0
	rec.Data = s.buf[s.pos+c.head : s.pos+total]
	rec.Length = onWire(length, captured)
	s.pos += total
	return nil
}

// straighten turns a record's header into the machine's byte order, and its lengths into the order of today.
func (c *classic) straighten(seconds, fraction, captured, length uint32) (uint32, uint32, uint32, uint32) {
	if c.swap {
		seconds, fraction = bits.ReverseBytes32(seconds), bits.ReverseBytes32(fraction)
		captured, length = bits.ReverseBytes32(captured), bits.ReverseBytes32(length)
	}
	if c.order == wireFirst || c.order == smallerFirst && captured > length {
		captured, length = length, captured
	}
	return seconds, fraction, captured, length
}
