package expectations

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/flow"
	"github.com/tollgate-iot/tollgate/harness/packet"
	"github.com/tollgate-iot/tollgate/harness/trace"
	"github.com/tollgate-iot/tollgate/harness/verdict"
)

func TestNothingIsNeverAPass(t *testing.T) {
	require.Equal(t, verdict.Inconclusive, verdict.Of((&Set{}).Judge(record(clean()...), Options{})), "no claims")
	for _, claim := range []string{"packets: <= 8", "packets: none", "bytes: none", "resets: none", "retransmissions: <= 1", "flows: none", "phases: {absent: reset}", "teardown: clean",
		"dns: {unanswered: none}", "dns: {only: a.example}", "destinations: dns", "tls: {version: '>= 1.2'}", "mqtt: {absent: connect}", "quiet: {from: begin}", "duration: <= 1s", "gaps: <= 1s",
		"reconnect: {each: <= 1s}", "carrier: exact"} {
		f := judgeOne(t, record(), Options{}, claim)
		require.Equal(t, verdict.Inconclusive, f.Verdict, "%s in an empty record: %s", claim, f.Reason)
		require.NotEmpty(t, f.Reason)
		f = judgeOne(t, &trace.Trace{}, Options{}, claim)
		require.Equal(t, verdict.Inconclusive, f.Verdict, "%s without a capture: %s", claim, f.Reason)
		require.NotEmpty(t, f.Reason)
	}
	require.Equal(t, verdict.Fail, judgeOne(t, record(), Options{}, "packets: >= 1").Verdict, "not seen in a whole record")
	kept := record(clean()...)
	for _, f := range kept.Capture.Flows {
		f.Packets = nil
	}
	require.Contains(t, judgeOne(t, kept, Options{}, "packets: <= 99").Reason, "were not kept")
}

func TestStepsBecomeFindings(t *testing.T) {
	set, err := Parse("x.yaml", 1, []byte("- resets: none\n"))
	require.NoError(t, err)
	tr := record(clean()...)
	tr.Failed, tr.Trouble, tr.Interrupted = "expect 'Send OK' within 60s: not seen", "the port vanished", true
	fs := set.Judge(tr, Options{})
	require.Len(t, fs, 4)
	require.Equal(t, []verdict.Verdict{verdict.Fail, verdict.Inconclusive, verdict.Inconclusive, verdict.Pass}, []verdict.Verdict{fs[0].Verdict, fs[1].Verdict, fs[2].Verdict, fs[3].Verdict})
	require.Equal(t, "expect 'Send OK' within 60s: not seen", fs[0].Reason)
	require.Equal(t, verdict.Fail, verdict.Of(fs))
	require.NotEmpty(t, fs[3].Doubt, "of a run that did not go through")
	require.Equal(t, verdict.Inconclusive, judgeOneOf(t, tr, "packets: >= 100").Verdict, "what did not happen may be the bench's fault")
}

// judgeOneOf gives the last finding.
func judgeOneOf(t *testing.T, tr *trace.Trace, claim string) verdict.Finding {
	t.Helper()
	set, err := Parse("x.yaml", 1, []byte("- "+claim+"\n"))
	require.NoError(t, err)
	fs := set.Judge(tr, Options{})
	return fs[len(fs)-1]
}

func TestWindows(t *testing.T) {
	tr := record(lateReset()...)
	tr.Windows = []trace.Window{{Name: "get", From: at(-1), To: at(30)}, {Name: "idle", From: at(30), To: at(100)}, {Name: "later", From: at(200), To: at(300)}}
	require.Equal(t, verdict.Pass, judgeOne(t, tr, Options{}, "resets: none\n    window: get").Verdict)
	f := judgeOne(t, tr, Options{}, "resets: none\n    window: idle")
	require.Equal(t, verdict.Fail, f.Verdict)
	require.Equal(t, "window idle", f.Scope)
	require.Equal(t, verdict.Pass, judgeOne(t, tr, Options{}, "packets: {up: 1, down: none}\n    window: idle").Verdict)
	require.Equal(t, verdict.Pass, judgeOne(t, tr, Options{}, "packets: none\n    window: later").Verdict)
	f = judgeOne(t, tr, Options{}, "resets: none\n    window: later")
	require.Equal(t, verdict.Inconclusive, f.Verdict)
	require.Equal(t, "no packet in window later: nothing to judge", f.Reason)
	f = judgeOne(t, tr, Options{}, "resets: none\n    window: gett")
	require.Equal(t, "the record has no window gett, only get, idle, later", f.Reason)
	require.Equal(t, verdict.Pass, judgeOne(t, tr, Options{}, "duration: {window: <= 31s}\n    window: get").Verdict)
	require.Equal(t, verdict.Fail, judgeOne(t, broken(tr), Options{}, "duration: {window: <= 30s}\n    window: get").Verdict, "the run's own times are not lost with packets")
	f = judgeOne(t, record(lateReset()...), Options{}, "quiet: {from: end, for: 60s}\n    window: get")
	require.Equal(t, verdict.Inconclusive, f.Verdict)
	quiet := record(lateReset()...)
	quiet.Windows = tr.Windows
	f = judgeOne(t, quiet, Options{}, "quiet: {from: end, for: 60s}\n    window: get")
	require.Equal(t, verdict.Fail, f.Verdict, "a silence after a window reaches beyond it")
	require.Contains(t, f.Reason, "1 packet from 11:59:20.000 to 12:00:20.000, the first at 11:59:52.100 (packet 13)")
}

