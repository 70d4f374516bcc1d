package harness

import (
	"fmt"
	"strings"

	"github.com/tollgate-iot/tollgate/harness/flow"
	"github.com/tollgate-iot/tollgate/harness/trace"
)

// wideClaims writes claims of every kind about a run, true ones and false ones, with numbers around those of the record.
func wideClaims(t *trace.Trace) string {
	var b strings.Builder
	claim := func(format string, args ...any) { fmt.Fprintf(&b, "- "+format+"\n", args...) }
	around := func(n uint64, write func(bound string)) {
		for _, d := range []int64{-1, 0, 1} {
			if v := int64(n) + d; v >= 0 {
				for _, form := range []string{"%d", "'<= %d'", "'>= %d'"} {
					write(fmt.Sprintf(form, v))
				}
			}
		}
	}
	scopes := []string{""}
	for _, w := range t.Windows {
		if w.Index <= 1 {
			scopes = append(scopes, "\n  window: "+w.Name)
		}
	}
	scopes = append(scopes, "\n  flow: {proto: tcp}", "\n  flow: {proto: udp}", "\n  flow: .soracom.io", "\n  flow: .amazonaws.com", "\n  counted: captured")
	total := t.Capture.Total.Tally
	for _, scope := range scopes {
		around(total[flow.Up].AirPackets-2, func(n string) { claim("packets: {up: %s}%s", n, scope) })
		around(total[flow.Down].AirPackets-2, func(n string) { claim("packets: {down: %s}%s", n, scope) })
		around(total[0].AirPackets+total[1].AirPackets-4, func(n string) { claim("packets: %s%s", n, scope) })
		claim("packets: none%s", scope)
		claim("packets: '>= 3'%s", scope)
		claim("bytes: {up: '<= %d'}%s", total[flow.Up].AirBytes, scope)
		claim("bytes: {down: '>= %d'}%s", total[flow.Down].AirBytes/2, scope)
	}
	for phase, n := range t.Capture.Total.Phases {
		name := flow.Phase(phase).String()
		around(n[flow.Up].AirPackets, func(c string) { claim("packets: {up: %s}\n  phase: %s", c, name) })
		around(n[flow.Down].AirPackets, func(c string) { claim("packets: {down: %s}\n  phase: %s", c, name) })
		around(t.Account.AirBytes(flow.Up, n[flow.Up]), func(c string) { claim("bytes: {up: %s}\n  phase: %s", c, name) })
		claim("phases: {present: %s}", name)
		claim("phases: {absent: %s}", name)
	}
	for _, scope := range scopes[:len(scopes)-1] {
		for _, way := range []string{"clean", "reset_after_close", "reset", "half_closed", "open", "unanswered", "[clean, reset_after_close]", "[half_closed, open]"} {
			claim("teardown: %s%s", way, scope)
		}
		for n := range 4 {
			for _, shape := range []string{"%s: {up: %d}", "%s: {down: %d}", "%s: '<= %d'", "%s: '>= %d'"} {
				claim(shape+"%s", "resets", n, scope)
				claim(shape+"%s", "retransmissions", n, scope)
			}
			claim("flows: {tcp: %d}%s", n, scope)
			claim("flows: {udp: '<= %d'}%s", n, scope)
			claim("flows: '>= %d'%s", n, scope)
		}
		claim("resets: none%s", scope)
		claim("duration: '<= 5s'%s", scope)
		claim("duration: '>= 2s'%s", scope)
		claim("duration: {flow: '<= 5s'}%s", scope)
		claim("gaps: '<= 5s'%s", scope)
		claim("gaps: {up: '>= 5s'}%s", scope)
	}
	for _, c := range wideFixed {
		claim("%s", c)
	}
	return b.String()
}

// wideFixed are claims that need no numbers of the record.
var wideFixed = []string{
	"dns: {names: beam.soracom.io}", "dns: {names: button.soracom.io}", "dns: {names: metadata.soracom.io}", "dns: {only: .amazonaws.com}", "dns: {only: .soracom.io}",
	"dns: {unanswered: none}", "dns: {unanswered: 1}", "dns: {count: 1}", "dns: {count: none}", "dns: {count: '<= 1'}", "dns: {count: '>= 1'}",
	"destinations: ['beam.soracom.io:8888', dns]", "destinations: [.soracom.io, dns]", "destinations: [.amazonaws.com, dns]", "destinations: [100.64.0.0/10]",
	"destinations: [0.0.0.0/0]", "destinations: [52.0.0.0/8, 100.127.0.0/16]", "destinations: {deny: .soracom.io}", "destinations: {deny: .amazonaws.com}", "destinations: {deny: ':80'}",
	"tls: {version: '>= 1.2'}", "tls: {version: '>= 1.3'}", "tls: {version: 1.2}", "tls: {handshake: <= 6000}", "tls: {handshake: <= 2 kB}", "tls: {handshake: '>= 1 kB'}",
	"mqtt: {order: [connect, connack, subscribe, suback, publish, puback]}", "mqtt: {order: [connect, publish, disconnect]}", "mqtt: {order: [publish, connect]}",
	"mqtt: {present: [puback, pingresp]}", "mqtt: {absent: pingreq}", "mqtt: {absent: unsubscribe}", "mqtt: {publish: {qos: 1, count: 1}}", "mqtt: {publish: {count: none}}",
	"quiet: {from: begin}", "quiet: {from: begin, for: 2s}", "quiet: {from: first_fin, to: end}", "quiet: {from: first_fin, for: 30s}", "quiet: {from: last_packet}",
	"quiet: {from: cut, for: 1s}", "quiet: {from: last_packet_down, direction: down}", "quiet: {from: last_fin, except: [teardown, reset, icmp]}",
	"time: {from: begin, to: first_packet, is: '<= 30s'}", "time: {from: begin, to: first_packet_up, is: '<= 5s'}", "time: {from: first_packet_up, to: first_fin, is: '<= 10s'}",
	"time: {from: first_fin, to: first_rst, is: '>= 10s'}", "time: {from: begin, to: last_packet, is: '>= 15s'}", "time: {from: cut, to: first_packet_up, is: '<= 40s'}", "time: {from: cut, to: session, is: '<= 40s'}",
	"reconnect: {each: '<= 20s'}", "reconnect: {each: '<= 90s', count: 3}", "reconnect: {each: '>= 10s'}", "reconnect: {to: session, each: '<= 1s'}", "carrier: exact", "carrier: ±2%",
}
