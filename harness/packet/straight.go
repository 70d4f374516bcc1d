package packet

import "encoding/binary"

// A mirror sends nearly every frame in the same outer headers. straight remembers some of them, so that they are compared
// in whole words and not read again field by field, which halves the time of a mirrored packet. It is a shortcut only: what
// it doesn't know, and everything cut or odd, takes the ordinary way, and both ways give the same.
type straight struct {
	prefix int // bytes up to the inner frame; 0 for an empty place
	udp    bool
	tunnel Tunnel
	path   uint32
	mask   *[8]uint64
	words  [8]uint64 // the first bytes, masked
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

// shortcut takes off outer headers that are known, and gives the inner frame and its room. It says no where they are not
// known or the packet is not all there.
func (d *Decoder) shortcut(p *Packet, b []byte) (inner []byte, ok bool) {
	if len(b) < straightLeast {
		return nil, false
	}
	s := d.straights.place(b)
	if s.prefix == 0 {
		return nil, false
	}
	head := (*[straightLeast]byte)(b)
	m, w := s.mask, &s.words // the first word is the destination's and half the source's address
	differ := binary.LittleEndian.Uint64(head[8:])&m[1] ^ w[1]
	differ |= binary.LittleEndian.Uint64(head[16:])&m[2] ^ w[2]
	differ |= binary.LittleEndian.Uint64(head[24:])&m[3] ^ w[3]
	differ |= binary.LittleEndian.Uint64(head[32:])&m[4] ^ w[4]
	differ |= binary.LittleEndian.Uint64(head[40:])&m[5] ^ w[5]
	differ |= binary.LittleEndian.Uint64(head[48:])&m[6] ^ w[6]
	total := int(binary.BigEndian.Uint16(head[16:]))
	if differ != 0 || etherLen+total > len(b) || etherLen+total < s.prefix {
		return nil, false
	}
	if s.udp && int(binary.BigEndian.Uint16(head[38:])) != total-ipv4Len {
		return nil, false
	}
	d.depth = 1
	d.known = s
	p.Tunnel, p.Nested = s.tunnel, tunnels(s.tunnel)
	return b[s.prefix : etherLen+total], true
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
	usual := straight{prefix: prefix, tunnel: p.Tunnel, key: d.key}
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
