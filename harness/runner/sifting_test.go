package runner

import (
	"context"
	"net/netip"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/tollgate-iot/tollgate/fixtures/synth"
	"github.com/tollgate-iot/tollgate/harness/bench"
	"github.com/tollgate-iot/tollgate/harness/pcap"
	"github.com/tollgate-iot/tollgate/harness/trace"
)

var laterAddr = netip.MustParseAddr("10.0.0.22")

// sharedMirror is a mirror of several devices: the run's under two addresses, one after the other, and two others.
func sharedMirror(o synth.Options) []synth.Frame {
	w := synth.New(o)
	server := synth.NewHost(serverAddr.String(), 0x5000)
	mine, others := synth.NewHost(deviceAddr.String(), 0x0100), []*synth.Host{synth.NewHost("10.0.0.3", 0x0300), synth.NewHost("10.0.0.4", 0x0400)}
	talk := func(device *synth.Host, port uint16) {
		c := w.TCP(device, port, server, 80).Open()
		c.Exchange(synth.Up, []byte("GET / HTTP/1.1\r\nHost: h\r\n\r\n"))
		for range 3 {
			for _, other := range others {
				w.UDP(other, 40000, server, 23080).Send(synth.Up, []byte("hello"))
			}
			c.Exchange(synth.Down, []byte("a part of the answer"))
		}
		c.Fin(synth.Up)
		c.Fin(synth.Down)
		c.Ack(synth.Up)
	}
	talk(mine, 40001)
	w.ARP(others[0], server)
	talk(others[0], 40001)
	talk(mine, 40002)
	talk(synth.NewHost(laterAddr.String(), 0x2200), 40003)
	talk(others[1], 40002)
	return w.Frames
}

// recordedBy gives the frames to a run's wire, which learns of the device's addresses before the frames of those numbers.
func recordedBy(t require.TestingT, dir string, frames []synth.Frame, keepAll bool, known map[int]netip.Addr) *trace.Trace {
	clock := newFastClock()
	tap := &fakeTap{}
	b := &bench.Bench{Name: "fake", Clock: clock, DevName: "fake-1", Taps: []bench.Tap{tap}}
	o := Options{Dir: dir, KeepMirror: keepAll}
	rec := newRecord(makePlan(nil, nil, nil), b, o)
	w, err := newWire(b, rec, o, true)
	require.NoError(t, err)
	ctx := context.Background()
	require.NoError(t, w.start(ctx))
	for i, f := range frames {
		if a, ok := known[i]; ok {
			require.True(t, w.know(a))
		}
		tap.push(f.Time, slices.Clone(f.Data))
	}
	if a, ok := known[len(frames)]; ok {
		require.True(t, w.know(a))
	}
	r := &run{bench: b, record: rec, wire: w, opts: o, carrier: newCarrier(nil, rec, w)}
	r.finish(ctx)
	w.close()
	require.NoError(t, rec.trace.Save(dir))
	loaded, err := trace.Load(dir)
	require.NoError(t, err)
	return loaded
}

// judgement is what a claim about the device can rest on.
type judgement struct {
	states  []trace.State
	missing []bool
	devices []trace.Device
	flows   int
}

func judgementOf(tr *trace.Trace, frames []synth.Frame) (j judgement) {
	third := len(frames) / 3
	for _, s := range []trace.Scope{{}, {From: frames[0].Time, To: frames[third].Time}, {From: frames[third].Time, To: frames[2*third].Time}, {From: frames[2*third].Time}} {
		for _, device := range []netip.Addr{{}, deviceAddr, laterAddr} {
			s.Device = device
			c := tr.Completeness(s)
			j.states = append(j.states, c.State)
			j.missing = append(j.missing, c.Missing != [2]uint64{})
		}
	}
	for _, d := range tr.Capture.Devices {
		d.Flows = nil // their numbers are those of the record
		j.devices = append(j.devices, d)
	}
	j.flows = len(tr.Capture.Flows)
	return j
}

// Leaving other devices' frames out of the record changes no judgement: not what was counted of the device, nor whether
// anything is missing, whatever the mirror lost, whomever it was, and whenever the addresses were known.
func TestOthersCanBeLeftOut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		mirror := rapid.SampledFrom([]synth.Mirror{synth.GRE, synth.GRESeq, synth.VXLAN, synth.Plain}).Draw(t, "mirror")
		whole := sharedMirror(synth.Options{Mirror: mirror})
		frames := synth.Without(whole, rapid.SliceOfN(rapid.IntRange(2, len(whole)), 0, 3).Draw(t, "lost")...)
		known := map[int]netip.Addr{rapid.IntRange(0, 30).Draw(t, "known at"): deviceAddr}
		if later := rapid.IntRange(31, len(frames)).Draw(t, "later address known at"); later > 0 {
			known[later] = laterAddr
		}
		record := func(keepAll bool) *trace.Trace {
			dir, err := os.MkdirTemp("", "sifting")
			require.NoError(t, err)
			defer os.RemoveAll(dir)
			return recordedBy(t, dir, frames, keepAll, known)
		}
		all, own := record(true), record(false)
		require.EqualValues(t, len(frames), all.Capture.Frames)
		require.Nil(t, all.Evidence.Mirror)
		require.NotNil(t, own.Evidence.Mirror)
		require.EqualValues(t, len(frames), own.Capture.Frames+own.Evidence.Mirror.Left)
		require.Equal(t, judgementOf(all, frames), judgementOf(own, frames))
	})
}

// What came before an address was known is in the record, and says so.
func TestAddressKnownLate(t *testing.T) {
	frames := sharedMirror(synth.Options{Mirror: synth.GRESeq})
	dir := t.TempDir()
	tr := recordedBy(t, dir, frames, false, map[int]netip.Addr{0: deviceAddr, len(frames): laterAddr})
	require.Len(t, tr.Capture.Devices, 2)
	require.Equal(t, tr.Capture.Devices[0].Tally[0].Packets, 2*tr.Capture.Devices[1].Tally[0].Packets, "it did the same once that the other did twice")
	require.Empty(t, tr.Evidence.Recording.Gaps)
	f, err := os.Open(dir + "/" + CaptureFile)
	require.NoError(t, err)
	defer f.Close()
	in, err := pcap.NewReader(f)
	require.NoError(t, err)
	var comments []string
	for {
		if _, err := in.Next(); err != nil {
			break
		}
		comments = append(comments, in.Comments()...)
	}
	require.Equal(t, []string{"captured before 10.0.0.22 was known to be the device's, as the 14 packets from here on"}, comments)
}

// A mirror of one device is recorded as it came, whatever is kept.
func TestOneDevicesMirror(t *testing.T) {
	frames := synth.WioLTEHTTP(synth.Options{Mirror: synth.GRESeq})
	tr := recordedBy(t, t.TempDir(), frames, false, map[int]netip.Addr{0: netip.MustParseAddr("10.213.7.42")})
	require.EqualValues(t, len(frames), tr.Capture.Frames)
	require.Nil(t, tr.Evidence.Mirror)
	require.False(t, tr.Analysis.Filtered)
}
