package trace_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/tollgate-iot/tollgate/fixtures/synth"
	"github.com/tollgate-iot/tollgate/harness/flow"
	"github.com/tollgate-iot/tollgate/harness/pcap"
	"github.com/tollgate-iot/tollgate/harness/trace"
)

// tapped is a frame as a tap gave it.
type tapped struct {
	tap   string
	frame synth.Frame
}

// recorded writes what taps gave, in that order, as a run does, with what the taps tell of themselves.
func recorded(t require.TestingT, taps []trace.TapPlace, frames []tapped, lost map[string]uint64, told ...trace.TapEvidence) []byte {
	var b bytes.Buffer
	w, err := pcap.NewWriter(&b, pcap.Section{Application: "test", Comment: "a run\n" + trace.DeclareTaps(taps)})
	require.NoError(t, err)
	numbers := map[string]int{}
	for _, tap := range taps {
		numbers[tap.Name], err = w.AddInterface(pcap.Interface{Name: tap.Name, Link: pcap.LinkEthernet})
		require.NoError(t, err)
	}
	for _, f := range frames {
		require.NoError(t, w.Write(pcap.Record{Time: f.frame.Time.UnixNano(), Interface: numbers[f.tap], Data: f.frame.Data, Length: f.frame.Length}))
	}
	for tap, n := range lost {
		require.NoError(t, w.WriteStats(numbers[tap], pcap.Stats{Dropped: n}))
	}
	for _, e := range told {
		for _, o := range e.Outages {
			require.NoError(t, w.WriteSpan(numbers[e.Name], pcap.Span{From: o.From.UnixNano(), To: o.To.UnixNano(), Comment: trace.OutageMark + o.Cause}))
		}
	}
	require.NoError(t, w.Flush())
	return b.Bytes()
}

func readAs(t require.TestingT, file []byte, o trace.Options) *trace.Capture {
	c, err := trace.Read(bytes.NewReader(file), "test", o)
	require.NoError(t, err)
	return c
}

// by gives frames as a tap gave them, its clock ahead by so much.
func by(tap string, frames []synth.Frame, ahead time.Duration) []tapped {
	out := make([]tapped, len(frames))
	for i, f := range frames {
		f.Time = f.Time.Add(ahead)
		out[i] = tapped{tap, f}
	}
	return out
}

var twoTaps = []trace.TapPlace{{Name: "a"}, {Name: "b"}}

// traffic is what a button and a Wio LTE do, with a retransmission, beside each other.
func traffic(mirror synth.Mirror) []synth.Frame {
	w := synth.New(synth.Options{Mirror: mirror})
	wio, server := synth.NewHost("10.213.7.42", 100), synth.NewHost("198.51.100.7", 7000)
	button, beam := synth.NewHost("10.213.7.43", 1), synth.NewHost("100.127.127.100", 1)
	c := w.TCP(wio, 40001, server, 80).Open()
	d := w.TCP(button, 50001, beam, 23080).Open()
	c.Exchange(synth.Up, []byte("GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"))
	d.Exchange(synth.Up, []byte("click"))
	c.Send(synth.Down, []byte("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"))
	w.Wait(300 * time.Millisecond)
	c.Resend(synth.Down, []byte("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"))
	c.Ack(synth.Up)
	c.Ack(synth.Up)
	d.Fin(synth.Up)
	d.Fin(synth.Down)
	d.Ack(synth.Up)
	c.Fin(synth.Up)
	c.Fin(synth.Down)
	c.Ack(synth.Up)
	w.Wait(time.Minute)
	c.Rst(synth.Up)
	return w.Frames
}

var kept = trace.Options{KeepFlows: true, KeepPackets: true}

// sameRecord holds that two captures show the same packets: all that does not tell how they came to be known.
func sameRecord(t require.TestingT, want, got *trace.Capture) {
	require.Equal(t, want.Total, got.Total)
	require.Equal(t, want.Devices, got.Devices)
	require.Equal(t, want.Duplicates, got.Duplicates)
	require.Equal(t, len(want.Flows), len(got.Flows))
	for i := range want.Flows {
		require.Equal(t, told(want.Flows[i]), told(got.Flows[i]))
	}
}

