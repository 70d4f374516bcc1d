package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/tollgate-iot/tollgate/harness/bench"
	"github.com/tollgate-iot/tollgate/harness/flow"
	"github.com/tollgate-iot/tollgate/harness/pcap"
	"github.com/tollgate-iot/tollgate/harness/plan"
	"github.com/tollgate-iot/tollgate/harness/scenario"
	"github.com/tollgate-iot/tollgate/harness/trace"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// prints gives a script that prints lines for each verb.
func prints(lines map[string][]string) func(*fakeDevice, context.Context, string, map[string]string) (string, error) {
	return func(d *fakeDevice, _ context.Context, verb string, _ map[string]string) (string, error) {
		for _, l := range lines[verb] {
			d.print(l)
		}
		return "answer of " + verb, nil
	}
}

func TestRunGoesThrough(t *testing.T) {
	r := newRig(t)
	r.device.script = prints(map[string][]string{"get": {"### Open.", "Send OK 5 hello"}})
	get := expecting("get", "Open", `Send OK (\d+)`)
	get.Window = "get"
	tr := r.run(t.Context(), makePlan([]plan.Step{do("activate")}, []plan.Step{get}, []plan.Step{do("deactivate")}))

	require.Empty(t, tr.Failed)
	require.Empty(t, tr.Trouble)
	require.False(t, tr.Interrupted)
	require.Equal(t, []string{"activate", "get", "deactivate"}, r.device.verbs())
	require.Equal(t, []string{"device.activate begin", "device.activate ok", "device.get begin", "device.get ok",
		"device.deactivate begin", "device.deactivate ok"}, states(tr, trace.EventStep))
	require.Equal(t, []string{"mirror ready", "mirror canary", "mirror canary", "mirror flushed"}, states(tr, trace.EventTap))
	require.Equal(t, []string{"get open", "get close"}, states(tr, trace.EventWindow))
	require.Len(t, tr.Windows, 1)
	require.True(t, tr.Windows[0].From.Before(tr.Windows[0].To))
	require.Equal(t, trace.TapEvidence{Name: "mirror", ReadyBefore: true, Flushed: true, CanaryBefore: true, CanaryAfter: true, Received: 2}, tr.Evidence.Taps[0])
	require.Equal(t, "soracom", tr.Account.Name)
	require.Equal(t, deviceAddr, tr.DeviceAddrs[0])
	require.Regexp(t, `^\d{4}-\d\d-\d\dT[\d:.]+Z  ### Open\.\n\d{4}.*Z  Send OK 5 hello\n$`, r.read(ConsoleFile))
	require.Equal(t, trace.EventRun, tr.Timeline[0].Kind)
	last := tr.Timeline[len(tr.Timeline)-1]
	require.Equal(t, "end", last.State)

	require.NoError(t, tr.Save(r.dir))
	loaded, err := trace.Load(r.dir)
	require.NoError(t, err)
	require.EqualValues(t, 2, loaded.Capture.Frames)
	complete := loaded.Completeness(trace.Scope{})
	require.Equal(t, trace.Unproven, complete.State, "nobody counted")
	require.Contains(t, complete.Reasons[0], "canary seen at both ends, 0 dropped: not blind")
}

