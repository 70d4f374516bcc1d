package flow

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/tollgate-iot/tollgate/harness/packet"
)

// one follows packets that make one flow.
func one(t *testing.T, packets []packet.Packet) *Flow {
	t.Helper()
	flows := followAll(Options{KeepPackets: true}, packets)
	require.Len(t, flows, 1)
	return flows[0]
}

func TestCloses(t *testing.T) {
	const fin, ack, rst, syn = packet.FIN | packet.ACK, packet.ACK, packet.RST | packet.ACK, packet.SYN
	for _, c := range []struct {
		name   string
		packet func(c *conversation)
		close  Close
		first  Direction
		doubt  bool
	}{
		{"clean by the device", func(c *conversation) { c.open().close() }, Clean, Up, false},
		{"clean by the server", func(c *conversation) {
			c.open().send(Down, fin, "").send(Up, ack, "").send(Up, fin, "").send(Down, ack, "")
		}, Clean, Down, false},
		{"RST a minute later", func(c *conversation) { c.open().close().after(time.Minute).send(Up, rst, "") }, ResetAfterClose, Up, false},
		{"RST instead of a FIN", func(c *conversation) { c.open().send(Up, fin, "").send(Down, rst, "") }, ResetBefore, Up, false},
		{"RST for data after its FIN, the other's FIN on its way", func(c *conversation) {
			c.open().send(Up, fin, "").send(Down, push, "late").send(Up, packet.RST, "")
			c.at -= int64(19 * time.Millisecond)
			c.send(Down, fin, "")
		}, ResetBefore, Up, false},
		{"RST with the number before its FIN", func(c *conversation) {
			c.open().send(Up, fin, "").send(Down, fin, "")
			c.seq[Up]--
			c.at -= int64(19 * time.Millisecond)
			c.send(Up, packet.RST, "")
		}, ResetAfterClose, Up, false},
		{"RST alone", func(c *conversation) { c.open().send(Up, rst, "") }, ResetBefore, Up, false},
		{"refused", func(c *conversation) { c.send(Up, syn, "").send(Down, rst, "") }, Refused, Up, false},
		{"unanswered", func(c *conversation) { c.send(Up, syn, "").after(time.Second).again(0) }, Unanswered, Up, false},
		{"answered, and the answer not seen", func(c *conversation) { c.send(Up, syn, "").send(Up, ack, "").send(Up, push, "x") }, Open, Up, true},
		{"half closed", func(c *conversation) {
			c.open().send(Down, fin, "").after(time.Minute).again(3)
		}, HalfClosed, Down, true},
		{"open", func(c *conversation) { c.open().send(Up, push, "x").send(Down, ack, "") }, Open, Up, false},
		{"last ACK not seen", func(c *conversation) { c.open().send(Up, fin, "").send(Down, fin, "") }, HalfClosed, Up, true},
		{"simultaneous", func(c *conversation) {
			a, b := c.open().segment(Up, fin, ""), c.segment(Down, fin, "")
			c.packets = append(c.packets, a, b)
			c.seq[Up]++
			c.seq[Down]++
			c.send(Up, ack, "").send(Down, ack, "")
		}, Clean, Up, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			talk := newConversation()
			c.packet(talk)
			f := one(t, talk.packets)
			require.Equal(t, c.close.String(), f.Close.String())
			require.Equal(t, c.first, f.FirstClose)
			require.Equal(t, c.doubt, f.CloseDoubt != "", f.CloseDoubt)
		})
	}
}

func TestPortReuseIsANewFlow(t *testing.T) {
	c := newConversation().open().close().after(10 * time.Second)
	c.seq[Up] += 1000
	c.open().close().after(10*time.Second).send(Up, packet.RST|packet.ACK, "")
	flows := followAll(Options{}, c.packets)
	require.Len(t, flows, 2)
	require.Equal(t, Clean, flows[0].Close)
	require.Equal(t, ResetAfterClose, flows[1].Close)
}

func TestRepeatedSYNIsTheSameFlow(t *testing.T) {
	c := newConversation().send(Up, packet.SYN, "").after(time.Second).again(0)
	c.send(Down, packet.SYN|packet.ACK, "").send(Up, packet.ACK, "")
	f := one(t, c.packets)
	require.Equal(t, 2, f.Sides[Up].SYN)
	require.Equal(t, 1, f.Sides[Up].Retransmissions)
	require.Equal(t, uint64(3), f.Phases[TCPHandshake][Up].Packets)
}

