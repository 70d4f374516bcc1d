package expectations

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/flow"
	"github.com/tollgate-iot/tollgate/harness/packet"
	"github.com/tollgate-iot/tollgate/harness/trace"
	"github.com/tollgate-iot/tollgate/harness/verdict"
)

func TestPacketsAndBytes(t *testing.T) {
	joined := func() []*flow.Flow {
		f := conversation(packet.TCP, "52.219.0.182:443", "", append(exchange("", ""), sent{at: 3, dir: down, phase: flow.Response, payload: 2714, air: 2})...)
		return []*flow.Flow{f}
	}
	runRows(t, []row{
		{"at most, held", clean, "packets: {up: <= 7, down: <= 5}", "ppii", "7 packets up"},
		{"at most, broken by one", clean, "packets: {up: <= 6}", "ffff", "7 packets up, at most 6 allowed"},
		{"at least, held", clean, "packets: {down: '>= 5'}", "pppp", "5 packets down"},
		{"at least, unquoted", clean, "packets: {down: >= 5}", "pppp", "5 packets down"},
		{"at least, not seen", clean, "packets: {down: >= 6}", "fiii", "5 packets down, at least 6 wanted"},
		{"exactly", clean, "packets: {total: 12}", "ppii", "12 packets in total"},
		{"exactly, one too many", clean, "packets: 11", "ffff", "exactly 11 wanted"},
		{"exactly, one too few", clean, "packets: 13", "fiii", "exactly 13 wanted"},
		{"range", clean, "packets: 10..12", "ppii", "12 packets"},
		{"tolerance", clean, "packets: 10 ±20%", "ppii", "12 packets"},
		{"tolerance, too far", clean, "packets: 10 ±19%", "ffff", "12 packets"},
		{"phase that shows in the packet", clean, "packets: {up: none}\n    phase: dns", "ffff", "1 packet up of phase dns, none allowed"},
		{"phase that is derived", clean, "packets: {up: none}\n    phase: request", "ffii", "none allowed"},
		{"absent phase", clean, "packets: none\n    phase: reset", "ppii", "0 packets in total of phase reset"},
		{"flow by port", clean, "packets: {up: <= 5}\n    flow: :80", "ffff", "6 packets up"},
		{"flow by name", clean, "packets: {up: <= 5}\n    flow: {peer: files.example.com, proto: tcp}", "ffii", "6 packets up"},
		{"flow that is not there, at most", clean, "packets: <= 5\n    flow: other.example.com", "iiii", "no packet with other.example.com"},
		{"flow that is not there, at least", clean, "packets: >= 1\n    flow: other.example.com", "fiii", "0 packets in total, at least 1 wanted"},
		{"flow that is not there, nothing wanted", clean, "packets: none\n    flow: 198.51.100.0/24", "ppii", "0 packets"},
		{"window that is not there", clean, "packets: none\n    window: get", "iiii", "no window get"},
		{"bytes as on the wire", clean, "bytes: {up: 499}", "ppii", "499 B up"},
		{"bytes as billed", clean, "bytes: {up: 751}\n    account: soracom", "ppii", "751 B up"},
		{"bytes over", clean, "bytes: {up: <= 0.5 kB}\n    account: soracom", "ffff", "751 B up, at most 500 B allowed"},
		{"joined, on the air", joined, "packets: {down: 5}", "ppii", "5 packets down"},
		{"joined, as captured", joined, "packets: {down: 4}\n    counted: captured", "ppii", "4 packets down"},
		{"joined bytes on the air", joined, "bytes: {down: <= 3283}", "ffff", "3,284 B down"},
		{"joined bytes as captured", joined, "bytes: {down: 3230}\n    counted: captured", "ppii", "3,230 B down"},
	})
}

func TestPacketsPastTheLimitAreNamed(t *testing.T) {
	f := judgeOne(t, record(clean()...), Options{}, "packets: {up: <= 5}")
	require.Equal(t, []verdict.Witness{
		{Number: 10, Time: at(2).UnixNano(), Flow: 1, Note: "up, 6 so far"},
		{Number: 12, Time: at(2.2).UnixNano(), Flow: 1, Note: "up, 7 so far"},
	}, f.Witnesses)
	require.Equal(t, []int{1}, f.Flows)
	require.Equal(t, "7 up", f.Got)
	require.Equal(t, "packets: {up: <= 5}", f.Claim)

	f = judgeOne(t, record(clean()...), Options{}, "packets: <= 1")
	require.Len(t, f.Witnesses, mostWitnesses)
	require.Equal(t, "up, 9 so far, and 3 more", f.Witnesses[mostWitnesses-1].Note)
}

