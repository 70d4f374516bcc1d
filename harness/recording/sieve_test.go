package recording

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/packet"
	"github.com/tollgate-iot/tollgate/harness/pcap"
)

func addr(s string) packet.Addr { return packet.AddrFrom(netip.MustParseAddr(s)) }

// between is a decoded packet between two addresses, with its frame.
func between(n int, src, dst string) (*packet.Packet, pcap.Record) {
	return &packet.Packet{Kind: packet.UDP, Src: addr(src), Dst: addr(dst)}, frame(n, 60)
}

const (
	mine    = "10.0.0.2"
	other   = "10.0.0.3"
	server  = "203.0.113.9"
	another = "2001:db8::7"
)

func TestPass(t *testing.T) {
	s := NewSieve()
	p, _ := between(1, other, server)
	require.True(t, s.Pass(p, packet.Decoded), "nothing is known yet")
	held, gone := s.Know(netip.MustParseAddr(mine))
	require.Empty(t, held)
	require.Zero(t, gone)
	for name, c := range map[string]struct {
		src, dst string
		change   func(p *packet.Packet)
		result   packet.Result
		want     bool
	}{
		"from it":                {mine, server, nil, packet.Decoded, true},
		"to it":                  {server, mine, nil, packet.Decoded, true},
		"another's":              {other, server, nil, packet.Decoded, false},
		"another's, IPv6":        {another, "2001:db8::1", nil, packet.Decoded, false},
		"a fragment":             {other, server, nil, packet.Held, true},
		"of fragments":           {other, server, func(p *packet.Packet) { p.Pieces = make([]packet.Piece, 1) }, packet.Decoded, true},
		"not decoded":            {other, server, nil, packet.Undecodable, true},
		"ARP":                    {other, server, func(p *packet.Packet) { p.Kind = packet.ARP }, packet.Decoded, true},
		"ICMPv6":                 {another, "2001:db8::1", func(p *packet.Packet) { p.Kind = packet.ICMPv6 }, packet.Decoded, true},
		"to a group":             {other, "224.0.0.251", nil, packet.Decoded, true},
		"to all":                 {other, "255.255.255.255", nil, packet.Decoded, true},
		"no address yet":         {"0.0.0.0", server, nil, packet.Decoded, true},
		"link-local":             {other, "169.254.7.7", nil, packet.Decoded, true},
		"what is no IP at all":   {"0.0.0.0", "0.0.0.0", func(p *packet.Packet) { p.Src, p.Dst = packet.Addr{}, packet.Addr{} }, packet.Decoded, true},
		"written the other way":  {"::ffff:10.0.0.2", server, nil, packet.Decoded, true},
		"a private one of other": {"192.168.1.1", "172.16.0.1", nil, packet.Decoded, false},
	} {
		t.Run(name, func(t *testing.T) {
			p, _ := between(1, c.src, c.dst)
			if c.change != nil {
				c.change(p)
			}
			require.Equal(t, c.want, s.Pass(p, c.result))
		})
	}
}

func TestSieveOfNetworks(t *testing.T) {
	s := NewSieveOf([]netip.Prefix{netip.MustParsePrefix("10.0.0.2/31"), netip.MustParsePrefix("2001:db8::/32")})
	for want, ends := range map[bool][][2]string{
		true:  {{mine, server}, {server, other}, {another, "2a00::1"}},
		false: {{"10.0.0.4", server}, {"2a00::1", "2a00::2"}},
	} {
		for _, e := range ends {
			p, _ := between(1, e[0], e[1])
			require.Equal(t, want, s.Pass(p, packet.Decoded), e)
		}
	}
}

// Frames of an address that turns out to be the device's later are given back, in order, and only they.
func TestKnowGivesBack(t *testing.T) {
	s := NewSieve()
	s.Know(netip.MustParseAddr(mine))
	for n := 1; n <= 9; n++ {
		src, dst := other, server
		if n%3 == 0 {
			src, dst = server, another
		}
		p, rec := between(n, src, dst)
		require.False(t, s.Pass(p, packet.Decoded))
		s.Hold("tap", rec, p)
		rec.Data[7] = 99 // the sieve has its own copy
	}
	require.EqualValues(t, 9, s.Left())
	held, gone := s.Know(netip.MustParseAddr(another))
	require.Zero(t, gone)
	var got []int
	for _, h := range held {
		require.Equal(t, "tap", h.Tap)
		got = append(got, number(h.Record))
	}
	require.Equal(t, []int{3, 6, 9}, got)
	require.EqualValues(t, 6, s.Left())
	held, _ = s.Know(netip.MustParseAddr(another))
	require.Empty(t, held, "they are given once")
	p, _ := between(1, server, another)
	require.True(t, s.Pass(p, packet.Decoded))
}

// What can't be held any longer is counted by its address; memory is bounded.
func TestSieveForgets(t *testing.T) {
	s := NewSieve()
	s.Know(netip.MustParseAddr(mine))
	total := 3 * holdBytes / (1400 + heldSize)
	for n := 1; n <= total; n++ {
		p, _ := between(n, other, server)
		s.Hold("tap", frame(n, 1400), p)
	}
	require.LessOrEqual(t, len(s.now)+len(s.prior), 2*holdBytes/1400)
	held, gone := s.Know(netip.MustParseAddr(other))
	require.NotEmpty(t, held)
	require.EqualValues(t, total, uint64(len(held))+gone.Frames)
	require.Equal(t, at(1), gone.From.UnixNano())
	require.Equal(t, number(held[0].Record)-1, int(gone.Frames), "those given back come right behind those that are gone")
	require.Equal(t, at(int(gone.Frames)), gone.To.UnixNano())
	_, gone = s.Know(netip.MustParseAddr(another))
	require.Zero(t, gone, "it was never seen")
	require.EqualValues(t, total-len(held), s.Left())
}

// Where more addresses are seen than are counted, nobody is told that nothing is gone.
func TestSieveCountsSoManyAddresses(t *testing.T) {
	s := NewSieve()
	for n := range goneAddrs + 10 {
		s.lost(packet.Addr{byte(n >> 16), byte(n >> 8), byte(n)}, at(n))
	}
	require.Len(t, s.gone, goneAddrs)
	_, gone := s.Know(netip.MustParseAddr(mine))
	require.EqualValues(t, 10, gone.Frames)
}

func BenchmarkSieve(b *testing.B) {
	s := NewSieve()
	s.Know(netip.MustParseAddr(mine))
	p, rec := between(1, other, server)
	rec.Data = make([]byte, 150)
	b.ReportAllocs()
	for range b.N {
		if !s.Pass(p, packet.Decoded) {
			s.Hold("tap", rec, p)
		}
	}
}