func TestWhatEndsARun(t *testing.T) {
	answers := func(lines []string, err error) func(*fakeDevice, context.Context, string, map[string]string) (string, error) {
		return func(d *fakeDevice, _ context.Context, verb string, _ map[string]string) (string, error) {
			if verb != "get" {
				return "", nil
			}
			for _, l := range lines {
				d.print(l)
			}
			return "", err
		}
	}
	short := expecting("get", "Send OK")
	short.Within = 2 * time.Second
	ordered := expecting("get", "first", "second")
	ordered.Within = 2 * time.Second
	forbidding := expecting("get", "Send OK")
	forbidding.Never = patternsOf("Send NG")
	for name, c := range map[string]struct {
		step            plan.Step
		lines           []string
		err             error
		failed, trouble string
	}{
		"device says no":     {step: do("get"), err: &bench.DeviceError{Op: "http_get", Reason: "ERROR 703"}, failed: "device.get: http_get: ERROR 703 (fake.yaml:2)"},
		"bench breaks":       {step: do("get"), err: errBench, trouble: "device.get (fake.yaml:2): the port is gone"},
		"line never comes":   {step: short, lines: []string{"### Send."}, failed: `device.get: no console line matched 'Send OK' within 2s; its last line was "### Send." (fake.yaml:2)`},
		"silent console":     {step: short, failed: "device.get: no console line matched 'Send OK' within 2s; the console stayed silent (fake.yaml:2)"},
		"wrong order":        {step: ordered, lines: []string{"second", "first"}, failed: `device.get: no console line matched 'second' within 2s after the line for 'first'; its last line was "first" (fake.yaml:2)`},
		"one line for two":   {step: ordered, lines: []string{"first second"}, failed: `device.get: no console line matched 'second' within 2s after the line for 'first'; its last line was "first second" (fake.yaml:2)`},
		"forbidden line":     {step: forbidding, lines: []string{"Send NG", "Send OK"}, failed: `device.get: the console showed "Send NG", which 'Send NG' forbids (fake.yaml:2)`},
		"control characters": {step: short, lines: []string{"\x1b[31mno"}, failed: `device.get: no console line matched 'Send OK' within 2s; its last line was "\\x1b[31mno" (fake.yaml:2)`},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.device.script = answers(c.lines, c.err)
			tr := r.run(t.Context(), makePlan([]plan.Step{do("activate")}, []plan.Step{c.step, do("after")}, []plan.Step{do("deactivate")}))
			require.Equal(t, c.failed, tr.Failed)
			require.Equal(t, c.trouble, tr.Trouble)
			require.Equal(t, []string{"activate", "get", "deactivate"}, r.device.verbs(), "nothing more but the cleanup")
		})
	}
}

func TestEarlierOutputIsNotTheSteps(t *testing.T) {
	r := newRig(t)
	r.device.script = prints(map[string][]string{"first": {"Send OK 5 hello"}})
	second := expecting("second", "Send OK")
	second.Within = 2 * time.Second
	tr := r.run(t.Context(), makePlan(nil, []plan.Step{do("first"), second}, nil))
	require.Contains(t, tr.Failed, "device.second: no console line matched 'Send OK'")
}

// A line that is forbidden ends a verb that would never come back by itself.
func TestForbiddenLineEndsTheVerb(t *testing.T) {
	r := newRig(t)
	r.device.script = func(d *fakeDevice, ctx context.Context, _ string, _ map[string]string) (string, error) {
		d.print("### ERROR! ###")
		<-ctx.Done()
		return "", ctx.Err()
	}
	s := do("get")
	s.Never = patternsOf("ERROR")
	tr := r.run(t.Context(), makePlan(nil, []plan.Step{s}, nil))
	require.Contains(t, tr.Failed, `the console showed "### ERROR! ###"`)
}

func TestInterruption(t *testing.T) {
	r := newRig(t)
	ctx, cancel := context.WithCancel(t.Context())
	r.device.script = func(_ *fakeDevice, ctx context.Context, verb string, _ map[string]string) (string, error) {
		if verb == "get" {
			cancel()
			<-ctx.Done()
			return "", ctx.Err()
		}
		return "", ctx.Err()
	}
	get := do("get")
	get.Window = "get"
	tr := r.run(ctx, makePlan(nil, []plan.Step{get, do("after")}, []plan.Step{do("deactivate")}))
	require.True(t, tr.Interrupted)
	require.Empty(t, tr.Failed)
	require.Empty(t, tr.Trouble)
	require.Equal(t, []string{"get", "deactivate"}, r.device.verbs())
	require.Contains(t, states(tr, trace.EventStep), "device.deactivate ok")
	require.Equal(t, []string{"get open", "get close"}, states(tr, trace.EventWindow))
}

// A device that was interrupted in the middle of a command, or driven on a bench that broke, may well fail to be tidied up:
// the timeline has it, and it is no finding.
func TestCleanupAfterAnInterruptionBlamesNobody(t *testing.T) {
	for _, interrupted := range []bool{true, false} {
		r := newRig(t)
		ctx, cancel := context.WithCancel(t.Context())
		r.device.script = func(_ *fakeDevice, ctx context.Context, verb string, _ map[string]string) (string, error) {
			switch {
			case verb == "deactivate":
				return "", &bench.DeviceError{Op: "deactivate", Reason: "not connected"}
			case interrupted:
				cancel()
				<-ctx.Done()
				return "", ctx.Err()
			}
			return "", errors.New("the port is gone")
		}
		tr := r.run(ctx, makePlan(nil, []plan.Step{do("get")}, []plan.Step{do("deactivate")}))
		cancel()
		require.Equal(t, interrupted, tr.Interrupted)
		require.Equal(t, !interrupted, tr.Trouble != "")
		require.Empty(t, tr.Failed)
		require.Contains(t, states(tr, trace.EventStep), "device.deactivate failed")
	}
}

