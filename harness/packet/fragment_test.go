package packet

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/google/gopacket/layers"
	"github.com/stretchr/testify/require"
)

// split cuts an IPv4 or IPv6 packet without options into fragments of at most so many bytes of payload, a multiple of 8.
func split(ip []byte, size int) [][]byte {
	header, six := 20, ip[0]>>4 == 6
	if six {
		header = 40
	}
	var all [][]byte
	for at := header; at < len(ip); at += size {
		end, more := min(at+size, len(ip)), at+size < len(ip)
		place := uint16(at - header)
		f := append([]byte{}, ip[:header]...)
		if six {
			if more {
				place |= 1
			}
			f = append(f, raw(int(f[6]), 0, place, uint32(0x1234))...)
			f[6] = protoFragment
		} else {
			place /= 8
			if more {
				place |= 0x2000
			}
			binary.BigEndian.PutUint16(f[6:], place)
		}
		f = append(f, ip[at:end]...)
		if six {
			binary.BigEndian.PutUint16(f[4:], uint16(len(f)-header))
		} else {
			binary.BigEndian.PutUint16(f[2:], uint16(len(f)))
		}
		all = append(all, f)
	}
	return all
}

// feeder decodes frames one after the other, a nanosecond apart.
type feeder struct {
	t *testing.T
	d *Decoder
	p Packet
	n uint64
}

func (f *feeder) feed(link uint16, b []byte) Result {
	f.n++
	return f.d.Decode(&Frame{Number: f.n, Time: int64(f.n), Link: link, Data: b, Length: len(b)}, &f.p)
}

func newFeeder(t *testing.T) *feeder { return &feeder{t: t, d: NewDecoder(Options{})} }

func orphans(d *Decoder) []Packet {
	var all []Packet
	d.Orphans(func(p *Packet) { all = append(all, *p) })
	return all
}

func TestFragmentsOfTheDevice(t *testing.T) {
	payload := strings.Repeat("0123456789", 200)
	inEther := func(b []byte) (uint16, []byte) {
		kind := uint16(typeIPv4)
		if b[0]>>4 == 6 {
			kind = typeIPv6
		}
		return 1, unpadded(kind, b)
	}
	mirrored := func(b []byte) (uint16, []byte) {
		_, frame := inEther(b)
		return 1, outer(layers.IPProtocolGRE, gre(0, typeBridged, frame))
	}
	bare := func(b []byte) (uint16, []byte) { return 101, b }
	for way, wrap := range map[string]func([]byte) (uint16, []byte){"ethernet": inEther, "mirrored": mirrored, "raw": bare} {
		for family, whole := range map[string][]byte{"IPv4": segment4("A", payload), "IPv6": segment6("A", payload)} {
			for order, turn := range map[string][]int{"in order": {0, 1, 2, 3}, "backwards": {3, 2, 1, 0}, "mixed": {2, 0, 3, 1}} {
				t.Run(way+", "+family+", "+order, func(t *testing.T) {
					parts := split(whole, 600)
					require.Len(t, parts, 4)
					f := newFeeder(t)
					for _, i := range turn[:3] {
						require.Equal(t, Held, f.feed(wrap(parts[i])))
					}
					require.Equal(t, Decoded, f.feed(wrap(parts[turn[3]])))
					p := f.p
					require.Equal(t, TCP, p.Kind)
					require.Equal(t, uint16(443), p.DstPort)
					require.Equal(t, payload, string(p.Payload))
					require.Equal(t, len(payload), p.PayloadLen)
					require.Equal(t, 14+len(parts[turn[3]]), p.WireLen, "of the completing frame alone")
					require.False(t, p.Truncated)
					require.Len(t, p.Pieces, 3)
					for at, i := range turn[:3] {
						require.Equal(t, Piece{Number: uint64(at + 1), Time: int64(at + 1), WireLen: 14 + len(parts[i])}, p.Pieces[at])
					}
					require.Empty(t, orphans(f.d))
				})
			}
		}
	}
}

