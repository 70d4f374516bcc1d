package expectations

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/tollgate-iot/tollgate/harness/flow"
	"github.com/tollgate-iot/tollgate/harness/packet"
	"github.com/tollgate-iot/tollgate/harness/trace"
	"github.com/tollgate-iot/tollgate/harness/verdict"
)

// The laws of this file: take a capture of which the findings are known, and do to it what a bad mirror does. Then
//
//   - where loss is provable, every finding is the true one or inconclusive;
//   - where the mirror only doubled or swapped packets, every finding is the same, down to the value measured;
//   - where packets are gone and nothing proves it, a strict judgement still is the true one or inconclusive, and one
//     that is not strict decides more than that only in findings that say what they rest on.
//
// CI runs many cases (-rapid.checks); a plain go test runs some.

// specimen is a fixture with the truth about it.
type specimen struct {
	name    string
	frames  []frame
	options trace.Options
	windows []trace.Window
	events  []trace.Event
	begin   time.Time
	end     time.Time
	set     *Set
	truth   []verdict.Finding
	alike   map[int]bool // frames that a copy can't be told from: bare ACKs without an IP identification (IPv6)
}

// specimens are the fixtures whose truth is known: those that nothing is missing from, once with the devices inferred
// and once told.
func specimens(t *testing.T) []*specimen {
	var out []*specimen
	for _, name := range fixtureNames(t) {
		frames := hurried(framesOf(t, name))
		for _, told := range []bool{false, true} {
			s := &specimen{name: name, frames: frames, options: trace.Options{KeepFlows: true, KeepPackets: true}}
			if told {
				s.name += ", device told"
				s.options.Devices = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
			}
			s.cut()
			whole := s.trace(t, frames, allCounted)
			if whole.Capture.Completeness.State == trace.Broken || len(whole.Capture.Devices) == 0 {
				continue
			}
			set, err := Parse("laws.yaml", 1, []byte(laws(whole)))
			require.NoError(t, err)
			s.set, s.truth = set, set.Judge(whole, Options{})
			s.alike = bareACKs(whole)
			out = append(out, s)
		}
	}
	require.Greater(t, len(out), 20)
	return out
}

// bareACKs gives the frames, counted from 0, that carry an ACK and nothing else over IPv6.
func bareACKs(t *trace.Trace) map[int]bool {
	out := map[int]bool{}
	for _, f := range t.Capture.Flows {
		for _, p := range f.Packets {
			if f.Kind == packet.TCP && f.Peer.Addr().Is6() && p.Payload == 0 && p.Flags&(packet.SYN|packet.FIN) == 0 {
				out[int(p.Number)-1] = true
			}
		}
	}
	return out
}

// hurried makes the pauses between packets as short as they are on a fast network, so that a mirror's jitter reaches
// over several packets; long pauses stay what they are.
func hurried(frames []frame) []frame {
	out := slices.Clone(frames)
	for i := 1; i < len(frames); i++ {
		pause := frames[i].time - frames[i-1].time
		if pause < int64(time.Second) {
			pause /= 40
		}
		out[i].time = out[i-1].time + pause
	}
	return out
}

// cut puts two windows around the longest pause, and a cut of the session into the middle of it.
func (s *specimen) cut() {
	at := 1
	for i := range s.frames {
		if i > 0 && s.frames[i].time-s.frames[i-1].time > s.frames[at].time-s.frames[at-1].time {
			at = i
		}
	}
	first, last := s.frames[0].time, s.frames[len(s.frames)-1].time
	middle := time.Unix(0, (s.frames[at].time+s.frames[at-1].time)/2)
	if s.frames[at].time-s.frames[at-1].time < int64(10*jitter) { // no pause: a swap must not cross a window's edge
		middle = time.Unix(0, last).Add(time.Second)
	}
	s.begin, s.end = time.Unix(0, first).Add(-10*time.Second), time.Unix(0, last).Add(10*time.Second)
	s.windows = []trace.Window{{Name: "early", From: s.begin, To: middle}, {Name: "late", From: middle, To: s.end},
		{Name: "cycle", Index: 1, From: s.begin, To: middle}, {Name: "cycle", Index: 2, From: middle, To: s.end}}
	s.events = []trace.Event{{Time: middle, Kind: trace.EventCarrier, Name: "delete_session", State: "ok"}}
}

// tale is what there is beside the packets to tell a loss by.
type tale int

const (
	nothingTold  tale = iota
	canariesTold      // the tap was not blind, and counted no loss
	allCounted        // and the mirror counted every packet
)