func TestJoinedPacketsWithoutTheirHandshake(t *testing.T) {
	f := conversation(packet.TCP, "52.219.0.182:443", "", sent{at: 3, dir: down, phase: flow.Response, payload: 2714, air: 2})
	f.BeganBeforeCapture = true
	require.Equal(t, verdict.Inconclusive, judgeOne(t, broken(record(f)), Options{}, "packets: {down: <= 1}").Verdict,
		"how many packets it stands for hangs on a handshake that may be missing")
	require.Equal(t, verdict.Fail, judgeOne(t, broken(record(f)), Options{}, "packets: {down: none}").Verdict, "it is at least one")
}

func TestFlows(t *testing.T) {
	split := func() []*flow.Flow {
		fs := append(clean(), conversation(packet.TCP, "52.219.0.180:80", "", exchange("", "")...))
		return fs
	}
	idle := func() []*flow.Flow {
		fs := split()
		fs[2].Resumed = true
		return fs
	}
	runRows(t, []row{
		{"at most, held", clean, "flows: {tcp: <= 1, udp: 1}", "ppii", "1 TCP flow"},
		{"too many", clean, "flows: {tcp: none}", "ffff", "1 TCP flow, none allowed"},
		{"total", clean, "flows: 2", "ppii", "2 flows"},
		{"too few", clean, "flows: {tcp: >= 2}", "fiii", "1 TCP flow, at least 2 wanted"},
		{"same ends twice", split, "flows: {tcp: <= 1}", "ffii", "2 TCP flows"},
		{"same flow after a silence", idle, "flows: {tcp: 1}", "ppii", "1 TCP flow"},
	})
}

func TestTeardown(t *testing.T) {
	ended := func(c flow.Close, packets ...sent) func() []*flow.Flow {
		return func() []*flow.Flow {
			f := conversation(packet.TCP, "52.219.0.180:80", "", append(exchange("", ""), packets...)...)
			f.Close = c
			return []*flow.Flow{f}
		}
	}
	half := ended(flow.HalfClosed, fins[1])
	runRows(t, []row{
		{"clean", clean, "teardown: clean", "ppii", "clean"},
		{"reset after the close", lateReset, "teardown: clean", "ffff", "reset_after_close with files.example.com:80 (52.219.0.180): RST from the device at 11:59:52.100 (packet 13), 60.0 s after both FINs"},
		{"reset after the close, allowed", lateReset, "teardown: [clean, reset_after_close]", "ppii", "reset_after_close"},
		{"reset", ended(flow.ResetBefore, sent{at: 3, dir: down, phase: flow.Reset, flags: packet.RST}), "teardown: clean", "ffff", "RST from the peer"},
		{"reset where a FIN may be missing", ended(flow.ResetBefore, sent{at: 3, dir: down, phase: flow.Reset, flags: packet.RST}), "teardown: [clean, reset_after_close]", "fiii", "before any FIN"},
		{"half closed", half, "teardown: clean", "fiii", "never answered by a FIN"},
		{"half closed, allowed", half, "teardown: half_closed", "ppii", "half_closed"},
		{"open", ended(flow.Open), "teardown: clean", "fiii", "no FIN and no RST"},
		{"no TCP", func() []*flow.Flow { return []*flow.Flow{lookupFlow(0, "a.example", true)} }, "teardown: clean", "fiii", "no TCP flow"},
	})
}

func TestTeardownOfAFlowThatWentOn(t *testing.T) {
	first := conversation(packet.TCP, "52.219.0.180:80", "", exchange("", "")...)
	first.Close = flow.Open
	later := conversation(packet.TCP, "52.219.0.180:80", "", sent{at: 500, dir: up, phase: flow.TeardownPhase, flags: packet.FIN | packet.ACK})
	later.Resumed, later.Close = true, flow.Clean
	require.Equal(t, verdict.Pass, judgeOne(t, record(first, later), Options{}, "teardown: clean").Verdict)
}

