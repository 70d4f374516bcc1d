package scenario_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/scenario"
	"github.com/tollgate-iot/tollgate/harness/scenario/schematest"
)

const whole = `name: wio-lte/all
about: Everything that a scenario can say.
device: {model: wio-lte, driver: wio-lte, labels: {firmware: "1.4.2"}}
vars: {cycles: 3, url: "http://${host}/", host: beam.soracom.io}
secrets: {password: BOARD_PASSWORD}
setup:
  - device.activate: {apn: soracom.io, user: sora, password: "${password}"}
    retry: 2
steps:
  - window: get
    steps:
      - device.http_get: ${url}
        expect: ['Send OK \d+ hello', Done]
        never: '###'
        within: 60s
        as: reply
        when: ${url} != ""
        vars: {host: elsewhere}
      - await: {quiet: 1d12h}
  - repeat: ${cycles}
    every: 10m
    window: cycle
    steps:
      - carrier.delete_session:
      - await: {event: session.created}
      - await: {packet: {direction: up, to: "${host}", from: 10.0.0.1, phase: dns, proto: udp}}
      - await: {mqtt: puback}
      - await: {console: 'Connected\.'}
      - wait: 1m30s
cleanup:
  - device.deactivate:
expect: [wio-lte/http, ./my.yaml]
`

func at(line, column int) scenario.Pos {
	return scenario.Pos{File: "f.yaml", Line: line, Column: column}
}

func TestParseEverything(t *testing.T) {
	s, err := scenario.Parse("f.yaml", []byte(whole))
	require.NoError(t, err)
	require.Equal(t, "wio-lte/all", s.Name)
	require.Equal(t, "Everything that a scenario can say.", s.About)
	require.Equal(t, scenario.DeviceWant{Pos: at(3, 9), Model: "wio-lte", Driver: "wio-lte", Labels: map[string]string{"firmware": "1.4.2"}}, s.Device)
	require.Equal(t, map[string]string{"cycles": "3", "url": "http://${host}/", "host": "beam.soracom.io"}, s.Vars)
	require.Equal(t, at(4, 16), s.VarsAt["cycles"])
	require.Equal(t, map[string]string{"password": "BOARD_PASSWORD"}, s.Secrets)
	require.Equal(t, []string{"wio-lte/http", "./my.yaml"}, s.Expect.Names)
	require.Nil(t, s.Expect.Claims)
	require.Equal(t, at(5, 21), s.SecretsAt["password"])

	activate := s.Setup[0]
	require.Equal(t, scenario.Device, activate.Who)
	require.Equal(t, "activate", activate.Verb)
	require.Equal(t, 2, activate.Retry)
	require.Equal(t, `device.activate: {apn: soracom.io, user: sora, password: ${password}}`, activate.Text)
	require.Equal(t, "apn", activate.Arg.Map[0].Key)

	group := s.Steps[0]
	require.Equal(t, "group", group.Verb)
	require.Equal(t, "get", group.Window)
	require.Equal(t, "window: get", group.Text)
	get := group.Steps[0]
	require.Equal(t, at(12, 9), get.Pos, "a step stands where its first key stands")
	require.Equal(t, []scenario.Pattern{{Pos: at(13, 18), Text: `Send OK \d+ hello`}, {Pos: at(13, 39), Text: "Done"}}, get.Expect)
	require.Equal(t, []scenario.Pattern{{Pos: at(14, 16), Text: "###"}}, get.Never)
	require.Equal(t, scenario.Span{Pos: at(15, 17), Text: "60s", Length: time.Minute}, get.Within)
	require.Equal(t, "reply", get.As)
	require.Equal(t, `${url} != ""`, get.When)
	require.Equal(t, map[string]string{"host": "elsewhere"}, get.Vars)
	require.Equal(t, at(12, 26), get.At["device.http_get"])
	require.Equal(t, 36*time.Hour, group.Steps[1].Await.Quiet.Length)

	cycle := s.Steps[1]
	require.Equal(t, "${cycles}", cycle.Repeat)
	require.Equal(t, 10*time.Minute, cycle.Every.Length)
	require.Equal(t, "repeat: ${cycles}, every: 10m, window: cycle", cycle.Text)
	require.Equal(t, scenario.Carrier, cycle.Steps[0].Who)
	require.Equal(t, "carrier.delete_session:", cycle.Steps[0].Text)
	require.Equal(t, "session.created", cycle.Steps[1].Await.Event)
	require.Equal(t, &scenario.PacketWant{Pos: at(26, 25), Direction: "up", To: "${host}", From: "10.0.0.1", Phase: "dns", Proto: "udp"}, cycle.Steps[2].Await.Packet)
	require.Equal(t, "puback", cycle.Steps[3].Await.MQTT)
	require.Equal(t, `Connected\.`, cycle.Steps[4].Await.Console.Text)
	require.Equal(t, 90*time.Second, cycle.Steps[5].Wait.Length)
	require.Equal(t, "wait: 1m30s", cycle.Steps[5].Text)
	require.Equal(t, "deactivate", s.Cleanup[0].Verb)
}

