package harness

import (
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/flow"
	"github.com/tollgate-iot/tollgate/harness/packet"
	"github.com/tollgate-iot/tollgate/harness/report"
	"github.com/tollgate-iot/tollgate/harness/runner"
	"github.com/tollgate-iot/tollgate/harness/scenario"
	"github.com/tollgate-iot/tollgate/harness/trace"
	"github.com/tollgate-iot/tollgate/harness/verdict"
)

func needsSim(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the simulated bench needs a pseudo terminal, which Windows has not")
	}
}

// A run judged again, by the same Tollgate, gives the same bytes; with other expectations another verdict.
func TestRunAndJudgeAgain(t *testing.T) {
	needsSim(t)
	r := RunT(t, "button/click", Options{Strict: true})
	require.NotEmpty(t, r.Dir)
	again, err := JudgeRun(r.Dir, nil, true)
	require.NoError(t, err)
	first, err := json.Marshal(r.Findings)
	require.NoError(t, err)
	second, err := json.Marshal(again.Findings)
	require.NoError(t, err)
	require.Equal(t, string(first), string(second))
	b, err := report.JSON(again)
	require.NoError(t, err)
	saved, err := os.ReadFile(filepath.Join(r.Dir, report.ResultFile))
	require.NoError(t, err)
	require.Equal(t, string(saved), string(b))

	set, err := Expectations("wio-lte/http", nil)
	require.NoError(t, err)
	other, err := JudgeRun(r.Dir, set, false)
	require.NoError(t, err)
	require.Equal(t, verdict.Inconclusive, other.Verdict, "a click has no window get")
}

// The canaries are Tollgate's own: a claim over the whole run does not count them, completeness does.
func TestCanariesAreNotTheDevices(t *testing.T) {
	needsSim(t)
	file := filepath.Join(t.TempDir(), "quiet.yaml")
	require.NoError(t, os.WriteFile(file, []byte(`name: quiet
device: {model: wio-lte}
setup:
  - device.activate:
steps:
  - device.udp: {to: "beam.soracom.io:23080", send: hello}
expect:
  - packets: {up: 2, down: 2}
  - phases: {absent: [icmp]}
`), 0o644))
	r, err := Run(t.Context(), file, Options{Out: t.TempDir()})
	require.NoError(t, err)
	for _, f := range r.Findings {
		require.Equal(t, verdict.Pass, f.Verdict, "%s: %s", f.Claim, f.Reason)
	}
	require.Equal(t, trace.Whole, r.Trace.Capture.Completeness.State)
}

func TestWithoutCanaries(t *testing.T) {
	at := func(s int64) flow.Packet { return flow.Packet{Time: s * int64(time.Second)} }
	event := func(s int64, kind trace.EventKind, name, state string) trace.Event {
		return trace.Event{Time: time.Unix(s, 0), Kind: kind, Name: name, State: state}
	}
	spans := canaries([]trace.Event{
		event(5, trace.EventTap, "mirror", "canary"), // was never sent
		event(10, trace.EventCarrier, "canary", "begin"), event(12, trace.EventTap, "mirror", "canary"),
		event(20, trace.EventCarrier, "canary", "begin"), event(30, trace.EventTap, "mirror", "canary missed"),
	})
	require.Equal(t, []span{{10e9, 12e9}, {20e9, 30e9}}, spans)
	only := &flow.Flow{ID: 0, Kind: packet.ICMP, Packets: []flow.Packet{at(10), at(11), at(25)}}
	mixed := &flow.Flow{ID: 1, Kind: packet.ICMP, Packets: []flow.Packet{at(11), at(15)}}
	udp := &flow.Flow{ID: 2, Kind: packet.UDP, Packets: []flow.Packet{at(11)}}
	cut := &flow.Flow{ID: 3, Kind: packet.Other, Proto: 1, Packets: []flow.Packet{at(11)}} // no more than its IP header was captured
	got := withoutCanaries([]*flow.Flow{only, mixed, udp, cut}, spans)
	require.Len(t, got, 2)
	require.Equal(t, []flow.Packet{at(15)}, got[0].Packets)
	require.Len(t, mixed.Packets, 2, "the trace's own flow is not changed")
	require.Same(t, udp, got[1])
}

func TestSecrets(t *testing.T) {
	s := &scenario.Scenario{Pos: scenario.Pos{File: "s.yaml"}, Secrets: map[string]string{"password": "DEVICE_PASSWORD"}}
	got, err := secretsOf(s, func(name string) string { return "value of " + name })
	require.NoError(t, err)
	require.Equal(t, map[string]string{"password": "value of DEVICE_PASSWORD"}, got)
	_, err = secretsOf(s, func(string) string { return "" })
	require.ErrorAs(t, err, new(scenario.Errors), "a mistake that is told with all others")
	require.ErrorContains(t, err, "DEVICE_PASSWORD is not set")
}

// The files that a run is saved in are named once for those who write and those who read.
func TestNamesAgree(t *testing.T) {
	require.Equal(t, trace.CaptureFile, runner.CaptureFile)
}

func TestLint(t *testing.T) {
	dir := t.TempDir()
	files := map[string]struct{ text, want string }{
		"scenario.yaml": {"name: x\ndevice: {model: wio-lte}\nsteps:\n  - device.stats:\nexpect:\n  - resets: none\n", `did you mean "status"`},
		"claims.yaml":   {"expect:\n  - resetz: none\n", "resetz"},
		"bench.yaml":    {"bench: desk\ndevices:\n  a: {driver: toaster}\n", `no driver "toaster"`},
		"names.yaml":    {"name: x\ndevice: {model: wio-lte}\nsteps:\n  - device.status:\nexpect: [nobody/knows]\n", "nobody/knows"},
		"beside.yaml":   {"name: x\ndevice: {model: wio-lte}\nsteps:\n  - device.status:\nexpect: claims.yaml\n", "claims.yaml:2:5"},
		"good.yaml":     {"name: x\ndevice: {model: somebodys}\nsteps:\n  - device.anything:\nexpect:\n  - resets: none\n", ""},
		"unknown.yaml":  {"name: x\ndevice: {driver: somebodys}\nsteps:\n  - device.anything:\nexpect:\n  - resets: none\n", `no driver "somebodys"`},
	}
	for name, f := range files {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(f.text), 0o644))
	}
	for name, f := range files {
		err := Lint(filepath.Join(dir, name))
		if f.want == "" {
			require.NoError(t, err, name)
			continue
		}
		var errs scenario.Errors
		require.ErrorAs(t, err, &errs, name)
		require.ErrorContains(t, err, f.want, name)
	}
}

func TestVersion(t *testing.T) { require.NotEmpty(t, Version()) }