func TestResets(t *testing.T) {
	runRows(t, []row{
		{"none", clean, "resets: none", "ppii", "no RST"},
		{"one", lateReset, "resets: none", "ffff", "1 RST from the device at 11:59:52.100 (packet 13), 60.0 s after both FINs"},
		{"one allowed", lateReset, "resets: {up: <= 1, down: none}", "ppii", "1 RST from the device"},
		{"wanted", lateReset, "resets: >= 1", "pppp", "1 RST"},
	})
	f := judgeOne(t, record(lateReset()...), Options{}, "resets: none")
	require.Equal(t, "1 RST from the device at 11:59:52.100 (packet 13), 60.0 s after both FINs", f.Reason)
	require.Equal(t, []verdict.Witness{{Number: 13, Time: at(62.1).UnixNano(), Flow: 1, Note: "RST from the device"}}, f.Witnesses)
	require.Equal(t, "1", f.Got)
}

func TestResetsWhoseSenderIsInferred(t *testing.T) {
	tr := broken(record(lateReset()...))
	f := tr.Capture.Flows[1]
	tr.Capture.Inferred, f.Inferred = true, true
	require.Equal(t, verdict.Fail, judgeOne(t, tr, Options{}, "resets: {up: none}").Verdict, "the SYN tells who is the device")
	f.Packets = f.Packets[3:]
	require.Equal(t, verdict.Inconclusive, judgeOne(t, tr, Options{}, "resets: {up: none}").Verdict, "without the opening it may be the other way round")
	require.Equal(t, verdict.Fail, judgeOne(t, tr, Options{}, "resets: none").Verdict, "an RST it is in any case")
}

func TestRetransmissions(t *testing.T) {
	again := func() []*flow.Flow {
		f := conversation(packet.TCP, "52.219.0.180:80", "", append(exchange("", ""),
			sent{at: 3, dir: up, phase: flow.Request, flags: packet.ACK, payload: 100, seq: 1, mark: flow.Retransmission})...)
		return []*flow.Flow{f}
	}
	guessed := func() []*flow.Flow {
		fs := again()
		fs[0].Packets[3].Seq, fs[0].Packets[len(fs[0].Packets)-1].Seq = 9000, 5000
		return fs
	}
	soon := func(ids ...uint16) func() []*flow.Flow {
		return func() []*flow.Flow {
			f := conversation(packet.TCP, "52.219.0.180:80", "", append(exchange("", "")[:4],
				sent{at: 1.45, dir: up, phase: flow.Request, flags: packet.ACK, payload: 100, seq: 1, mark: flow.Retransmission})...)
			f.Packets[3].IPID, f.Packets[4].IPID = ids[0], ids[1]
			return []*flow.Flow{f}
		}
	}
	runRows(t, []row{
		{"none", clean, "retransmissions: none", "ppii", "0 retransmissions"},
		{"one, the first copy seen", again, "retransmissions: none", "ffff", "1 retransmission"},
		{"one, the first copy not seen", guessed, "retransmissions: {up: none}", "ffii", "1 retransmission up"},
		{"so soon that it may be a copy", soon(7, 7), "retransmissions: none", "iiii", "1 retransmission, none allowed; not decided, because 1 of them came so soon"},
		{"soon, of a sender without numbers", soon(0, 0), "retransmissions: {up: 1}", "iiii", "1 retransmission up"},
		{"soon, and numbered anew", soon(7, 8), "retransmissions: none", "ffff", "1 retransmission"},
		{"soon, whatever it is", soon(7, 7), "retransmissions: <= 1", "ppii", "1 retransmission"},
		{"soon, and wanted", soon(7, 7), "retransmissions: '>= 1'", "iiii", "1 retransmission"},
		{"within", again, "retransmissions: <= 1", "ppii", "1 retransmission"},
	})
}