func TestParseErrors(t *testing.T) {
	head := "name: x\nsteps:\n  - " // a step's keys begin in line 3, column 5
	for _, c := range []struct{ name, text, want string }{
		{"a list", "- a\n", "1:1: the file: want a scenario, a mapping; got a list"},
		{"no steps", "name: x\n", `1:1: a scenario needs "steps"`},
		{"empty steps", "name: x\nsteps: []\n", "2:8: steps: the list is empty"},
		{"bad name", "name: ../x\nsteps:\n  - wait: 1s\n", `1:7: name: "../x" is not a scenario's name such as wio-lte/http`},
		{"unknown key", head + "device.x:\n    expext: y\n", `4:5: unknown key "expext" in a step: did you mean "expect"?`},
		{"unknown key at the top", "name: x\nstep:\n", `2:1: unknown key "step" in a scenario: did you mean "steps"?`},
		{"nothing near", head + "zzzzzzzzzzzz: 1\n", `3:5: unknown key "zzzzzzzzzzzz" in a step: known: device.VERB, carrier.VERB, wait, await, steps, window, repeat`},
		{"doer mistyped", head + "devise.http_get: x\n", `3:5: unknown key "devise.http_get" in a step: did you mean "device.http_get"?`},
		{"verb mistyped", head + "device.HTTP-GET: x\n", `3:5: unknown key "device.HTTP-GET" in a step: known: device.VERB`},
		{"no unit", head + "device.x:\n    within: \"60\"\n", `4:13: within: "60" has no unit: write 60s, 2m, 500ms`},
		{"no unit, a number", head + "wait: 1.5\n", `3:11: wait: "1.5" has no unit: write 1.5s, 2m, 500ms`},
		{"bad length", head + "wait: soon\n", `3:11: wait: "soon" is not a length of time: write 60s, 2m, 500ms, 1h30m, 2d`},
		{"zero length", head + "wait: 0s\n", `3:11: wait: "0s" is not above zero`},
		{"negative length", head + "wait: -5s\n", `3:11: wait: "-5s" is not above zero`},
		{"sign inside", head + "wait: 1d-5s\n", `3:11: wait: "1d-5s" is not a length of time: write 60s, 2m, 500ms, 1h30m, 2d`},
		{"sign in front", head + "wait: +20s\n", `3:11: wait: "+20s" is not a length of time: write 60s, 2m, 500ms, 1h30m, 2d`},
		{"too long a length", head + "wait: 99999d2000000h\n", `3:11: wait: "99999d2000000h" is too long: 290 years are the most`},
		{"repeat never", head + "repeat: 0\n    steps:\n      - wait: 1s\n", `3:13: repeat: "0" is not a count above zero such as 10 or ${cycles}`},
		{"a name that is none", "name: x\nsteps:\n  - wait: 1s\nexpect: [a, '']\n", `4:13: expect[1]: want the name of an expectations file like the first, got ""`},
		{"a claim that is none", "name: x\nsteps:\n  - wait: 1s\nexpect: [{}]\n", `4:10: expect[0]: the claim says nothing`},
		{"wrong type", "name: [x]\nsteps:\n  - wait: {a: 1}\n", "1:7: name: want a scenario's name such as wio-lte/http, got a list\nf.yaml:3:11: wait: want a length of time such as 90s, got a mapping"},
		{"device as a word", "name: x\ndevice: wio-lte\nsteps:\n  - wait: 1s\n", `2:9: device: want a device, a mapping such as {model: wio-lte}; got "wio-lte"`},
		{"nothing as a text", "name: x\nabout:\nsteps:\n  - wait: 1s\n", "2:7: about: want a sentence, got nothing"},
		{"two verbs", head + "device.x:\n    wait: 1s\n", `4:5: a step has one verb, and here is a second: "wait" beside "device.x"; write two steps`},
		{"no verb", head + "within: 5s\n", "3:5: a step needs a verb: device.VERB, carrier.VERB, wait, await or steps"},
		{"step is a word", head + "wait\n", `3:5: steps[0]: want a step, a mapping such as {device.VERB: …}; got "wait"`},
		{"option of no meaning", head + "wait: 1s\n    within: 5s\n", `4:5: "within" has no meaning beside "wait"`},
		{"repeat beside a verb", head + "device.x:\n    repeat: 3\n", `4:5: "repeat" has no meaning beside "device.x": put the step under steps`},
		{"expect beside an await", head + "await: {quiet: 1s}\n    expect: x\n", `4:5: "expect" has no meaning beside "await": await: {console: PATTERN} waits for a line`},
		{"every alone", head + "every: 1m\n    steps:\n      - wait: 1s\n", `3:5: "every" needs "repeat" beside it`},
		{"bad pattern", head + "device.x:\n    expect:\n      - ok\n      - 'a(b'\n", "6:9: expect[1]: bad pattern: missing closing ) at \"a(b\""},
		{"look-around", head + "device.x:\n    never: 'a(?=b)'\n", `4:12: never: bad pattern: invalid or unsupported Perl syntax at "(?=" (patterns are RE2: no look-around, no back-references)`},
		{"empty pattern", head + "device.x:\n    expect: ''\n", "4:13: expect: an empty pattern matches everything"},
		{"pattern is a mapping", head + "device.x:\n    expect: {a: b}\n", "4:13: expect: want a pattern, got a mapping"},
		{"condition as a word", head + "await: 90s\n", `3:12: await: want a condition, a mapping such as {quiet: 90s}; got "90s"`},
		{"no condition", head + "await: {}\n", "3:12: await needs one of quiet, event, packet, mqtt, console"},
		{"two conditions", head + "await: {quiet: 1s, event: a.b}\n", `3:24: await has one condition, and here is a second: "event"; write two steps`},
		{"condition mistyped", head + "await: {quite: 1s}\n", `3:13: unknown key "quite" in a condition: did you mean "quiet"?`},
		{"direction mistyped", head + "await: {packet: {direction: upp}}\n", `3:33: direction: unknown direction "upp": did you mean "up"?`},
		{"phase mistyped", head + "await: {packet: {phase: tcp_handshak}}\n", `3:29: phase: unknown phase "tcp_handshak": did you mean "tcp_handshake"?`},
		{"mqtt mistyped", head + "await: {mqtt: pubak}\n", `3:19: mqtt: unknown MQTT message "pubak": did you mean "puback"?`},
		{"repeat of nothing", head + "repeat: many\n    steps:\n      - wait: 1s\n", `3:13: repeat: "many" is not a count above zero such as 10 or ${cycles}`},
		{"retry", head + "device.x:\n    retry: 1000\n", `4:12: retry: "1000" is not a whole number from 0 to 100`},
		{"variable's name", "name: x\nvars: {a-b: 1}\nsteps:\n  - wait: 1s\n", `2:8: vars: "a-b" is not a variable's name such as url_1`},
		{"variable without value", "name: x\nvars: {a: }\nsteps:\n  - wait: 1s\n", "2:11: vars.a: want a value, got nothing"},
		{"secret's variable", "name: x\nsecrets: {a: A-B}\nsteps:\n  - wait: 1s\n", `2:14: secrets.a: "A-B" is not an environment variable's name`},
		{"secret and variable", "name: x\nvars: {a: 1}\nsecrets: {a: A}\nsteps:\n  - wait: 1s\n", `3:11: "a" is a variable already: a secret needs a name of its own`},
		{"expect nothing", "name: x\nsteps:\n  - wait: 1s\nexpect:\n", "4:8: expect: want the name of an expectations file, several, or claims; got nothing"},
		{"expect mixed", "name: x\nsteps:\n  - wait: 1s\nexpect:\n  - resets: none\n  - wio-lte/http\n", `6:5: expect[1]: want a claim like the first, got "wio-lte/http"`},
		{"expect mixed the other way", "name: x\nsteps:\n  - wait: 1s\nexpect:\n  - wio-lte/http\n  - resets: none\n", `6:5: expect[1]: want the name of an expectations file like the first, got a mapping`},
		{"too deep", "name: x\nsteps:\n" + nested(9), "11:30: steps stand in steps more than 8 deep"},
		{"YAML", "name: x\nsteps: [\n", "2:1: not valid YAML: did not find expected node content"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := scenario.Parse("f.yaml", []byte(c.text))
			require.ErrorAs(t, err, new(scenario.Errors))
			require.Contains(t, err.Error(), "f.yaml:"+c.want)
		})
	}
}