// told writes a flow with its packets, without their numbers in the file.
func told(f *flow.Flow) []string {
	out := []string{fmt.Sprintf("%v %v-%v %q %v %v to %v, close %v at %v, missing %d %d, again %d %d, path %v", f.Kind, f.Device, f.Peer, f.Name, f.Phases, f.Start, f.End,
		f.Close, f.ClosedAt, f.Sides[0].Missing, f.Sides[1].Missing, f.Sides[0].Retransmissions, f.Sides[1].Retransmissions, f.Path)}
	for _, p := range f.Packets {
		out = append(out, fmt.Sprintf("%d %v %v %x %v seq %d ack %d id %d payload %d mark %b", p.Time, p.Dir, p.Phase, p.Flags, p.Air, p.Seq, p.Ack, p.IPID, p.Payload, p.Mark))
	}
	return out
}

// TestTwoTapsAreOneRecord holds that what two taps saw together is judged as what one that saw all of it: whatever each of
// them lost, whichever hands its frames over first, however its clock runs.
func TestTwoTapsAreOneRecord(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		mirror := rapid.SampledFrom([]synth.Mirror{synth.Plain, synth.GRE, synth.VXLAN, synth.GREIP}).Draw(t, "mirror")
		all := traffic(mirror)
		ahead := time.Duration(rapid.IntRange(-4000, 4000).Draw(t, "ahead")) * time.Millisecond
		var a, b []synth.Frame
		for _, f := range all {
			switch rapid.SampledFrom([]string{"both", "both", "both", "a", "b"}).Draw(t, "seen by") {
			case "both":
				a, b = append(a, f), append(b, f)
			case "a":
				a = append(a, f)
			case "b":
				b = append(b, f)
			}
		}
		shared := len(a) + len(b) - len(all)
		if shared < 3 {
			return // nothing tells how the clocks differ
		}
		fa, fb := by("a", a, 0), by("b", b, ahead)
		var frames []tapped
		switch rapid.SampledFrom([]string{"a first", "b first", "mixed"}).Draw(t, "order") {
		case "a first":
			frames = append(fa, fb...)
		case "b first":
			frames = append(fb, fa...)
		default:
			for len(fa)+len(fb) > 0 {
				if len(fb) == 0 || len(fa) > 0 && rapid.Bool().Draw(t, "a") {
					frames, fa = append(frames, fa[0]), fa[1:]
				} else {
					frames, fb = append(frames, fb[0]), fb[1:]
				}
			}
		}
		want := readAs(t, recorded(t, twoTaps[:1], by("a", all, 0), nil), kept)
		require.Empty(t, want.Taps, "one tap is no merger")
		got := readAs(t, recorded(t, twoTaps, frames, nil), kept)
		sameRecord(t, want, got)
		require.EqualValues(t, len(frames), got.Frames)
		require.EqualValues(t, shared, got.Taps[0].Copies+got.Taps[1].Copies)
		require.EqualValues(t, len(all)-len(a), got.Taps[0].Missed)
		require.EqualValues(t, len(all)-len(b), got.Taps[1].Missed)
		require.Equal(t, ahead, got.Taps[1].Ahead)
	})
}

func TestTapsFromAPipeAndInParts(t *testing.T) {
	all := traffic(synth.GRE)
	file := recorded(t, twoTaps, append(by("a", all[:20], 0), by("b", all[3:], time.Second)...), nil)
	want := readAs(t, file, kept)

	piped, err := trace.Read(io.MultiReader(bytes.NewReader(file)), "pipe", kept)
	require.NoError(t, err)
	sameRecord(t, want, piped)

	dir := t.TempDir()
	files := []string{filepath.Join(dir, "capture.pcapng"), filepath.Join(dir, "capture-0002.pcapng"), filepath.Join(dir, "capture-0003.pcapng")}
	require.NoError(t, os.WriteFile(files[0], recorded(t, twoTaps, by("a", all[:20], 0), nil), 0o644))
	require.NoError(t, os.WriteFile(files[1], recorded(t, twoTaps, by("b", all[3:], time.Second), nil), 0o644))
	require.NoError(t, os.WriteFile(files[2], nil, 0o644))
	parts, err := trace.ReadFiles(files, "capture.pcapng", kept)
	require.NoError(t, err)
	sameRecord(t, want, parts)
	require.Equal(t, want.Frames, parts.Frames)
	require.True(t, parts.Cut, "the last part has not even a header")
}