func TestDNS(t *testing.T) {
	silent := func() []*flow.Flow { return []*flow.Flow{lookupFlow(0, "Files.Example.com.", false)} }
	runRows(t, []row{
		{"names", clean, "dns: {names: files.example.com}", "ppii", "asked for files.example.com"},
		{"another name", clean, "dns: {names: [beam.example.com, files.example.com]}", "fiii", "beam.example.com was not seen asked for"},
		{"a name too many", clean, "dns: {only: beam.example.com}", "ffff", "files.example.com was asked for at 11:58:50.000 (packet 1)"},
		{"names below", clean, "dns: {only: .example.com}", "ppii", "no other name"},
		{"answered", clean, "dns: {unanswered: none}", "ppii", "0 questions unanswered"},
		{"unanswered", silent, "dns: {unanswered: none}", "fiii", "no answer about files.example.com"},
		{"count", clean, "dns: 1", "ppii", "1 DNS query"},
		{"count, too many", clean, "dns: {count: none}", "ffff", "1 DNS query, none allowed"},
		{"all at once", clean, "dns: {names: files.example.com, unanswered: none, count: <= 2}", "ppii", ""},
	})
}

func TestDestinations(t *testing.T) {
	nameless := func() []*flow.Flow {
		fs := clean()
		fs[1].Name, fs[1].Exchanges = "", nil
		return fs
	}
	runRows(t, []row{
		{"by name and dns", clean, "destinations: {only: ['files.example.com:80', dns]}", "ppii", "packets went to"},
		{"short", clean, "destinations: [.example.com, dns]", "ppii", ""},
		{"by address", clean, "destinations: {only: [52.219.0.0/16, dns]}", "ppii", ""},
		{"wrong port", clean, "destinations: {only: ['files.example.com:443', dns]}", "ffff", "packets to files.example.com:80 (52.219.0.180), the first at 11:58:51.000 (packet 3)"},
		{"wrong address", clean, "destinations: {only: [198.51.100.7, dns]}", "ffff", "packets to files.example.com:80"},
		{"wrong name", clean, "destinations: {only: [beam.example.com, dns]}", "ffii", "packets to files.example.com:80"},
		{"no name was seen", nameless, "destinations: {only: [files.example.com, dns]}", "fiii", "packets to 52.219.0.180:80"},
		{"dns left out", clean, "destinations: {only: ['files.example.com:80', ':80']}", "ffff", "100.127.0.53:53"},
		{"denied by network", clean, "destinations: {deny: 52.0.0.0/8}", "ffff", "denied by 52.0.0.0/8"},
		{"denied by its own name", clean, "destinations: {deny: files.example.com}", "ffff", "denied"},
		{"denied by a looked-up name", func() []*flow.Flow {
			fs := clean()
			fs[1].Exchanges = nil
			return fs
		}, "destinations: {deny: files.example.com}", "ffii", "denied"},
		{"not denied", clean, "destinations: {deny: [telemetry.example.net, 198.51.100.0/24]}", "ppii", ""},
	})
}

func TestPhases(t *testing.T) {
	runRows(t, []row{
		{"present", clean, "phases: {present: [dns, tcp_handshake]}", "ppii", "phases seen"},
		{"present, shown by the packet", clean, "phases: {present: dns}", "pppp", ""},
		{"not present", clean, "phases: {present: [tls_handshake]}", "fiii", "0 packets of phase tls_handshake"},
		{"absent", clean, "phases: {absent: [reset, tls_alert]}", "ppii", ""},
		{"not absent", lateReset, "phases: {absent: reset}", "ffff", "the first at 11:59:52.100 (packet 13)"},
		{"not absent, derived", clean, "phases: {absent: response}", "ffii", "2 packets of phase response"},
	})
}

func TestTLS(t *testing.T) {
	session := func(version uint16) func() []*flow.Flow {
		return func() []*flow.Flow {
			f := conversation(packet.TCP, "52.219.0.182:443", "", append(exchange("", ""),
				sent{at: 1.3, dir: up, phase: flow.TLSHandshake, payload: 200}, sent{at: 1.4, dir: down, phase: flow.TLSHandshake, payload: 1300})...)
			f.TLS = &flow.TLS{Version: version, ServerName: "files.example.com"}
			return []*flow.Flow{f}
		}
	}
	runRows(t, []row{
		{"good enough", session(0x0304), "tls: {version: '>= 1.2'}", "ppii", "TLS 1.3"},
		{"too old", session(0x0302), "tls: {version: >= 1.2}", "ffff", "TLS 1.1, at least TLS 1.2 wanted"},
		{"1.2 may be 1.3", session(0x0303), "tls: {version: 1.3}", "ffii", "TLS 1.2"},
		{"unknown", session(0), "tls: {version: >= 1.2}", "iiii", "was not seen"},
		{"none", clean, "tls: {version: >= 1.2}", "fiii", "no TLS session"},
		{"handshake", session(0x0303), "tls: {handshake: <= 2 kB}", "ppii", "a handshake of 1,608 B"},
		{"handshake too large", session(0x0303), "tls: {handshake: <= 1.5 kB}", "ffii", "1,608 B, at most 1,500 B allowed"},
	})
}

