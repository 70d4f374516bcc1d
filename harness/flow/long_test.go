package flow

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/packet"
)

// A flow may carry more than sequence numbers tell apart: they begin again after 4 GiB, and a number that is half of that behind
// another seems to lie ahead of it. What follows so much is judged as it would be without.
func TestLongFlows(t *testing.T) {
	const some, many = 10, 110_000 // publishes; the many are 6.1 GiB
	for _, joined := range []bool{false, true} {
		require.Equal(t, endOfLongFlow(joined, some), endOfLongFlow(joined, many), "joined in the middle: %v", joined)
	}
}

// endOfLongFlow has a device publish by MQTT, the last message twice, then ping and say goodbye. It gives what the tracker
// makes of it, without the publishes' number.
func endOfLongFlow(joined bool, publishes int) (seen string) {
	const size = 60_000
	publish := append([]byte("\x30\xdd\xd4\x03\x00\x03a/b"), make([]byte, size-9)...)
	tracker := NewTracker(Options{Done: func(f *Flow) {
		for p := range f.Phases {
			for _, n := range f.Phases[p] {
				if Phase(p) == MQTTPublish {
					n.Packets -= uint64(publishes)
				}
				seen += fmt.Sprint(Phase(p), n.Packets, " ")
			}
		}
		for _, s := range f.Sides {
			seen += fmt.Sprint(s.Retransmissions, s.OutOfOrder, s.AckedUnseen, s.LostSegments, " ")
		}
		seen += f.Close.String()
	}})
	c := newConversation()
	c.serverPort = 1883
	follow := func() {
		for i := range c.packets {
			tracker.Add(&c.packets[i])
		}
		c.packets = c.packets[:0]
	}
	message := func() {
		p := c.segment(Up, push, "")
		p.Payload, p.PayloadLen, p.WireLen = publish, size, p.HeaderLen+size
		c.packets = append(c.packets, p)
	}
	if !joined {
		c.open().send(Up, push, "\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01a").send(Down, push, "\x20\x02\x00\x00")
	}
	for i := range publishes {
		message()
		if i == publishes-1 {
			c.after(2 * time.Second)
			message()
		}
		c.seq[Up] += size
		c.send(Down, packet.ACK, "")
		follow()
	}
	c.send(Up, push, "\xc0\x00").send(Down, push, "\xd0\x00").send(Up, packet.ACK, "").send(Up, push, "\xe0\x00").close()
	follow()
	tracker.Flush()
	return seen
}
