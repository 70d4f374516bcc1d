package packet

// Frame is one captured frame, as a capture file's record or a tap gives it.
type Frame struct {
	Number uint64 // in the capture, from 1
	Time   int64  // nanoseconds since the Unix epoch
	Link   uint16 // link-layer header type (https://www.tcpdump.org/linktypes.html)
	Data   []byte // captured bytes
	Length int    // bytes on the wire; less than len(Data) is taken for len(Data)
}

// Result says what became of a frame.
type Result uint8

// The results.
const (
	Undecodable Result = iota // the link type is not supported (LinkName), or the frame contradicts its own headers
	Held                      // an IP fragment, kept until its datagram is whole
	Decoded
)

// Options choose how to decode. The zero value is right where nothing is known of the mirror.
type Options struct {
	VXLANPorts []uint16 // UDP ports that carry VXLAN besides 4789, such as Linux' old 8472
	SameMirror bool     // all paths are one: the tunnels and VLANs are the mirror's and tell no networks apart
}

const (
	etherLen = 14 // destination, source, type
	tagLen   = 4

	// maxFrame bounds what is believed of a frame's length where nothing else is said of it: more than segmentation
	// offload joins.
	maxFrame = 1 << 20

	// maxDepth bounds headers within headers: tunnels, and frames within labels.
	maxDepth = 16
)

// Decoder decodes the frames of one capture in their order. It holds fragments and paths, both bounded, and is not safe
// for concurrent use.
type Decoder struct {
	key     pathKey // of the frame at work
	depth   int
	headers int       // bytes of headers read of the innermost Ethernet frame, or since 14 stand for it
	cut     bool      // the capture holds less of the frame than its headers say
	partial bool      // and may hold less than all that is read of its headers
	known   *straight // whose key stands for the one above, while nothing was added to it

	straights    straights
	straightFrom []byte // the frame at work, where its outer headers may be remembered

	ports     map[uint16]bool
	same      bool
	paths     interner
	sequences interner
	fragments fragments
}

// NewDecoder makes a Decoder.
func NewDecoder(o Options) *Decoder {
	d := &Decoder{same: o.SameMirror, ports: map[uint16]bool{}}
	for _, p := range o.VXLANPorts {
		d.ports[p] = true
	}
	d.paths.init()
	d.sequences.init()
	d.fragments.init()
	return d
}

// Decode decodes one frame into p, whose earlier contents do not matter. After any result but Decoded, p holds nothing
// of use. The slices in p are valid until the next Decode, and no longer than the frame's own data.
func (d *Decoder) Decode(f *Frame, p *Packet) Result {
	*p = Packet{Number: f.Number, Time: f.Time, WindowShift: -1}
	if f.Link != linkEthernet {
		return d.decode(f, p, nil, f.Data)
	}
	s, inner := d.shortcut(f.Data)
	if s != nil {
		p.Tunnel, p.Nested = s.tunnel, s.nested
	}
	if !p.segment(inner) {
		return d.decode(f, p, s, inner)
	}
	d.begin(s)
	p.Path = d.path()
	return Decoded
}

// begin begins the path of a frame behind outer headers that are known, or behind none.
func (d *Decoder) begin(s *straight) {
	d.known = s
	if s == nil {
		d.key = pathKey{}
	}
}

// decode reads a frame header by header: the inner one behind outer headers that are known, or, where s is nil, all of it.
func (d *Decoder) decode(f *Frame, p *Packet, s *straight, inner []byte) (r Result) {
	d.begin(s)
	d.depth, d.headers, d.cut, d.partial = 0, etherLen, false, false
	room := max(min(f.Length, maxFrame), len(f.Data))
	switch {
	case s != nil:
		d.depth = 1
		r = d.ethernet(p, inner, len(inner))
	case f.Link == linkEthernet:
		d.straightFrom = f.Data
		r = d.ethernet(p, f.Data, room)
	default:
		d.straightFrom = nil
		r = d.link(p, f.Link, f.Data, room)
	}
	if r == Decoded {
		if d.cut {
			p.Truncated, p.HeadersCut = true, d.headersCut(p)
		}
		p.Path = d.path()
	}
	return r
}

// headersCut says of a packet cut short whether more than its payload may be missing. A packet is known by its ports: one
// without may be the mirror's tunnel, and so may a datagram to a tunnel's port, behind which nothing was found. And where
// there is no checksum a copy is told by its payload.
func (d *Decoder) headersCut(p *Packet) bool {
	switch p.Kind {
	case TCP, ICMP, ICMPv6:
	case UDP:
		if d.tunnelPort(p.SrcPort) || d.tunnelPort(p.DstPort) {
			return true
		}
	default:
		return true
	}
	return d.partial || p.Checksum == 0
}

// short ends the decoding where a header behind the IP header is not all there: if the capture cut it the packet is known
// by what was read so far, and if the headers around it left no room it is not decodable.
func (d *Decoder) short(p *Packet, b []byte, room int) Result {
	if len(b) >= room {
		return Undecodable
	}
	return d.other(p, b, room)
}

// shortFrame is short for a header before the IP header, or that header itself.
func (d *Decoder) shortFrame(p *Packet, b []byte, room int) Result {
	if len(b) >= room {
		return Undecodable
	}
	return d.noIP(p, b, room)
}

// other ends the decoding at a protocol that is not read further. The packet keeps the IP header's fields where there is one.
func (d *Decoder) other(p *Packet, b []byte, room int) Result {
	p.Kind = Other
	p.HeaderLen = d.headers
	return d.payload(p, b, room)
}

// payload ends the decoding: p.HeaderLen bytes of headers are read and room bytes follow them.
func (d *Decoder) payload(p *Packet, b []byte, room int) Result {
	d.cut = d.cut || len(b) < room
	p.Payload = b[:min(len(b), room)]
	p.PayloadLen = room
	if p.Pieces == nil {
		p.WireLen = p.HeaderLen + room
	}
	return Decoded
}

// noIP forgets the IP header of a tunnel around what turned out not to be IP.
func (d *Decoder) noIP(p *Packet, b []byte, room int) Result {
	p.Src, p.Dst = Addr{}, Addr{}
	p.Proto, p.TTL, p.HasIPID, p.IPID = 0, 0, false, 0
	return d.other(p, b, room)
}