// trace reads frames as this specimen's run.
func (s *specimen) trace(t require.TestingT, frames []frame, told tale) *trace.Trace {
	c, err := trace.Read(bytes.NewReader(pack(frames)), "fixture.pcap", s.options)
	require.NoError(t, err)
	tr := &trace.Trace{Account: trace.Soracom, Capture: c, Begin: s.begin, End: s.end, Windows: s.windows, Timeline: s.events}
	if told != nothingTold {
		tr.Evidence = allEvidence(c.Frames)
	}
	if told == canariesTold {
		tr.Evidence.Mirror = nil
	}
	return tr
}

// some draws a tenth of the claims, with the truth about them.
func (s *specimen) some(t *rapid.T) (claims *Set, truth []verdict.Finding) {
	const share = 10
	claims = &Set{}
	for i := rapid.IntRange(0, share-1).Draw(t, "claims"); i < len(s.truth); i += share {
		claims.Claims, truth = append(claims.Claims, s.set.Claims[i]), append(truth, s.truth[i])
	}
	return claims, truth
}

// laws writes claims of every kind, true ones and false ones, with the numbers around those of the record.
func laws(t *trace.Trace) string {
	var b strings.Builder
	claim := func(format string, args ...any) { fmt.Fprintf(&b, "- "+format+"\n", args...) }
	around := func(n uint64, write func(bound string)) {
		for _, d := range []int64{-1, 0, 1} {
			if v := int64(n) + d; v >= 0 {
				write(fmt.Sprintf("%d", v))
				write(fmt.Sprintf("'<= %d'", v))
				write(fmt.Sprintf("'>= %d'", v))
			}
		}
	}
	total := t.Capture.Total.Tally
	for _, scope := range []string{"", "\n  window: early", "\n  window: late", "\n  window: cycle", "\n  flow: {proto: tcp}", "\n  flow: {proto: udp}", "\n  flow: beam.soracom.io", "\n  counted: captured"} {
		around(total[0].AirPackets, func(n string) { claim("packets: {up: %s}%s", n, scope) })
		around(total[1].AirPackets, func(n string) { claim("packets: {down: %s}%s", n, scope) })
		around(total[0].AirPackets+total[1].AirPackets, func(n string) { claim("packets: %s%s", n, scope) })
		around(total[0].AirBytes+36*total[0].AirPackets, func(n string) { claim("bytes: {up: %s}%s", n, scope) })
		around(total[1].AirBytes, func(n string) { claim("bytes: {down: %s}%s", n, scope) })
		claim("packets: none%s", scope)
		claim("packets: '>= 3'%s", scope)
	}
	for phase, n := range t.Capture.Total.Phases {
		name := flow.Phase(phase).String()
		around(n[0].AirPackets, func(c string) { claim("packets: {up: %s}\n  phase: %s", c, name) })
		around(n[1].AirPackets, func(c string) { claim("packets: {down: %s}\n  phase: %s", c, name) })
		claim("phases: {present: %s}", name)
		claim("phases: {absent: %s}", name)
	}
	for _, scope := range []string{"", "\n  window: late", "\n  flow: {proto: tcp}"} {
		for _, way := range []string{"clean", "reset_after_close", "reset", "half_closed", "refused", "unanswered", "open", "[clean, reset_after_close]", "[reset, reset_after_close, refused]", "[half_closed, open]"} {
			claim("teardown: %s%s", way, scope)
		}
		for n := range 4 {
			for _, kind := range []string{"resets", "retransmissions"} {
				for _, shape := range []string{"%s: {up: %d}", "%s: {down: %d}", "%s: '<= %d'", "%s: '>= %d'"} {
					claim(shape+"%s", kind, n, scope)
				}
			}
			claim("flows: {tcp: %d}%s", n, scope)
			claim("flows: {udp: '<= %d'}%s", n, scope)
			claim("flows: '>= %d'%s", n, scope)
		}
	}
	for _, c := range []string{"resets: none", "resets: {up: none}", "resets: {down: none}", "retransmissions: none",
		"dns: {names: beam.soracom.io}", "dns: {names: mqtt.example.com}", "dns: {only: .amazonaws.com}", "dns: {only: .soracom.io}", "dns: {unanswered: none}", "dns: {unanswered: 1}", "dns: {count: 1}", "dns: {count: none}", "dns: {count: '<= 1'}",
		"destinations: ['beam.soracom.io:8888', dns]", "destinations: [beam.soracom.io, dns]", "destinations: [.amazonaws.com, dns]", "destinations: [mqtt.example.com, dns]", "destinations: [100.64.0.0/10]",
		"destinations: [0.0.0.0/0]", "destinations: [52.0.0.0/8, 198.51.100.0/24, dns]", "destinations: {deny: .soracom.io}", "destinations: {deny: 100.127.127.100}", "destinations: {deny: ':80'}", "destinations: {deny: mqtt.example.com}",
		"tls: {version: '>= 1.2'}", "tls: {version: '>= 1.3'}", "tls: {version: 1.2}", "tls: {handshake: <= 5641}", "tls: {handshake: <= 5640}", "tls: {handshake: '>= 1 kB'}",
		"mqtt: {order: [connect, connack, subscribe, suback, publish, puback, pingreq, pingresp, disconnect]}", "mqtt: {order: [connect, publish, disconnect]}", "mqtt: {order: [publish, connect]}",
		"mqtt: {order: [puback, publish]}", "mqtt: {present: [puback, pingresp]}", "mqtt: {absent: pingreq}", "mqtt: {absent: unsubscribe}", "mqtt: {publish: {qos: 1, topic: devices/+/temperature, count: 1}}",
		"mqtt: {publish: {count: none}}", "mqtt: {publish: {count: 2}}", "mqtt: {publish: {direction: down, retain: true, count: 1}}",
		"quiet: {from: begin}", "quiet: {from: begin, for: 5s}", "quiet: {from: first_fin, to: end}", "quiet: {from: last_packet}", "quiet: {from: end, for: 1s}\n  window: early", "quiet: {from: begin, to: cut, direction: down}",
		"quiet: {from: last_packet_down, direction: down}", "quiet: {from: first_packet, direction: up, except: [teardown, reset]}",
		"duration: '<= 5s'", "duration: '>= 2s'", "duration: '<= 45s'", "duration: {flow: '<= 5s'}", "duration: {flow: '>= 20s'}", "duration: {window: '<= 1h'}\n  window: early",
		"gaps: '<= 5s'", "gaps: '>= 5s'", "gaps: {up: '<= 45s'}", "gaps: {down: '>= 20s'}",
		"time: {from: begin, to: first_packet, is: '<= 12s'}", "time: {from: begin, to: first_packet, is: '<= 5s'}", "time: {from: first_packet_up, to: first_fin, is: '<= 10s'}", "time: {from: first_fin, to: first_rst, is: '>= 10s'}",
		"time: {from: begin, to: last_packet, is: '>= 15s'}", "time: {from: cut, to: first_packet_up, is: '<= 40s'}",
		"reconnect: {each: '<= 20s', count: 1}", "reconnect: {each: '<= 40s'}", "reconnect: {each: '>= 1s'}", "reconnect: {count: 2}", "carrier: exact"} {
		claim("%s", c)
	}
	return b.String()
}

