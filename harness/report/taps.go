package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tollgate-iot/tollgate/harness/flow"
	"github.com/tollgate-iot/tollgate/harness/trace"
)

// tapCount is what one of a record's taps counted. Its keys are a contract, as those of inspect are.
type tapCount struct {
	Tap      string   `json:"tap"`
	Place    string   `json:"place,omitempty"`
	Received *uint64  `json:"received,omitempty"` // frames, by the tap's own count; a bare capture does not tell
	Packets  *uint64  `json:"packets,omitempty"`  // devices' packets in the record; it does not tell them apart where it has one tap
	Copies   *uint64  `json:"copies,omitempty"`   // of those, that count by another tap's copy; none where no other tap is at the place
	Missed   *uint64  `json:"missed,omitempty"`   // packets of the record that another tap at the place saw and this one did not
	Dropped  uint64   `json:"dropped"`
	Cut      uint64   `json:"cut"`
	Notes    []string `json:"notes,omitempty"` // a clock that is not the first tap's, outages, an end by itself, losses that nobody counts
}

// leastAhead is how far a tap's clock is off before it is worth telling.
const leastAhead = time.Millisecond

// tapCounts gives the taps of a record, the main place's first.
func tapCounts(t *trace.Trace) []tapCount {
	var out []tapCount
	for _, c := range append([]*trace.Capture{t.Capture}, t.Capture.Others...) {
		for i := range c.Taps {
			out = append(out, tapCountOf(&c.Taps[i], len(c.Taps) > 1))
		}
	}
	for i := range t.Evidence.Taps {
		e := &t.Evidence.Taps[i]
		at := slices.IndexFunc(out, func(n tapCount) bool { return n.Tap == e.Name })
		if at < 0 {
			out = append(out, tapCount{Tap: e.Name, Place: e.Place})
			at = len(out) - 1
		}
		out[at].take(e)
	}
	return out
}

// tapCountOf is what the record itself tells of a tap; together says that there are others at its place.
func tapCountOf(s *trace.Tap, together bool) tapCount {
	n := tapCount{Tap: s.Name, Place: s.Place, Packets: &s.Packets, Dropped: s.Dropped, Cut: s.Truncated}
	if together {
		n.Copies, n.Missed = &s.Copies, &s.Missed
	}
	if s.Ahead.Abs() >= leastAhead {
		way := "ahead of"
		if s.Ahead < 0 {
			way = "behind"
		}
		n.Notes = append(n.Notes, fmt.Sprintf("its clock is %s %s the first tap's", s.Ahead.Abs().Round(100*time.Microsecond), way))
	}
	return n
}

// take adds what the tap said of itself.
func (n *tapCount) take(e *trace.TapEvidence) {
	n.Received = &e.Received
	n.Dropped, n.Cut = max(n.Dropped, e.Dropped), max(n.Cut, e.Truncated)
	if e.Error != "" {
		n.Notes = append(n.Notes, e.Error)
	}
	for _, o := range e.Outages {
		text := "did not capture from " + o.From.UTC().Format("15:04:05.000") + " on"
		if !o.To.IsZero() {
			text = fmt.Sprintf("did not capture for %s from %s on", took(o.To.Sub(o.From)), o.From.UTC().Format("15:04:05.000"))
		}
		n.Notes = append(n.Notes, text+": "+o.Cause)
	}
	if e.Doubt != "" {
		n.Notes = append(n.Notes, e.Doubt)
	}
}

// severalTaps gives the taps of a record that has more than one, none of every other.
func severalTaps(t *trace.Trace) []tapCount {
	if t.Capture == nil || len(t.Capture.Taps)+len(t.Capture.Others) < 2 {
		return nil
	}
	return tapCounts(t)
}

// placeCount is the record of a place that is not the one that is judged.
type placeCount struct {
	Place    string       `json:"place"`
	Up       Count        `json:"up"`
	Down     Count        `json:"down"`
	Complete completeness `json:"completeness"`
}

// placeCounts gives what passed a record's other places, as tables count: the device's packets over the whole run.
func placeCounts(t *trace.Trace, account trace.Account) (out []placeCount) {
	if t.Capture == nil {
		return nil
	}
	for _, c := range t.Capture.Others {
		at := t.At(c.Place)
		state := at.Completeness(trace.Scope{})
		p := placeCount{Place: c.Place, Complete: completeOf(&state)}
		var sum flow.Both[flow.Tally]
		for _, f := range c.Flows {
			for i := range f.Packets {
				if ours(t, f) {
					k := &f.Packets[i]
					sum[k.Dir].Add(flow.Tally{Packets: 1, Bytes: uint64(k.Wire), AirPackets: uint64(k.Air), AirBytes: uint64(k.AirWire)})
				}
			}
		}
		p.Up = Count{sum[flow.Up].Packets, account.Bytes(flow.Up, sum[flow.Up])}
		p.Down = Count{sum[flow.Down].Packets, account.Bytes(flow.Down, sum[flow.Down])}
		out = append(out, p)
	}
	return out
}

// placeName is how a place is called that nobody may have named.
func placeName(place string) string { return cmp.Or(Safe(place), "–") }

// cell is a number of a table, "–" where there is none.
func cell(n *uint64) string {
	if n == nil {
		return "–"
	}
	return number(*n)
}

// tapLines are a table of taps for a terminal: a head, a line for each with its notes below.
func tapLines(taps []tapCount, s Style) []string {
	widest := func(title string, of func(tapCount) string) int {
		width := len(title)
		for _, n := range taps {
			width = max(width, len([]rune(of(n))))
		}
		return width
	}
	name := widest("taps", func(n tapCount) string { return Safe(n.Tap) }) + 2
	placed := slices.ContainsFunc(taps, func(n tapCount) bool { return n.Place != "" })
	place := widest("place", func(n tapCount) string { return placeName(n.Place) })
	line := func(cells ...string) string {
		text := pad(cells[0], name)
		if placed {
			text += "  " + pad(cells[1], place)
		}
		for _, c := range cells[2:] {
			text += padLeft(c, 10)
		}
		return text
	}
	head := line("taps", "place", "received", "packets", "copies", "missed", "dropped", "cut")
	out := []string{"  " + s.bold(head[:name]) + s.dim(head[name:])}
	for _, n := range taps {
		text := line("  "+Safe(n.Tap), placeName(n.Place), cell(n.Received), cell(n.Packets), cell(n.Copies), cell(n.Missed), number(n.Dropped), number(n.Cut))
		if n.Dropped+n.Cut > 0 {
			text = s.paint("31", text)
		}
		out = append(out, "  "+text)
		for _, note := range n.Notes {
			out = append(out, strings.Repeat(" ", name+4)+s.dim(Safe(note)))
		}
	}
	return out
}