// The fragments of the tunnel's own packets are not the device's.
func TestFragmentsOfTheTunnel(t *testing.T) {
	for name, tunnel := range map[string][]byte{
		"vxlan":       outerUDP(portVXLAN, vxlan(3, frame4("AP", strings.Repeat("x", 1400)))),
		"gre":         outer(layers.IPProtocolGRE, gre(0, typeBridged, frame4("AP", strings.Repeat("x", 1400)))),
		"gre, key":    outer(layers.IPProtocolGRE, gre(0x2000, typeBridged, uint32(3), frame4("AP", strings.Repeat("x", 1400)))),
		"ip in ip":    outer(layers.IPProtocolIPv4, segment4("AP", strings.Repeat("x", 1400))),
		"gtp-u":       outerUDP(portGTPU, uint32(0x30ff0000), uint32(1), segment4("AP", strings.Repeat("x", 1400))),
		"two tunnels": outer(layers.IPProtocolGRE, gre(0, typeBridged, outerUDP(portVXLAN, vxlan(3, frame4("AP", strings.Repeat("x", 1400)))))),
	} {
		t.Run(name, func(t *testing.T) {
			f := newFeeder(t)
			require.Equal(t, Decoded, f.feed(1, tunnel), "whole, so that its headers are known")
			parts := split(tunnel[14:], 800)
			require.Equal(t, Held, f.feed(1, unpadded(typeIPv4, parts[0])))
			require.Equal(t, Decoded, f.feed(1, unpadded(typeIPv4, parts[1])))
			require.Equal(t, TCP, f.p.Kind)
			require.Equal(t, 1400, f.p.PayloadLen)
			require.Equal(t, 14+40+1400, f.p.WireLen)
			require.Nil(t, f.p.Pieces)
		})
	}
	t.Run("both fragmented", func(t *testing.T) {
		f := newFeeder(t)
		inner := split(segment4("AP", strings.Repeat("x", 1400)), 1000)
		for i, part := range inner {
			tunnel := ip4(layers.IPProtocolGRE, end4, other4)
			tunnel.Id = uint16(i)
			parts := split(build(tunnel, raw(gre(0, typeBridged, unpadded(typeIPv4, part)))), 304)
			for _, p := range parts[:len(parts)-1] {
				require.Equal(t, Held, f.feed(101, p))
			}
			r := f.feed(101, parts[len(parts)-1])
			if i == 0 {
				require.Equal(t, Held, r)
				continue
			}
			require.Equal(t, Decoded, r)
			require.Equal(t, strings.Repeat("x", 1400), string(f.p.Payload))
			require.Len(t, f.p.Pieces, 1)
			require.Equal(t, 14+len(inner[0]), f.p.Pieces[0].WireLen)
			require.Equal(t, 14+len(inner[1]), f.p.WireLen)
		}
		require.Empty(t, orphans(f.d))
	})
}

func TestFragmentsOverlapAndRepeat(t *testing.T) {
	whole := segment4("AP", strings.Repeat("0123456789", 30))
	parts := split(whole, 80)
	forged := append([]byte{}, parts[1]...)
	for i := 20; i < len(forged); i++ {
		forged[i] = '!'
	}
	wide := split(whole, 160)[0]
	f := newFeeder(t)
	require.Equal(t, Held, f.feed(101, parts[1]))
	require.Equal(t, Held, f.feed(101, parts[1]), "a repeat")
	require.Equal(t, Held, f.feed(101, forged), "what came first counts")
	require.Equal(t, Held, f.feed(101, wide), "overlaps, and brings the beginning")
	require.Equal(t, Held, f.feed(101, parts[2]))
	require.Equal(t, Decoded, f.feed(101, parts[3]))
	require.Equal(t, strings.Repeat("0123456789", 30), string(f.p.Payload))
	require.Len(t, f.p.Pieces, 3)
	repeated, lost := f.d.FragmentCounts()
	require.Equal(t, uint64(2), repeated)
	require.Zero(t, lost)
}