func TestEveryCycleIsJudged(t *testing.T) {
	tr := record(lateReset()...)
	for i := range 3 {
		tr.Windows = append(tr.Windows, trace.Window{Name: "cycle", Index: i + 1, From: at(float64(i)*30 - 5), To: at(float64(i)*30 + 25)})
	}
	f := judgeOne(t, tr, Options{}, "resets: none\n    window: cycle")
	require.Equal(t, verdict.Fail, f.Verdict)
	require.Equal(t, "1 of 3 windows: cycle[3]: 1 RST from the device at 11:59:52.100 (packet 13), 60.0 s after both FINs", f.Reason)
	require.Equal(t, verdict.Pass, judgeOne(t, tr, Options{}, "packets: >= 1\n    window: cycle[1]").Verdict)
	f = judgeOne(t, tr, Options{}, "packets: <= 20\n    window: cycle")
	require.Equal(t, "1 of 3 windows: cycle[2]: no packet in window cycle[2]: nothing to judge", f.Reason)
	f = judgeOne(t, tr, Options{}, "packets: 0..20\n    window: cycle[7]")
	require.Equal(t, "the record has no window cycle[7], only cycle", f.Reason)
}

// cuts is a record with three cuts: back after 20 s, after 100 s, and never.
func cuts() *trace.Trace {
	packets := func(when float64) sent { return sent{at: when, dir: up, phase: flow.Request, payload: 5} }
	f := conversation(3-1, "100.127.127.100:23080", "", packets(0), packets(100.5), packets(120), packets(300), packets(500))
	tr := record(f)
	call := func(when float64, name, state string) {
		tr.Timeline = append(tr.Timeline, trace.Event{Time: at(when), Kind: trace.EventCarrier, Name: name, State: state})
	}
	call(90, "delete_session", "begin")
	call(100, "delete_session", "ok")
	call(101, "session.deleted", "told")
	call(200, "delete_session", "ok")
	call(290, "session.created", "told")
	call(115, "session.created", "told") // told late
	call(510, "delete_session", "ok")
	return tr
}

func TestReconnect(t *testing.T) {
	f := judgeOne(t, cuts(), Options{}, "reconnect: {from: cut, to: first_packet_up, each: <= 90s, count: 3}")
	require.Equal(t, verdict.Fail, f.Verdict)
	require.Equal(t, "cut 2 at 12:02:10.000: the first packet up after 100.0 s, at most 90.0 s allowed; cut 3 at 12:07:20.000: not back, the first packet up never came", f.Reason)
	require.Equal(t, "20.0 s, 100.0 s, never", f.Got)
	require.Equal(t, uint64(4), f.Witnesses[0].Number)

	f = judgeOne(t, broken(cuts()), Options{}, "reconnect: {each: <= 90s}")
	require.Equal(t, verdict.Inconclusive, f.Verdict, "an earlier packet may be missing")
	tr := broken(cuts())
	tr.Timeline = tr.Timeline[:3]
	require.Equal(t, verdict.Pass, judgeOne(t, tr, Options{}, "reconnect: {each: <= 90s}").Verdict, "a packet that was seen is proof enough")
	require.Equal(t, verdict.Fail, judgeOne(t, tr, Options{}, "reconnect: {each: <= 90s, count: 2}").Verdict, "cuts are not lost with packets")

	tr = cuts()
	tr.Timeline = tr.Timeline[:6]
	f = judgeOne(t, tr, Options{}, "reconnect: {to: session, each: <= 90s}")
	require.Equal(t, verdict.Pass, f.Verdict, f.Reason)
	require.Equal(t, "back after each of 2 cuts: 15.0 s, 90.0 s", f.Reason)
	require.Equal(t, verdict.Inconclusive, judgeOne(t, record(clean()...), Options{}, "reconnect: {each: <= 90s}").Verdict, "no cut, nothing judged")
}

