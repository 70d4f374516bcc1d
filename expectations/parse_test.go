package expectations

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/scenario"
	"github.com/tollgate-iot/tollgate/harness/scenario/schematest"
)

func TestEveryMistakeAtOnceAtItsPlace(t *testing.T) {
	_, err := Parse("wio-lte/x.yaml", 1, []byte(`acount: soracom
window: "1get"
expect:
  - packets: {upp: <= 8, down: <= x}
  - bytes: >= 3
    phse: dns
  - resets: none
    account: wire
  - quiet: {for: 60}
  - teardown: [clan]
  - dns: {names: []}
  - tls: {version: 1.9}
  - {}
  - packets: 6..4
    bytes: 3
  - destinations: [":99999"]
  - bytes: 5 foo
  - retransmissions: < 0
  - quiet: {to: end, for: 3s}
  - time: {from: first_packt_up}
  - carrier: 5
  - packets: {}
`))
	require.Equal(t, `wio-lte/x.yaml:1:1: unknown key "acount" in an expectation: did you mean "account"?
wio-lte/x.yaml:2:9: window: "1get" is not a window such as get or cycle[3]
wio-lte/x.yaml:4:15: unknown key "upp" in a packet count: did you mean "up"?
wio-lte/x.yaml:4:32: down: "x" is not a count: write 3, <= 8, >= 2, 4..6, 20 ±10% or none
wio-lte/x.yaml:6:5: unknown key "phse" in a claim: did you mean "phase"?
wio-lte/x.yaml:8:5: "account" means nothing beside "resets": window, flow may stand there
wio-lte/x.yaml:9:18: for: "60" has no unit: write 60s, 2m, 500ms
wio-lte/x.yaml:10:16: teardown[0]: unknown way to end "clan": did you mean "clean"?
wio-lte/x.yaml:11:18: names: the list is empty
wio-lte/x.yaml:12:20: version: "1.9" is not a TLS version: write 1.0, 1.1, 1.2 or 1.3
wio-lte/x.yaml:13:5: the claim says nothing: one of packets, bytes, flows, phases, teardown, resets, retransmissions, dns, destinations, tls, mqtt, quiet, duration, gaps, time, reconnect, carrier, same_at is missing
wio-lte/x.yaml:14:14: packets: the range 6..4 is empty: write 4..6
wio-lte/x.yaml:15:5: "bytes" beside "packets": these are two claims, write each as its own item of the list
wio-lte/x.yaml:16:20: destinations[0]: ":99999" has no port from 1 to 65535 after its colon
wio-lte/x.yaml:17:12: bytes: "5 foo" has an unknown unit "foo": write B, kB, KiB, MB, MiB, GB or GiB
wio-lte/x.yaml:18:22: retransmissions: nothing is < 0: write none for zero
wio-lte/x.yaml:19:12: a silence ends at a moment (to) or after a time (for): give one of them
wio-lte/x.yaml:20:11: a time needs "to"
wio-lte/x.yaml:20:11: a time needs "is"
wio-lte/x.yaml:20:18: from: unknown moment "first_packt_up": did you mean "first_packet_up"?
wio-lte/x.yaml:21:14: carrier: "5" is no tolerance: write exact or ±2%
wio-lte/x.yaml:22:14: a packet count is empty: nothing would be judged
22 errors`, err.Error())
	var errs scenario.Errors
	require.ErrorAs(t, err, &errs)
}

func TestEmptyFilesAreRefused(t *testing.T) {
	for text, want := range map[string]string{
		"":                         "f.yaml:1:1: the file is empty\n1 error",
		"about: nothing\n":         "f.yaml:1:1: an expectation needs \"expect\"\n1 error",
		"expect: []\n":             "f.yaml:1:9: expect: the list is empty\n1 error",
		"[]\n":                     "f.yaml:1:1: expect: the list is empty\n1 error",
		"just a word\n":            "f.yaml:1:1: expect: want an expectation, a mapping; got \"just a word\"\n1 error",
		"expect:\n  - {resets: [}": "",
	} {
		_, err := Parse("f.yaml", 1, []byte(text))
		require.Error(t, err, text)
		if want != "" {
			require.EqualError(t, err, want)
		}
	}
}

func TestClaimsInAScenarioKeepTheirPlaces(t *testing.T) {
	_, err := Parse("scenarios/x.yaml", 41, []byte("- resets: nome\n"))
	require.EqualError(t, err, "scenarios/x.yaml:41:11: resets: \"nome\" is not a count: write 3, <= 8, >= 2, 4..6, 20 ±10% or none\n1 error")
}

