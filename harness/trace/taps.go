package trace

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/tollgate-iot/tollgate/harness/merge"
	"github.com/tollgate-iot/tollgate/harness/pcap"
)

// TapPlace says where on the way of the device's packets a tap is. Taps at one place see the same packets: what they show is
// merged, each packet counted once. Taps at different places, before and after a gateway say, are kept apart: the record is
// that of the first tap's place, and the others are what it can be compared with.
type TapPlace struct {
	Name  string `json:"name"`
	Place string `json:"place,omitempty"` // "" is a place, too: that of taps of which nothing is said
}

// tapsMark begins the line of a capture's comment that names its taps.
const tapsMark = "tollgate taps: "

// DeclareTaps gives the comment for the section header of a capture that several taps write, each frame on an interface
// named as its tap (pcap.Section.Comment): what Read needs to tell them apart. It is "" for a single tap, whose capture is
// read as every other.
func DeclareTaps(taps []TapPlace) string {
	if len(taps) < 2 {
		return ""
	}
	b, err := json.Marshal(taps)
	if err != nil {
		panic(err) // of two strings each
	}
	return tapsMark + string(b)
}

// declaredTaps finds the taps that a capture's comment names, nil where it names no two different ones, or more than can be
// merged.
func declaredTaps(in *pcap.Reader) []TapPlace {
	for line := range strings.Lines(in.Comment()) {
		text, ok := strings.CutPrefix(line, tapsMark)
		if !ok {
			continue
		}
		var taps []TapPlace
		if json.Unmarshal([]byte(text), &taps) != nil || len(taps) < 2 || len(taps) > merge.MaxTaps {
			return nil
		}
		names := make([]string, len(taps))
		for i, t := range taps {
			names[i] = t.Name
		}
		slices.Sort(names)
		if len(slices.Compact(names)) != len(taps) {
			return nil
		}
		return taps
	}
	return nil
}

// Tap is what one of several taps contributed to a capture.
type Tap struct {
	Name, Place string
	Frames      uint64
	First, Last int64  // by its own clock, nanoseconds since the Unix epoch
	Packets     uint64 // devices' packets decoded
	Truncated   uint64 // of those, that were cut short
	Copies      uint64 // of those, that are in the record by another tap's copy
	Missed      uint64 // packets of the record that this tap did not see
	Alone       uint64 // packets of the record that no other tap saw
	Dropped     uint64 // by what the file says
	Ahead       time.Duration
	Steps       []ClockStep

	lost  []lostRun // what its mirror's numbers show missing, and others' copies don't fill
	whole bool      // its mirror's numbers prove that it missed nothing
}

// ClockStep is a clock that was set anew while it gave packets their times.
type ClockStep struct {
	Tap string        `json:"tap,omitempty"` // "" where the record has one tap
	At  int64         `json:"at"`            // by the clock as it was set, nanoseconds since the Unix epoch
	By  time.Duration `json:"by_ns"`         // negative where it was set back
}

type lostRun struct {
	from, to int64
	packets  uint64
}

// places gives the places of taps, in the order of their first taps.
func places(taps []TapPlace) []string {
	var out []string
	for _, t := range taps {
		if !slices.Contains(out, t.Place) {
			out = append(out, t.Place)
		}
	}
	return out
}

// At gives the record as the taps at a place saw it, nil where it has no such place. The run's own timeline and windows
// stay; the carrier's counts are compared with the main place alone.
func (t *Trace) At(place string) *Trace {
	if t.Capture == nil || len(t.Capture.Taps) == 0 {
		return nil
	}
	if t.Capture.Place == place {
		return t
	}
	i := slices.IndexFunc(t.Capture.Others, func(c *Capture) bool { return c.Place == place })
	if i < 0 {
		return nil
	}
	out := *t
	out.Capture = t.Capture.Others[i]
	out.Evidence.Carrier = nil
	return &out
}

// Places names the places that the record was captured at, the main one first; none where one tap, or taps that nobody
// told apart, captured it.
func (c *Capture) Places() []string {
	if len(c.Taps) == 0 {
		return nil
	}
	out := []string{c.Place}
	for _, o := range c.Others {
		out = append(out, o.Place)
	}
	return out
}
