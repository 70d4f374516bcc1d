package runner

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/tollgate-iot/tollgate/harness/bench"
	"github.com/tollgate-iot/tollgate/harness/flow"
	"github.com/tollgate-iot/tollgate/harness/packet"
	"github.com/tollgate-iot/tollgate/harness/pcap"
	"github.com/tollgate-iot/tollgate/harness/recording"
	"github.com/tollgate-iot/tollgate/harness/trace"
)

// wire is the run's view of the mirror: it starts and stops the taps, records the frames as they come, and then follows the
// device's packets live, for awaits. What is judged is read from the recording again, never from here.
type wire struct {
	record *record
	clock  bench.Clock
	taps   []bench.Tap
	places map[string]string
	tapped []*tapped // those that were started, in the order of taps
	// canaries are those sent so far; of the run's own goroutine alone.
	canaries []sentCanary

	recorder *recording.Recorder
	*sifting

	mu        sync.Mutex
	frames    uint64
	secrets   [][]byte
	decoder   *packet.Decoder
	packet    packet.Packet
	tracker   *flow.Tracker
	known     map[netip.Addr]bool  // the device's addresses, from its sessions
	last      map[netip.Addr]int64 // time of the last packet to or from an address
	keep      bool                 // sightings are wanted
	now       int64                // when the frame at hand came
	sightings []sighting
	forgotten map[netip.Addr]int64 // time of the latest, to or from an address, that had to be let go for the limit
}

// sighting is what an await may want to know of a packet.
type sighting struct {
	at, came     int64 // when it passed, and when it came here
	dir          flow.Direction
	device, peer netip.AddrPort
	name         string
	phase        flow.Phase
	proto        string
	messages     []string // MQTT types completed by this packet
}

// sightingLimit bounds the packets kept for an await that looks back; older ones are let go.
const sightingLimit = 1 << 16

// flushTime is how long a tap may take to hand over what has reached it: on this machine's clock, for that is work, which a
// bench whose clock runs faster does not make faster.
const flushTime = 30 * time.Second

// secretLength is the shortest secret that is blotted out of captured frames: a shorter one would be found by chance.
const secretLength = 6

func newWire(b *bench.Bench, rec *record, o Options, keep bool) (*wire, error) {
	w := &wire{
		record: rec, clock: b.Clock, taps: b.Taps,
		decoder: packet.NewDecoder(packet.Options{VXLANPorts: vxlanPorts(b.Taps)}),
		known:   map[netip.Addr]bool{}, last: map[netip.Addr]int64{}, forgotten: map[netip.Addr]int64{}, places: b.Places, keep: keep,
	}
	w.sifting = newSifting(o.KeepMirror)
	w.tracker = flow.NewTracker(flow.Options{PathOf: w.decoder.Path, Seen: w.seen})
	for _, s := range o.Secrets {
		if len(s) >= secretLength {
			w.secrets = append(w.secrets, []byte(s))
		}
	}
	var err error
	if w.recorder, err = newRecorder(b, rec, o); err != nil {
		return nil, err
	}
	return w, nil
}

// start starts every tap and returns when all of them capture.
func (w *wire) start(ctx context.Context) error {
	for _, tap := range w.taps {
		t := newTapped(tap, w.places[tap.Name()])
		w.tapped = append(w.tapped, t)
		if err := tap.Start(ctx, func(rec pcap.Record) { w.take(t, rec) }); err != nil {
			t.evidence.Error = w.record.mask(err.Error())
			w.tapEvent(t, "failed", err.Error())
			return starting(tap.Name(), err)
		}
		t.evidence.ReadyBefore = true
		w.tapEvent(t, "ready", "")
		if n, ok := tap.(bench.Noting); ok {
			for _, note := range n.Notes() {
				w.tapEvent(t, "note", note)
			}
		}
	}
	return nil
}

// starting says that a tap could not be started, where the tap's own error does not begin with that.
func starting(tap string, err error) error {
	operation := "start tap " + tap + ": "
	if strings.HasPrefix(err.Error(), operation) {
		return err
	}
	return fmt.Errorf("%s%w", operation, err)
}

