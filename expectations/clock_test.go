package expectations

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/packet"
	"github.com/tollgate-iot/tollgate/harness/trace"
	"github.com/tollgate-iot/tollgate/harness/verdict"
)

// A clock that was set decides nothing that hangs on it, neither way; what does not hang on it is judged as ever.
func TestClaimsOverAClockThatWasSet(t *testing.T) {
	step := trace.ClockStep{At: at(1).UnixNano(), By: -time.Hour}
	for name, c := range map[string]struct {
		claim string
		run   verdict.Verdict // of a run
		bare  verdict.Verdict // of a capture that belongs to none
	}{
		"a gap that is short": {"gaps: <= 1h", verdict.Inconclusive, verdict.Inconclusive},
		"a gap that is long":  {"gaps: <= 1ms", verdict.Inconclusive, verdict.Inconclusive},
		"a duration":          {"duration: <= 1h", verdict.Inconclusive, verdict.Inconclusive},
		"of a flow":           {"duration: {flow: <= 1ms}", verdict.Inconclusive, verdict.Inconclusive},
		"a silence":           {"quiet: {from: begin, for: 1ms}", verdict.Inconclusive, verdict.Inconclusive},
		"a time":              {"time: {from: first_packet, to: last_packet, is: <= 1h}", verdict.Inconclusive, verdict.Inconclusive},
		"packets, in windows told by their times": {"packets: <= 1000", verdict.Inconclusive, verdict.Pass},
		"resets": {"resets: none", verdict.Inconclusive, verdict.Pass},
	} {
		t.Run(name, func(t *testing.T) {
			r := record(conversation(packet.TCP, "52.219.0.180:80", "", exchange("", "")...))
			require.NotContains(t, judgeOne(t, r, Options{}, c.claim).Reason, "can't be trusted", "the clock is right")
			r.Capture.Steps = []trace.ClockStep{step}
			got := judgeOne(t, r, Options{}, c.claim)
			require.Equal(t, c.run, got.Verdict, got.Reason)
			require.Contains(t, got.Reason, "the clock of the capture was set back by 1h0m0s")
			r.Begin, r.End = time.Time{}, time.Time{}
			require.Equal(t, c.bare, judgeOne(t, r, Options{}, c.claim).Verdict)
		})
	}
}

// Where packets are not in the order of their times, phases that hang on it are not to be trusted, and all else is.
func TestUnsorted(t *testing.T) {
	tr := record(clean()...)
	tr.Capture.Disorder = int64(20 * time.Millisecond)
	for claim, want := range map[string]verdict.Verdict{
		"packets: {up: 7}":           verdict.Pass,
		"resets: none":               verdict.Pass,
		"quiet: {from: last_packet}": verdict.Pass,
		"time: {from: first_syn, to: first_fin, is: <= 9s}":      verdict.Pass,
		"packets: {up: <= 9}\n    phase: request":                verdict.Inconclusive,
		"phases: {absent: reset}":                                verdict.Pass,
		"phases: {absent: [reset, keepalive]}":                   verdict.Inconclusive,
		"packets: {up: 0}\n    phase: icmp":                      verdict.Pass,
		"quiet: {from: last_packet, except: icmp}":               verdict.Pass,
		"quiet: {from: last_packet, except: teardown}":           verdict.Inconclusive,
		"quiet: {from: last_request, to: first_fin}":             verdict.Inconclusive,
		"time: {from: first_syn, to: first_response, is: <= 9s}": verdict.Inconclusive,
	} {
		f := judgeOne(t, tr, Options{}, claim)
		require.Equal(t, want, f.Verdict, "%s: %s", claim, f.Reason)
		if want == verdict.Inconclusive {
			require.Contains(t, f.Reason, "the phases of the packets can't be trusted; not decided, because packets lie up to 20ms behind later ones")
		}
	}
}