// nested are steps in steps, deep levels of them.
func nested(deep int) string {
	var b strings.Builder
	for i := range deep {
		b.WriteString(strings.Repeat("   ", i) + "   -")
		if i == deep-1 {
			b.WriteString(" wait: 1s\n")
		} else {
			b.WriteString(" steps:\n")
		}
	}
	return b.String()
}

func TestParseGivesAllErrorsInOrder(t *testing.T) {
	_, err := scenario.Parse("scenarios/wio-lte/http.yaml", []byte(`name: x
devise: {model: wio-lte}
vars: {a: [1]}
steps:
  - device.http_get: x
    expext: 'Send OK'
    within: "60"
  - await: {quiet: 90}
expect: [[]]
`))
	require.EqualError(t, err, `scenarios/wio-lte/http.yaml:2:1: unknown key "devise" in a scenario: did you mean "device"?
scenarios/wio-lte/http.yaml:3:11: vars.a: want a value, got a list
scenarios/wio-lte/http.yaml:6:5: unknown key "expext" in a step: did you mean "expect"?
scenarios/wio-lte/http.yaml:7:13: within: "60" has no unit: write 60s, 2m, 500ms
scenarios/wio-lte/http.yaml:8:20: quiet: "90" has no unit: write 90s, 2m, 500ms
scenarios/wio-lte/http.yaml:9:10: expect[0]: want the name of an expectations file or a claim, got a list
6 errors`)
}

