package watch

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/tollgate-iot/tollgate/fixtures/synth"
	"github.com/tollgate-iot/tollgate/harness/packet"
)

var begin = time.Date(2026, 3, 8, 12, 0, 0, 0, time.UTC)

const server = "203.0.113.9"

func addr(s string) packet.Addr { return packet.AddrFrom(netip.MustParseAddr(s)) }

// send feeds packets of 100 bytes from a port of one host to port 80 of another, and back where the port is 80.
func send(b *Board, from string, port uint16, to string, packets int) {
	for range packets {
		b.Add(&packet.Packet{Kind: packet.UDP, Src: addr(from), SrcPort: port, Dst: addr(to), DstPort: 80, WireLen: 100})
	}
}

func answer(b *Board, to string, port uint16, packets int) {
	for range packets {
		b.Add(&packet.Packet{Kind: packet.UDP, Src: addr(server), SrcPort: 80, Dst: addr(to), DstPort: port, WireLen: 100})
	}
}

func TestView(t *testing.T) {
	b := New(begin, nil)
	send(b, "10.0.0.1", 1, server, 4)
	answer(b, "10.0.0.1", 1, 2)
	send(b, "10.0.0.2", 2, server, 20)
	send(b, "10.0.0.2", 3, server, 2)
	send(b, "10.0.0.3", 4, server, 1)
	v := b.View(begin.Add(2*time.Second), 2)
	require.Equal(t, 3, v.Devices)
	require.Equal(t, 4, v.Flows)
	require.Equal(t, Rate{13.5, 1350}, v.Up)
	require.Equal(t, Rate{1, 100}, v.Down)
	require.Equal(t, []Device{
		{Address: netip.MustParseAddr("10.0.0.2"), Flows: 2, Up: Rate{11, 1100}, Kind: packet.UDP, Peer: netip.MustParseAddrPort(server + ":80")},
		{Address: netip.MustParseAddr("10.0.0.1"), Flows: 1, Up: Rate{2, 200}, Down: Rate{1, 100}, Kind: packet.UDP, Peer: netip.MustParseAddrPort(server + ":80")},
	}, v.Top)
	require.Equal(t, 1, v.Others)
	require.Equal(t, Device{Flows: 1, Up: Rate{0.5, 50}}, v.Rest)

	v = b.View(begin.Add(3*time.Second), 9)
	require.Equal(t, 3, v.Devices, "they are shown for a while")
	require.Zero(t, v.Up)
	require.Equal(t, "10.0.0.1", v.Top[0].Address.String(), "where nothing passes they are in the order of their addresses")
}

// What is silent for a minute is let go and its place used again; what talks stays.
func TestSilentAreLetGo(t *testing.T) {
	b := New(begin, nil)
	send(b, "10.0.0.1", 1, server, 1)
	send(b, "10.0.0.2", 2, server, 1)
	send(b, "10.0.0.2", 3, server, 1)
	for s := 1; s < 100; s++ {
		b.View(begin.Add(time.Duration(s)*time.Second), 9)
		send(b, "10.0.0.2", 3, server, 1)
	}
	v := b.View(begin.Add(100*time.Second), 9)
	require.Equal(t, 1, v.Devices)
	require.Equal(t, 1, v.Flows)
	require.Equal(t, 1, v.Top[0].Flows)
	send(b, "10.0.0.7", 1, server, 1)
	v = b.View(begin.Add(101*time.Second), 9)
	require.Equal(t, 2, v.Devices)
	require.Len(t, b.devices.keys, 2)
}

// Who is the device: whom the caller names, else who opens flows.
func TestWhoIsTheDevice(t *testing.T) {
	synack := &packet.Packet{Kind: packet.TCP, Flags: packet.SYN | packet.ACK, Src: addr(server), SrcPort: 80, Dst: addr("10.0.0.1"), DstPort: 9}
	reply := &packet.Packet{Kind: packet.UDP, Src: addr(server), SrcPort: 53, Dst: addr("10.0.0.1"), DstPort: 9}
	syn := &packet.Packet{Kind: packet.TCP, Flags: packet.SYN, Src: addr("10.0.0.1"), SrcPort: 9, Dst: addr(server), DstPort: 80}
	late := &packet.Packet{Kind: packet.TCP, Flags: packet.ACK, Src: addr(server), SrcPort: 81, Dst: addr("10.0.0.1"), DstPort: 9}
	for name, c := range map[string]struct {
		nets    []netip.Prefix
		packets []*packet.Packet
		want    []string
	}{
		"by its SYN":                    {nil, []*packet.Packet{syn, synack}, []string{"10.0.0.1"}},
		"by the answer to its SYN":      {nil, []*packet.Packet{synack}, []string{"10.0.0.1"}},
		"by a DNS answer":               {nil, []*packet.Packet{reply}, []string{"10.0.0.1"}},
		"known from another flow":       {nil, []*packet.Packet{syn, late}, []string{"10.0.0.1"}},
		"who speaks first, else":        {nil, []*packet.Packet{late}, []string{server}},
		"named":                         {[]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, []*packet.Packet{late}, []string{"10.0.0.1"}},
		"named, and neither is of them": {[]netip.Prefix{netip.MustParsePrefix("10.9.0.0/16")}, []*packet.Packet{late, syn}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			b := New(begin, c.nets)
			for _, p := range c.packets {
				b.Add(p)
			}
			var got []string
			v := b.View(begin.Add(time.Second), 9)
			for _, d := range v.Top {
				got = append(got, d.Address.String())
			}
			require.Equal(t, c.want, got)
			require.Equal(t, c.want == nil, v.Up == Rate{} && v.Down == Rate{})
		})
	}
}

