// Package hub shares one tap among the runs of many devices: a mirror of a whole network shows them all, and a socket or an
// interface can be captured once only. Each run has a bench.Tap of its own from the hub, which gives it the packets of the
// addresses that it follows (bench.Following); the rest is counted and let go.
//
// A frame is decoded once, and looked up by the two addresses of the packet in it: what that costs does not depend on how
// many runs there are.
//
// # What is whose
//
//   - A packet is given to the runs that follow its sender or its receiver; where two devices talk to each other, to both.
//   - ARP is given by the protocol addresses in it, and every ICMPv6 message, a neighbour's solicitation too, by the addresses
//     of its IP header: one that goes from an address nobody follows to a group of receivers is nobody's.
//   - Fragments wait until their datagram is whole and are given with its last one, all of them, in their order. Only so can
//     those of a mirror's own packets, whose later fragments show no inner address, be given to anybody. Fragments whose
//     datagram does not become whole within a minute are given by the addresses that they show.
//   - Frames in which no address can be read are nobody's. They are counted, and while there are any no run's tap claims to
//     have shown all.
//
// # Addresses that are known late
//
// A device gets its address before anybody can tell the run of it. So packets that nobody follows are held, as many as there
// is room for, and given late to who follows their address then. Where some of that address may have been let go, the run's
// tap says so (bench.Doubtful).
package hub

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/tollgate-iot/tollgate/harness/bench"
	"github.com/tollgate-iot/tollgate/harness/packet"
	"github.com/tollgate-iot/tollgate/harness/pcap"
	"github.com/tollgate-iot/tollgate/harness/trace"
)

// Options of a hub.
type Options struct {
	// Name is the shared tap's, for messages.
	Name string
	// Open makes the shared tap; it is called whenever the first run starts, and again after the last one closed.
	Open func() (bench.Tap, error)
	// Clock is the bench's, which tells the outages of a run's time.
	Clock bench.Clock
	// Keep keeps the shared tap capturing when no run is left, until Close: the next run starts at once.
	Keep bool
	// Hold is how many bytes of packets that nobody follows are held; 0 for 16 MiB.
	Hold int
}

const defaultHold = 16 << 20

// ErrClosed says that the hub was closed.
var ErrClosed = errors.New("the shared tap was closed")

// Hub shares a tap. Its methods may be called from several goroutines.
type Hub struct {
	o Options

	// turn is taken by whoever starts or ends the shared tap: both take their time.
	turn    chan struct{}
	session *session  // guarded by turn; nil while nothing is captured
	next    bench.Tap // opened and not yet started, nil where there is none
	ended   bool

	// mu is never held while the shared tap is called: the tap may hold a lock of its own while it calls take.
	mu     sync.Mutex
	owners owners
	open   int    // runs that capture
	frames uint64 // taken from shared taps, ever
	unread uint64 // of those, without an address
}

// session is the time of one shared tap, from its start to its end.
type session struct {
	hub  *Hub
	tap  bench.Tap
	stop context.CancelFunc

	// Guarded by the hub's mu.
	over    bool
	decoder *packet.Decoder
	packet  packet.Packet
	mirror  trace.Mirror
	held    hold
	pieces  map[uint64]entry // fragments that wait, by their frames' numbers
	waiting int              // bytes of those
	outer   map[outer][]uint64
}

// New makes a hub. Nothing is captured until the first run's tap is started.
func New(o Options) *Hub {
	if o.Hold == 0 {
		o.Hold = defaultHold
	}
	return &Hub{o: o, turn: make(chan struct{}, 1), owners: newOwners()}
}

func (h *Hub) begin(tap bench.Tap) *session {
	var ports []uint16
	if p, ok := tap.(bench.Ported); ok {
		ports = p.VXLANPorts()
	}
	return &session{hub: h, tap: tap, decoder: packet.NewDecoder(packet.Options{VXLANPorts: ports}), held: newHold(h.o.Hold), pieces: map[uint64]entry{}, outer: map[outer][]uint64{}}
}

// Tap gives a run its tap. It gives nothing before it is told whom to follow.
func (h *Hub) Tap(name string) *Tap { return &Tap{hub: h, name: name} }

// Close ends the shared tap, whoever still has a tap of the hub. It may be called twice.
func (h *Hub) Close() error {
	h.turn <- struct{}{}
	defer func() { <-h.turn }()
	h.ended = true
	var err error
	if h.next != nil {
		err, h.next = h.next.Close(), nil
	}
	return errors.Join(h.end(), err)
}