func TestGapsAndRetransmissions(t *testing.T) {
	c := newConversation().open()
	for range 4 {
		c.send(Up, push, "0123456789")
	}
	c.send(Down, packet.ACK, "")
	lost := append(c.packets[:4:4], c.packets[5:]...)

	f := one(t, lost)
	require.Equal(t, uint64(10), f.Sides[Up].Missing)
	require.Equal(t, 1, f.Sides[Up].LostSegments)
	require.Equal(t, 1, f.Sides[Down].AckedUnseen)
	require.Len(t, f.Gaps, 1)
	require.Equal(t, Gap{Kind: GapSequence, Dir: Up, From: lost[3].Time, To: lost[4].Time, Packets: 1, Bytes: 10}, f.Gaps[0])
	require.Equal(t, uint64(1), f.Phases[Request][Down].Packets)
	require.NotEmpty(t, f.CloseDoubt)

	late := c.packets[4]
	late.IPID, late.Time = c.id[Up]+1, c.at+int64(time.Second)
	f = one(t, append(lost, late))
	require.Zero(t, f.Sides[Up].Missing)
	require.Equal(t, 1, f.Sides[Up].Retransmissions)
	require.Empty(t, f.Gaps)

	late.IPID = c.packets[4].IPID // its identification says that it was sent in time
	f = one(t, append(lost, late))
	require.Zero(t, f.Sides[Up].Retransmissions)
	require.Equal(t, 1, f.Sides[Up].OutOfOrder)
}

// A SYN or SYN-ACK that nobody saw is known by what was said after it, unless it passed before the capture began.
func TestUnseenHandshake(t *testing.T) {
	handshake := func(lost ...int) []packet.Packet {
		c := newConversation().open().send(Up, push, "x").send(Down, packet.ACK, "")
		for i := len(lost) - 1; i >= 0; i-- {
			c.packets = slices.Delete(c.packets, lost[i], lost[i]+1)
		}
		return c.packets
	}
	before := packet.Packet{Time: newConversation().at - int64(time.Minute), Kind: packet.ARP}
	for name, c := range map[string]struct {
		packets []packet.Packet
		want    []Gap
	}{
		"all of it":            {handshake(), nil},
		"no SYN-ACK":           {handshake(1), []Gap{{Kind: GapAcked, Dir: Down, Packets: 1}}},
		"no SYN":               {append([]packet.Packet{before}, handshake(0)...), []Gap{{Kind: GapAcked, Dir: Up, Packets: 1}}},
		"begun before":         {handshake(0), nil},
		"joined in the middle": {append([]packet.Packet{before}, handshake(0, 1)...), nil},
		"only the SYN":         {handshake(1, 2, 3, 4), nil},
	} {
		t.Run(name, func(t *testing.T) {
			flows := followAll(Options{KeepPackets: true}, c.packets)
			f := flows[len(flows)-1]
			for i := range f.Gaps {
				require.NotZero(t, f.Gaps[i].To)
				f.Gaps[i].From, f.Gaps[i].To = 0, 0
			}
			require.ElementsMatch(t, c.want, f.Gaps)
		})
	}
}

// Each echo has a number of its own: the same one again is the mirror's, with or without an IP identification.
func TestLateCopyOfAnEcho(t *testing.T) {
	ping := packet.Packet{Number: 1, Time: int64(time.Hour), Kind: packet.ICMP, Proto: 1, Src: newConversation().server, Dst: newConversation().device,
		HasIPID: true, ICMPType: 8, Checksum: 0x1234, PayloadLen: 32, WireLen: 74}
	again := ping
	again.Number, again.Time = 2, ping.Time+int64(60*time.Millisecond)
	next := again
	next.Number, next.Checksum = 3, 0x1233
	f := one(t, []packet.Packet{ping, again, next})
	require.Equal(t, 1, f.Sides[Up].Duplicates+f.Sides[Down].Duplicates)
	require.Len(t, f.Packets, 2)
}

func TestAcknowledgedUnseen(t *testing.T) {
	c := newConversation().open().send(Up, push, "0123456789").send(Down, packet.ACK, "")
	f := one(t, append(c.packets[:3:3], c.packets[4]))
	require.Equal(t, uint64(10), f.Sides[Up].Missing)
	require.Equal(t, GapAcked, f.Gaps[0].Kind)
	require.Equal(t, 1, f.Sides[Down].AckedUnseen)
}

