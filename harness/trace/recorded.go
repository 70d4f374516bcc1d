package trace

import (
	"fmt"
	"slices"
	"time"

	"github.com/tollgate-iot/tollgate/harness/flow"
	"github.com/tollgate-iot/tollgate/harness/packet"
)

// EventRecord is the kind of timeline entries that tell what could not be written to the disk.
const EventRecord EventKind = "record"

// RecordingEvidence is a recording's account of itself.
type RecordingEvidence struct {
	Parts  int    `json:"parts"`  // files
	Frames uint64 `json:"frames"` // written, in all parts
	// Gaps are the spans in which frames were captured and could not be recorded, oldest first.
	Gaps []RecordingGap `json:"gaps,omitempty"`
	// Unended is why the recording could not be completed, "" where it was: its last frames may be missing.
	Unended string `json:"unended,omitempty"`
}

// RecordingGap is a span of a run whose frames were captured and are not in its record.
type RecordingGap struct {
	From   time.Time `json:"from"` // times of the first and the last of them, capture clock
	To     time.Time `json:"to"`
	Frames uint64    `json:"frames"`
	Cause  string    `json:"cause"` // with the file and the remedy
}

// MirrorEvidence is what a run saw of its mirror beyond the packets that its record keeps. Other devices' packets are looked
// at and let go, and what they prove is told here: what numbers the mirror gave over all devices, and what was missing of
// theirs, which a mirror that is shared may have lost of this device's as well.
type MirrorEvidence struct {
	Left  uint64 `json:"left_out"`        // frames that were let go
	Holes []Hole `json:"holes,omitempty"` // in what the mirror sent, over all devices
	Whole string `json:"whole,omitempty"` // what proves that nothing is missing, "" where nothing does
	// Truncated is how many packets, those that are kept too, were cut short behind their headers.
	Truncated uint64 `json:"cut_behind_headers,omitempty"`
}

// judge gives what is missing by a recording's own account, held against the frames that were found in it.
func (e *RecordingEvidence) judge(found uint64) (holes []Hole) {
	if e == nil {
		return nil
	}
	for _, g := range e.Gaps {
		holes = append(holes, Hole{Kind: HoleRecord, From: g.From.UnixNano(), To: g.To.UnixNano(), Flow: -1, Packets: g.Frames,
			Reason: fmt.Sprintf("%s captured and not recorded, %s to %s: %s", packets(g.Frames), clock(g.From), clock(g.To), g.Cause)})
	}
	if found != e.Frames {
		holes = append(holes, Hole{Kind: HoleRecord, Flow: -1, Packets: e.Frames - min(e.Frames, found),
			Reason: fmt.Sprintf("the record holds %s, and %s were written: it was changed, or a part is missing", frames(found), Thousands(e.Frames))})
	}
	if e.Unended != "" {
		holes = append(holes, Hole{Kind: HoleRecord, Flow: -1, Reason: "the record could not be completed: " + e.Unended})
	}
	return holes
}

// clock writes a time of day as reasons do.
func clock(t time.Time) string { return t.UTC().Format("15:04:05.000") }

// Mirror follows what a mirror's own numbers say of all the packets that it sent, for a run that keeps only some of them.
// It is fed by the run's live decoder, in the order of the capture.
type Mirror struct {
	gre     greSequences
	decoded uint64
	shorn   uint64
}

// Add takes a packet, or a fragment (packet.Held), as it was decoded.
func (m *Mirror) Add(p *packet.Packet, r packet.Result) {
	if r == packet.Undecodable || r == packet.Held && !p.HasGRESeq {
		return
	}
	m.decoded++
	if r == packet.Decoded && p.Truncated && !p.HeadersCut {
		m.shorn++
	}
	if p.HasGRESeq {
		m.gre.add(p)
	}
}

// Orphan takes a fragment of a datagram that never became whole, as the decoder gives it up.
func (m *Mirror) Orphan(p *packet.Packet) {
	if !p.HasGRESeq { // else its number has been counted
		m.decoded++
	}
}

// Evidence tells what the mirror's numbers show, and the gaps in the IP identifications of other devices.
func (m *Mirror) Evidence(left uint64, others []flow.IDHole) *MirrorEvidence {
	e := &MirrorEvidence{Left: left, Truncated: m.shorn, Holes: slices.Concat(m.gre.holes(), idHoles(others))}
	if m.gre.whole(m.decoded) {
		e.Whole = greProof(m.decoded)
	}
	return e
}

// greProof says what numbers without a gap prove.
func greProof(decoded uint64) string {
	return fmt.Sprintf("the mirror's GRE sequence numbers run without a gap over all %s", packets(decoded))
}
