package packet

import (
	"encoding/binary"
	"math/bits"
)

// A mirror sends nearly every frame in the same outer headers. straight remembers some of them, so that they are compared
// in whole words and not read again field by field, which halves the time of a mirrored packet. It is a shortcut only: what
// it doesn't know, and everything cut or odd, takes the ordinary way, and both ways give the same.
type straight struct {
	prefix int // bytes up to the inner frame
	udp    bool
	tunnel Tunnel
	nested Tunnels
	path   uint16
	mask   *[8]uint64 // nil where nothing is remembered
	words  [8]uint64  // the first bytes, masked
	key    pathKey
}

// straights is a table with a place for each of some pairs of ends.
type straights [8]straight

func (s *straights) place(b []byte) *straight { return &s[(b[29]*3+b[33])%8] }

const (
	straightGRE    = etherLen + ipv4Len + 4
	straightGREKey = straightGRE + 4
	straightVXLAN  = etherLen + ipv4Len + udpLen + 8
	straightLeast  = 64 // bytes that are looked at
)

var (
	maskGRE    = straightMask(straightGRE)
	maskGREKey = straightMask(straightGREKey)
	maskVXLAN  = straightMask(straightVXLAN, 34, 35, 38, 39, 40, 41) // source port, length, checksum
)

// straightMask chooses the bytes that make a tunnel: all of Ethernet's type, IPv4 and what follows up to the prefix,
// without service type, length, identification, time to live and checksum, and with the bits that tell a fragment.
func straightMask(prefix int, without ...int) *[8]uint64 {
	var bytes [64]byte
	for i := 12; i < prefix; i++ {
		bytes[i] = 0xff
	}
	for _, i := range append([]int{15, 16, 17, 18, 19, 22, 24, 25}, without...) {
		bytes[i] = 0
	}
	bytes[20] = 0x3f
	var words [8]uint64
	for i := range words {
		words[i] = binary.LittleEndian.Uint64(bytes[i*8:])
	}
	return &words
}

// shortcut takes off outer headers that are known, and gives them and the inner frame, which has no more room than that. It
// gives nil and the frame itself where they are not known or the packet is not all there.
//
// The bytes are read in words of which no two overlap: where another needs a byte of it too, the compiler reads a word byte
// by byte.
func (d *Decoder) shortcut(b []byte) (s *straight, inner []byte) {
	if len(b) < straightLeast {
		return nil, b
	}
	s = d.straights.place(b)
	head, m, w := (*[straightLeast]byte)(b), s.mask, &s.words // the first word is the destination's and half the source's address
	if m == nil {
		return nil, b
	}
	lengths, udp := binary.LittleEndian.Uint64(head[16:]), binary.LittleEndian.Uint64(head[32:])
	differ := binary.LittleEndian.Uint64(head[8:])&m[1] ^ w[1]
	differ |= lengths&m[2] ^ w[2]
	differ |= binary.LittleEndian.Uint64(head[24:])&m[3] ^ w[3]
	differ |= udp&m[4] ^ w[4]
	differ |= binary.LittleEndian.Uint64(head[40:])&m[5] ^ w[5]
	differ |= binary.LittleEndian.Uint64(head[48:])&m[6] ^ w[6]
	total := int(bits.ReverseBytes16(uint16(lengths)))
	if differ != 0 || etherLen+total > len(b) || etherLen+total < s.prefix {
		return nil, b
	}
	if s.udp && int(bits.ReverseBytes16(uint16(udp>>48))) != total-ipv4Len {
		return nil, b
	}
	return s, b[s.prefix : etherLen+total]
}

// segment decodes an Ethernet frame that holds a whole TCP segment over IPv4, other than a SYN, where no header but TCP's has
// options: most packets of a mirror. It says no to every other, and has changed nothing then. Words don't overlap here
// either.
func (p *Packet) segment(b []byte) bool {
	const least = etherLen + ipv4Len + tcpLen
	if len(b) < least {
		return false
	}
	head := (*[least]byte)(b)
	types := binary.LittleEndian.Uint64(head[12:])    // Ethernet's type, version and header length, service, length, identification
	fragment := binary.LittleEndian.Uint32(head[20:]) // flags and offset, time to live, protocol
	control := binary.LittleEndian.Uint64(head[46:])  // header length, flags, window, checksum, urgent pointer
	const (
		typeAndVersion = 0x45<<16 | (typeIPv4&0xff)<<8 | typeIPv4>>8
		fragmentBits   = 0xff3f
	)
	if types&0xffffff != typeAndVersion || fragment&(0xff000000|fragmentBits) != protoTCP<<24 || Flags(control>>8)&SYN != 0 {
		return false
	}
	total := int(bits.ReverseBytes16(uint16(types >> 32)))
	header := int(control>>4&0xf) * 4
	end := etherLen + total
	begin := etherLen + ipv4Len + header
	if header < tcpLen || begin > end || end > len(b) {
		return false
	}
	addresses := binary.LittleEndian.Uint64(head[26:])
	ports := binary.LittleEndian.Uint32(head[34:])
	p.Kind, p.Proto = TCP, protoTCP
	p.TTL = uint8(fragment >> 16)
	p.IPID, p.HasIPID = bits.ReverseBytes16(uint16(types>>48)), true
	p.Src.mapIPv4(uint32(addresses))
	p.Dst.mapIPv4(uint32(addresses >> 32))
	p.SrcPort, p.DstPort = bits.ReverseBytes16(uint16(ports)), bits.ReverseBytes16(uint16(ports>>16))
	p.Seq, p.Ack = binary.BigEndian.Uint32(head[38:]), binary.BigEndian.Uint32(head[42:])
	p.Flags = Flags(control >> 8)
	p.Window = bits.ReverseBytes16(uint16(control >> 16))
	p.Checksum = bits.ReverseBytes16(uint16(control >> 32))
	p.HeaderLen, p.WireLen, p.PayloadLen = begin, end, end-begin
	p.Payload = b[begin:end]
	return true
}

// grow makes the key of the frame at work one that can be added to.
func (d *Decoder) grow() {
	if d.known != nil {
		d.key, d.known = d.known.key, nil
	}
}

// remember keeps the outer headers of the frame at work, of which the tunnel was just entered and an Ethernet frame begins
// at prefix, where they are as simple as shortcut supposes.
func (d *Decoder) remember(p *Packet, prefix int) {
	b := d.straightFrom
	if len(b) < straightLeast || d.key.chain>>4 != 0 || d.key.tags != 0 {
		return
	}
	if binary.BigEndian.Uint16(b[12:]) != typeIPv4 || b[14] != 0x45 || binary.BigEndian.Uint16(b[20:])&0x3fff != 0 {
		return
	}
	usual := straight{prefix: prefix, tunnel: p.Tunnel, nested: tunnels(p.Tunnel), key: d.key}
	switch {
	case prefix == straightGRE && b[23] == protoGRE:
		usual.mask = maskGRE
	case prefix == straightGREKey && b[23] == protoGRE:
		usual.mask = maskGREKey
	case prefix == straightVXLAN && b[23] == protoUDP:
		usual.mask, usual.udp = maskVXLAN, true
	default:
		return
	}
	if !d.same {
		usual.path = d.path()
	}
	for i := range usual.words {
		usual.words[i] = binary.LittleEndian.Uint64(b[i*8:]) & usual.mask[i]
	}
	*d.straights.place(b) = usual
}