// vxlanPorts are the ports besides VXLAN's own that taps know to carry it, in order.
func vxlanPorts(taps []bench.Tap) []uint16 {
	var out []uint16
	for _, tap := range taps {
		if p, ok := tap.(bench.Ported); ok {
			out = append(out, p.VXLANPorts()...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// doubt is why a tap's count of what it dropped proves nothing, "" where it does.
func doubt(tap bench.Tap) string {
	if d, ok := tap.(bench.Doubtful); ok {
		return d.Doubt()
	}
	return ""
}

func (w *wire) tapEvent(t *tapped, state, text string) {
	w.record.note(trace.Event{Kind: trace.EventTap, Name: t.tap.Name(), State: state, Text: text})
}

// take is given each frame of a tap.
func (w *wire) take(t *tapped, rec pcap.Record) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.frames++
	for _, s := range w.secrets {
		blot(rec.Data, s)
	}
	w.now = w.clock.Now().UnixNano()
	f := packet.Frame{Number: w.frames, Time: t.clock.at(rec.Time, w.now), Link: uint16(rec.Link), Data: rec.Data, Length: rec.Length}
	r := w.decoder.Decode(&f, &w.packet)
	w.recordFrame(t, rec, r)
	if r == packet.Decoded {
		t.ping(&w.packet)
		w.tracker.Add(&w.packet)
	}
}

// blot overwrites a secret: the frame keeps its length, so that everything but its checksum stays as it was.
func blot(data, secret []byte) {
	for {
		i := bytes.Index(data, secret)
		if i < 0 {
			return
		}
		for j := range secret {
			data[i+j] = '*'
		}
		data = data[i+len(secret):]
	}
}

// seen is told of each packet of the live tracker, under mu.
func (w *wire) seen(f *flow.Flow, p *flow.Packet) {
	device, peer := f.Device.Addr(), f.Peer.Addr()
	if w.known[peer] && !w.known[device] {
		w.servers[device] = true
	}
	w.last[device] = max(w.last[device], p.Time)
	w.last[peer] = max(w.last[peer], p.Time)
	if !w.keep {
		return
	}
	s := sighting{at: p.Time, came: w.now, dir: p.Dir, device: f.Device, peer: f.Peer, name: f.Name, phase: p.Phase, proto: protoName(f.Kind)}
	for i := len(f.Messages) - 1; i >= 0 && f.Messages[i].Number == p.Number; i-- {
		s.messages = append(s.messages, f.Messages[i].Type)
	}
	if len(w.sightings) >= sightingLimit {
		for _, old := range w.sightings[:sightingLimit/2] {
			for _, end := range []netip.Addr{old.device.Addr(), old.peer.Addr()} {
				w.forgotten[end] = max(w.forgotten[end], old.at)
			}
		}
		w.sightings = append(w.sightings[:0], w.sightings[sightingLimit/2:]...)
	}
	w.sightings = append(w.sightings, s)
}

func protoName(k packet.Kind) string {
	switch k {
	case packet.TCP:
		return "tcp"
	case packet.UDP:
		return "udp"
	case packet.ICMP, packet.ICMPv6:
		return "icmp"
	case packet.ARP:
		return "arp"
	}
	return "other"
}

// isDevice says that an address is the device's. Before any is known everything is: a mirror of one device.
// It is called under mu.
func (w *wire) isDevice(a netip.Addr) bool { return len(w.known) == 0 || w.known[a] }

// know notes an address of the device, and says whether it is new.
func (w *wire) know(a netip.Addr) bool {
	if !a.IsValid() {
		return false
	}
	if !w.learn(a.Unmap()) {
		return false
	}
	for _, tap := range w.taps {
		if f, ok := tap.(bench.Following); ok {
			f.Follow(a.Unmap())
		}
	}
	return true
}

// learn makes an address the device's, and says whether it is new. What was let go of it meanwhile is recorded.
func (w *wire) learn(a netip.Addr) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.known[a] {
		return false
	}
	w.known[a] = true
	w.recordHeld(a)
	return true
}

func (w *wire) addresses() []netip.Addr {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []netip.Addr
	for a := range w.known {
		out = append(out, a)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Less(out[j]) })
	return out
}

// lastPacket is when the device last sent or was sent a packet, zero where none was seen.
func (w *wire) lastPacket() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	last := w.latest(w.last)
	if last == 0 {
		return time.Time{}
	}
	return time.Unix(0, last).UTC()
}

