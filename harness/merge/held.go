package merge

import (
	"bytes"
	"slices"
	"sort"

	"github.com/tollgate-iot/tollgate/harness/packet"
)

// identity is what all copies of a packet have in common.
type identity struct {
	src, dst         packet.Addr
	srcPort, dstPort uint16
	kind             packet.Kind
	proto            uint8
	flags            packet.Flags
	window, ipid     uint16
	seq, ack         uint32
	length           int
	icmp             [2]uint8
}

func identityOf(p *packet.Packet) identity {
	id := identity{src: p.Src, dst: p.Dst, srcPort: p.SrcPort, dstPort: p.DstPort, kind: p.Kind, proto: p.Proto, flags: p.Flags,
		window: p.Window, seq: p.Seq, ack: p.Ack, length: p.PayloadLen, icmp: [2]uint8{p.ICMPType, p.ICMPCode}}
	if p.HasIPID {
		id.ipid = p.IPID
	}
	return id
}

// unique says whether no sender sends the like twice within copyTime: it numbers its packets.
func (id *identity) unique() bool { return id.ipid != 0 }

// sameFlow says whether two packets went the same way between the same ends.
func (id *identity) sameFlow(o *identity) bool {
	return id.kind == o.kind && id.src == o.src && id.dst == o.dst && id.srcPort == o.srcPort && id.dstPort == o.dstPort
}

// held is a packet that waits: in a tap's lookahead, then for its copies.
type held struct {
	p      packet.Packet
	buffer []byte // that p.Payload points into
	raw    int64  // time by the clock of the tap whose copy p is
	at     int64  // time by the common clock
	tap    int    // whose copy p is
	epoch  int    // of the tap's clock; -1 where raw is mangled
	seen   Taps
	id     identity
	size   int   // bytes of payload as it came
	gone   bool  // stands in another packet
	older  *held // of the same identity
	next   *held // of those that are free
}

// likeBytes is how much of the payloads is compared: what even short snap lengths leave of small packets.
const likeBytes = 32

// like says whether the payloads begin alike, as far as both were captured.
func (h *held) like(o *held) bool {
	a, b := h.p.Payload, o.p.Payload
	n := min(len(a), len(b), likeBytes)
	return bytes.Equal(a[:n], b[:n])
}

// path gives a packet the path by which the stream knows its network.
func (h *held) path(m *Merger) {
	if to, ok := m.paths[h.p.Path]; ok {
		h.p.Path = to
	}
}

// hold makes a packet to keep of one that is soon overwritten.
func (m *Merger) hold(t *tap, p *packet.Packet) *held {
	h := m.free
	if h == nil {
		h = &held{}
	} else {
		m.free = h.next
	}
	*h = held{p: *p, buffer: append(h.buffer[:0], p.Payload...), raw: p.Time, tap: t.index, seen: only(t.index), id: identityOf(p), size: len(p.Payload)}
	h.p.Payload, h.p.Pieces = h.buffer, slices.Clone(p.Pieces)
	return h
}

// learn notes that two paths are two taps' names for one network: the lower number stands for both.
func (m *Merger) learn(a, b *held) {
	low, high := min(a.p.Path, b.p.Path), max(a.p.Path, b.p.Path)
	if _, known := m.paths[high]; known || low == high {
		return
	}
	if to, ok := m.paths[low]; ok {
		low = to
	}
	if low != high {
		m.paths[high] = low
	}
}

// queue is packets in the order of their times: a ring would do, were it not for packets that come a little late.
type queue struct {
	list  []*held
	begin int
	bytes int // of payload
}

func (q *queue) len() int { return len(q.list) - q.begin }

func (q *queue) front() *held {
	if q.begin == len(q.list) {
		return nil
	}
	return q.list[q.begin]
}

func (q *queue) pop() *held {
	h := q.list[q.begin]
	q.list[q.begin] = nil
	q.begin++
	q.bytes -= h.size
	if q.begin >= 64 && q.begin*2 >= len(q.list) {
		n := copy(q.list, q.list[q.begin:])
		clear(q.list[n:])
		q.list, q.begin = q.list[:n], 0
	}
	return h
}

func (q *queue) push(h *held) {
	q.list = append(q.list, h)
	q.bytes += h.size
}

// insert puts a packet behind all that passed no later.
func (q *queue) insert(h *held) {
	q.push(h)
	live := q.list[q.begin : len(q.list)-1]
	if n := len(live); n == 0 || live[n-1].at <= h.at {
		return
	}
	i := sort.Search(len(live), func(i int) bool { return live[i].at > h.at })
	all := q.list[q.begin:]
	copy(all[i+1:], all[i:len(all)-1])
	all[i] = h
}

// waiting gives the packets in their order.
func (q *queue) waiting() []*held { return q.list[q.begin:] }
