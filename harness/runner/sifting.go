package runner

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/tollgate-iot/tollgate/harness/bench"
	"github.com/tollgate-iot/tollgate/harness/flow"
	"github.com/tollgate-iot/tollgate/harness/packet"
	"github.com/tollgate-iot/tollgate/harness/pcap"
	"github.com/tollgate-iot/tollgate/harness/recording"
	"github.com/tollgate-iot/tollgate/harness/trace"
)

// sifting keeps other devices' frames out of the run's record, and what they prove in it.
//
// The device's frames are recorded as they came, their outer headers too: the mirror's numbers, its VNI and its addresses
// are evidence of what was lost and tell one network from another, so a record without them could not be judged as the run
// was. What --keep mirror adds are the other devices' frames.
//
// Those can be done without only because what they say of the mirror is told in trace.MirrorEvidence: numbers that run over
// all devices have gaps in a record of one.
type sifting struct {
	sieve   *recording.Sieve // nil where every frame is kept
	mirror  trace.Mirror
	servers map[netip.Addr]bool // peers that opened flows to the device, which the live tracker takes for devices
}

func newSifting(keepAll bool) *sifting {
	s := &sifting{servers: map[netip.Addr]bool{}}
	if !keepAll {
		s.sieve = recording.NewSieve()
	}
	return s
}

// recordFrame records a frame as it came from a tap, unless it is another device's; r and w.packet are what it was decoded
// to. It is called under mu, before the frame is analysed.
func (w *wire) recordFrame(t *tapped, rec pcap.Record, r packet.Result) {
	if w.sieve == nil {
		w.recorder.Write(t.tap.Name(), rec)
		return
	}
	if _, shared := t.tap.(bench.Shared); !shared { // which has numbers of its own
		w.mirror.Add(&w.packet, r)
		w.decoder.Abandoned(w.mirror.Orphan)
	}
	if w.sieve.Pass(&w.packet, r) {
		w.recorder.Write(t.tap.Name(), rec)
	} else {
		w.sieve.Hold(t.tap.Name(), rec, &w.packet)
	}
}

// recordHeld records the frames of an address that came before it was known to be the device's. It is called under mu.
func (w *wire) recordHeld(a netip.Addr) {
	if w.sieve == nil {
		return
	}
	held, gone := w.sieve.Know(a)
	for i, h := range held {
		var comments []string
		if i == 0 {
			comments = []string{fmt.Sprintf("captured before %s was known to be the device's, as the %d packets from here on", a, len(held))}
		}
		w.recorder.Write(h.Tap, h.Record, comments...)
	}
	if gone.Frames > 0 {
		w.recorder.Missed(gone.From, gone.To, gone.Frames,
			fmt.Sprintf("they came before %s was known to be the device's, and could not be held so long: --keep mirror keeps everything", a))
	}
}

// tellOthers tells what the frames that were left out, here or by a tap that is shared, say of the mirror. It is called under
// mu, after the last frame.
func (w *wire) tellOthers() {
	var told []*trace.MirrorEvidence
	if w.sieve != nil && w.sieve.Left() > 0 {
		w.decoder.Orphans(w.mirror.Orphan)
		others := slices.DeleteFunc(w.tracker.IPIDHoles(), func(h flow.IDHole) bool { return w.known[h.Device] || w.servers[h.Device] })
		told = append(told, w.mirror.Evidence(w.sieve.Left(), others))
	}
	for _, t := range w.tapped {
		if s, ok := t.tap.(bench.Shared); ok && s.Mirror() != nil {
			told = append(told, s.Mirror())
		}
	}
	if len(told) == 0 {
		return
	}
	all := *told[0]
	for _, e := range told[1:] {
		all.Left += e.Left
		all.Truncated += e.Truncated
		all.Holes = append(all.Holes, e.Holes...)
	}
	if len(told) > 1 {
		all.Whole = "" // each of a part of the packets
	}
	w.record.trace.Evidence.Mirror = &all
	w.record.trace.Analysis.Filtered = true
}