// latest gives the latest of the times that belong to the device's addresses, 0 where there is none. It is called under mu.
func (w *wire) latest(heard map[netip.Addr]int64) (last int64) {
	for a, at := range heard {
		if w.isDevice(a) {
			last = max(last, at)
		}
	}
	return last
}

// silence is a silence of the device that is waited for.
type silence struct {
	quiet  time.Duration
	begin  time.Time            // of the waiting
	before map[netip.Addr]int64 // what was heard of each address before, see heard
}

// heard gives the time of the last packet to or from each address.
func (w *wire) heard() map[netip.Addr]int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.last)
}

// complete gives, by the packets that are known, the first moment by which the device had neither sent nor been sent a
// packet for so long while the taps captured, and when that is so of the silence that goes on. Silence counts from the last
// packet before the waiting began, or from there.
func (w *wire) complete(s silence) (first, lasting time.Time) {
	deaf, _ := w.deaf(s.begin) // while no tap listened the device was not heard to be quiet
	w.mu.Lock()
	defer w.mu.Unlock()
	last := max(w.latest(s.before), w.latest(w.forgotten))
	if last == 0 {
		last = s.begin.UnixNano()
	}
	if !deaf.IsZero() {
		last = max(last, deaf.UnixNano())
	}
	since := func(at int64) time.Time { return time.Unix(0, at).UTC().Add(s.quiet) }
	for _, at := range w.packetTimes(last) {
		if first.IsZero() && at-last >= int64(s.quiet) {
			first = since(last)
		}
		last = at
	}
	if first.IsZero() {
		first = since(last)
	}
	return first, since(last)
}

// packetTimes gives the times of the device's packets after a time, in order, as far as they are kept. It is called under mu.
func (w *wire) packetTimes(after int64) []int64 {
	var out []int64
	for _, s := range w.sightings {
		if s.at > after && (w.isDevice(s.device.Addr()) || w.isDevice(s.peer.Addr())) {
			out = append(out, s.at)
		}
	}
	slices.Sort(out)
	return out
}

// forgetBefore lets go of what no await will look back to.
func (w *wire) forgetBefore(at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sightings = slices.DeleteFunc(w.sightings, func(s sighting) bool { return s.at < at.UnixNano() && s.came < at.UnixNano() })
}

// find gives the time of the first packet at or after a time that fulfils the condition.
func (w *wire) find(since time.Time, ok func(sighting) bool) (time.Time, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.sightings {
		s := w.oriented(s)
		if s.name == "" {
			s.name = w.tracker.Name(s.device.Addr(), s.peer.Addr())
		}
		if s.at >= since.UnixNano() && w.isDevice(s.device.Addr()) && ok(s) {
			return time.Unix(0, s.at).UTC(), true
		}
	}
	return time.Time{}, false
}

// lateTime is how long before a packet came here its time may lie: more is a clock that was set, or is behind.
const lateTime = 10 * time.Second

// misdated gives the time of a packet that came after a time, fulfils the condition and has a time long before.
func (w *wire) misdated(since time.Time, ok func(sighting) bool) (time.Time, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.sightings {
		s := w.oriented(s)
		if s.came >= since.UnixNano() && s.at < since.UnixNano() && s.came-s.at > int64(lateTime) && w.isDevice(s.device.Addr()) && ok(s) {
			return time.Unix(0, s.at).UTC(), true
		}
	}
	return time.Time{}, false
}

// oriented turns a sighting round where the live tracker took the peer for the device.
func (w *wire) oriented(s sighting) sighting {
	if len(w.known) == 0 || w.known[s.device.Addr()] || !w.known[s.peer.Addr()] {
		return s
	}
	s.device, s.peer, s.dir, s.name = s.peer, s.device, 1-s.dir, ""
	return s
}