func TestInterruptedCleanupIsBounded(t *testing.T) {
	r := newRig(t)
	r.device.script = func(_ *fakeDevice, ctx context.Context, verb string, _ map[string]string) (string, error) {
		if verb == "deactivate" {
			<-ctx.Done()
		}
		return "", ctx.Err()
	}
	hang := do("deactivate")
	hang.Within = 10 * time.Second
	tr := r.run(t.Context(), makePlan(nil, []plan.Step{do("get")}, []plan.Step{hang, do("last")}))
	require.False(t, tr.Interrupted, "the cleanup's own deadline is no interruption")
	require.Contains(t, tr.Trouble, "cleanup: device.deactivate")
	require.Equal(t, []string{"get", "deactivate", "last"}, r.device.verbs(), "every cleanup step has its turn")
}

func TestTapThatCantStart(t *testing.T) {
	r := newRig(t)
	r.tap.startErr = errBench
	tr, err := Run(t.Context(), makePlan(nil, []plan.Step{do("get")}, []plan.Step{do("deactivate")}), r.bench, r.opts)
	require.NoError(t, err)
	require.Equal(t, "start tap mirror: the port is gone", tr.Trouble)
	require.Empty(t, r.device.verbs(), "nothing was driven blindly")
	require.False(t, tr.Evidence.Taps[0].ReadyBefore)
	require.Equal(t, "the port is gone", tr.Evidence.Taps[0].Error)

	r = newRig(t)
	r.tap.startErr = errors.New("start tap mirror: the port is gone")
	tr, err = Run(t.Context(), makePlan(nil, []plan.Step{do("get")}, nil), r.bench, r.opts)
	require.NoError(t, err)
	require.Equal(t, "start tap mirror: the port is gone", tr.Trouble, "said once")
}

func TestDeviceThatCantBeOpened(t *testing.T) {
	r := newRig(t)
	r.device.openErr = errBench
	tr := r.run(t.Context(), makePlan(nil, []plan.Step{do("get")}, nil))
	require.Equal(t, "open device fake-1: the port is gone", tr.Trouble)
}

func TestBlindTap(t *testing.T) {
	r := newRig(t)
	r.carrier.blind = true
	tr := r.run(t.Context(), makePlan(nil, []plan.Step{do("get")}, nil))
	require.Empty(t, tr.Trouble)
	require.False(t, tr.Evidence.Taps[0].CanaryBefore)
	require.False(t, tr.Evidence.Taps[0].CanaryAfter)
	require.Equal(t, []string{"mirror ready", "mirror canary missed", "mirror canary missed", "mirror flushed"}, states(tr, trace.EventTap))
}

// A device that has no session before the setup gets its first canary after it.
func TestCanaryAfterSetup(t *testing.T) {
	r := newRig(t)
	r.carrier.addr = netip.Addr{}
	r.device.script = func(_ *fakeDevice, _ context.Context, verb string, _ map[string]string) (string, error) {
		r.carrier.mu.Lock()
		defer r.carrier.mu.Unlock()
		r.carrier.addr = deviceAddr
		return "", nil
	}
	tr := r.run(t.Context(), makePlan([]plan.Step{do("activate")}, []plan.Step{do("get")}, nil))
	require.True(t, tr.Evidence.Taps[0].CanaryBefore)
}

func TestTapThatEndsByItself(t *testing.T) {
	r := newRig(t)
	r.device.script = func(*fakeDevice, context.Context, string, map[string]string) (string, error) {
		r.tap.fail(errBench)
		return "", nil
	}
	tr := r.run(t.Context(), makePlan(nil, []plan.Step{do("get"), awaiting(plan.Wanted{Quiet: time.Second})}, nil))
	require.Contains(t, tr.Trouble, "tap mirror ended by itself: the port is gone", "an await that can't see is the bench's trouble")
	require.Equal(t, "the port is gone", tr.Evidence.Taps[0].Error)
	require.False(t, tr.Evidence.Taps[0].Flushed)
}