func TestSequenceNumbersWrapAround(t *testing.T) {
	c := newConversation()
	c.seq[Up] = 0xffffff00
	c.open()
	for range 100 {
		c.send(Up, push, "0123456789").send(Down, packet.ACK, "")
	}
	f := one(t, c.close().packets)
	require.Equal(t, Clean, f.Close)
	require.Zero(t, f.Sides[Up].Missing+f.Sides[Down].Missing)
	require.Equal(t, uint64(1000), f.Sides[Up].Payload)
}

func TestKeepalives(t *testing.T) {
	c := newConversation().open().send(Up, push, "x").send(Down, packet.ACK, "")
	f := one(t, c.after(time.Minute).keepalive(Up).after(time.Minute).keepalive(Down).packets)
	require.Equal(t, 1, f.Sides[Up].Keepalives)
	require.Equal(t, 1, f.Sides[Down].Keepalives)
	require.Equal(t, uint64(2), f.Phases[Keepalive][Up].Packets)
	require.Equal(t, uint64(2), f.Phases[Keepalive][Down].Packets)
	require.Zero(t, f.Sides[Up].Retransmissions)
}

// A mirror's disorder is no silence: an ACK overtaken by what was sent after it has the number that a keep-alive would have.
func TestOvertakenIsNoKeepalive(t *testing.T) {
	c := newConversation().open().send(Up, packet.ACK, "").send(Up, push, "x")
	last := len(c.packets) - 1
	c.packets[last-1], c.packets[last] = c.packets[last], c.packets[last-1]
	require.Zero(t, one(t, c.packets).Sides[Up].Keepalives, "with the times at which they passed")

	c = newConversation().open()
	for range countingRun {
		c.send(Up, push, "x").send(Down, packet.ACK, "")
	}
	fin := c.segment(Up, packet.FIN|packet.ACK, "")
	c.seq[Up]++
	c.send(Down, packet.ACK, "")
	ack := c.after(time.Second/10).segment(Up, packet.ACK, "")
	ack.Seq, fin.Time = fin.Seq, c.after(time.Second/20).at
	f := one(t, append(c.packets, ack, fin))
	require.Zero(t, f.Sides[Up].Keepalives, "an end whose FIN is still to come")
	require.Equal(t, 1, f.Sides[Up].FIN)
}

func TestJoinedPackets(t *testing.T) {
	c := newConversation().open()
	c.send(Down, push, string(make([]byte, 2714)))
	f := one(t, c.packets)
	require.Equal(t, Tally{Packets: 1, Bytes: 2768, AirPackets: 2, AirBytes: 2822}, f.Phases[Response][Down])
	require.NotZero(t, f.Packets[3].Mark&Joined)
}

func TestWhoIsTheDevice(t *testing.T) {
	c := newConversation().open().send(Down, push, "x")
	device := netip.MustParseAddr("10.1.2.3")
	require.Equal(t, device, one(t, c.packets).Device.Addr(), "the SYN's sender")
	require.Equal(t, device, one(t, c.packets[1:]).Device.Addr(), "the SYN-ACK's receiver")
	require.Equal(t, device, one(t, c.packets[3:]).Device.Addr(), "the higher port")

	early := append([]packet.Packet{c.packets[3]}, c.packets[:3]...)
	early[0].SrcPort, early[0].DstPort = 50000, 40001 // by ports alone the server would be it
	for i := range early[1:] {
		p := &early[i+1]
		if p.SrcPort == 80 {
			p.SrcPort = 50000
		} else {
			p.DstPort = 50000
		}
	}
	f := one(t, early)
	require.Equal(t, device, f.Device.Addr(), "a later SYN corrects")
	require.Equal(t, uint64(1), f.Phases[Response][Down].Packets)
	require.Equal(t, Down, f.Packets[3].Dir)

	server := netip.MustParsePrefix("192.0.2.0/24")
	given := followAll(Options{Devices: []netip.Prefix{server}}, c.packets)[0]
	require.Equal(t, "192.0.2.1", given.Device.Addr().String())
	require.False(t, given.Inferred)
	foreign := followAll(Options{Devices: []netip.Prefix{netip.MustParsePrefix("172.16.0.0/12")}}, c.packets)[0]
	require.True(t, foreign.Foreign)
}