func TestMQTT(t *testing.T) {
	life := func() []*flow.Flow {
		f := conversation(packet.TCP, "198.51.100.83:1883", "",
			sent{at: 1, dir: up, phase: flow.MQTTConnect, flags: packet.ACK, payload: 20, seq: 1, ack: 1},
			sent{at: 1.2, dir: down, phase: flow.MQTTConnect, flags: packet.ACK, payload: 4, seq: 1, ack: 21},
			sent{at: 1.4, dir: down, phase: flow.MQTTPublish, flags: packet.ACK, payload: 4, seq: 5, ack: 61}, // swapped by the mirror
			sent{at: 1.4, dir: up, phase: flow.MQTTPublish, flags: packet.ACK, payload: 40, seq: 21, ack: 5},
			sent{at: 2, dir: up, phase: flow.MQTTDisconnect, flags: packet.ACK, payload: 2, seq: 61, ack: 9})
		for i, m := range []string{"connect", "connack", "puback", "publish", "disconnect"} {
			p := f.Packets[i]
			f.Messages = append(f.Messages, flow.Message{Type: m, Dir: p.Dir, Time: p.Time, Number: uint64(i + 1), Topic: "a/b", QoS: 1})
		}
		return []*flow.Flow{f}
	}
	runRows(t, []row{
		{"order, a swap by the mirror forgiven", life, "mqtt: {order: [connect, connack, publish, puback, disconnect]}", "pppp", "in order"},
		{"order, some left out", life, "mqtt: {order: [connect, publish, disconnect]}", "pppp", "in order"},
		{"order, not this one", life, "mqtt: {order: [publish, connect]}", "fiii", "no connect after publish"},
		{"present", life, "mqtt: {present: [puback]}", "pppp", "1 puback message"},
		{"not present", life, "mqtt: {present: suback}", "fiii", "0 suback messages"},
		{"absent", life, "mqtt: {absent: [pingreq]}", "ppii", ""},
		{"not absent", life, "mqtt: {absent: disconnect}", "ffff", "1 disconnect message, none allowed"},
		{"publish", life, "mqtt: {publish: {qos: 1, topic: a/+, count: 1}}", "ppii", "1 publish message"},
		{"publish of another kind", life, "mqtt: {publish: {qos: 0, topic: a/b}}", "fiii", "0 publish messages"},
		{"publishes too many", life, "mqtt: {publish: {topic: '#', count: none}}", "ffff", "1 publish message"},
		{"no MQTT", clean, "mqtt: {order: [connect]}", "fiii", "no connect"},
	})
}