func TestRetry(t *testing.T) {
	r := newRig(t)
	r.device.script = func(d *fakeDevice, _ context.Context, verb string, _ map[string]string) (string, error) {
		if len(d.verbs()) < 3 {
			return "", &bench.DeviceError{Op: verb, Reason: "no carrier"}
		}
		return "", nil
	}
	s := do("activate")
	s.Retry = 2
	tr := r.run(t.Context(), makePlan(nil, []plan.Step{s}, nil))
	require.Empty(t, tr.Failed)
	require.Equal(t, []string{"device.activate begin", "device.activate failed", "device.activate retry", "device.activate begin",
		"device.activate failed", "device.activate retry", "device.activate begin", "device.activate ok"}, states(tr, trace.EventStep))
}

func TestRepeatWindowsAndVariables(t *testing.T) {
	r := newRig(t)
	var got []string
	r.device.script = func(d *fakeDevice, _ context.Context, verb string, args map[string]string) (string, error) {
		got = append(got, verb+" "+args["to"])
		d.print("session " + fmt.Sprint(len(got)) + " up")
		return "answer " + fmt.Sprint(len(got)), nil
	}
	udp := expecting("udp", `session (\d) up`)
	udp.Args = map[string]string{"to": "cycle ${cycle}"}
	udp.As = "reply"
	tcp := do("tcp")
	tcp.Args = map[string]string{"to": "${reply} ${reply[1]}"}
	tcp.When = "${cycle} != 2"
	cycle := plan.Step{Kind: plan.Group, Repeat: 3, Cycles: true, Every: 30 * time.Second, Window: "cycle", Text: "repeat", Steps: []plan.Step{udp, tcp}}
	tr := r.run(t.Context(), makePlan(nil, []plan.Step{cycle}, nil))
	require.Empty(t, tr.Trouble)
	require.Equal(t, []string{"udp cycle 1", "tcp answer 1 1", "udp cycle 2", "udp cycle 3", "tcp answer 4 4"}, got)
	require.Equal(t, []string{"cycle[1] open", "cycle[1] close", "cycle[2] open", "cycle[2] close", "cycle[3] open", "cycle[3] close"},
		states(tr, trace.EventWindow))
	require.Contains(t, states(tr, trace.EventStep), "device.tcp skipped")
	for i := 1; i < 3; i++ {
		require.GreaterOrEqual(t, tr.Windows[i].From.Sub(tr.Begin), time.Duration(i)*30*time.Second, "every counts from begin to begin")
	}
}

func TestSecretsAreWrittenNowhere(t *testing.T) {
	const secret = "s3cret-passphrase"
	r := newRig(t)
	r.opts.Secrets = map[string]string{"password": secret}
	var told []trace.Event
	r.opts.Notify = func(e trace.Event) { told = append(told, e) }
	r.device.script = func(d *fakeDevice, _ context.Context, _ string, args map[string]string) (string, error) {
		require.Equal(t, secret, args["password"], "the device gets the secret itself")
		d.print("password is " + secret)
		r.tap.push(r.clock.Now(), datagram("login "+secret+" now"))
		return "", &bench.DeviceError{Op: "login", Reason: "refused " + secret}
	}
	s := do("login")
	s.Args = map[string]string{"password": "${password}"}
	tr := r.run(t.Context(), makePlan(nil, []plan.Step{s}, nil))
	require.Contains(t, tr.Failed, "refused "+mask)
	require.NoError(t, tr.Save(r.dir))
	for _, name := range []string{ConsoleFile, trace.TraceFile, CaptureFile} {
		require.NotContains(t, r.read(name), secret, name)
	}
	require.Contains(t, r.read(CaptureFile), "login *****************"+" now", "the frame keeps its length")
	for _, e := range told {
		require.NotContains(t, e.Text, secret)
	}
}

