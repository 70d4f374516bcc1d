package flow

import (
	"cmp"
	"slices"
	"time"

	"github.com/tollgate-iot/tollgate/harness/packet"
)

// Tracker follows flows. It is not safe for concurrent use.
//
// Its memory grows with the flows that are open, not with the packets seen; once warm it allocates nothing per packet
// unless detail is kept. What it says of a flow does not depend on the order of packets that are near in time, since
// mirrors reorder neighbours: see ranges.go, sequence.go, stream.go and close.go for how.
type Tracker struct {
	opt                   Options
	detail                bool // Options.KeepFlows, or what implies it
	idle, idleUDP, linger uint32

	table  table
	slab   slab
	mores  mores
	wheel  wheel
	clock  clock
	gone   [1 << 14]uint32 // hashes of keys let go, to know them when they come back
	nextID int64

	devices devices
	names   names
	ipHoles []IDHole

	front   Front
	met     Ready  // of the packet at hand, where Add works it out
	weight  weight // what it counts
	kept    Packet // the packet at hand, where packets are not kept
	scratch Flow   // given to Done where flows are not kept

	thorough bool // every segment is asked all that it may be: for the law that to expect some changes nothing
}

// MaxDetail bounds each of Flow.Queries, Flow.Exchanges and Flow.Messages.
const MaxDetail = 1 << 16

// NewTracker makes a Tracker.
func NewTracker(o Options) *Tracker {
	t := &Tracker{
		opt:     o,
		detail:  o.KeepFlows || o.KeepPackets || o.Seen != nil,
		idle:    seconds(o.Idle, DefaultIdle),
		linger:  seconds(o.Linger, DefaultLinger),
		table:   newTable(),
		devices: newDevices(),
	}
	t.front = Front{copies: newDuplicates(), seed: t.table.seed}
	t.idleUDP = min(t.idle, seconds(0, DefaultIdleUDP))
	if o.Idle > DefaultIdle {
		t.idleUDP = t.idle
	}
	return t
}

const maxTimeout = 1 << 30 // seconds

func seconds(d, otherwise time.Duration) uint32 {
	if d <= 0 {
		d = otherwise
	}
	return uint32(min((d+time.Second-1)/time.Second, maxTimeout))
}

// timeout is how many seconds a flow may be without a packet.
func (t *Tracker) timeout(s *state) uint32 {
	switch {
	case s.key.kind() != packet.TCP:
		return t.idleUDP
	case s.flags&flagClosed != 0:
		return t.linger
	}
	return t.idle
}

// Add takes the next packet. It keeps nothing of p.
func (t *Tracker) Add(p *packet.Packet) {
	t.front.name(p, &t.met)
	t.met.copy = t.front.copies.copied(p, t.met.print)
	t.add(p, &t.met)
}

// AddMet takes the next packets, which the tracker's Front has met, with what it made of each. It keeps nothing of them.
func (t *Tracker) AddMet(ps []packet.Packet, r []Ready) {
	r = r[:len(ps)]
	for i := range ps {
		t.add(&ps[i], &r[i])
	}
}

func (t *Tracker) add(p *packet.Packet, r *Ready) {
	if !t.clock.within(p.Time) {
		t.passTo(t.clock.see(p.Time))
	}
	end := int(r.end)
	h, s := t.table.find(&t.slab, &r.key, r.hash)
	if h != 0 {
		if t.over(s, p) || p.Flags&packet.SYN != 0 && s.reopened(end, p) {
			t.letGo(h, s)
			h = 0
		}
	}
	if h == 0 {
		h, s = t.open(r, p)
	}
	if r.copy {
		t.countCopy(s, end, p)
		return
	}
	t.follow(h, s, end, p)
}

// follow takes a packet of a flow into account.
func (t *Tracker) follow(h uint32, s *state, end int, p *packet.Packet) {
	s.seen = t.wheel.now
	t.weight = weight{packets: 1, bytes: uint32(p.WireLen)}
	if p.PayloadLen > smallestMSS || len(p.Pieces) > 0 {
		t.weigh(s, end, p)
	}
	phase, mark := Other, Mark(0)
	switch {
	case p.Kind != packet.TCP:
		phase = t.connectionless(s, end, p)
	case s.expected(end, p) && !t.thorough:
		phase = t.proceed(h, s, end, p)
	default:
		phase, mark = t.tcp(h, s, end, p)
	}
	t.count(s, end, phase, &t.weight)
	if p.Truncated {
		t.more(s).sides[end].truncated++
		mark |= Cut
	}
	if p.HasIPID && end == int(s.device) && s.counter != 0 {
		t.countID(s, p)
	}
	s.last = max(s.last, p.Time)
	if t.detail {
		t.keep(s, end, p, phase, mark)
	}
}

// connectionless takes a packet of any kind but TCP into account, and gives its phase.
func (t *Tracker) connectionless(s *state, end int, p *packet.Packet) Phase {
	switch p.Kind {
	case packet.UDP:
		return t.udp(s, end, p)
	case packet.ARP:
		return ARP
	}
	s.sides[end].payload += uint64(p.PayloadLen)
	if p.Kind == packet.ICMP || p.Kind == packet.ICMPv6 {
		return ICMP
	}
	return Other
}

// udp gives the phase of a datagram.
func (t *Tracker) udp(s *state, end int, p *packet.Packet) Phase {
	s.sides[end].payload += uint64(p.PayloadLen)
	switch {
	case s.port(53):
		if t.detail && len(p.Payload) > 0 {
			t.dnsMessage(s, t.more(s), end, p.Payload, p.Time, p.Number)
		}
		return DNS
	case s.port(5353), s.port(5355): // multicast DNS (RFC 6762), LLMNR (RFC 4795)
		return DNS
	}
	return s.plain(end)
}

