package flow

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/tollgate-iot/tollgate/harness/packet"
)

// drawConversation draws a conversation of any protocol that is read, with what may go wrong in it.
func drawConversation(t *rapid.T) []packet.Packet {
	c := newConversation()
	c.seq[Up], c.seq[Down] = rapid.Uint32().Draw(t, "isn up"), rapid.Uint32().Draw(t, "isn down")
	c.serverPort = rapid.SampledFrom([]uint16{80, 23080, 1883, 443}).Draw(t, "port")
	talk := map[uint16]func(*rapid.T, *conversation){80: drawHTTP, 23080: drawPlain, 1883: drawMQTT, 443: drawTLS}[c.serverPort]
	if rapid.IntRange(0, 9).Draw(t, "opening") > 0 {
		c.open()
	} else {
		talk = drawPlain // what is joined in the middle is read from its first segment on, whichever that is
	}
	talk(t, c)
	switch rapid.IntRange(0, 6).Draw(t, "ending") {
	case 0:
	case 1:
		c.close()
	case 2:
		c.close().after(time.Minute).send(Up, packet.RST|packet.ACK, "")
	case 3:
		c.send(Down, packet.FIN|packet.ACK, "").send(Up, packet.ACK, "").send(Up, packet.FIN|packet.ACK, "").send(Down, packet.ACK, "")
	case 4:
		c.send(Down, packet.FIN|packet.ACK, "")
		for range 3 {
			c.after(time.Second).again(len(c.packets) - 1)
		}
	case 5:
		c.send(Up, packet.RST|packet.ACK, "")
	case 6:
		c.after(30 * time.Second).keepalive(Up).after(30 * time.Second).keepalive(Up)
	}
	return c.packets
}

// again sends a segment again, with a new IP identification.
func (c *conversation) again(i int) *conversation {
	p := c.packets[i]
	d := Up
	if p.Src == c.server {
		d = Down
	}
	fresh := c.segment(d, p.Flags, string(p.Payload))
	fresh.Seq, fresh.Ack, fresh.Checksum = p.Seq, p.Ack, p.Checksum
	c.packets = append(c.packets, fresh)
	return c
}

// keepalive adds a probe and its answer.
func (c *conversation) keepalive(d Direction) *conversation {
	p := c.segment(d, packet.ACK, "")
	p.Seq--
	c.packets = append(c.packets, p)
	return c.send(1-d, packet.ACK, "")
}

// say sends a message in segments drawn at random, some lost on the way and sent again, and has it acknowledged.
func (c *conversation) say(t *rapid.T, d Direction, message string) {
	for len(message) > 0 {
		n := min(len(message), rapid.IntRange(1, 1460).Draw(t, "segment"))
		c.send(d, push, message[:n])
		message = message[n:]
		if rapid.IntRange(0, 15).Draw(t, "again") == 0 {
			c.after(400 * time.Millisecond).again(len(c.packets) - 1)
		}
		if rapid.Bool().Draw(t, "acked") {
			c.send(1-d, packet.ACK, "")
		}
	}
	if rapid.Bool().Draw(t, "acked twice") {
		c.send(1-d, packet.ACK, "").send(1-d, packet.ACK, "")
	}
}

func drawPlain(t *rapid.T, c *conversation) {
	for range rapid.IntRange(0, 4).Draw(t, "messages") {
		c.say(t, rapid.SampledFrom([]Direction{Up, Down}).Draw(t, "dir"), strings.Repeat("x", rapid.IntRange(1, 4000).Draw(t, "size")))
	}
}

func drawHTTP(t *rapid.T, c *conversation) {
	for range rapid.IntRange(1, 3).Draw(t, "exchanges") {
		c.say(t, Up, request)
		c.say(t, Down, response)
	}
}

func drawMQTT(t *rapid.T, c *conversation) {
	c.say(t, Up, "\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01a")
	c.say(t, Down, "\x20\x02\x00\x00")
	for range rapid.IntRange(0, 3).Draw(t, "publishes") {
		c.say(t, Up, "\x32\x09\x00\x03a/b\x00\x07hi")
		c.say(t, Down, "\x40\x02\x00\x07")
	}
	c.say(t, Up, "\xc0\x00")
	c.say(t, Down, "\xd0\x00")
	c.say(t, Up, "\xe0\x00")
}

func drawTLS(t *rapid.T, c *conversation) {
	v13 := rapid.Bool().Draw(t, "TLS 1.3")
	c.say(t, Up, record(22, hello(clientHello, 0x0303)))
	if v13 {
		c.say(t, Down, record(22, hello(serverHello, 0x0304))+record(20, "\x01")+record(23, strings.Repeat("e", 900)))
		c.say(t, Up, record(20, "\x01")+record(23, strings.Repeat("f", 53)))
	} else {
		c.say(t, Down, record(22, hello(serverHello, 0x0303))+record(22, "\x0b\x00\x0b\xb8"+strings.Repeat("c", 3000)))
		c.say(t, Up, record(22, "\x10\x00\x00\x04kkkk")+record(20, "\x01")+record(22, strings.Repeat("f", 40)))
		c.say(t, Down, record(20, "\x01")+record(22, strings.Repeat("f", 40)))
	}
	for range rapid.IntRange(0, 2).Draw(t, "exchanges") {
		c.say(t, Up, record(23, strings.Repeat("q", rapid.IntRange(20, 200).Draw(t, "request"))))
		c.say(t, Down, record(23, strings.Repeat("a", rapid.IntRange(20, 3000).Draw(t, "answer"))))
	}
	if v13 {
		c.say(t, Up, record(23, strings.Repeat("l", sealedAlert)))
	} else {
		c.say(t, Up, record(21, strings.Repeat("l", 26)))
	}
}

