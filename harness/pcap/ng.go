package pcap

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

// The block types (section 11.1 of the pcapng draft).
const (
	blockSection   = 0x0a0d0d0a // the same in both byte orders
	blockInterface = 1
	blockObsolete  = 2 // packet block
	blockSimple    = 3
	blockStats     = 5
	blockEnhanced  = 6
)

const (
	byteOrderMagic = 0x1a2b3c4d
	notKnown       = 1<<64 - 1 // a count or a length

	// maxBlock bounds the blocks that are looked into, options included; others are skipped at any length.
	maxBlock = MaxRecord + 512<<10
	// maxInterfaces bounds those of one section.
	maxInterfaces = 1 << 16
	// maxSpans bounds those of one file, which may be as long as a comment each; of later ones nothing is known.
	maxSpans = 1000
)

// sections is what is known of a pcapng file: its present section, and of earlier ones only their sums.
type sections struct {
	swap       bool // the section's byte order is big-endian
	base       int  // index over the whole file of the section's first interface
	interfaces []netInterface
	past       uint64            // drops of the sections before
	unfinished bool              // a section is a Recording that was not written to its end
	recording  bool              // the present section is a Recording
	comment    string            // of the first section's header
	lost       map[string]uint64 // drops of the sections before, by the interfaces' names

	spans       []Span
	commentable []byte // options of the record given last
}

// netInterface is what an interface description block says, and what is counted of the interface.
type netInterface struct {
	name  string
	link  LinkType
	snap  uint32
	clock clock

	reported uint64 // drops by the interface's statistics, which count from its beginning
	counted  uint64 // drops by the packets' own counts
}

func isNG(head []byte) bool {
	return len(head) >= 4 && binary.LittleEndian.Uint32(head) == blockSection
}

func (n *sections) uint16(b []byte) uint16 {
	v := binary.LittleEndian.Uint16(b)
	if n.swap {
		v = bits.ReverseBytes16(v)
	}
	return v
}

func (n *sections) uint32(b []byte) uint32 {
	v := binary.LittleEndian.Uint32(b)
	if n.swap {
		v = bits.ReverseBytes32(v)
	}
	return v
}

func (n *sections) uint64(b []byte) uint64 {
	v := binary.LittleEndian.Uint64(b)
	if n.swap {
		v = bits.ReverseBytes64(v)
	}
	return v
}

func (n *sections) drops() uint64 {
	var sum uint64
	for i := range n.interfaces {
		sum += n.interfaces[i].drops()
	}
	return sum
}

func (i *netInterface) drops() uint64 { return max(i.reported, i.counted) }

// leave keeps of a section's interfaces what they lost, and forgets them.
func (n *sections) leave() {
	for i := range n.interfaces {
		if in := &n.interfaces[i]; in.drops() > 0 {
			if n.lost == nil {
				n.lost = map[string]uint64{}
			}
			n.lost[in.name] += in.drops()
		}
	}
	n.past += n.drops()
	n.base += len(n.interfaces)
	n.interfaces = n.interfaces[:0]
}

// section reads a section header block (section 4.1), which begins at the source's position, and forgets the section before.
func (r *Reader) section() error {
	if !r.src.need(28) {
		if r.number > 0 || r.ng.base > 0 || len(r.ng.interfaces) > 0 {
			return r.end()
		}
		return fmt.Errorf("%w: the file ends inside its first section header", ErrFormat)
	}
	n, h := r.ng, r.src.rest()
	n.leave()
	switch binary.LittleEndian.Uint32(h[8:]) {
	case byteOrderMagic:
		n.swap = false
	case bits.ReverseBytes32(byteOrderMagic):
		n.swap = true
	default:
		return r.damage("a section header has the byte order mark % x", h[8:12])
	}
	if major, minor := n.uint16(h[12:]), n.uint16(h[14:]); major != 1 {
		return r.damage("a section has version %d.%d, and only 1.x is known", major, minor)
	}
	length := n.uint32(h[4:])
	if length < 28 || length%4 != 0 {
		return r.damage("a section header claims %d bytes", length)
	}
	unended := n.uint64(h[LengthAt:]) == notKnown // looking into the options may move the buffer that h is in
	n.recording = r.heading(length)
	n.unfinished = n.unfinished || n.recording && unended
	return r.skip(blockSection, length)
}