// jitter is how far apart packets may be that the mirror swaps.
const jitter = 3 * time.Millisecond

// doubled gives some frames twice, the second copy right behind or a little later.
func (s *specimen) doubled(t *rapid.T) []frame {
	frames := s.frames
	out := slices.Clone(frames)
	for range rapid.IntRange(1, 4).Draw(t, "copies") {
		i := rapid.IntRange(0, len(frames)-1).Draw(t, "copied")
		if s.alike[i] {
			continue
		}
		twin := frames[i]
		twin.time += rapid.Int64Range(0, int64(jitter)).Draw(t, "later")
		at := slices.IndexFunc(out, func(f frame) bool { return f.time > twin.time })
		if at < 0 {
			at = len(out)
		}
		out = slices.Insert(out, at, twin)
	}
	return out
}

// swapped exchanges neighbours that are close in time, each frame at most once. Their times travel with them, or the tap's
// clock stamps them as they come.
func swapped(t *rapid.T, frames []frame) []frame {
	out := slices.Clone(frames)
	moved := map[int]bool{}
	for range rapid.IntRange(1, 6).Draw(t, "swaps") {
		i := rapid.IntRange(0, len(out)-1).Draw(t, "swapped")
		near := i+1 < len(out) && out[i+1].time-out[i].time <= int64(jitter)
		if near && !moved[i] && !moved[i+1] {
			out[i], out[i+1] = out[i+1], out[i]
			moved[i], moved[i+1] = true, true
		}
	}
	if rapid.Bool().Draw(t, "stamped anew") {
		times := make([]int64, len(out))
		for i, f := range out {
			times[i] = f.time
		}
		slices.Sort(times)
		for i := range out {
			out[i].time = times[i]
		}
	}
	return out
}

// thinned loses frames: here and there, or a stretch of them.
func thinned(t *rapid.T, frames []frame) []frame {
	if rapid.Bool().Draw(t, "a stretch") {
		from := rapid.IntRange(0, len(frames)-1).Draw(t, "from")
		to := rapid.IntRange(from+1, len(frames)).Draw(t, "to")
		return slices.Delete(slices.Clone(frames), from, to)
	}
	out := slices.Clone(frames)
	for range rapid.IntRange(1, 5).Draw(t, "losses") {
		if len(out) > 0 {
			i := rapid.IntRange(0, len(out)-1).Draw(t, "lost")
			out = slices.Delete(out, i, i+1)
		}
	}
	return out
}