func TestAwaits(t *testing.T) {
	up := &scenario.PacketWant{Direction: "up", To: "203.0.113.9:23080", Proto: "udp"}
	for name, c := range map[string]struct {
		want   plan.Wanted
		within time.Duration
		failed string
	}{
		"quiet":            {want: plan.Wanted{Quiet: 5 * time.Second}},
		"packet":           {want: plan.Wanted{Packet: up}},
		"packet elsewhere": {want: plan.Wanted{Packet: &scenario.PacketWant{To: "203.0.113.10"}}, within: 2 * time.Second, failed: "no such packet was seen within 2s"},
		"packet down":      {want: plan.Wanted{Packet: &scenario.PacketWant{Direction: "down", Proto: "udp"}}, within: 2 * time.Second, failed: "no such packet was seen within 2s"},
		"event":            {want: plan.Wanted{Event: "session.created"}},
		"console":          {want: plan.Wanted{Console: &patternsOf("sent")[0]}},
		"no such line":     {want: plan.Wanted{Console: &patternsOf("received")[0]}, within: 2 * time.Second, failed: "no console line matched 'received' within 2s"},
		"no such message":  {want: plan.Wanted{MQTT: "puback"}, within: 2 * time.Second, failed: "no MQTT puback was seen within 2s"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.device.script = func(d *fakeDevice, _ context.Context, _ string, _ map[string]string) (string, error) {
				r.tap.push(r.clock.Now(), datagram("hello"))
				d.print("sent")
				r.carrier.tell(bench.Event{Name: "session.created", Time: r.clock.Now(), SessionID: "s2", Address: deviceAddr})
				return "", nil
			}
			s := awaiting(c.want)
			s.Within = c.within
			tr := r.run(t.Context(), makePlan(nil, []plan.Step{do("udp"), s}, nil))
			require.Empty(t, tr.Trouble)
			if c.failed == "" {
				require.Empty(t, tr.Failed)
				return
			}
			require.Contains(t, tr.Failed, c.failed)
			require.Equal(t, c.want.Packet != nil || c.want.MQTT != "", tr.Unseen, "what was not seen proves less than what the device showed")
		})
	}
}

// An event that the carrier does not tell of is the device's fault only where the carrier says itself that nothing
// happened.
func TestAwaitEventUntold(t *testing.T) {
	gone := netip.Addr{}
	for name, c := range map[string]struct {
		event           string
		address         netip.Addr
		failed, trouble string
	}{
		"the device is not back":  {event: "session.created", address: gone, failed: "the carrier told of no session.created within 2s"},
		"it is, and nobody told":  {event: "session.created", address: deviceAddr, trouble: "though it says that the device has a session"},
		"the session goes on":     {event: "session.deleted", address: deviceAddr, failed: "the carrier told of no session.deleted within 2s"},
		"it is over, nobody told": {event: "session.deleted", address: gone, trouble: "though it says that the device has no session"},
		"the carrier's own doing": {event: "session.modified", address: deviceAddr, trouble: "the carrier told of no session.modified within 2s"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.carrier.addr = c.address
			s := awaiting(plan.Wanted{Event: c.event})
			s.Within = 2 * time.Second
			tr := r.run(t.Context(), makePlan(nil, []plan.Step{do("udp"), s}, nil))
			if c.trouble != "" {
				require.Contains(t, tr.Trouble, c.trouble)
				require.Empty(t, tr.Failed)
				return
			}
			require.Empty(t, tr.Trouble)
			require.Contains(t, tr.Failed, c.failed)
			require.False(t, tr.Unseen)
		})
	}
}

// MQTT messages are awaited by what the stream says, not by packets.
func TestAwaitMQTT(t *testing.T) {
	r := newRig(t)
	r.carrier.addr = netip.MustParseAddr("10.213.7.42")
	r.device.script = func(*fakeDevice, context.Context, string, map[string]string) (string, error) {
		f, err := os.Open("../../fixtures/captures/mqtt-311.pcap")
		require.NoError(t, err)
		defer f.Close()
		in, err := pcap.NewReader(f)
		require.NoError(t, err)
		for {
			rec, err := in.Next()
			if err == io.EOF {
				return "", nil
			}
			require.NoError(t, err)
			r.tap.push(r.clock.Now(), rec.Data)
		}
	}
	tr := r.run(t.Context(), makePlan(nil, []plan.Step{do("publish"), awaiting(plan.Wanted{MQTT: "connack"}), awaiting(plan.Wanted{MQTT: "puback"})}, nil))
	require.Empty(t, tr.Failed)
	require.Empty(t, tr.Trouble)
	require.Len(t, states(tr, trace.EventPacket), 2)
}