func datagram(src, dst string, sp, dp uint16, at time.Duration, payload []byte) packet.Packet {
	return packet.Packet{Number: uint64(at), Time: int64(1_600_000_000*time.Second + at), Kind: packet.UDP, Proto: 17,
		Src: packet.AddrFrom(netip.MustParseAddr(src)), Dst: packet.AddrFrom(netip.MustParseAddr(dst)), SrcPort: sp, DstPort: dp,
		HeaderLen: 42, PayloadLen: len(payload), WireLen: 42 + len(payload), Payload: payload, Checksum: uint16(at / time.Millisecond)}
}

func dnsPackets(t *testing.T) (query, answer []byte) {
	t.Helper()
	name := dnsmessage.MustNewName("beam.soracom.io.")
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: 7}, Questions: []dnsmessage.Question{{Name: name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}}}
	query, err := m.Pack()
	require.NoError(t, err)
	m.Response = true
	m.Answers = []dnsmessage.Resource{
		{Header: dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET}, Body: &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName("other.example.")}},
		{Header: dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName("other.example."), Class: dnsmessage.ClassINET}, Body: &dnsmessage.AResource{A: [4]byte{192, 0, 2, 1}}},
	}
	answer, err = m.Pack()
	require.NoError(t, err)
	return query, answer
}

func TestNamesFromDNS(t *testing.T) {
	query, answer := dnsPackets(t)
	ask := datagram("10.1.2.3", "10.0.0.53", 5000, 53, 0, query)
	again := datagram("10.1.2.3", "10.0.0.53", 5000, 53, time.Second, query)
	reply := datagram("10.0.0.53", "10.1.2.3", 53, 5000, 2*time.Second, answer)
	talk := newConversation().after(3 * time.Second).open().packets
	for name, packets := range map[string][]packet.Packet{
		"in order": {ask, again, reply}, "answer first": {reply, ask, again},
	} {
		t.Run(name, func(t *testing.T) {
			flows := followAll(Options{}, append(packets, talk...))
			require.Len(t, flows, 2)
			require.Equal(t, "beam.soracom.io", flows[1].Name)
			require.Len(t, flows[0].Queries, 1)
			q := flows[0].Queries[0]
			require.Equal(t, "beam.soracom.io", q.Name)
			require.Equal(t, "A", q.Type)
			require.True(t, q.Answered)
			require.Equal(t, "NOERROR", q.RCode)
			require.Equal(t, 1, q.Repeats)
			require.Equal(t, "10.1.2.3:5000", flows[0].Device.String())
		})
	}
}

func TestUDPDevices(t *testing.T) {
	talk := newConversation().open().packets
	push := datagram("192.0.2.99", "10.1.2.3", 9000, 9001, time.Second, []byte("x"))
	flows := followAll(Options{}, append(talk, push))
	require.Equal(t, "10.1.2.3:9001", flows[1].Device.String(), "an address that opened other flows")
	multicast := datagram("192.0.2.99", "239.1.1.1", 9000, 9001, time.Second, []byte("x"))
	require.Equal(t, "192.0.2.99:9000", one(t, []packet.Packet{multicast}).Device.String())
}

func TestFlowsAreLetGo(t *testing.T) {
	c := newConversation().open().send(Up, push, "x")
	c.after(125*time.Minute).send(Up, push, "y")
	flows := followAll(Options{}, c.packets)
	require.Len(t, flows, 2)
	require.True(t, flows[1].Resumed)
	require.False(t, flows[1].BeganBeforeCapture)
	require.Len(t, followAll(Options{Idle: 3 * time.Hour}, c.packets), 1)

	closed := newConversation().open().close().after(3 * time.Minute)
	closed.send(Up, packet.RST|packet.ACK, "")
	require.Len(t, followAll(Options{}, closed.packets), 2)
	require.Len(t, followAll(Options{Linger: 4 * time.Minute}, closed.packets), 1)
}

func TestOpenFlowsBoundMemory(t *testing.T) {
	tracker := NewTracker(Options{})
	worst := 0
	for i := range 40_000 {
		c := newConversation()
		c.devicePort = uint16(i)
		c.at += int64(i) * int64(100*time.Millisecond)
		for _, p := range c.open().close().packets {
			tracker.Add(&p)
		}
		worst = max(worst, tracker.Open())
	}
	require.Greater(t, worst, atEase)
	require.Less(t, worst, atEase+1300) // ten a second, two minutes
	require.LessOrEqual(t, int(tracker.slab.used), atEase+1300)
}