func TestVariables(t *testing.T) {
	text := []byte("- reconnect: {each: <= 90s, count: \"${cycles}\"}\n- packets: {up: \"<= ${most}\"}\n")
	_, err := Parse("x.yaml", 1, text)
	require.EqualError(t, err, "x.yaml:1:36: ${cycles}: unknown variable: none is known\nx.yaml:2:17: ${most}: unknown variable: none is known\n2 errors",
		"and nothing is said of the values that they are part of")
	set, err := ParseVars("x.yaml", 1, []byte("- reconnect: {each: <= 90s, count: \"${cycles}\"}\n"), Vars{Values: map[string]string{"cycles": "10"}})
	require.NoError(t, err)
	require.Equal(t, "reconnect: {each: <= 90s, count: 10}", set.Claims[0].(*claim).text)

	_, err = ParseVars("x.yaml", 1, text, Vars{Values: map[string]string{"cycles": "ten"}, Later: func(string) bool { return true }})
	require.EqualError(t, err, "x.yaml:1:36: count: \"ten\" is not a count: write 3, <= 8, >= 2, 4..6, 20 ±10% or none\n1 error",
		"a value that is known is checked, one that may be known later is not")
	later := Vars{Values: map[string]string{"cycle": "10"}, Later: func(name string) bool { return name == "most" }}
	_, err = ParseVars("x.yaml", 1, text, later)
	require.EqualError(t, err, "x.yaml:1:36: ${cycles}: unknown variable: did you mean \"cycle\"?\n1 error")
}

func TestMistakesOfTheDocumentAndOfItsClaimsAreToldTogether(t *testing.T) {
	_, err := Parse("x.yaml", 1, []byte("about: a\nabout: b\nexpect:\n  - resets: nun\n"))
	require.EqualError(t, err, "x.yaml:2:1: key \"about\" is written twice: first in line 1\n"+
		"x.yaml:4:13: resets: \"nun\" is not a count: write 3, <= 8, >= 2, 4..6, 20 ±10% or none\n2 errors")
}

func TestWhatAFileShares(t *testing.T) {
	set, err := Parse("x.yaml", 1, []byte("about: a\naccount: soracom\nwindow: get\nexpect:\n- bytes: 3\n- resets: none\n  window: other[2]\n- reconnect: {}\n- bytes: 1\n  account: wire\n  phase: dns\n  flow: {peer: a.example, port: 80}\n"))
	require.NoError(t, err)
	require.Equal(t, "a", set.About)
	labels := make([]string, len(set.Claims))
	for i, c := range set.Claims {
		labels[i] = c.(*claim).scope.label(record())
	}
	require.Equal(t, []string{"window get, account soracom", "window other[2]", "window get", "phase dns, flow peer: a.example, port: 80, window get, account wire"}, labels)
}

func TestBuiltinFiles(t *testing.T) {
	require.Equal(t, []string{"button/click", "gps-multiunit/start", "wio-lte/beam-http", "wio-lte/beam-tcp", "wio-lte/beam-udp",
		"wio-lte/http", "wio-lte/https", "wio-lte/reconnect"}, Names())
	for _, name := range Names() {
		set, err := Builtin(name)
		require.NoError(t, err)
		require.NotEmpty(t, set.About, name)
		require.NotEmpty(t, set.Claims, name)
		_, data, err := Read(name)
		require.NoError(t, err)
		require.True(t, strings.HasPrefix(string(data), "# yaml-language-server: $schema=../expectation.schema.json\n"), "editors find the schema")
	}
	_, err := Builtin("wio-lte/htpp")
	require.EqualError(t, err, `read expectations: none is called "wio-lte/htpp": did you mean "wio-lte/http"?`)
}

func TestSchemaAndParserAgree(t *testing.T) {
	s := schematest.Compile(t, Schema())
	for _, name := range Names() {
		_, data, err := Read(name)
		require.NoError(t, err)
		require.NoError(t, s.Judge(t, data), name)
	}
	for _, text := range []string{
		"- packets: 3", "- packets: {up: '<= 8', down: '4..6'}", "- bytes: '860 ±2%'\n  account: wire", "- bytes: 1.5 kB", "- flows: {tcp: none}",
		"- teardown: clean", "- teardown: [clean, open]", "- resets: none\n  window: cycle[3]", "- quiet: {from: end, for: 60s}", "- duration: '<= 2m'",
		"- dns: {names: [a.example]}", "- destinations: dns", "- tls: {version: '>= 1.2'}", "- mqtt: {order: [connect, connack]}", "- gaps: {up: '< 1h30m'}",
		"- reconnect: {each: '<= 90s', count: 10}", "- carrier: exact", "- carrier: {packets: ±2%}", "- time: {from: begin, to: first_syn, is: '<= 3s'}",
		"- packets: 1\n  flow: {peer: a.example, port: 80, proto: tcp}", "- packets: 1\n  flow: a.example:80", "- packets: 1\n  counted: captured",
	} {
		_, err := Parse("x.yaml", 1, []byte(text))
		require.NoError(t, err, text)
		require.NoError(t, s.Judge(t, []byte(text)), text)
	}
	for _, text := range []string{
		"- packets: x", "- packets: '<= -1'", "- packts: 3", "- packets: {upp: 3}", "- packets: 3\n  bytes: 4", "- resets: none\n  account: wire", "- bytes: 3\n  phase: dsn",
		"- teardown: clan", "- teardown: []", "- quiet: {for: 60}", "- {}", "- mqtt: {order: [conect]}", "- time: {from: begin}", "expect: []", "about: x", "- carrier: 5",
		"- packets: 1\n  window: '3x'", "- tls: {version: 1.9}", "- duration: 60",
	} {
		_, err := Parse("x.yaml", 1, []byte(text))
		require.Error(t, err, text)
		require.Error(t, s.Judge(t, []byte(text)), text)
	}
}

