package catalog

import (
	"github.com/tollgate-iot/tollgate/harness/bench"
	"github.com/tollgate-iot/tollgate/harness/capture/file"
	"github.com/tollgate-iot/tollgate/harness/scenario"
)

func fileObject() *scenario.Object[file.Options] {
	return &scenario.Object[file.Options]{Name: "a tap", Keys: []scenario.Key[file.Options]{
		scenario.Needed(scenario.Field("path", "A capture file, pcap or pcapng, compressed or not.", scenario.Text("a path"), func(o *file.Options) *string { return &o.Path })),
		scenario.Each("pace", "once: as fast as can be; own: each packet when it is due after the first. once where not given.", scenario.Choice("pace", "once", "own"),
			func(o *file.Options, _ scenario.Entry, v string) { o.Paced = v == "own" }),
		scenario.Each("times", "recorded: the packets' own; now: as if the first were captured as the run begins. recorded where not given.", scenario.Choice("times", "recorded", "now"),
			func(o *file.Options, _ scenario.Entry, v string) { o.Shifted = v == "now" }),
	}}
}

func openFile(name string, o file.Options, b *bench.Bench) (bench.Tap, error) {
	o.Name, o.Clock = name, wallClock{}
	if b != nil {
		o.Clock = b.Clock
	}
	return file.New(o)
}