// A device that sends again and again is not quiet, though its packets come here only when the tap is flushed, and once after
// the step's time is over. What another device sends breaks no silence, nor does a packet behind it.
func TestQuietIsTheDevicesOwn(t *testing.T) {
	own := datagram("hello")
	another := frame(netip.MustParseAddr("10.0.0.77"), serverAddr, &layers.UDP{SrcPort: 1, DstPort: 2}, gopacket.Payload("another's"))
	for name, c := range map[string]struct {
		packet []byte
		every  time.Duration
		failed string
	}{
		"its own":    {own, 10 * time.Second, "the device was never quiet for 1m40s within 2m"},
		"another's":  {another, 10 * time.Second, ""},
		"far enough": {own, 110 * time.Second, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			var next time.Time
			r.tap.flushing = func(context.Context) error {
				if next.IsZero() {
					next = r.clock.Now()
				}
				for ; !next.After(r.clock.Now()); next = next.Add(c.every) {
					r.tap.push(next, c.packet)
				}
				return nil
			}
			r.device.script = func(*fakeDevice, context.Context, string, map[string]string) (string, error) {
				return "", r.tap.Flush(t.Context())
			}
			s := awaiting(plan.Wanted{Quiet: 100 * time.Second}) // half a second of this machine's, which may be busy
			s.Within = 120 * time.Second
			tr := r.run(t.Context(), makePlan(nil, []plan.Step{do("begin"), s}, nil))
			require.Empty(t, tr.Trouble)
			if c.failed == "" {
				require.Empty(t, tr.Failed)
				return
			}
			require.Contains(t, tr.Failed, c.failed)
		})
	}
}

// On a mirror so busy that not all of its packets are kept for awaits, the device's silence is its own all the same.
func TestSilenceOnABusyMirror(t *testing.T) {
	w := &wire{known: map[netip.Addr]bool{deviceAddr: true}, last: map[netip.Addr]int64{}, forgotten: map[netip.Addr]int64{}, keep: true, sifting: newSifting(false)}
	begin := time.Date(2026, 11, 22, 1, 0, 0, 0, time.UTC)
	s := silence{quiet: 100 * time.Second, begin: begin, before: w.heard()}
	pass := func(device netip.Addr, at time.Time) {
		w.seen(&flow.Flow{Device: netip.AddrPortFrom(device, 1), Peer: netip.AddrPortFrom(serverAddr, 2)}, &flow.Packet{Time: at.UnixNano()})
	}
	own := begin.Add(10 * time.Second)
	pass(deviceAddr, own)
	for i := range 3 * sightingLimit {
		pass(netip.MustParseAddr("10.0.0.77"), begin.Add(time.Duration(i)*time.Millisecond))
	}
	first, lasting := w.complete(s)
	require.Equal(t, own.Add(s.quiet), first)
	require.Equal(t, own.Add(s.quiet), lasting)
}

// A bench that takes long to make sure of a silence does not make the device loud, and its tap not broken.
func TestQuietOnASlowBench(t *testing.T) {
	r := newRig(t)
	s := awaiting(plan.Wanted{Quiet: 10 * time.Second})
	s.Within = 20 * time.Second
	r.tap.flushing = func(ctx context.Context) error { return r.clock.Sleep(ctx, s.Within) }
	tr := r.run(t.Context(), makePlan(nil, []plan.Step{s}, nil))
	require.Empty(t, tr.Failed)
	require.Empty(t, tr.Trouble)
	require.Empty(t, tr.Evidence.Taps[0].Error)
	require.True(t, tr.Evidence.Taps[0].Flushed)
}

// What passed in time and came here only when the taps were flushed was not missing; what passed later was.
func TestThePacketThatCameLast(t *testing.T) {
	for name, c := range map[string]struct {
		after  time.Duration
		failed string
	}{
		"in time": {time.Second, ""},
		"later":   {time.Hour, "no such packet was seen within 2s"}, // a time ahead is now, see tapClock
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.carrier.blind = true
			r.device.script = func(*fakeDevice, context.Context, string, map[string]string) (string, error) {
				begin := r.clock.Now()
				r.tap.flushing = func(context.Context) error {
					r.tap.push(begin.Add(c.after), datagram("hello"))
					return nil
				}
				return "", nil
			}
			s := awaiting(plan.Wanted{Packet: &scenario.PacketWant{Proto: "udp"}})
			s.Within = 2 * time.Second
			tr := r.run(t.Context(), makePlan(nil, []plan.Step{do("send"), s}, nil))
			require.Empty(t, tr.Trouble)
			if c.failed == "" {
				require.Empty(t, tr.Failed)
				return
			}
			require.Contains(t, tr.Failed, c.failed)
		})
	}
}