func TestFragmentsThatNeverBecomeWhole(t *testing.T) {
	parts := split(segment4("AP", strings.Repeat("0123456789", 30)), 80)
	f := newFeeder(t)
	require.Equal(t, Held, f.feed(1, unpadded(typeIPv4, parts[0])))
	require.Equal(t, Held, f.feed(1, unpadded(typeIPv4, parts[2])))
	all := orphans(f.d)
	require.Len(t, all, 2)
	for i, p := range all {
		require.Equal(t, uint64(i+1), p.Number)
		require.Equal(t, Other, p.Kind)
		require.Equal(t, uint8(protoTCP), p.Proto)
		require.Equal(t, addr(device4), p.Src)
		require.Equal(t, []int{34, 114, 80}, []int{p.HeaderLen, p.WireLen, p.PayloadLen})
	}
	require.Empty(t, orphans(f.d))

	require.Equal(t, Held, f.feed(101, parts[0]))
	f.n += lifetime + 1
	require.Equal(t, Held, f.feed(101, parts[1]), "begins anew after a minute")
	var given []uint64
	f.d.Abandoned(func(p *Packet) { given = append(given, p.Number) })
	require.Equal(t, []uint64{3}, given)
	require.Len(t, orphans(f.d), 1)
}

// A fragment that the snap length cut can't be part of a whole; the first one still shows its headers.
func TestFragmentsCut(t *testing.T) {
	parts := split(segment4("AP", strings.Repeat("0123456789", 30)), 80)
	d := NewDecoder(Options{})
	var p Packet
	require.Equal(t, Decoded, d.Decode(&Frame{Link: 101, Data: parts[0][:60], Length: 100}, &p))
	require.Equal(t, TCP, p.Kind)
	require.True(t, p.Truncated)
	require.Equal(t, 114, p.WireLen)
	require.Equal(t, Decoded, d.Decode(&Frame{Link: 101, Data: parts[1][:60], Length: 100}, &p))
	require.Equal(t, Other, p.Kind)
	require.True(t, p.Truncated)
	require.Empty(t, orphans(d))
}

// Fragments of one datagram in two networks are not put together.
func TestFragmentsOfTwoNetworks(t *testing.T) {
	parts := split(segment4("AP", strings.Repeat("0123456789", 10)), 80)
	f := newFeeder(t)
	require.Equal(t, Held, f.feed(1, unpadded(typeVLAN, uint16(1), uint16(typeIPv4), parts[0])))
	require.Equal(t, Held, f.feed(1, unpadded(typeVLAN, uint16(2), uint16(typeIPv4), parts[1])))
	require.Equal(t, Decoded, f.feed(1, unpadded(typeVLAN, uint16(2), uint16(typeIPv4), parts[0])))
}

// A flood costs a bounded amount of memory, and every fragment is accounted for.
func TestFragmentFlood(t *testing.T) {
	f := newFeeder(t)
	ip := ip4(layers.IPProtocolUDP, device4, peer4)
	ip.Flags = layers.IPv4MoreFragments
	given := 0
	const flood = 20_000
	for i := range flood {
		ip.Id = uint16(i)
		ip.SrcIP[3] = byte(i >> 16)
		ip.FragOffset = uint16(i % 4000)
		require.Equal(t, Held, f.feed(101, build(ip, raw(make([]byte, 1400+8*(i%10))))))
		fr := &f.d.fragments
		require.LessOrEqual(t, len(fr.waiting), maxDatagrams)
		require.LessOrEqual(t, fr.held, maxHeld)
		require.LessOrEqual(t, len(fr.givenUp), maxGivenUp)
		require.LessOrEqual(t, fr.spare, maxSpare)
	}
	given += len(orphans(f.d))
	repeated, lost := f.d.FragmentCounts()
	require.Equal(t, flood, given+int(repeated)+int(lost))
	require.Zero(t, f.d.fragments.held)
	require.Empty(t, f.d.fragments.waiting)
	require.Nil(t, f.d.fragments.oldest)
	require.Nil(t, f.d.fragments.newest)
}

// One datagram of very many tiny fragments stops growing, and an impossible place is no fragment.
func TestFragmentsHostile(t *testing.T) {
	f := newFeeder(t)
	ip := ip4(layers.IPProtocolUDP, device4, peer4)
	ip.Flags = layers.IPv4MoreFragments
	for i := range 4 * maxSegments {
		ip.FragOffset = uint16(2 * i)
		require.Equal(t, Held, f.feed(101, build(ip, raw("8 bytes."))))
	}
	require.LessOrEqual(t, len(f.d.fragments.newest.segments), maxSegments)
	ip.FragOffset = 0x1fff
	require.Equal(t, Decoded, f.feed(101, build(ip, raw(make([]byte, 100)))))
	require.Equal(t, Other, f.p.Kind)
}