// join starts the shared tap where it does not run, and then lets the run's tap in.
func (h *Hub) join(ctx context.Context, t *Tap, sink func(pcap.Record)) error {
	select {
	case h.turn <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-h.turn }()
	if h.ended {
		return ErrClosed
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if err := h.ready(ctx); err != nil {
		return err
	}
	before, began := h.session.tap.Stats(), h.now()
	h.mu.Lock()
	defer h.mu.Unlock()
	if t.state != fresh {
		return errors.New("a run's tap is started once")
	}
	t.state, t.sink, t.session = capturing, sink, h.session
	t.since, t.unreadBefore, t.before, t.began = h.frames, h.unread, before, began
	h.open++
	for a := range t.follows {
		h.own(a, t)
	}
	return nil
}

// ready sees to it that the shared tap captures. It is called with the turn taken.
func (h *Hub) ready(ctx context.Context) error {
	if h.session != nil {
		err := h.session.tap.Err()
		switch {
		case err == nil:
			return nil
		case h.used():
			return fmt.Errorf("shared tap %s ended by itself: %w", h.o.Name, err)
		}
		if err := h.end(); err != nil {
			return err
		}
	}
	tap, err := h.opened()
	if err != nil {
		return err
	}
	h.next = nil
	// The tap outlives the run that starts it: the run's context bounds its start alone.
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	bounded := context.AfterFunc(ctx, stop)
	s := h.begin(tap)
	s.stop = stop
	h.session = s
	err = tap.Start(life, s.take)
	if !bounded() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return errors.Join(err, h.end())
	}
	return nil
}

// opened gives the shared tap that is started next. It is called with the turn taken.
func (h *Hub) opened() (bench.Tap, error) {
	if h.next != nil {
		return h.next, nil
	}
	tap, err := h.o.Open()
	if err != nil {
		return nil, fmt.Errorf("open shared tap %s: %w", h.o.Name, err)
	}
	h.next = tap
	return tap, nil
}

// ports are those that the shared tap knows to carry VXLAN, none where it can't be opened: Start tells why.
func (h *Hub) ports() []uint16 {
	h.turn <- struct{}{}
	defer func() { <-h.turn }()
	var tap bench.Tap
	switch {
	case h.session != nil:
		tap = h.session.tap
	case h.ended:
		return nil
	default:
		var err error
		if tap, err = h.opened(); err != nil {
			return nil
		}
	}
	if p, ok := tap.(bench.Ported); ok {
		return p.VXLANPorts()
	}
	return nil
}

func (h *Hub) used() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.open > 0
}

// leave takes a run's tap out, and ends the shared tap where it was the last one's.
func (h *Hub) leave(t *Tap) error {
	if !t.detach() {
		return nil
	}
	h.turn <- struct{}{}
	defer func() { <-h.turn }()
	if h.used() || h.o.Keep || h.session != t.session {
		return nil
	}
	return h.end()
}

// end ends the shared tap. It is called with the turn taken.
func (h *Hub) end() error {
	s := h.session
	if s == nil {
		return nil
	}
	h.session = nil
	h.mu.Lock()
	s.over = true
	h.mu.Unlock()
	err := s.tap.Close()
	s.stop()
	if err != nil {
		return fmt.Errorf("close shared tap %s: %w", h.o.Name, err)
	}
	return nil
}

// take is the shared tap's sink.
func (s *session) take(rec pcap.Record) {
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	h.frames++
	f := packet.Frame{Number: h.frames, Time: rec.Time, Link: uint16(rec.Link), Data: rec.Data, Length: rec.Length}
	p := &s.packet
	r := s.decoder.Decode(&f, p)
	s.mirror.Add(p, r)
	switch {
	case r == packet.Undecodable:
		h.unread++
	case r == packet.Held:
		s.await(rec)
	default:
		s.whole(p, &rec)
		s.give(p.Src, p.Dst, entry{number: h.frames, record: rec})
	}
}

// entry is a frame with its number.
type entry struct {
	number uint64
	record pcap.Record
}

// give gives a frame to those who follow its addresses, or holds it.
func (s *session) give(src, dst packet.Addr, e entry) {
	h := s.hub
	if e.number == 0 {
		return
	}
	if src == (packet.Addr{}) && dst == (packet.Addr{}) {
		h.unread++
		return
	}
	if !h.owners.give(src, dst, &e) {
		s.held.add(src, dst, e)
	}
}

// own notes that a run's tap follows an address, and gives it what is held of that address. It is called under mu.
func (h *Hub) own(a packet.Addr, t *Tap) {
	if h.owners.has(a, t) {
		return
	}
	h.owners.add(a, t)
	held := &t.session.held
	t.missed = t.missed || held.gone(a) > t.since
	held.each(a, t.since, func(other packet.Addr, e *entry) {
		if other == a || !h.owners.has(other, t) { // else it was given when the other address was known
			t.give(e)
		}
	})
}