func TestSchemaTakesWhatIsParsed(t *testing.T) {
	var places []string
	for _, claim := range []string{"packets: %s", "packets: {up: %s}", "bytes: %s", "bytes: {down: %s}", "flows: %s", "flows: {tcp: %s}", "phases: {present: [%s]}", "phases: {absent: [%s]}",
		"teardown: %s", "teardown: [clean, %s]", "resets: %s", "resets: {up: %s}", "retransmissions: %s", "dns: %s", "dns: {names: [%s]}", "destinations: %s", "destinations: [dns, %s]",
		"tls: {version: %s}", "tls: {handshake: %s}", "mqtt: {order: [connect, %s]}", "mqtt: {publish: {qos: %s}}", "mqtt: {publish: {topic: %s}}", "mqtt: {publish: {count: %s}}",
		"quiet: {from: %s}", "quiet: {from: end, for: %s}", "quiet: {from: cut, except: [%s]}", "duration: %s", "gaps: %s", "gaps: {up: %s}", "time: {from: begin, to: %s, is: 3s}",
		"time: {from: begin, to: first_syn, is: %s}", "reconnect: {each: %s}", "reconnect: {count: %s}", "carrier: %s", "carrier: {packets: %s}", "same_at: [a, %s]",
		"same_at: {places: [a, b], within: %s}", "packets: 1\n  window: %s", "packets: 1\n  flow: %s", "packets: 1\n  flow: {peer: %s}", "packets: 1\n  flow: {proto: %s}",
		"packets: 1\n  flow: {port: %s}", "packets: 1\n  flow: {device: %s}", "packets: 1\n  phase: %s", "bytes: 1\n  account: %s", "packets: 1\n  counted: %s"} {
		places = append(places, "- "+claim+"\n")
	}
	places = append(places, "about: %s\nexpect: [resets: none]\n", "window: %s\nexpect: [resets: none]\n", "account: %s\nexpect: [resets: none]\n")
	words := slices.Concat(momentWords(), scenario.Phases, scenario.MQTTTypes, []string{"none", "clean", "open", "exact", "dns", "tcp", "get_1", "cycle[3]", "wire", "soracom", "TLS ", "1.2", "2",
		"a.example", "*.a.example:80", "10.0.0.0/8", "[2001:db8::1]:53", ":123", "90s", "on_air", "860"})
	schematest.TakesWhatIsParsed(t, Schema(), func(text []byte) error {
		_, err := Parse("x.yaml", 1, text)
		return err
	}, places, words)
}

// The schema stands beside the files for editors. `tollgate schema expectation` writes it.
func TestSchemaFileIsCurrent(t *testing.T) {
	file, err := os.ReadFile("expectation.schema.json")
	require.NoError(t, err)
	require.Equal(t, string(Schema()), string(file), "renew it: go run ./cmd/tollgate schema expectation > expectations/expectation.schema.json")
}

func FuzzParse(f *testing.F) {
	for _, name := range Names() {
		_, data, err := Read(name)
		require.NoError(f, err)
		f.Add(data)
	}
	f.Add([]byte("- packets: >= 3\n- bytes: 860 ±2%\n  flow: {peer: '[2001:db8::1]:443'}\n"))
	f.Add([]byte("- destinations: [':1', '*.a', 2001:db8::/32, 10.0.0.0/8:53]\n- tls: {version: TLS 1.2}\n"))
	schema := schematest.Compile(f, Schema())
	f.Fuzz(func(t *testing.T, data []byte) {
		set, err := Parse("fuzz.yaml", 1, data)
		if err == nil {
			require.NoError(t, schema.Judge(t, data), "what the parser takes, an editor does not mark as wrong")
			require.NotEmpty(t, set.Claims)
			for _, finding := range set.Judge(record(lateReset()...), Options{}) {
				require.NotEmpty(t, finding.Reason)
				require.NotEmpty(t, finding.Claim)
			}
		}
	})
}