// Files come from every editor: their line ends and byte order marks are not the user's mistakes.
func TestLineEndsAndByteOrderMarks(t *testing.T) {
	crlf := strings.ReplaceAll("name: x\nsteps:\n  - wait: 1s\nexpect:\n  - resets: none\n", "\n", "\r\n")
	s, err := scenario.Parse("f.yaml", []byte("\ufeff"+crlf))
	require.NoError(t, err)
	require.Equal(t, "x", s.Name)
	require.Equal(t, scenario.Pos{File: "f.yaml", Line: 5, Column: 5}, s.Expect.Claims.List[0].Pos)
	_, err = scenario.Parse("f.yaml", []byte("\ufeff"+strings.Replace(crlf, "wait", "wiat", 1)))
	require.ErrorContains(t, err, `f.yaml:3:5: unknown key "wiat" in a step: did you mean "wait"?`)
}

func TestClaimsInPlaceKeepTheirPlaces(t *testing.T) {
	head := "name: x\nsteps:\n  - wait: 1s\n"
	for _, c := range []struct {
		name, text   string
		line, column int // of the claim's value
	}{
		{"a list", head + "expect:\n  - resets: none # why\n", 5, 13},
		{"a list, not last", "name: x\nexpect:\n  - resets: none\n\nsteps:\n  - wait: 1s\n", 3, 13},
		{"a flow list", head + "expect: [{resets: none}]\n", 4, 19},
		{"a mapping", head + "expect:\n  account: soracom\n  expect:\n    - resets: none\n", 7, 15},
		{"a flow mapping", head + "expect: {window: get, expect: [{resets: none}]}\n", 4, 41},
		{"a whole file in flow style", "{name: x, expect: [{resets: none}], steps: [{wait: 1s}]}\n", 1, 29},
		{"aliases", "name: x\nvars: &v {resets: none}\nsteps:\n  - wait: 1s\nexpect:\n  - *v\n", 2, 19},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := scenario.Parse("f.yaml", []byte(c.text))
			require.NoError(t, err)
			require.Equal(t, c.text, string(s.Source))
			require.Empty(t, s.Expect.Names)
			claims := s.Expect.Claims.List
			for _, e := range s.Expect.Claims.Map {
				if e.Key == "expect" {
					claims = e.Value.List
				}
			}
			require.Equal(t, "none", *claims[0].Map[0].Value.Scalar)
			require.Equal(t, scenario.Pos{File: "f.yaml", Line: c.line, Column: c.column}, claims[0].Map[0].Value.Pos)
		})
	}
}

