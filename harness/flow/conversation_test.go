package flow

import (
	"net/netip"
	"time"

	"github.com/tollgate-iot/tollgate/harness/packet"
)

// conversation builds a TCP flow's packets by hand.
type conversation struct {
	device, server         packet.Addr
	devicePort, serverPort uint16
	at                     int64
	number                 uint64
	seq                    [2]uint32 // next to send, by direction
	id                     [2]uint16
	packets                []packet.Packet
}

func newConversation() *conversation {
	return &conversation{
		device: packet.AddrFrom(netip.MustParseAddr("10.1.2.3")), server: packet.AddrFrom(netip.MustParseAddr("192.0.2.1")),
		devicePort: 40001, serverPort: 80, at: int64(1_600_000_000 * time.Second), seq: [2]uint32{0xfffffff0, 5000}, id: [2]uint16{100, 9000},
	}
}

// after lets time pass.
func (c *conversation) after(d time.Duration) *conversation {
	c.at += int64(d)
	return c
}

// send adds a segment in a direction that acknowledges everything the other sent.
func (c *conversation) send(d Direction, flags packet.Flags, payload string) *conversation {
	p := c.segment(d, flags, payload)
	c.seq[d] += uint32(len(payload))
	if flags&(packet.SYN|packet.FIN) != 0 {
		c.seq[d]++
	}
	c.packets = append(c.packets, p)
	return c
}

func (c *conversation) segment(d Direction, flags packet.Flags, payload string) packet.Packet {
	c.after(20 * time.Millisecond)
	c.number++
	c.id[d]++
	p := packet.Packet{Number: c.number, Time: c.at, Kind: packet.TCP, Proto: 6, Src: c.device, Dst: c.server, SrcPort: c.devicePort,
		DstPort: c.serverPort, TTL: 64, HasIPID: true, IPID: c.id[d], Flags: flags, Seq: c.seq[d], Ack: c.seq[1-d], Window: 4096,
		WindowShift: -1, HeaderLen: 54, PayloadLen: len(payload), WireLen: 54 + len(payload), Payload: []byte(payload), Checksum: uint16(c.number)}
	if d == Down {
		p.Src, p.Dst, p.SrcPort, p.DstPort = p.Dst, p.Src, p.DstPort, p.SrcPort
	}
	if flags&packet.ACK == 0 {
		p.Ack = 0
	}
	if flags&packet.SYN != 0 {
		p.MSS = 1460
	}
	return p
}

func (c *conversation) open() *conversation {
	return c.send(Up, packet.SYN, "").send(Down, packet.SYN|packet.ACK, "").send(Up, packet.ACK, "")
}

func (c *conversation) close() *conversation {
	return c.send(Up, packet.FIN|packet.ACK, "").send(Down, packet.FIN|packet.ACK, "").send(Up, packet.ACK, "")
}

const (
	push     = packet.PSH | packet.ACK
	request  = "GET /hello.txt HTTP/1.1\r\nHost: example.test\r\n\r\n"
	response = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
)

// httpConversation is one exchange, closed by the device.
func httpConversation() []packet.Packet {
	return newConversation().open().send(Up, push, request).send(Down, packet.ACK, "").send(Down, push, response).
		send(Up, packet.ACK, "").close().packets
}

// followAll has a Tracker follow packets and gives the flows in order.
func followAll(o Options, packets []packet.Packet) []*Flow {
	var flows []*Flow
	o.KeepFlows = true
	o.Done = func(f *Flow) { flows = append(flows, f) }
	t := NewTracker(o)
	for i := range packets {
		t.Add(&packets[i])
	}
	t.Flush()
	sortFlows(flows)
	return flows
}