func TestQuietAndTimes(t *testing.T) {
	runRows(t, []row{
		{"quiet after the close", clean, "quiet: {from: last_fin, for: 30s}", "fiii", "1 packet"},
		{"quiet after the close, down", clean, "quiet: {from: last_fin, for: 30s, direction: down}", "ppii", "no packet"},
		{"quiet between", lateReset, "quiet: {from: last_packet_down, to: first_rst, except: teardown}", "ppii", "no packet"},
		{"quiet to the end", clean, "quiet: {from: last_packet}", "ppii", "no packet from 11:58:52.200 to 12:08:50.000"},
		{"not quiet", lateReset, "quiet: {from: begin, for: 2m, direction: up}", "ffff", "8 packets from"},
		{"longer than the record", clean, "quiet: {from: last_packet, for: 1h}", "iiii", "the record ends"},
		{"from nothing", clean, "quiet: {from: first_rst, for: 1s}", "iiii", "first_rst was not seen"},
		{"duration", clean, "duration: <= 3s", "ppii", "2.2 s from the first packet to the last"},
		{"too long", clean, "duration: <= 2s", "ffff", "at most 2.0 s allowed"},
		{"long enough", clean, "duration: {packets: '>= 2s'}", "pppp", ""},
		{"of a flow", lateReset, "duration: {flow: <= 1m}\n    flow: {proto: tcp}", "ffii", "61.1 s"},
		{"gap", clean, "gaps: <= 1s", "ppii", "900 ms without a packet"},
		{"gap too long", lateReset, "gaps: {up: <= 30s}", "fiii", "59.9 s without a packet up, from 11:58:52.200 (packet 12)"},
		{"time", clean, "time: {from: first_syn, to: first_response, is: <= 1s}", "ppii", "500 ms from first_syn"},
		{"time in a range", clean, "time: {from: first_syn, to: first_response, is: 400ms..600ms}", "ppii", "500 ms from first_syn"},
		{"time, too short", clean, "time: {from: first_syn, to: first_response, is: '>= 1s'}", "fiii", "at least 1.0 s wanted"},
		{"gap at least", clean, "gaps: '>= 800ms'", "ppii", "900 ms without a packet"},
		{"time, too long", clean, "time: {from: first_syn, to: first_response, is: <= 100ms}", "fiii", "at most 100 ms allowed"},
		{"time from the begin", clean, "time: {from: begin, to: first_packet_up, is: <= 10s}", "pppp", "10.0 s"},
		{"time to what never came", clean, "time: {from: begin, to: first_rst, is: <= 10s}", "fiii", "no first_rst after begin"},
	})
}

// A packet cut off before its ports may be the mirror's copy of another: it is counted, and proves nothing.
func TestStumpsProveNothing(t *testing.T) {
	stumped := func() []*flow.Flow {
		return append(clean(), conversation(packet.Other, "52.219.0.180:0", "", sent{at: 1.45, dir: up, phase: flow.Other, payload: 30, mark: flow.Cut}))
	}
	runRows(t, []row{
		{"one too many, if it is one", stumped, "packets: {up: <= 7}", "fiii", "8 packets up, at most 7 allowed"},
		{"enough, if it is one", stumped, "packets: {up: '>= 8'}", "ppii", "8 packets up"},
		{"enough without", stumped, "packets: {up: '>= 7'}", "pppp", "8 packets up"},
	})
}

// Nobody knows what the first acknowledgements of a connection joined in the middle are of.
func TestPhasesOfAConnectionJoinedInTheMiddle(t *testing.T) {
	joined := func() []*flow.Flow {
		fs := clean()
		fs[1].BeganBeforeCapture = true
		return fs
	}
	runRows(t, []row{
		{"opened in the record", clean, "packets: {up: none}\n    phase: response", "ffii", "1 packet up of phase response"},
		{"opened before", joined, "packets: {up: none}\n    phase: response", "fiii", "1 packet up of phase response"},
		{"a phase seen", clean, "phases: {absent: response}", "ffii", "2 packets of phase response"},
		{"a phase that may be another", joined, "phases: {absent: response}", "fiii", "2 packets of phase response"},
		{"a phase that shows", joined, "phases: {absent: dns}", "ffff", "2 packets of phase dns"},
	})
}

func TestCarrier(t *testing.T) {
	tr := record(clean()...)
	require.Equal(t, verdict.Inconclusive, judgeOne(t, tr, Options{}, "carrier: exact").Verdict, "it was not asked")
	tr.Evidence.Carrier = &trace.CarrierCount{Packets: flow.Both[uint64]{7, 5}, Bytes: flow.Both[uint64]{499, 607}}
	require.Equal(t, verdict.Pass, judgeOne(t, tr, Options{}, "carrier: exact").Verdict)
	tr.Evidence.Carrier.Packets[down] = 4
	f := judgeOne(t, tr, Options{}, "carrier: {packets: exact}")
	require.Equal(t, verdict.Fail, f.Verdict)
	require.Equal(t, "packets down: the carrier counted 4, the tap saw 5", f.Reason)
	require.Equal(t, verdict.Pass, judgeOne(t, tr, Options{}, "carrier: ±20%").Verdict)
	tr.Evidence.Carrier.Packets[down] = 9
	require.Equal(t, verdict.Inconclusive, judgeOne(t, tr, Options{}, "carrier: {packets: exact}").Verdict)
}