// What is right in a file with mistakes is given all the same, with the words among which a missing name may hide.
func TestParseGivesWhatIsRight(t *testing.T) {
	s, err := scenario.Parse("f.yaml", []byte("name: x\nname: y\nvar: {host: a}\nvars: {n: [1], m: 2}\nsteps:\n  - windw: get\n    steps:\n      - device.x: ${host}\nexpect:\n  - resets: nun\n"))
	require.EqualError(t, err, `f.yaml:2:1: key "name" is written twice: first in line 1
f.yaml:3:1: unknown key "var" in a scenario: did you mean "vars"?
f.yaml:4:11: vars.n: want a value, got a list
f.yaml:6:5: unknown key "windw" in a step: did you mean "window"?
4 errors`)
	require.Equal(t, "x", s.Name)
	require.Equal(t, map[string]string{"m": "2"}, s.Vars)
	require.Equal(t, scenario.Pos{File: "f.yaml", Line: 8, Column: 9}, s.Steps[0].Steps[0].VerbAt)
	require.NotNil(t, s.Expect.Claims)
	require.True(t, s.Words["host"] && s.Words["get"] && s.Words["n"])
	require.False(t, s.Words["nun"] || s.Words["resets"], "claims open no windows and give no variables")

	for _, lost := range []string{"", "a: [", "a: &a [*a]", "a: " + strings.Repeat("[", 80) + strings.Repeat("]", 80)} {
		s, err := scenario.Parse("f.yaml", []byte(lost))
		require.Error(t, err)
		require.Nil(t, s, "nothing of it can be relied on")
	}
}

func TestTextIsOneLine(t *testing.T) {
	for _, c := range []struct{ step, want string }{
		{"device.http_get: ${url}", "device.http_get: ${url}"},
		{`device.http_get: "two\nlines"`, `device.http_get: "two\nlines"`},
		{"device.start: [mosquitto_pub, -h, '${broker}', -m, '{\"a\": 21}']", `device.start: [mosquitto_pub, -h, ${broker}, -m, "{\"a\": 21}"]`},
		{"device.udp: {to: 'beam.soracom.io:23080', send: hello, reply: '^2\\d\\d', empty: }", `device.udp: {to: beam.soracom.io:23080, send: hello, reply: ^2\d\d, empty: }`},
		{"await: {packet: {direction: up}}", "await: {packet: {direction: up}}"},
		{"device.exited: 0", "device.exited: 0"},
		{"device.send: " + strings.Repeat("é", 300), "device.send: " + strings.Repeat("é", 186) + "…"},
	} {
		s, err := scenario.Parse("f.yaml", []byte("name: x\nsteps:\n  - "+c.step+"\n"))
		require.NoError(t, err, c.step)
		require.Equal(t, c.want, s.Steps[0].Text)
	}
}

func TestExamples(t *testing.T) {
	shared := os.Getenv("TOLLGATE_SHARED")
	if shared == "" {
		shared = "../../../shared"
	}
	for _, name := range []string{"beam-http", "reconnect", "mqtt"} {
		file := filepath.Join(shared, "examples", name+".yaml")
		data, err := os.ReadFile(file)
		if err != nil {
			t.Skipf("the examples are not here: %v", err)
		}
		s, err := scenario.Parse(file, data)
		require.NoError(t, err)
		require.NoError(t, schematest.Compile(t, scenario.Schema()).Judge(t, data))
		require.NotEqual(t, len(s.Expect.Names) > 0, s.Expect.Claims != nil, "names, or claims in place")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(whole))
	for _, s := range []string{"a: &a [*a]", "? [", "name: x\nsteps:\n  - wait: 1\n", "<<: 1", "{}", "expect: {a: &x b, c: *x}"} {
		f.Add([]byte(s))
	}
	shipped, _ := filepath.Glob("../../scenarios/*/*.yaml")
	for _, name := range shipped {
		if data, err := os.ReadFile(name); err == nil {
			f.Add(data)
		}
	}
	schema := schematest.Compile(f, scenario.Schema())
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := scenario.Parse("f.yaml", data)
		if err == nil {
			require.NoError(t, schema.Judge(t, data), "what the parser takes, an editor does not mark as wrong")
			require.NotEmpty(t, s.Name)
			require.NotEmpty(t, s.Steps)
			require.Nil(t, s.Words)
			return
		}
		var errs scenario.Errors
		require.ErrorAs(t, err, &errs)
		require.NotEmpty(t, errs)
		for i, e := range errs {
			require.Positive(t, e.Pos.Line)
			require.Positive(t, e.Pos.Column)
			require.Equal(t, "f.yaml", e.Pos.File)
			if i > 0 {
				require.LessOrEqual(t, errs[i-1].Pos.Line, e.Pos.Line)
			}
		}
	})
}