func record(kind byte, body string) string {
	return string([]byte{kind, 3, 3, byte(len(body) >> 8), byte(len(body))}) + body
}

// hello makes a ClientHello or ServerHello with a server name and, for TLS 1.3, the version chosen.
func hello(kind byte, version uint16) string {
	b := append([]byte{3, 3}, make([]byte, 33)...)
	var ext []byte
	if kind == clientHello {
		b = append(b, 0, 2, 0x13, 0x01, 1, 0)
		ext = append(ext, 0, 0, 0, 17, 0, 15, 0, 0, 12)
		ext = append(ext, "example.test"...)
	} else {
		b = append(b, 0x13, 0x01, 0)
		if version == tls13 {
			ext = append(ext, 0, 43, 0, 2, 3, 4)
		}
	}
	b = append(binary.BigEndian.AppendUint16(b, uint16(len(ext))), ext...)
	return string([]byte{kind, 0, byte(len(b) >> 8), byte(len(b))}) + string(b)
}

// judged writes what must not depend on the order of neighbours: all of a flow but its times and numbers, and what is
// said of single packets.
func judged(flows []*Flow) string {
	var b strings.Builder
	for _, f := range flows {
		fmt.Fprintf(&b, "%v %v %q %v first %v %v began %v\n", f.Device, f.Peer, f.Name, f.Close, f.FirstClose, f.FinSeen, f.BeganBeforeCapture)
		for d, s := range f.Sides {
			fmt.Fprintf(&b, "  %v payload %d syn %d fin %d rst %d again %d lost %d unseen %d missing %d probes %d mss %d\n", Direction(d), s.Payload,
				s.SYN, s.FIN, s.RST, s.Retransmissions, s.LostSegments, s.AckedUnseen, s.Missing, s.Keepalives, s.MSS)
		}
		for p, both := range f.Phases {
			if both != (Both[Tally]{}) {
				fmt.Fprintf(&b, "  %v %v\n", Phase(p), both)
			}
		}
		for _, e := range f.Exchanges {
			fmt.Fprintf(&b, "  %s %s %s %d\n", e.Method, e.Host, e.Target, e.Status)
		}
		for _, m := range f.Messages {
			fmt.Fprintf(&b, "  %v %s %q %d %d\n", m.Dir, m.Type, m.Topic, m.ID, m.Bytes)
		}
		if f.TLS != nil {
			fmt.Fprintf(&b, "  %+v\n", *f.TLS)
		}
	}
	return b.String()
}

// TestNeighboursMayChangePlaces is the law that a mirror which delivers neighbours in another order changes nothing.
func TestNeighboursMayChangePlaces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		before := drawConversation(t)
		swapped := slices.Clone(before)
		for i := 0; i+1 < len(before); i++ {
			apart := before[i+1].Time - before[i].Time
			if rapid.IntRange(0, 3).Draw(t, "swap") != 0 || apart > int64(100*time.Millisecond) {
				continue
			}
			// Neighbours that change places are near in time; what a timer sends never is.
			shift := apart - int64(300*time.Microsecond)
			for j := i + 1; j < len(before); j++ {
				before[j].Time -= shift
				swapped[j].Time -= shift
			}
			swapped[i], swapped[i+1] = swapped[i+1], swapped[i]
			swapped[i].Time, swapped[i+1].Time = swapped[i+1].Time, swapped[i].Time
			i++
		}
		require.Equal(t, judged(followAll(Options{}, before)), judged(followAll(Options{}, swapped)))
	})
}

// TestCopiesChangeOnlyDuplicates is the law that packets which the mirror sends twice are counted apart.
func TestCopiesChangeOnlyDuplicates(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		once := drawConversation(t)
		var twice []packet.Packet
		made := Both[int]{}
		for _, p := range once {
			twice = append(twice, p)
			for range rapid.IntRange(0, 2).Draw(t, "copies") {
				p.Time += int64(200 * time.Microsecond)
				twice = append(twice, p)
				d := Up
				if p.SrcPort != 40001 {
					d = Down
				}
				made[d]++
			}
		}
		if len(once) == 0 {
			t.Skip("nothing was said")
		}
		want, got := followAll(Options{}, once), followAll(Options{}, twice)
		require.Len(t, got, 1)
		require.Equal(t, made, Both[int]{got[0].Sides[Up].Duplicates, got[0].Sides[Down].Duplicates})
		require.Equal(t, judged(want), judged(got))
	})
}

