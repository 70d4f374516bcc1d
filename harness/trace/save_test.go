package trace_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/fixtures/synth"
	"github.com/tollgate-iot/tollgate/harness/flow"
	"github.com/tollgate-iot/tollgate/harness/trace"
)

// aRun is a run's record with something in every field that is saved.
func aRun() *trace.Trace {
	begin := time.Date(2026, 3, 8, 11, 58, 50, 123456789, time.UTC)
	return &trace.Trace{
		Scenario: "wio-lte/http", File: "scenarios/wio-lte/http.yaml", About: "one GET", Device: "wio-1", Model: "wio-lte", Bench: "sim",
		Account: trace.Soracom, DeviceAddrs: []netip.Addr{netip.MustParseAddr("10.213.7.42")},
		Begin: begin, End: begin.Add(2 * time.Minute), Wall: 2 * time.Second,
		Trouble: "the carrier was silent", Failed: "expect 'Send OK'", Unseen: true, Interrupted: true,
		Timeline: []trace.Event{
			{Time: begin, Wall: begin, Kind: trace.EventStep, Name: "device.activate", State: "begin", Step: "setup[0]", Line: 9},
			{Time: begin.Add(time.Second), Kind: trace.EventConsole, Text: "Send OK 5 hello \xe2\x82\xac <&>\x1b[0m", Values: map[string]string{"a": "b"}},
			{Time: begin, Clock: "carrier", Kind: trace.EventCarrier, Name: "session.created"},
		},
		Windows: []trace.Window{{Name: "get", From: begin, To: begin.Add(time.Minute)}, {Name: "cycle", Index: 2, From: begin, To: begin}},
		Evidence: trace.Evidence{Taps: []trace.TapEvidence{{Name: "mirror", ReadyBefore: true, Received: 17, Outages: []trace.Outage{{From: begin, To: begin.Add(time.Second), Cause: "ssh: Broken pipe"}, {From: begin.Add(time.Minute), Cause: "again"}}}}, Carrier: &trace.CarrierCount{Packets: flow.Both[uint64]{10, 7}},
			Recording: &trace.RecordingEvidence{Parts: 2, Frames: 17, Gaps: []trace.RecordingGap{{From: begin, To: begin.Add(time.Second), Frames: 3, Cause: "no space left on device"}}, Unended: "no space left on device"},
			Mirror:    &trace.MirrorEvidence{Left: 12, Holes: []trace.Hole{{Kind: trace.HoleGRE, From: 1, To: 2, Flow: -1, Packets: 1, Reason: "1 packet missing"}}, Whole: "all of it"}},
		Analysis: trace.Options{Devices: []netip.Prefix{netip.MustParsePrefix("10.213.0.0/16")}, VXLANPorts: []uint16{8472}, SameMirror: true, Filtered: true, Idle: time.Hour, Linger: time.Minute},
	}
}

func TestSaveAndLoad(t *testing.T) {
	dir := t.TempDir()
	want := aRun()
	writeCapture(t, filepath.Join(dir, trace.CaptureFile), synth.WioLTEHTTP(synth.Options{Mirror: synth.GRE}))
	var err error
	f, err := os.Open(filepath.Join(dir, trace.CaptureFile))
	require.NoError(t, err)
	o := want.Analysis
	o.KeepFlows, o.KeepPackets = true, true
	want.Capture, err = trace.Read(f, trace.CaptureFile, o)
	require.NoError(t, err)
	require.NoError(t, f.Close())

	require.NoError(t, want.Save(dir))
	got, err := trace.Load(dir)
	require.NoError(t, err)
	require.Equal(t, want, got)
}

func TestSaveWithoutCapture(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, aRun().Save(dir))
	got, err := trace.Load(dir)
	require.NoError(t, err)
	require.Equal(t, aRun(), got)
}

func TestLoadRefuses(t *testing.T) {
	for name, c := range map[string]struct{ text, says string }{
		"nothing":          {"", "line 1"},
		"no json":          {"hello\n", "line 1"},
		"other json":       {"{}\n", "it is no trace"},
		"a later form":     {`{"tollgate_trace": 99}` + "\n", "another version"},
		"a broken line":    {`{"tollgate_trace": 1}` + "\n{\"event\": \n", "line 2"},
		"no capture there": {`{"tollgate_trace": 1, "capture": true}` + "\n", trace.CaptureFile},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(dir, trace.TraceFile), []byte(c.text), 0o644))
			_, err := trace.Load(dir)
			require.ErrorContains(t, err, c.says)
		})
	}
	_, err := trace.Load(t.TempDir())
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestSavedLinesAreOneJSONObjectEach(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, aRun().Save(dir))
	text, err := os.ReadFile(filepath.Join(dir, trace.TraceFile))
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	require.Len(t, lines, 1+3+2+1)
	for _, l := range lines {
		require.True(t, strings.HasPrefix(l, "{") && strings.HasSuffix(l, "}"), l)
	}
}

func writeCapture(t *testing.T, path string, frames []synth.Frame) {
	f, err := os.Create(path)
	require.NoError(t, err)
	require.NoError(t, synth.WritePcapng(f, frames))
	require.NoError(t, f.Close())
}
