package expectations

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/flow"
	"github.com/tollgate-iot/tollgate/harness/trace"
	"github.com/tollgate-iot/tollgate/harness/verdict"
)

// shorn makes all that packets carried be missing, as a snap length does, while the packets themselves were counted.
func shorn(t *trace.Trace) *trace.Trace {
	t.Evidence.Carrier = &trace.CarrierCount{}
	for d, tally := range t.Capture.Total.Tally {
		t.Evidence.Carrier.Packets[d], t.Evidence.Carrier.Bytes[d] = tally.AirPackets, tally.AirBytes
	}
	t.Capture.Completeness = trace.Completeness{State: trace.Broken,
		Holes: []trace.Hole{{Kind: trace.HolePayload, Flow: -1, Packets: 4, Reason: "4 packets cut short in the capture, behind their headers"}}}
	for _, f := range t.Capture.Flows {
		f.Name, f.Exchanges, f.Queries = "", nil, nil
		for i := range f.Packets {
			if f.Packets[i].Payload > 0 {
				f.Packets[i].Mark |= flow.Cut
			}
		}
	}
	return t
}

// What the headers tell is decided as if the rest were there, both ways; what packets carried is not.
func TestPacketsCutBehindTheirHeaders(t *testing.T) {
	for _, c := range []struct {
		claim string
		want  byte
	}{
		{"packets: <= 20", 'p'}, {"packets: >= 20", 'f'}, {"packets: {up: 8}", 'p'}, {"packets: {up: 9}", 'f'}, {"bytes: <= 2000", 'p'}, {"bytes: >= 5000", 'f'},
		{"packets: none\n    phase: keepalive", 'p'}, {"packets: {up: 2, down: 1}\n    phase: teardown", 'p'}, {"packets: {up: 2}\n    phase: dns", 'f'},
		{"packets: none\n    phase: mqtt_publish", 'i'}, {"packets: >= 7\n    phase: request", 'i'}, {"bytes: <= 9000\n    phase: tls_handshake", 'i'},
		{"resets: none", 'f'}, {"resets: 1", 'p'}, {"retransmissions: none", 'p'}, {"teardown: clean", 'f'}, {"teardown: reset_after_close", 'p'},
		{"flows: {tcp: 1}", 'p'}, {"flows: {tcp: 2}", 'f'}, {"phases: {present: [dns, teardown]}", 'p'}, {"phases: {absent: [reset]}", 'f'}, {"phases: {absent: [mqtt_ping]}", 'i'},
		{"dns: 1", 'p'}, {"dns: none", 'f'}, {"dns: {names: files.example.com}", 'i'}, {"dns: {only: files.example.com}", 'i'}, {"dns: {unanswered: none}", 'i'},
		{"destinations: [52.219.0.0/16, dns]", 'p'}, {"destinations: [10.0.0.0/8, dns]", 'f'}, {"destinations: {deny: ':80'}", 'f'}, {"destinations: [files.example.com, dns]", 'i'},
		{"packets: <= 20\n    flow: files.example.com", 'i'}, {"packets: <= 20\n    flow: 52.219.0.180", 'p'}, {"resets: none\n    flow: .example.com", 'i'},
		{"tls: {version: '>= 1.2'}", 'i'}, {"mqtt: {absent: connect}", 'i'}, {"gaps: <= 61s", 'p'}, {"gaps: <= 50s", 'f'}, {"duration: <= 50s", 'f'},
		{"quiet: {from: first_fin, for: 30s, except: teardown}", 'p'}, {"quiet: {from: first_fin, for: 30s, except: response}", 'i'}, {"quiet: {from: last_fin, to: end}", 'f'},
		{"time: {from: first_fin, to: first_rst, is: '>= 50s'}", 'p'}, {"time: {from: first_request, to: first_rst, is: '<= 1s'}", 'i'},
	} {
		f := judgeOne(t, shorn(record(lateReset()...)), Options{}, c.claim)
		require.Equal(t, letters[c.want], f.Verdict, "%s: %s", c.claim, f.Reason)
		strict := judgeOne(t, shorn(record(lateReset()...)), Options{Strict: true}, c.claim)
		require.Equal(t, f.Verdict, strict.Verdict, "%s: counted, whatever was cut: %s", c.claim, strict.Reason)
		if c.want == 'i' {
			require.Contains(t, f.Reason, "behind their headers", c.claim)
		}
	}
	uncounted := shorn(record(lateReset()...))
	uncounted.Evidence = trace.Evidence{}
	f := judgeOne(t, uncounted, Options{}, "retransmissions: none")
	require.Equal(t, verdict.Pass, f.Verdict)
	require.NotEmpty(t, f.Doubt, "it passes, and says what it rests on")
	require.Equal(t, verdict.Inconclusive, judgeOne(t, uncounted, Options{Strict: true}, "retransmissions: none").Verdict)
}