// What a tap lost, by its own count or by its mirror's numbers, is missing only where no other tap has it.
func TestLossAtOneTapIsHealed(t *testing.T) {
	all := traffic(synth.GRESeq)
	for name, c := range map[string]struct {
		a, b  []synth.Frame
		lost  map[string]uint64
		state trace.State
		says  string
	}{
		"both whole":                   {all, all, nil, trace.Whole, "at tap a"},
		"a lost two, which b has":      {synth.Without(all, 5, 6), all, map[string]uint64{"a": 2}, trace.Whole, "without a gap"},
		"each lost what the other has": {synth.Without(all, 5, 6), synth.Without(all, 12), map[string]uint64{"a": 2, "b": 1}, trace.Whole, "without a gap"},
		"both lost the same":           {synth.Without(all, 5, 6), synth.Without(all, 6), nil, trace.Broken, "missing at tap"},
		"a dropped more than b has":    {synth.Without(all, 5, 6), all, map[string]uint64{"a": 3}, trace.Broken, "3 packets dropped at tap a, as the file says, of which other taps saw 2"},
	} {
		t.Run(name, func(t *testing.T) {
			got := readAs(t, recorded(t, twoTaps, append(by("a", c.a, 0), by("b", c.b, 0)...), c.lost), kept)
			require.Equal(t, c.state, got.Completeness.State, "%v", got.Completeness.Reasons)
			require.Contains(t, fmt.Sprint(got.Completeness.Reasons), c.says)
		})
	}
}

// A run's taps account for each other.
func TestTapsOfARunAccountForEachOther(t *testing.T) {
	begin := synth.Epoch
	tap := func(name string, change func(*trace.TapEvidence)) trace.TapEvidence {
		e := trace.TapEvidence{Name: name, ReadyBefore: true, Flushed: true, CanaryBefore: true, CanaryAfter: true}
		if change != nil {
			change(&e)
		}
		return e
	}
	all := traffic(synth.GRE)
	outage := trace.Outage{From: begin, To: begin.Add(5 * time.Second), Cause: "ssh ended"}
	later := trace.Outage{From: begin.Add(6 * time.Second), To: begin.Add(7 * time.Second), Cause: "ssh ended"}
	for name, c := range map[string]struct {
		a, b  []synth.Frame
		taps  []trace.TapEvidence
		state trace.State
		says  string
	}{
		"both sound": {all, all, []trace.TapEvidence{tap("a", nil), tap("b", nil)}, trace.Unproven, "tap a ready before"},
		"a was out, b sound": {all[10:], all, []trace.TapEvidence{tap("a", func(e *trace.TapEvidence) { e.Outages = []trace.Outage{outage} }), tap("b", nil)},
			trace.Unproven, "it has 10 packets that tap a missed"},
		"a was out, b no canary": {all[10:], all, []trace.TapEvidence{tap("a", func(e *trace.TapEvidence) { e.Outages = []trace.Outage{outage} }),
			tap("b", func(e *trace.TapEvidence) { e.CanaryAfter = false })}, trace.Broken, "tap a did not capture"},
		"a was out, b at another time": {all[10:], all, []trace.TapEvidence{tap("a", func(e *trace.TapEvidence) { e.Outages = []trace.Outage{outage} }),
			tap("b", func(e *trace.TapEvidence) { e.Outages = []trace.Outage{later} })}, trace.Broken, "tap b did not capture"},
		"a was out, and saw what b did not": {all[10:], synth.Without(all, 15), []trace.TapEvidence{tap("a", func(e *trace.TapEvidence) { e.Outages = []trace.Outage{outage} }), tap("b", nil)},
			trace.Broken, "tap a did not capture"},
		"a failed, b sound":                              {all[:10], all, []trace.TapEvidence{tap("a", func(e *trace.TapEvidence) { e.Error, e.Flushed = "eof", false }), tap("b", nil)}, trace.Unproven, "tap b ready"},
		"a dropped 2, b has them":                        {synth.Without(all, 4, 5), all, []trace.TapEvidence{tap("a", func(e *trace.TapEvidence) { e.Dropped = 2 }), tap("b", nil)}, trace.Unproven, "2 packets that tap a missed"},
		"a dropped 3, b has 2":                           {synth.Without(all, 4, 5), all, []trace.TapEvidence{tap("a", func(e *trace.TapEvidence) { e.Dropped = 3 }), tap("b", nil)}, trace.Broken, "tap a dropped 3"},
		"a cut some, b has all":                          {synth.Cut(all, 100), all, []trace.TapEvidence{tap("a", func(e *trace.TapEvidence) { e.Truncated = 9 }), tap("b", nil)}, trace.Unproven, "canary"},
		"both sound, and each missed what the other saw": {synth.Without(all, 5), synth.Without(all, 12), []trace.TapEvidence{tap("a", nil), tap("b", nil)}, trace.Unproven, "there may be some that all missed"},
		"two mirrors":                                    {all[:12], all[12:], []trace.TapEvidence{tap("a", nil), tap("b", nil)}, trace.Unproven, "none saw a packet of another's"},
	} {
		t.Run(name, func(t *testing.T) {
			got := readAs(t, recorded(t, twoTaps, append(by("a", c.a, 0), by("b", c.b, 0)...), nil, c.taps...), kept)
			for _, e := range c.taps {
				for range e.Outages {
					require.Equal(t, trace.Broken, got.Completeness.State, "nobody knows from the file alone that the others were sound")
					require.Contains(t, fmt.Sprint(got.Completeness.Reasons), "tap "+e.Name+" did not capture for")
				}
			}
			run := &trace.Trace{Capture: got, Evidence: trace.Evidence{Taps: c.taps}}
			complete := run.Completeness(trace.Scope{})
			require.Equal(t, c.state, complete.State, "%v", complete.Reasons)
			require.Contains(t, fmt.Sprint(complete.Reasons), c.says)

			// What taps show of each other counts nothing; the carrier does.
			run.Evidence.Carrier = countOf(got)
			complete = run.Completeness(trace.Scope{})
			if c.state == trace.Broken {
				require.Equal(t, trace.Broken, complete.State)
				return
			}
			require.Equal(t, trace.Whole, complete.State, "%v", complete.Reasons)
			require.Contains(t, fmt.Sprint(complete.Reasons), "the carrier counted the same")
		})
	}
}