// over says whether a packet comes too late to belong to the flow that has its key.
func (t *Tracker) over(s *state, p *packet.Packet) bool {
	return p.Time-s.last > int64(t.timeout(s))*int64(time.Second)
}

// reopened says of a packet with SYN whether it begins another connection between the same ports: a SYN whose number is not the
// one of the connection that is known, or the answer to such a SYN where that connection is over.
func (s *state) reopened(end int, p *packet.Packet) bool {
	if p.Kind != packet.TCP || p.Flags&packet.RST != 0 {
		return false
	}
	d, o := &s.sides[end], &s.sides[1-end]
	if p.Flags&packet.ACK != 0 { // the mirror swapped it with the SYN that it answers
		over := s.flags&flagClosed != 0 || d.rst > 0 || o.rst > 0
		return over && d.flags&sideSYN != 0 && p.Seq != d.base
	}
	switch {
	case d.flags&sideSYN != 0:
		return p.Seq != d.base
	case d.flags&(sideSeen|sideGuess) != 0:
		return p.Seq+1 != d.base
	}
	return d.rst > 0
}

// open begins a flow.
func (t *Tracker) open(r *Ready, p *packet.Packet) (uint32, *state) {
	h, s := t.slab.take()
	s.key, s.hash, s.id = r.key, r.hash, t.nextID
	t.nextID++
	s.start, s.last, s.seen = p.Time, p.Time, t.wheel.now
	t.table.insert(r.hash, h)
	t.orient(s, int(r.end), p)
	t.attach(s)
	if g := fold(r.key.mixed(&unseeded)); t.gone[g%uint32(len(t.gone))] == g && !(p.Kind == packet.TCP && p.Flags&packet.SYN != 0) {
		s.flags |= flagResumed
	}
	t.wheel.link(&t.slab, h, s, t.wheel.now+t.timeout(s)+1)
	if t.detail {
		t.begin(s)
	}
	return h, s
}

// passTo moves the clock to a second and looks at the flows whose time has come.
func (t *Tracker) passTo(now uint32) {
	from := t.wheel.now
	if now == from {
		return
	}
	n := min(now-from, wheelSize)
	t.wheel.now = now
	for i := range n {
		bucket := &t.wheel.buckets[(from+1+i)%wheelSize]
		h := *bucket
		*bucket = 0
		for h != 0 {
			s := t.slab.at(h)
			next := s.next
			t.visit(h, s)
			h = next
		}
	}
}

// visit lets a flow go, or puts it back into the wheel.
func (t *Tracker) visit(h uint32, s *state) {
	due := s.seen + t.timeout(s) + 1
	if int32(due-t.wheel.now) <= 0 {
		if t.slab.open > atEase {
			s.next, s.prev = 0, 0
			t.finish(h, s)
			return
		}
		due = t.wheel.now + t.timeout(s) + 1
	}
	if m := t.hasMore(s); m != nil && len(m.queue.items) > 0 {
		if m.queue.waited(t.clock.high) {
			t.giveUp(s, m)
		} else {
			due = t.wheel.now + 1
		}
	}
	t.wheel.link(&t.slab, h, s, due)
}

// Advance says that the capture's clock has reached a time without a packet: flows are let go and what waited for a
// reordered packet for too long is read. It is for live captures; the next packet's time does the same.
func (t *Tracker) Advance(now int64) {
	if t.clock.began {
		t.passTo(t.clock.see(now))
	}
}

// letGo ends a flow before its time in the wheel.
func (t *Tracker) letGo(h uint32, s *state) {
	t.wheel.unlink(&t.slab, s)
	t.finish(h, s)
}

// finish gives a flow to Done and forgets it.
func (t *Tracker) finish(h uint32, s *state) {
	m := t.hasMore(s)
	if m != nil {
		t.giveUp(s, m)
		t.resolve(s, m, true)
	}
	if t.opt.Done != nil {
		f := &t.scratch
		if t.detail {
			f = m.flow
		}
		t.sum(f, s, true)
		t.opt.Done(f)
	}
	g := fold(s.key.mixed(&unseeded))
	t.gone[g%uint32(len(t.gone))] = g
	t.table.remove(s.hash, h)
	if s.more != 0 {
		t.mores.give(s.more)
	}
	t.slab.give(h)
}

// Flush lets go of all open flows, in the order of their first packets.
func (t *Tracker) Flush() {
	open := make([]uint32, 0, t.slab.open)
	for _, e := range t.table.slots {
		if e.handle != 0 {
			open = append(open, e.handle)
		}
	}
	slices.SortFunc(open, func(a, b uint32) int { return cmp.Compare(t.slab.at(a).id, t.slab.at(b).id) })
	for _, h := range open {
		t.letGo(h, t.slab.at(h))
	}
}

// Open is how many flows are open.
func (t *Tracker) Open() int { return t.slab.open }

func (t *Tracker) countCopy(s *state, end int, p *packet.Packet) {
	c := &t.more(s).sides[end].duplicates
	c.packets += uint64(1 + len(p.Pieces))
	c.payload += uint64(p.PayloadLen)
	if p.PayloadLen > 0 || p.Flags&(packet.SYN|packet.FIN) != 0 {
		c.segments++
	}
	if p.Flags&packet.SYN != 0 {
		c.syn++
	}
	if p.Flags&packet.FIN != 0 {
		c.fin++
	}
	if p.Flags&packet.RST != 0 {
		c.rst++
	}
}
