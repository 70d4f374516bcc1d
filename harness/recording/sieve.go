package recording

import (
	"net/netip"
	"time"

	"github.com/tollgate-iot/tollgate/harness/packet"
	"github.com/tollgate-iot/tollgate/harness/pcap"
)

// Sieve tells the frames of one device from those of others, on a mirror that carries many.
//
// A frame is let go only where it is certain that it is another device's: both of its ends are known, are single hosts, and
// neither is the device. What no address can be read from, fragments, ARP and ICMPv6, and everything before the first
// address is known, is the device's as far as anybody can tell.
//
// A device gets new addresses while it runs, and they are known only when the carrier tells. So frames that are let go are
// held for a while, and given back when an address turns out to be the device's; of those that could be held no longer,
// it is known how many there were of each address.
type Sieve struct {
	known map[packet.Addr]bool
	nets  []netip.Prefix
	now   []Held // held, oldest first: first those of before, then those of now
	prior []Held
	bytes int    // of now
	chunk []byte // that the next frames are copied into
	gone  map[packet.Addr]Gone
	more  Gone // of addresses that there was no room to count
	left  uint64
}

// Held is a frame that was let go, and may yet be asked for.
type Held struct {
	Tap      string
	Record   pcap.Record // its data is the sieve's own copy
	src, dst packet.Addr
}

// Gone says how many frames of an address nobody can give any more, and from when to when they were captured.
type Gone struct {
	Frames   uint64
	From, To time.Time
}

const (
	// holdBytes is how much is held at most, twice over: some seconds of a busy mirror, hours of a quiet one.
	holdBytes = 8 << 20
	// goneAddrs bounds the addresses whose lost frames are counted one by one.
	goneAddrs = 1 << 16
)

// NewSieve makes a sieve that lets everything pass until an address is known.
func NewSieve() *Sieve {
	return &Sieve{known: map[packet.Addr]bool{}, gone: map[packet.Addr]Gone{}}
}

// NewSieveOf makes a sieve for the devices of some networks, all of them known from the beginning.
func NewSieveOf(devices []netip.Prefix) *Sieve {
	s := NewSieve()
	s.nets = devices
	return s
}

// Pass says whether a frame may be the device's: the packet and the result are those of its decoding.
func (s *Sieve) Pass(p *packet.Packet, r packet.Result) bool {
	switch {
	case len(s.known) == 0 && len(s.nets) == 0, r != packet.Decoded, len(p.Pieces) > 0, p.Kind == packet.ARP, p.Kind == packet.ICMPv6:
		return true
	case s.known[p.Src], s.known[p.Dst], s.within(p.Src), s.within(p.Dst):
		return true
	}
	return !host(p.Src) || !host(p.Dst)
}

func (s *Sieve) within(a packet.Addr) bool {
	for _, n := range s.nets {
		if n.Contains(a.Netip()) {
			return true
		}
	}
	return false
}

// host says whether an address is that of a single host somewhere, and not of a group or a link, or none.
func host(a packet.Addr) bool {
	ip := a.Netip()
	return ip.IsGlobalUnicast() && ip != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// Hold keeps a frame that did not pass, for as long as there is room.
func (s *Sieve) Hold(tap string, rec pcap.Record, p *packet.Packet) {
	if s.bytes+len(rec.Data) > holdBytes {
		s.forget()
	}
	rec.Data = s.copy(rec.Data)
	s.now = append(s.now, Held{Tap: tap, Record: rec, src: p.Src, dst: p.Dst})
	s.bytes += len(rec.Data) + heldSize
	s.left++
}

// copy copies a frame into the present chunk, or where it has no room into a new one: one allocation for many frames.
func (s *Sieve) copy(data []byte) []byte {
	if len(s.chunk)+len(data) > cap(s.chunk) {
		s.chunk = make([]byte, 0, max(chunkBytes, len(data)))
	}
	from := len(s.chunk)
	s.chunk = append(s.chunk, data...)
	return s.chunk[from:len(s.chunk):len(s.chunk)]
}

const chunkBytes = 256 << 10

// heldSize is about what a frame takes beside its data.
const heldSize = 160

// forget lets the older frames go for good, and counts them.
func (s *Sieve) forget() {
	for i := range s.prior {
		h := &s.prior[i]
		s.lost(h.src, h.Record.Time)
		if h.dst != h.src {
			s.lost(h.dst, h.Record.Time)
		}
	}
	clear(s.prior) // nothing holds their data any more
	s.prior, s.now, s.bytes = s.now, s.prior[:0], 0
}

func (s *Sieve) lost(a packet.Addr, at int64) {
	g, counted := s.gone[a]
	if !counted && len(s.gone) >= goneAddrs {
		s.more.add(at)
		return
	}
	g.add(at)
	s.gone[a] = g
}

func (g *Gone) add(at int64) {
	when := time.Unix(0, at).UTC()
	if g.Frames == 0 || when.Before(g.From) {
		g.From = when
	}
	if when.After(g.To) {
		g.To = when
	}
	g.Frames++
}

// Know makes an address the device's. It gives the frames of that address that are held, in their order, and how many of
// them are gone, at most: where more addresses were seen than can be counted, every frame of the uncounted ones may be.
func (s *Sieve) Know(a netip.Addr) ([]Held, Gone) {
	addr := packet.AddrFrom(a)
	s.known[addr] = true
	var out []Held
	for _, list := range []*[]Held{&s.prior, &s.now} {
		rest := (*list)[:0]
		for _, h := range *list {
			if h.src == addr || h.dst == addr {
				out = append(out, h)
				continue
			}
			rest = append(rest, h)
		}
		clear((*list)[len(rest):])
		*list = rest
	}
	s.left -= uint64(len(out))
	g, counted := s.gone[addr]
	if !counted {
		g = s.more
	}
	delete(s.gone, addr)
	return out, g
}

// Left is how many frames did not pass and were not given back.
func (s *Sieve) Left() uint64 { return s.left }
