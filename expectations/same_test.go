package expectations

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/flow"
	"github.com/tollgate-iot/tollgate/harness/packet"
	"github.com/tollgate-iot/tollgate/harness/trace"
	"github.com/tollgate-iot/tollgate/harness/verdict"
)

// places is a record of the same conversation before and behind a gateway, the latter changed.
func places(change func(behind *flow.Flow), whole bool) *trace.Trace {
	side := func() *flow.Flow {
		f := conversation(packet.TCP, "52.219.0.180:80", "", exchange("", "")...)
		for i := range f.Packets {
			p := &f.Packets[i]
			p.Seq, p.IPID, p.Number = uint32(1000+i*100), uint16(i+1), uint64(i+1)
		}
		return f
	}
	before, behind := side(), side()
	for i := range behind.Packets {
		behind.Packets[i].Time += int64(time.Hour + 3*time.Millisecond) // its tap's clock, and the way
	}
	if change != nil {
		change(behind)
	}
	r := record(before)
	for _, p := range []string{"before", "behind"} {
		r.Evidence.Taps = append(r.Evidence.Taps, trace.TapEvidence{Name: p, Place: p, ReadyBefore: true, Flushed: true, CanaryBefore: whole, CanaryAfter: whole})
	}
	r.Evidence.Taps = r.Evidence.Taps[len(r.Evidence.Taps)-2:]
	other := *record(behind).Capture
	r.Capture.Place, r.Capture.Taps = "before", []trace.Tap{{Name: "before", Place: "before"}}
	other.Place, other.Taps = "behind", []trace.Tap{{Name: "behind", Place: "behind"}}
	r.Capture.Others = []*trace.Capture{&other}
	return r
}

func TestSameAtTwoPlaces(t *testing.T) {
	const claim = "same_at: [before, behind]"
	drop := func(i int) func(*flow.Flow) {
		return func(f *flow.Flow) { f.Packets = append(f.Packets[:i:i], f.Packets[i+1:]...) }
	}
	for name, c := range map[string]struct {
		change  func(*flow.Flow)
		whole   bool
		claim   string
		want    verdict.Verdict
		says    string
		lenient verdict.Verdict // where nothing proves the records whole
	}{
		"the same":       {nil, true, claim, verdict.Pass, "every packet at before is at behind", verdict.Pass},
		"one is missing": {drop(3), true, claim, verdict.Fail, "1 packet seen at before and not at behind", verdict.Inconclusive},
		"one is more": {func(f *flow.Flow) {
			p := f.Packets[3]
			p.Seq, p.IPID, p.Payload = 99, 999, 0
			f.Packets = append(f.Packets, p)
		}, true, claim, verdict.Fail, "1 packet seen at behind and not at before", verdict.Inconclusive},
		"translated": {func(f *flow.Flow) { f.Device = netip.MustParseAddrPort("198.51.100.1:61000") }, true, claim, verdict.Fail,
			"translated on the way: the sender of packet 1 is 10.", verdict.Fail},
		"another port only": {func(f *flow.Flow) { f.Peer = netip.AddrPortFrom(f.Peer.Addr(), 8080) }, true, claim, verdict.Fail, "the receiver of packet 1", verdict.Fail},
		"too late":          {func(f *flow.Flow) { f.Packets[3].Time += int64(10 * time.Second) }, true, claim, verdict.Fail, "and not at behind", verdict.Inconclusive},
		"late, and allowed": {func(f *flow.Flow) { f.Packets[3].Time += int64(10 * time.Second) }, true, "same_at: {within: 1m, places: [before, behind]}", verdict.Pass, "every packet", verdict.Pass},
		"no such place":     {nil, true, "same_at: [before, elsewhere]", verdict.Inconclusive, "nothing was captured at elsewhere: the record has before, behind", verdict.Inconclusive},
		"joined on the way": {func(f *flow.Flow) {
			for i := range f.Packets {
				if p := &f.Packets[i]; p.Payload > 1 {
					half := *p
					half.Seq, half.Payload, half.IPID = p.Seq+p.Payload/2, p.Payload-p.Payload/2, 900
					p.Payload /= 2
					f.Packets = append(f.Packets, half)
					return
				}
			}
		}, true, claim, verdict.Pass, "every packet", verdict.Pass},
	} {
		t.Run(name, func(t *testing.T) {
			got := judgeOne(t, places(c.change, true), Options{}, c.claim)
			require.Equal(t, c.want, got.Verdict, got.Reason)
			require.Contains(t, got.Reason, c.says)
			got = judgeOne(t, places(c.change, false), Options{}, c.claim)
			require.Equal(t, c.lenient, got.Verdict, got.Reason)
			require.NotEqual(t, verdict.Pass, judgeOne(t, places(c.change, false), Options{Strict: true}, c.claim).Verdict)
		})
	}
	one := record(conversation(packet.TCP, "52.219.0.180:80", "", exchange("", "")...))
	require.Contains(t, judgeOne(t, one, Options{}, claim).Reason, "the record names no places")
	stepped := places(nil, true)
	stepped.Capture.Others[0].Steps = []trace.ClockStep{{At: 1, By: -time.Hour}}
	require.Equal(t, verdict.Inconclusive, judgeOne(t, stepped, Options{}, claim).Verdict)
}

func TestSameAtMistakes(t *testing.T) {
	for text, want := range map[string]string{
		"same_at: [a]":                         "same_at",
		"same_at: [a, a]":                      "two different places",
		"same_at: [a, b, c]":                   "two different places",
		"same_at: {within: 1s}":                "places",
		"same_at: {places: [a, b], within: x}": "within",
	} {
		_, err := Parse("x.yaml", 1, []byte("expect:\n  - "+text+"\n"))
		require.ErrorContains(t, err, want, text)
	}
}