// heading looks into the section header at the source's position, of so many bytes: it keeps the comment of the file's first
// one, and says whether the section is a Recording's.
func (r *Reader) heading(length uint32) (recording bool) {
	if length > maxBlock || !r.src.need(int(length)) {
		return false
	}
	first := r.number == 0 && r.ng.base == 0
	r.ng.options(r.src.rest()[24:length-4], func(code uint16, value []byte) {
		switch {
		case code == optApplication:
			recording = string(value) == Recording
		case code == optComment && first && r.ng.comment == "":
			r.ng.comment = string(value)
		}
	})
	return recording
}

// skip passes over a block that is not looked into, however long it is.
func (r *Reader) skip(kind, length uint32) error {
	if length < 12 || length%4 != 0 {
		return r.damage("a block of type %#x claims %d bytes", kind, length)
	}
	if r.src.skip(uint64(length)) {
		return nil
	}
	r.cut = true
	return r.end()
}

// readNG walks the blocks up to the next packet.
func (r *Reader) readNG(rec *Record) error {
	n, s := r.ng, &r.src
	n.commentable = nil
	for {
		if !s.need(8) {
			return r.end()
		}
		h := s.rest()
		kind, length := n.uint32(h), n.uint32(h[4:])
		var err error
		switch kind {
		case blockSection:
			err = r.section()
		case blockEnhanced, blockSimple, blockObsolete:
			return r.packet(kind, length, rec)
		case blockInterface:
			err = r.describe(length)
		case blockStats:
			err = r.statistics(length)
		default:
			err = r.skip(kind, length)
		}
		if err != nil {
			return err
		}
	}
}

// body takes a block that is looked into off the source and gives what is between its two lengths, at least so many bytes.
func (r *Reader) body(kind, length uint32, least int) ([]byte, error) {
	if length < uint32(12+least) || length%4 != 0 || length > maxBlock {
		return nil, r.damage("a block of type %#x claims %d bytes", kind, length)
	}
	if !r.src.need(int(length)) {
		return nil, r.end()
	}
	block := r.src.rest()[:length]
	if again := r.ng.uint32(block[length-4:]); again != length {
		return nil, r.damage("a block of type %#x claims %d bytes at its beginning and %d at its end", kind, length, again)
	}
	r.src.pos += int(length)
	return block[8 : length-4 : length-4], nil
}

// describe reads an interface description block (section 4.2).
func (r *Reader) describe(length uint32) error {
	body, err := r.body(blockInterface, length, 8)
	if err != nil {
		return err
	}
	n := r.ng
	if len(n.interfaces) == maxInterfaces {
		return r.damage("a section has more than %d interfaces", maxInterfaces)
	}
	resolution, offset, name := byte(6), int64(0), ""
	n.options(body[8:], func(code uint16, value []byte) {
		switch {
		case code == optName:
			name = string(value)
		case code == optResolution && len(value) == 1:
			resolution = value[0]
		case code == optOffset && len(value) == 8:
			offset = int64(n.uint64(value))
		}
	})
	n.interfaces = append(n.interfaces, netInterface{
		name:  name,
		link:  LinkType(n.uint16(body)),
		snap:  n.uint32(body[4:]),
		clock: newClock(resolution, offset),
	})
	return nil
}