// The carrier may date the end of a session later than the beginning of the next, or tell of an end long past.
func TestReconnectPairsSessions(t *testing.T) {
	udp := func(when float64) sent { return sent{at: when, dir: up, phase: flow.Request, payload: 5} }
	told := func(when float64, name, session string) trace.Event {
		return trace.Event{Time: at(when), Kind: trace.EventCarrier, Name: name, State: "told", Values: map[string]string{"session": session}}
	}
	cut := trace.Event{Time: at(100), Kind: trace.EventCarrier, Name: "delete_session", State: "ok"}
	const claim = "reconnect: {from: cut, to: first_packet_up, each: <= 90s}"
	for name, c := range map[string]struct {
		events []trace.Event
		got    string
	}{
		"in order":             {[]trace.Event{told(1, "session.created", "a"), cut, told(103, "session.deleted", "a"), told(104, "session.created", "b")}, "10.0 s"},
		"back at once":         {[]trace.Event{told(1, "session.created", "a"), cut, told(109.9, "session.created", "b")}, "10.0 s"},
		"the end dated late":   {[]trace.Event{told(1, "session.created", "a"), cut, told(104, "session.created", "b"), told(400, "session.deleted", "a")}, "10.0 s"},
		"an earlier one's end": {[]trace.Event{told(1, "session.created", "a"), cut, told(101, "session.deleted", "z"), told(104, "session.created", "b")}, "10.0 s"},
		"no end told":          {[]trace.Event{told(1, "session.created", "a"), cut, told(104, "session.created", "b")}, "10.0 s"},
		"its beginning untold": {[]trace.Event{cut, told(104, "session.created", "b"), told(400, "session.deleted", "a")}, "10.0 s"},
		"nothing told":         {[]trace.Event{cut}, "2.0 s"},
	} {
		t.Run(name, func(t *testing.T) {
			// A packet of the old session still passes after the cut was accepted.
			tr := record(conversation(packet.UDP, "100.127.127.100:23080", "", udp(50), udp(102), udp(110), udp(500)))
			tr.Timeline = c.events
			f := judgeOne(t, tr, Options{}, claim)
			require.Equal(t, verdict.Pass, f.Verdict, f.Reason)
			require.Equal(t, c.got, f.Got)
		})
	}
}