// A line that was printed in time counts, though the step's time is over when it is looked at; one that was printed later
// does not, though it is there by then.
func TestTheLineAtTheLastMoment(t *testing.T) {
	for name, c := range map[string]struct {
		after, within time.Duration
		failed        string
	}{
		"in time": {0, time.Nanosecond, ""},
		"later":   {time.Hour, 2 * time.Second, "no console line matched 'ready' within 2s"},
	} {
		t.Run(name, func(t *testing.T) {
			prints := func(d *fakeDevice, _ context.Context, _ string, _ map[string]string) (string, error) {
				d.console <- bench.Line{Time: d.clock.Now().Add(c.after), Text: "ready"}
				return "", nil
			}
			r := newRig(t)
			r.device.script = prints
			s := awaiting(plan.Wanted{Console: &patternsOf("ready")[0]})
			s.Within = c.within
			tr := r.run(t.Context(), makePlan(nil, append([]plan.Step{do("begin")}, slices.Repeat([]plan.Step{s}, 20)...), nil))
			require.Empty(t, tr.Trouble)
			if c.failed == "" {
				require.Empty(t, tr.Failed)
				return
			}
			require.Contains(t, tr.Failed, c.failed)

			verb := do("begin")
			verb.Within, verb.Expect = c.within, patternsOf("ready")
			r = newRig(t)
			r.device.script = prints
			require.Contains(t, r.run(t.Context(), makePlan(nil, []plan.Step{verb}, nil)).Failed, c.failed)
		})
	}
}

// Awaits look back to the verb before them, never further.
func TestAwaitLooksBackToTheVerb(t *testing.T) {
	r := newRig(t)
	r.device.script = func(d *fakeDevice, _ context.Context, verb string, _ map[string]string) (string, error) {
		if verb == "first" {
			d.print("ready")
			r.tap.push(r.clock.Now(), datagram("hello"))
		}
		return "", nil
	}
	s := awaiting(plan.Wanted{Console: &patternsOf("ready")[0]})
	s.Within = 2 * time.Second
	tr := r.run(t.Context(), makePlan(nil, []plan.Step{do("first"), do("second"), s}, nil))
	require.Contains(t, tr.Failed, "no console line matched 'ready'")
}

func TestCarrierVerbsAndEvents(t *testing.T) {
	r := newRig(t)
	r.carrier.script = func(string) {
		r.carrier.tell(bench.Event{Name: "session.created", Time: r.clock.Now(), SessionID: "s2", Address: deviceAddr.Next()})
	}
	cut := plan.Step{Kind: plan.CarrierVerb, Verb: "delete_session", Text: "carrier.delete_session"}
	tr := r.run(t.Context(), makePlan(nil, []plan.Step{cut, awaiting(plan.Wanted{Event: "session.created"})}, nil))
	require.Empty(t, tr.Trouble)
	require.Equal(t, []string{"address ok", "canary begin", "delete_session begin", "delete_session ok", "session.created told", "address ok", "canary begin"}, states(tr, trace.EventCarrier))
	require.Len(t, tr.DeviceAddrs, 2, "the new session's address is the device's too")

	r = newRig(t)
	r.carrier.doErr = errBench
	tr = r.run(t.Context(), makePlan(nil, []plan.Step{cut}, nil))
	require.Equal(t, "carrier.delete_session (fake.yaml:1): the port is gone", tr.Trouble)
}

// The carrier's count is evidence only where it reaches the last packet.
func TestCarrierCount(t *testing.T) {
	for name, c := range map[string]struct {
		at    time.Duration
		known bool
	}{"up to date": {time.Hour, true}, "stale": {-time.Hour, false}} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.carrier.count = bench.Count{At: r.clock.Now().Add(c.at)}
			r.carrier.count.Packets[0] = 7
			tr := r.run(t.Context(), makePlan(nil, []plan.Step{do("get")}, nil))
			require.Equal(t, c.known, tr.Evidence.Carrier != nil)
			if c.known {
				require.EqualValues(t, 7, tr.Evidence.Carrier.Packets[0])
			}
		})
	}
}