// TestJoinedCapturesCutNoFlow holds that a clock that ran ahead and came back, as in captures that were joined, does not
// end flows that were never silent.
func TestJoinedCapturesCutNoFlow(t *testing.T) {
	c := newConversation().open()
	n := len(c.packets)
	c.close()
	var ahead []packet.Packet
	for i := range 2 * stepVote {
		ahead = append(ahead, datagram("10.9.9.9", "10.0.0.1", 1, 2, 24*time.Hour+time.Duration(i)*time.Second, []byte("x")))
	}
	flows := followAll(Options{}, slices.Concat(c.packets[:n], ahead, c.packets[n:]))
	require.Len(t, flows, 2)
	require.Equal(t, Clean, flows[0].Close)
}

// TestOneMangledTimeEndsNothing holds that a single frame from another century does not let go of the others' flows.
func TestOneMangledTimeEndsNothing(t *testing.T) {
	c := newConversation().open()
	odd := datagram("10.9.9.9", "10.0.0.1", 1, 2, 0, []byte("x"))
	odd.Time += int64(20 * 365 * 24 * time.Hour)
	n := len(c.packets)
	c.close()
	flows := followAll(Options{}, slices.Concat(c.packets[:n], []packet.Packet{odd}, c.packets[n:]))
	require.Len(t, flows, 2)
	require.Equal(t, Clean, flows[0].Close)
}

func TestSeenIsLive(t *testing.T) {
	var phases []Phase
	var final *Flow
	var live *Flow
	tracker := NewTracker(Options{
		Seen: func(f *Flow, p *Packet) { live, phases = f, append(phases, p.Phase) },
		Done: func(f *Flow) { final = f },
	})
	for _, p := range httpConversation() {
		tracker.Add(&p)
		tracker.Add(&p) // the mirror's copy
	}
	require.Equal(t, uint64(len(phases)), live.Count(Up).Packets+live.Count(Down).Packets)
	require.Equal(t, []Phase{TCPHandshake, TCPHandshake, TCPHandshake, Request, Request, Response, Response, TeardownPhase, TeardownPhase, TeardownPhase}, phases)
	require.Equal(t, 200, live.Exchanges[0].Status)
	tracker.Flush()
	require.Same(t, live, final)
}

func TestHolesInIPIdentifications(t *testing.T) {
	c := newConversation().open()
	for range 30 {
		c.send(Up, push, "x")
	}
	holes := func(packets []packet.Packet) []IDHole {
		tracker := NewTracker(Options{})
		for i := range packets {
			tracker.Add(&packets[i])
		}
		tracker.Flush()
		return tracker.IPIDHoles()
	}
	require.Empty(t, holes(c.packets))
	lossy := append(c.packets[:15:15], c.packets[17:]...)
	require.Equal(t, []IDHole{{Device: netip.MustParseAddr("10.1.2.3"), From: lossy[14].Time, To: lossy[15].Time, Packets: 2}}, holes(lossy))
	swapped := append([]packet.Packet{}, c.packets...)
	swapped[15], swapped[16] = swapped[16], swapped[15]
	require.Empty(t, holes(swapped))
	require.Empty(t, holes(c.packets[:20]), "nothing after it, nothing lost")
}

// TestDetailChangesNoPhase holds that an acknowledgement of bytes that were never seen has the same phase whether the
// stream behind the hole was kept waiting for them or not.
func TestDetailChangesNoPhase(t *testing.T) {
	c := newConversation().open().send(Up, push, request).send(Down, packet.ACK, response)
	c.send(Down, packet.ACK, strings.Repeat("b", 500)).send(Up, packet.ACK, "")
	lost := len(c.packets) - 2
	c.send(Down, push, strings.Repeat("c", 500)).close()
	packets := slices.Delete(slices.Clone(c.packets), lost, lost+1)
	var plain Phases
	tracker := NewTracker(Options{Done: func(f *Flow) { plain = f.Phases }})
	for i := range packets {
		tracker.Add(&packets[i])
	}
	tracker.Flush()
	detailed := one(t, packets).Phases
	require.Equal(t, plain, detailed)
	require.Equal(t, uint64(2), detailed[TeardownPhase][Up].Packets)
}
