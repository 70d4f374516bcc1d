package catalog

import (
	"cmp"

	"github.com/tollgate-iot/tollgate/harness/bench"
	"github.com/tollgate-iot/tollgate/harness/capture/file"
	"github.com/tollgate-iot/tollgate/harness/scenario"
)

// replayOptions are the options of file. What is not given is another thing for a run than for a tap by itself.
type replayOptions struct{ path, pace, times string }

func fileObject() *scenario.Object[replayOptions] {
	return &scenario.Object[replayOptions]{Name: "a tap", Keys: []scenario.Key[replayOptions]{
		scenario.Needed(scenario.Field("path", "A capture file, pcap or pcapng, compressed or not.", scenario.Text("a path"), func(o *replayOptions) *string { return &o.path })),
		scenario.Field("pace", "own: each packet when it is due after the first; once: as fast as can be. Where not given own in a run, and once for a tap by itself.",
			scenario.Choice("pace", "once", "own"), func(o *replayOptions) *string { return &o.pace }),
		scenario.Field("times", "now: as if the first packet were captured when the capture begins; recorded: the packets' own times, which lie outside of a run. Where not given now in a run, and recorded for a tap by itself.",
			scenario.Choice("times", "recorded", "now"), func(o *replayOptions) *string { return &o.times }),
	}}
}

// openFile makes a replay. In a run it stands for a live mirror: its packets pass while the run goes on, and are judged.
func openFile(name string, o replayOptions, b *bench.Bench) (bench.Tap, error) {
	pace, times := "once", "recorded"
	f := file.Options{Name: name, Path: o.path, Clock: wallClock{}}
	if b != nil {
		f.Clock = b.Clock
		if !b.ByItself {
			pace, times = "own", "now"
		}
	}
	f.Paced, f.Shifted = cmp.Or(o.pace, pace) == "own", cmp.Or(o.times, times) == "now"
	return file.New(f)
}