// TestSegmentsDoNotMatter is the law that payload is counted the same however it is cut into segments.
func TestSegmentsDoNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		message := rapid.StringN(1, 3000, 5000).Draw(t, "message")
		whole := newConversation().open().send(Up, push, message).send(Down, packet.ACK, "").close()
		parts := newConversation().open()
		for rest := message; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "segment")
			parts.send(Up, push, rest[:n])
			rest = rest[n:]
		}
		parts.send(Down, packet.ACK, "").close()
		a, b := followAll(Options{}, whole.packets), followAll(Options{}, parts.packets)
		require.Len(t, a, 1)
		require.Len(t, b, 1)
		require.Equal(t, uint64(len(message)), a[0].Sides[Up].Payload)
		require.Equal(t, a[0].Sides[Up].Payload, b[0].Sides[Up].Payload)
		require.Equal(t, a[0].Sides[Down], b[0].Sides[Down])
		require.Equal(t, a[0].Close, b[0].Close)
		require.Equal(t, a[0].Exchanges, b[0].Exchanges)
	})
}

// TestDetailChangesNoNumber is the law that what is counted does not depend on whether flows are kept, whatever the mirror
// lost, delivered late, or saw sent again.
func TestDetailChangesNoNumber(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		packets := drawDisturbed(t)
		for i := range packets { // times rise; identifications tell no order
			packets[i].Time, packets[i].IPID = int64(i)*int64(40*time.Millisecond), uint16(i*7919)
		}
		require.Equal(t, phasesSeen(Options{}, packets), phasesSeen(Options{KeepFlows: true}, packets), "%s", dumped(packets))
	})
}

// drawDisturbed draws a conversation of which packets were lost, came late, or carry other numbers.
func drawDisturbed(t *rapid.T) (packets []packet.Packet) {
	for _, p := range drawConversation(t) {
		switch rapid.IntRange(0, 15).Draw(t, "fate") {
		case 0: // lost
		case 1: // sent again later
			at := rapid.IntRange(0, len(packets)).Draw(t, "place")
			packets = slices.Insert(packets, at, p)
		case 2:
			p.Ack += uint32(rapid.IntRange(-3, 3).Draw(t, "ack"))
			packets = append(packets, p)
		case 3:
			p.Seq += uint32(rapid.IntRange(-3, 3).Draw(t, "seq"))
			packets = append(packets, p)
		case 4:
			p.Window = 0
			packets = append(packets, p)
		default:
			packets = append(packets, p)
		}
	}
	return packets
}

// TestExpectedSegments is the law that a segment which is expected comes out the same as if nothing had been expected.
func TestExpectedSegments(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bothWays(t, drawDisturbed(t))
		bothWays(t, drawConversation(t))
	})
}

// TestExpectedSegmentsOfCaptures is the same law for the fixtures' captures.
func TestExpectedSegmentsOfCaptures(t *testing.T) {
	for _, data := range fixtureCaptures(t) {
		bothWays(t, fromCapture(data))
	}
}

// bothWays has packets followed with segments expected and without, with all detail and with none, and compares: the flows
// in the end, and what is counted at every packet.
func bothWays(t require.TestingT, packets []packet.Packet) {
	type moment struct {
		Packet
		Phases
	}
	for _, o := range []Options{{}, {KeepPackets: true}} {
		var flows [2][]Flow
		var moments [2][]moment
		for i := range flows {
			o.Done = func(f *Flow) {
				kept := *f
				kept.Gaps = slices.Clone(f.Gaps)
				flows[i] = append(flows[i], kept)
			}
			if o.KeepPackets {
				o.Seen = func(f *Flow, p *Packet) { moments[i] = append(moments[i], moment{*p, f.Phases}) }
			}
			tracker := NewTracker(o)
			tracker.thorough = i == 1
			for j := range packets {
				tracker.Add(&packets[j])
			}
			tracker.Flush()
		}
		require.Equal(t, flows[1], flows[0], "what is expected comes out as it would without")
		require.Equal(t, moments[1], moments[0], "what is expected is counted as it would be without")
	}
}

// phasesSeen gives every phase of every flow with its count and bytes, as text.
func phasesSeen(o Options, packets []packet.Packet) string {
	var b strings.Builder
	o.Done = func(f *Flow) {
		for p := range f.Phases {
			for d, n := range f.Phases[p] {
				if n.Packets > 0 {
					fmt.Fprintln(&b, f.ID, Phase(p), Direction(d), n.Packets, n.Bytes)
				}
			}
		}
	}
	tracker := NewTracker(o)
	for i := range packets {
		tracker.Add(&packets[i])
	}
	tracker.Flush()
	return b.String()
}

// dumped lists packets for a message.
func dumped(packets []packet.Packet) string {
	var b strings.Builder
	for _, p := range packets {
		fmt.Fprintf(&b, "%d → %d flags %#x seq %d ack %d payload %.40q\n", p.SrcPort, p.DstPort, p.Flags, p.Seq, p.Ack, p.Payload)
	}
	return b.String()
}