// blind says why the taps see nothing, nil while they capture.
func (w *wire) blind() error {
	if err := w.unseen(); err != nil {
		return err
	}
	for _, t := range w.tapped {
		if err := t.tap.Err(); err != nil {
			return fmt.Errorf("tap %s ended by itself: %w", t.tap.Name(), err)
		}
	}
	return nil
}

// outages gives a tap's outages as the record and its capture tell them.
func (r *record) outages(tap bench.Tap) []trace.Outage {
	var out []trace.Outage
	for _, o := range bench.OutagesOf(tap) {
		out = append(out, trace.Outage{From: o.From, To: o.To, Cause: r.mask(o.Cause)})
	}
	return out
}

// deaf gives the last moment at or after a time at which a tap did not capture: now while an outage lasts. Its error
// says what was not seen, nil where the taps captured all the time.
func (w *wire) deaf(since time.Time) (last time.Time, err error) {
	for _, t := range w.tapped {
		for _, o := range bench.OutagesOf(t.tap) {
			to := o.To
			if to.IsZero() {
				to = w.clock.Now()
			}
			if to.Before(since) || to.Before(last) {
				continue
			}
			last, err = to, fmt.Errorf("tap %s did not capture for %s of it: %s", t.tap.Name(), to.Sub(o.From).Round(time.Millisecond), o.Cause)
		}
	}
	return last, err
}

// flush waits until all that reached the live taps has been taken.
func (w *wire) flush(ctx context.Context) {
	limited, cancel := context.WithTimeout(ctx, flushTime)
	defer cancel()
	for _, t := range w.tapped {
		if !isDeferred(t.tap) && ctx.Err() == nil { // who gave up waiting says nothing of the tap
			w.flushTap(ctx, limited, t)
		}
	}
	w.recorder.Flush()
}

// flushTap flushes a tap. That it can't be while an outage lasts is told by the outage; that the step which wanted it is
// over is no failure of the tap's.
func (w *wire) flushTap(step, ctx context.Context, t *tapped) {
	err := t.tap.Flush(ctx)
	t.evidence.Flushed = err == nil && t.tap.Err() == nil
	all := bench.OutagesOf(t.tap)
	lasting := len(all) > 0 && all[len(all)-1].To.IsZero()
	if err != nil && step.Err() == nil && t.evidence.Error == "" && !lasting {
		t.evidence.Error = w.record.mask(fmt.Sprintf("flush: %v", err))
	}
}

// finish flushes the taps for the last time and tells what state they are in.
func (w *wire) finish(ctx context.Context) {
	w.flush(ctx)
	w.flushDeferred(ctx)
	for _, t := range w.tapped {
		for _, o := range bench.OutagesOf(t.tap) {
			w.record.note(trace.Event{Time: o.From, Kind: trace.EventTap, Name: t.tap.Name(), State: "outage", Text: o.Cause})
			if !o.To.IsZero() {
				w.record.note(trace.Event{Time: o.To, Kind: trace.EventTap, Name: t.tap.Name(), State: "restarted"})
			}
		}
		switch err := t.tap.Err(); {
		case err != nil:
			w.tapEvent(t, "failed", err.Error())
		case t.evidence.Flushed:
			w.tapEvent(t, "flushed", "")
		}
	}
}

// close stops the taps, completes the recording with their counts and gives the evidence to the record.
func (w *wire) close() {
	for _, t := range w.tapped {
		failed := t.tap.Err()
		t.tap.Close()
		stats := t.tap.Stats()
		t.evidence.Received, t.evidence.Dropped, t.evidence.Truncated = stats.Received, stats.Dropped, stats.Truncated
		t.evidence.Doubt = w.record.mask(doubt(t.tap))
		t.evidence.Outages = w.record.outages(t.tap)
		if failed != nil {
			t.evidence.Error = w.record.mask(failed.Error())
		}
		w.record.trace.Evidence.Taps = append(w.record.trace.Evidence.Taps, t.evidence)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tracker.Flush()
	w.closeRecording()
}
