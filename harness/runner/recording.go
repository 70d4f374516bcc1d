package runner

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/tollgate-iot/tollgate/harness/bench"
	"github.com/tollgate-iot/tollgate/harness/recording"
	"github.com/tollgate-iot/tollgate/harness/trace"
)

// reserve is the room that a run keeps on its disk for what is written after the last packet: the trace and the reports.
const reserve = 4 << 20

// rotateAt is how large a file of a run's recording becomes: small enough for every viewer.
const rotateAt = 256 << 20

// newRecorder begins a run's recording.
func newRecorder(b *bench.Bench, rec *record, o Options) (*recording.Recorder, error) {
	r, err := recording.Create(recording.Options{
		File: filepath.Join(o.Dir, CaptureFile), Rotate: rotateAt, Reserve: reserve, Now: b.Clock.Now, Create: o.Create,
		Comment: strings.TrimSpace(rec.mask(fmt.Sprintf("%s, %s on bench %s", rec.trace.Scenario, b.DevName, b.Name)) + "\n" + trace.DeclareTaps(tapPlaces(b))),
		Counts: func(tap string) recording.Counts {
			for _, t := range b.Taps {
				if t.Name() == tap {
					s := t.Stats()
					return recording.Counts{Received: s.Received, Dropped: s.Dropped}
				}
			}
			return recording.Counts{}
		},
		Outages: func() map[string][]trace.Outage {
			out := map[string][]trace.Outage{}
			for _, t := range b.Taps {
				out[t.Name()] = rec.outages(t)
			}
			return out
		},
	})
	if err != nil {
		return nil, fmt.Errorf("write capture: %w", err)
	}
	return r, nil
}

// closeRecording completes the recording and gives its account of itself to the record.
func (w *wire) closeRecording() {
	w.recorder.Close() // what it has to say is in its evidence
	e := w.recorder.Evidence()
	e.Unended = w.record.mask(e.Unended)
	for i := range e.Gaps {
		g := &e.Gaps[i]
		g.Cause = w.record.mask(g.Cause)
		w.record.note(trace.Event{Time: g.From, Kind: trace.EventRecord, Name: CaptureFile, State: "not recorded",
			Text: fmt.Sprintf("%s until %s: %s", frames(g.Frames), g.To.UTC().Format(timeFormat), g.Cause)})
	}
	w.record.trace.Evidence.Recording = e
	w.tellOthers()
}

func frames(n uint64) string {
	if n == 1 {
		return "1 packet"
	}
	return trace.Thousands(n) + " packets"
}