// A packet that a mirror delivers behind the cut, or that passes while the network carries it out, is no proof that the
// device is back, nor that it was not still.
func TestLateBehindACut(t *testing.T) {
	udp := func(when float64) sent { return sent{at: when, dir: up, phase: flow.Request, payload: 5} }
	for name, c := range map[string]struct {
		packets      []sent
		claim        string
		whole, leaky verdict.Verdict
	}{
		"back, and perhaps at once":         {[]sent{udp(50), udp(100.1), udp(110)}, "reconnect: {each: <= 90s}", verdict.Pass, verdict.Pass},
		"in time only if it was back":       {[]sent{udp(50), udp(100.1), udp(200)}, "reconnect: {each: <= 90s}", verdict.Inconclusive, verdict.Inconclusive},
		"never, or at once":                 {[]sent{udp(50), udp(100.1)}, "reconnect: {each: <= 90s}", verdict.Inconclusive, verdict.Inconclusive},
		"late enough to be new":             {[]sent{udp(50), udp(100.25)}, "reconnect: {each: <= 90s}", verdict.Pass, verdict.Pass},
		"the time until it was back":        {[]sent{udp(50), udp(100.1), udp(110)}, "time: {from: cut, to: first_packet_up, is: <= 90s}", verdict.Pass, verdict.Pass},
		"the time, if it was back":          {[]sent{udp(50), udp(100.1)}, "time: {from: cut, to: first_packet_up, is: <= 90s}", verdict.Inconclusive, verdict.Inconclusive},
		"silent but for one on its way":     {[]sent{udp(50), udp(100.1)}, "quiet: {from: cut, for: 1s}", verdict.Inconclusive, verdict.Inconclusive},
		"not silent":                        {[]sent{udp(50), udp(100.1), udp(100.4)}, "quiet: {from: cut, for: 1s}", verdict.Fail, verdict.Fail},
		"silent, or one came late":          {[]sent{udp(50), udp(101.1)}, "quiet: {from: cut, for: 1s}", verdict.Inconclusive, verdict.Inconclusive},
		"silent for long enough":            {[]sent{udp(50), udp(101.3)}, "quiet: {from: cut, for: 1s}", verdict.Pass, verdict.Inconclusive},
		"what is seen breaks the record's":  {[]sent{udp(0), udp(0.1)}, "quiet: {from: begin}", verdict.Fail, verdict.Fail},
		"what is seen breaks the session's": {[]sent{udp(50), udp(105.1)}, "quiet: {from: session, for: 1s}", verdict.Fail, verdict.Fail},
		"the time since the session":        {[]sent{udp(50), udp(105.1)}, "time: {from: session, to: first_packet_up, is: <= 1s}", verdict.Pass, verdict.Pass},
		"up to the cut, or one came late":   {[]sent{udp(50), udp(100.1)}, "quiet: {from: first_request, to: cut}", verdict.Inconclusive, verdict.Inconclusive},
	} {
		t.Run(name, func(t *testing.T) {
			tr := record(conversation(packet.UDP, "100.127.127.100:23080", "", c.packets...))
			tr.Timeline = []trace.Event{{Time: at(100), Kind: trace.EventCarrier, Name: "delete_session", State: "ok"}}
			if strings.Contains(c.claim, "session") {
				tr.Timeline = append(tr.Timeline, trace.Event{Time: at(105), Kind: trace.EventCarrier, Name: "session.created", State: "told"})
			}
			f := judgeOne(t, tr, Options{}, c.claim)
			require.Equal(t, c.whole, f.Verdict, f.Reason)
			require.Equal(t, c.leaky, judgeOne(t, broken(tr), Options{}, c.claim).Verdict)
			if c.whole == verdict.Inconclusive {
				require.Contains(t, f.Reason, "not decided, because what came may have been sent before: a mirror may deliver a packet 250 ms late")
			}
		})
	}
}

// A packet that a step awaited and that was not seen is no failure of the device's where packets may be missing.
func TestStepsUnseen(t *testing.T) {
	set, err := Parse("claims.yaml", 1, []byte("expect:\n  - resets: none\n"))
	require.NoError(t, err)
	for name, c := range map[string]struct {
		record *trace.Trace
		unseen bool
		want   verdict.Verdict
	}{
		"whole":                      {record(clean()...), true, verdict.Fail},
		"unproven":                   {unproven(record(clean()...)), true, verdict.Inconclusive},
		"broken":                     {broken(record(clean()...)), true, verdict.Inconclusive},
		"told by the device, broken": {broken(record(clean()...)), false, verdict.Fail},
	} {
		t.Run(name, func(t *testing.T) {
			c.record.Failed, c.record.Unseen = "await: no such packet was seen within 2m (x.yaml:3)", c.unseen
			f := set.Judge(c.record, Options{})[0]
			require.Equal(t, "step", f.Kind)
			require.Equal(t, c.want, f.Verdict, f.Reason)
			require.Contains(t, f.Reason, c.record.Failed)
			require.Equal(t, c.want == verdict.Inconclusive, f.Doubt != "")
		})
	}
}

func TestDoubtSpreads(t *testing.T) {
	tr := record(lateReset()...)
	tr.Capture.Completeness = trace.Completeness{State: trace.Broken, Reasons: []string{"a hole"},
		Holes: []trace.Hole{{Kind: trace.HoleSequence, Flow: 0, From: at(0).UnixNano(), To: at(1).UnixNano(), Reason: "a hole"}}}
	f := judgeOne(t, tr, Options{}, "packets: <= 99\n    flow: ':80'")
	require.Equal(t, verdict.Inconclusive, f.Verdict, "a mirror that lost a packet there may have lost one here")
	require.Contains(t, f.Reason, "elsewhere")
	tr.Capture.Completeness.Holes[0].Kind = trace.HoleDrops
	require.Equal(t, verdict.Pass, judgeOne(t, tr, Options{}, "packets: <= 99\n    flow: ':80'").Verdict, "a loss that was counted where it happened leaves the rest as it was")
}