// countOf is the count of a carrier that saw what a record holds.
func countOf(c *trace.Capture) *trace.CarrierCount {
	count := &trace.CarrierCount{}
	for d, tally := range c.Total.Tally {
		count.Packets[d], count.Bytes[d] = tally.AirPackets, tally.AirBytes
	}
	return count
}

func TestPlacesAreKeptApart(t *testing.T) {
	all := traffic(synth.GRE)
	taps := []trace.TapPlace{{Name: "a", Place: "outside"}, {Name: "b", Place: "inside"}, {Name: "c", Place: "outside"}}
	frames := append(append(by("a", all, 0), by("b", synth.Without(all, 7), time.Hour)...), by("c", synth.Without(all, 3), time.Second)...)
	got := readAs(t, recorded(t, taps, frames, nil), kept)
	sameRecord(t, readAs(t, recorded(t, twoTaps[:1], by("a", all, 0), nil), kept), got)
	require.Equal(t, []string{"outside", "inside"}, got.Places())
	require.Len(t, got.Taps, 2)
	sameRecord(t, readAs(t, recorded(t, twoTaps[:1], by("a", synth.Without(all, 7), time.Hour), nil), kept), got.Others[0])

	run := &trace.Trace{Capture: got, Evidence: trace.Evidence{Taps: []trace.TapEvidence{
		{Name: "a", Place: "outside", ReadyBefore: true, Flushed: true, CanaryBefore: true, CanaryAfter: true},
		{Name: "b", Place: "inside", ReadyBefore: true, Flushed: true, Dropped: 4}}}}
	run.Evidence.Carrier = countOf(got)
	require.Equal(t, trace.Whole, run.Completeness(trace.Scope{}).State, "another place's loss is not this one's")
	inside := run.At("inside")
	require.Equal(t, trace.Broken, inside.Completeness(trace.Scope{}).State)
	require.Same(t, run, run.At("outside"))
	require.Nil(t, run.At("elsewhere"))
	require.Nil(t, (&trace.Trace{Capture: &trace.Capture{}}).At(""))
}

func TestDeclarationsThatNameNoTaps(t *testing.T) {
	all := traffic(synth.Plain)
	require.Empty(t, trace.DeclareTaps(twoTaps[:1]))
	for name, taps := range map[string][]trace.TapPlace{
		"twice the same": {{Name: "a"}, {Name: "a"}},
		"too many":       make([]trace.TapPlace, 100),
	} {
		t.Run(name, func(t *testing.T) {
			for i := range taps {
				if taps[i].Name == "" {
					taps[i].Name = fmt.Sprint("tap", i)
				}
			}
			got := readAs(t, recorded(t, taps, by(taps[0].Name, all, 0), nil), kept)
			require.Empty(t, got.Taps)
			require.EqualValues(t, len(all), got.Frames)
		})
	}
}
