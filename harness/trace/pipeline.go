package trace

import (
	"slices"

	"github.com/tollgate-iot/tollgate/harness/flow"
	"github.com/tollgate-iot/tollgate/harness/packet"
)

// A pipeline decodes on the caller's goroutine, with what can be known of a packet without its flow, and follows flows on
// its own: on two processors the analysis takes as long as the slower half. Packets go over in batches, in their order, so the
// result does not depend on scheduling.
type pipeline struct {
	tracker *flow.Tracker
	front   *flow.Front              // of the tracker, used on the caller's goroutine only
	pathOf  func(uint16) packet.Path // of the decoder, called on the caller's goroutine only
	cur     *batch
	known   int // paths given over
	full    chan *batch
	free    chan *batch
	done    chan struct{}
	paths   []packet.Path // of the tracker's goroutine
}

const (
	batchPackets = 256       // small enough that a batch stays in the second-level cache on its way
	batchBytes   = 256 << 10 // payload at which a batch goes early
	batches      = 16        // how far one half may be ahead: with four it was mostly asleep or waking the other
)

// batch is a stretch of packets with copies of their payloads.
type batch struct {
	packets []packet.Packet // room for batchPackets
	ready   []flow.Ready    // of each packet
	count   int             // packets that are there
	room    []byte          // for payloads
	used    int             // bytes of it
	paths   []packet.Path   // first met in this batch
}

// keep copies a payload.
func (b *batch) keep(payload []byte) []byte {
	if len(payload) > len(b.room)-b.used {
		b.room, b.used = make([]byte, max(2*len(b.room), len(payload))), 0 // what is kept already stays where it is
	}
	at := b.used
	b.used += len(payload)
	copied := b.room[at:b.used:b.used]
	copy(copied, payload)
	return copied
}

// newPipeline starts the tracker's goroutine; close stops it.
func newPipeline(o flow.Options, pathOf func(uint16) packet.Path) *pipeline {
	l := &pipeline{pathOf: pathOf, full: make(chan *batch, batches), free: make(chan *batch, batches), done: make(chan struct{})}
	o.PathOf = l.path
	l.tracker = flow.NewTracker(o)
	l.front = l.tracker.Front()
	for range batches {
		l.free <- &batch{packets: make([]packet.Packet, batchPackets), ready: make([]flow.Ready, batchPackets)}
	}
	l.cur = <-l.free
	go l.follow()
	return l
}

// path serves the tracker from what came with the batches.
func (l *pipeline) path(n uint16) packet.Path {
	if int(n) < len(l.paths) {
		return l.paths[n]
	}
	return packet.Path{}
}

// slot gives the place to decode the next packet into; it counts only after take.
func (l *pipeline) slot() *packet.Packet {
	return &l.cur.packets[l.cur.count]
}

// take accepts the packet in the slot. Its payload is copied, for the frame's bytes are soon another frame's.
func (l *pipeline) take(p *packet.Packet) {
	b := l.cur
	b.count++
	if l.known <= int(p.Path) || p.Pieces != nil {
		l.takeMore(p)
	}
	if len(p.Payload) > 0 {
		p.Payload = b.keep(p.Payload)
	}
	if b.count == batchPackets || b.used >= batchBytes {
		l.send()
	}
}

// takeMore takes what few packets bring with them: a path that is new, and the fragments before them.
func (l *pipeline) takeMore(p *packet.Packet) {
	for ; l.known <= int(p.Path); l.known++ {
		l.cur.paths = append(l.cur.paths, l.pathOf(uint16(l.known)))
	}
	p.Pieces = slices.Clone(p.Pieces)
}

// give hands the batch over to the tracker's goroutine.
func (l *pipeline) give() {
	l.front.Meet(l.cur.packets[:l.cur.count], l.cur.ready)
	l.full <- l.cur
}

// send gives the batch over and takes up an empty one.
func (l *pipeline) send() {
	l.give()
	l.cur = <-l.free
	l.cur.count, l.cur.used, l.cur.paths = 0, 0, l.cur.paths[:0]
}

// follow is the tracker's goroutine.
func (l *pipeline) follow() {
	defer close(l.done)
	for b := range l.full {
		l.paths = append(l.paths, b.paths...)
		l.tracker.AddMet(b.packets[:b.count], b.ready)
		l.free <- b
	}
}

// close gives over what is left and waits until the tracker has all of it. The tracker is the caller's afterwards.
func (l *pipeline) close() {
	l.give()
	close(l.full)
	<-l.done
}