// A peer is called what a DNS answer called it.
func TestNames(t *testing.T) {
	b := New(begin, nil)
	d := packet.NewDecoder(packet.Options{})
	for i, f := range synth.WioLTEHTTP(synth.Options{Mirror: synth.GRE}) {
		var p packet.Packet
		require.Equal(t, packet.Decoded, d.Decode(&packet.Frame{Number: uint64(i + 1), Time: f.Time.UnixNano(), Link: 1, Data: f.Data, Length: f.Length}, &p))
		b.Add(&p)
	}
	v := b.View(begin.Add(time.Second), 9)
	require.Equal(t, "tollgate-test-bucket.s3-website-ap-northeast-1.amazonaws.com", v.Top[0].Name)
	require.Equal(t, packet.TCP, v.Top[0].Kind)

	n := names{}
	for i := range maxNames + 5 {
		n.put(packet.Addr{byte(i >> 16), byte(i >> 8), byte(i)}, "x")
	}
	require.Len(t, n, 5)
}

// aaaa is an answer with an alias and an IPv6 address.
func aaaa(t testing.TB) []byte {
	name, alias := dnsmessage.MustNewName("v6.example."), dnsmessage.MustNewName("cdn.example.")
	m := dnsmessage.Message{Header: dnsmessage.Header{Response: true},
		Questions: []dnsmessage.Question{{Name: name, Type: dnsmessage.TypeAAAA, Class: dnsmessage.ClassINET}},
		Answers: []dnsmessage.Resource{
			{Header: dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET}, Body: &dnsmessage.CNAMEResource{CNAME: alias}},
			{Header: dnsmessage.ResourceHeader{Name: alias, Class: dnsmessage.ClassINET}, Body: &dnsmessage.AAAAResource{AAAA: addr("2001:db8::1")}},
		}}
	b, err := m.Pack()
	require.NoError(t, err)
	return b
}

func TestNameOfIPv6(t *testing.T) {
	n := names{}
	n.learn(aaaa(t))
	require.Equal(t, names{addr("2001:db8::1"): "v6.example"}, n)
	n.learn(nil)
	n.learn(aaaa(t)[:40])
	require.Len(t, n, 1)
}

// However many devices and flows there are, no more than a bound is kept, and the sums are right.
func TestBounds(t *testing.T) {
	b := New(begin, nil)
	total := maxFlows + 10
	for i := range total {
		b.Add(&packet.Packet{Kind: packet.UDP, Src: packet.Addr{10, 0, byte(i >> 16), byte(i >> 8), byte(i)}, SrcPort: 1, Dst: addr(server), DstPort: 80, WireLen: 1})
	}
	v := b.View(begin.Add(time.Second), 5)
	require.True(t, v.Bounded)
	require.Equal(t, maxDevices, v.Devices)
	require.Equal(t, maxFlows, v.Flows)
	require.InDelta(t, total, v.Up.Packets, 1e-6)
}

// What strangers answer does not bring it down.
func FuzzLearn(f *testing.F) {
	f.Add(synth.Reply(7, "a.example", synth.Answer{Addrs: []*synth.Host{synth.NewHost("203.0.113.9", 1)}}))
	f.Add(aaaa(f))
	f.Add([]byte{0, 7, 0x81, 0x80, 0, 1, 0, 1})
	f.Fuzz(func(t *testing.T, message []byte) {
		n := names{}
		n.learn(message)
		for _, name := range n {
			require.LessOrEqual(t, len(name), 255)
		}
	})
}

func BenchmarkAdd(b *testing.B) {
	board := New(begin, nil)
	packets := make([]packet.Packet, 1<<16)
	for i := range packets {
		packets[i] = packet.Packet{Kind: packet.TCP, Flags: packet.ACK, Src: packet.Addr{10, byte(i >> 8), byte(i)}, SrcPort: 1, Dst: addr(server), DstPort: 80, WireLen: 100}
	}
	b.ReportAllocs()
	for i := range b.N {
		board.Add(&packets[i*7919%len(packets)])
	}
}