// shortened cuts frames short, as a snap length or a small MTU does.
func shortened(t *rapid.T, frames []frame) []frame {
	out := slices.Clone(frames)
	for range rapid.IntRange(1, 4).Draw(t, "cuts") {
		i := rapid.IntRange(0, len(out)-1).Draw(t, "cut")
		n := rapid.IntRange(0, len(out[i].data)).Draw(t, "at")
		out[i].data = out[i].data[:n]
	}
	return out
}

func TestMetamorphicDoublesAndSwapsChangeNothing(t *testing.T) {
	all := specimens(t)
	rapid.Check(t, func(t *rapid.T) {
		s := all[rapid.IntRange(0, len(all)-1).Draw(t, "specimen")]
		frames := s.frames
		if rapid.Bool().Draw(t, "double") {
			frames = s.doubled(t)
		}
		if len(s.options.Devices) > 0 { // who is the device is inferred from who spoke first, which a swap changes
			frames = swapped(t, frames)
		}
		tr := s.trace(t, frames, allCounted)
		claims, truths := s.some(t)
		for i, f := range claims.Judge(tr, Options{}) {
			truth := truths[i]
			if f.Verdict != truth.Verdict {
				t.Fatalf("%s: %s %s: %s, but truly %s\n  now:  %s\n  then: %s", s.name, f.Claim, f.Scope, f.Verdict, truth.Verdict, f.Reason, truth.Reason)
			}
			if f.Got != truth.Got && !timed(f.Kind) {
				t.Fatalf("%s: %s %s: got %q, but truly %q", s.name, f.Claim, f.Scope, f.Got, truth.Got)
			}
		}
	})
}

// timed says whether a kind measures times, which a mirror's jitter moves, or names messages in the order they came.
func timed(kind string) bool {
	return slices.Contains([]string{"duration", "gaps", "time", "reconnect", "mqtt", "destinations", "quiet"}, kind)
}

func TestMetamorphicLossNeverTurnsAFinding(t *testing.T) {
	all := specimens(t)
	rapid.Check(t, func(t *rapid.T) {
		s := all[rapid.IntRange(0, len(all)-1).Draw(t, "specimen")]
		frames := s.frames
		switch rapid.IntRange(0, 3).Draw(t, "what") {
		case 0:
			frames = shortened(t, frames)
		case 1:
			frames = thinned(t, shortened(t, frames))
		case 2:
			frames = thinned(t, frames)
		case 3:
			frames = thinned(t, swapped(t, s.doubled(t)))
		}
		tr := s.trace(t, frames, rapid.SampledFrom([]tale{nothingTold, canariesTold}).Draw(t, "told"))
		state := tr.Completeness(trace.Scope{}).State
		if state == trace.Whole || tr.Completeness(trace.Scope{Headers: true}).State == trace.Whole {
			return // the mirror's numbers run from the first frame left to the last: a canary's own would have shown the rest
		}
		claims, truths := s.some(t)
		strict, open := claims.Judge(tr, Options{Strict: true}), claims.Judge(tr, Options{})
		for i, f := range strict {
			truth := truths[i]
			if f.Verdict != truth.Verdict && f.Verdict != verdict.Inconclusive {
				t.Fatalf("%s (%s): %s %s: %s, but truly %s\n  now:  %s\n  then: %s", s.name, state, f.Claim, f.Scope, f.Verdict, truth.Verdict, f.Reason, truth.Reason)
			}
			if o := open[i]; o.Verdict != f.Verdict && (f.Verdict != verdict.Inconclusive || o.Doubt == "") {
				t.Fatalf("%s (%s): %s %s: %s, but strictly %s: %s", s.name, state, f.Claim, f.Scope, o.Verdict, f.Verdict, o.Reason)
			}
		}
	})
}

// The laws would hold for a judge that never decides anything. This one decides whatever it still can: of each specimen
// every frame is lost once, and where that is known a good share of the findings is decided all the same.
func TestMetamorphicLossLeavesWhatWasSeen(t *testing.T) {
	losses, known, findings, decided := 0, 0, 0, 0
	for _, s := range specimens(t) {
		for i := range s.frames {
			tr := s.trace(t, slices.Delete(slices.Clone(s.frames), i, i+1), nothingTold)
			losses++
			if len(tr.Capture.Flows) == 0 || tr.Completeness(trace.Scope{}).State != trace.Broken {
				continue
			}
			known++
			for j, f := range s.set.Judge(tr, Options{}) {
				if s.truth[j].Verdict != verdict.Inconclusive {
					findings++
					if f.Verdict != verdict.Inconclusive {
						decided++
					}
				}
			}
		}
	}
	t.Logf("%d of %d losses known, %d of %d findings decided", known, losses, decided, findings)
	require.Greater(t, known*5, losses, "a lost frame is often known to be lost")
	require.Greater(t, decided*10, findings, "what was seen still decides")
}