// statistics reads an interface statistics block (section 4.6). One of an unknown interface says nothing.
func (r *Reader) statistics(length uint32) error {
	body, err := r.body(blockStats, length, 12)
	if err != nil {
		return err
	}
	n := r.ng
	index := n.uint32(body)
	if uint64(index) >= uint64(len(n.interfaces)) {
		return nil
	}
	i := &n.interfaces[index]
	var drops uint64
	said := Span{Interface: i.name}
	n.options(body[12:], func(code uint16, value []byte) {
		switch {
		case code == optComment && said.Comment == "":
			said.Comment = string(value)
		case len(value) != 8:
		case code == optFrom:
			said.From = i.clock.nanoseconds(n.moment(value))
		case code == optTo:
			said.To = i.clock.nanoseconds(n.moment(value))
		case code == optIfDrop || code == optOSDrop:
			if count := n.uint64(value); count != notKnown {
				drops += count
			}
		}
	})
	i.reported = max(i.reported, drops)
	if said.Comment != "" && said.From > 0 && said.To >= said.From && len(n.spans) < maxSpans {
		n.spans = append(n.spans, said)
	}
	return nil
}

// moment reads a timestamp, whose upper half comes first in either byte order.
func (n *sections) moment(b []byte) uint64 { return uint64(n.uint32(b))<<32 | uint64(n.uint32(b[4:])) }

// packet reads an enhanced (section 4.3), simple (4.4) or obsolete packet block (appendix A).
func (r *Reader) packet(kind, length uint32, rec *Record) error {
	least := 20
	if kind == blockSimple {
		least = 4
	}
	body, err := r.body(kind, length, least)
	if err != nil {
		return err
	}
	switch kind {
	case blockEnhanced:
		return r.enhanced(body, rec)
	case blockSimple:
		return r.simple(body, rec)
	}
	return r.obsolete(body, rec)
}

func (r *Reader) enhanced(body []byte, rec *Record) error {
	n := r.ng
	i, err := r.record(n.uint32(body), n.uint32(body[12:]), n.uint32(body[16:]), body[20:], rec)
	if err != nil {
		return err
	}
	rec.Time = i.clock.nanoseconds(n.moment(body[4:]))
	if len(n.commentable) < 4 {
		return nil
	}
	n.options(n.commentable, func(code uint16, value []byte) {
		if code == optDropCount && len(value) == 8 {
			rec.Drops = n.uint64(value)
		}
	})
	i.counted += rec.Drops
	return nil
}

func (r *Reader) obsolete(body []byte, rec *Record) error {
	n := r.ng
	i, err := r.record(uint32(n.uint16(body)), n.uint32(body[12:]), n.uint32(body[16:]), body[20:], rec)
	if err != nil {
		return err
	}
	rec.Time = i.clock.nanoseconds(uint64(n.uint32(body[4:]))<<32 | uint64(n.uint32(body[8:])))
	if drops := n.uint16(body[2:]); drops != 0xffff { // 0xffff: not known
		rec.Drops = uint64(drops)
		i.counted += rec.Drops
	}
	return nil
}

// simple reads a packet that belongs to the section's first interface and has no time. It does not say how much of it was
// captured: that is its length, cut at the interface's snap length.
func (r *Reader) simple(body []byte, rec *Record) error {
	length := r.ng.uint32(body)
	captured := min(length, uint32(len(body)-4))
	if len(r.ng.interfaces) > 0 && r.ng.interfaces[0].snap > 0 {
		captured = min(captured, r.ng.interfaces[0].snap)
	}
	_, err := r.record(0, captured, length, body[4:], rec)
	return err
}

// record sets what all packet blocks have, and keeps what follows the data as the record's options.
func (r *Reader) record(index, captured, length uint32, body []byte, rec *Record) (*netInterface, error) {
	n := r.ng
	if uint64(index) >= uint64(len(n.interfaces)) {
		return nil, r.damage("a packet names interface %d of a section that has %d", index, len(n.interfaces))
	}
	if captured > MaxRecord || uint64(captured) > uint64(len(body)) {
		return nil, r.damage("a packet claims %d bytes in a block that has room for %d", captured, len(body))
	}
	r.number++
	i := &n.interfaces[index]
	*rec = Record{
		Number:    r.number,
		Link:      i.link,
		Interface: n.base + int(index),
		Data:      body[:captured:captured],
		Length:    onWire(length, captured),
	}
	n.commentable = body[min((int(captured)+3)&^3, len(body)):]
	return i, nil
}
