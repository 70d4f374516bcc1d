package plan_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/plan"
	"github.com/tollgate-iot/tollgate/harness/scenario"
)

// abilities are those of a made-up device with every type of argument.
func abilities() plan.Abilities {
	return plan.Abilities{
		Device: "board-1", Model: "wio-lte", Driver: "wio-lte", Tap: true, Events: []string{"session.created", "session.deleted"},
		Verbs: []plan.VerbSpec{
			{Name: "activate", Timeout: 3 * time.Minute, Args: []plan.ArgSpec{
				{Name: "apn", Type: plan.String, Default: "soracom.io"}, {Name: "password", Type: plan.String},
			}},
			{Name: "deactivate"},
			{Name: "http_get", Main: "url", Args: []plan.ArgSpec{{Name: "url", Type: plan.String, Required: true, Doc: "what to get"}}},
			{Name: "udp", Args: []plan.ArgSpec{
				{Name: "to", Type: plan.Address, Required: true, Doc: "host:port"}, {Name: "send", Type: plan.String},
				{Name: "reply", Type: plan.Pattern}, {Name: "reply_within", Type: plan.Duration, Default: "5s"},
			}},
			{Name: "start", Main: "command", Args: []plan.ArgSpec{{Name: "command", Type: plan.List, Required: true}}},
			{Name: "exited", Main: "code", Args: []plan.ArgSpec{{Name: "code", Type: plan.Int}, {Name: "clean", Type: plan.Bool}}},
			{Name: "click", Main: "kind", Args: []plan.ArgSpec{{Name: "kind", Type: plan.String, Default: "single", Choices: []string{"single", "double", "long"}}}},
		},
		Carrier: []plan.VerbSpec{{Name: "delete_session"}, {Name: "set_speed_class", Main: "class", Args: []plan.ArgSpec{{Name: "class", Type: plan.String, Required: true}}}},
	}
}

// make parses a scenario and plans it.
func makePlan(t *testing.T, text string, a plan.Abilities, overrides map[string]string) (*plan.Plan, error) {
	t.Helper()
	s, err := scenario.Parse("f.yaml", []byte(text))
	require.NoError(t, err, text)
	return plan.Make(s, a, overrides)
}

const whole = `name: x
device: {model: wio-lte, driver: wio-lte}
vars: {cycles: 3, host: beam.soracom.io, url: "http://${host}:8888/", pause: 10m, word: hello}
secrets: {password: BOARD_PASSWORD}
setup:
  - device.activate: {password: "${password}"}
steps:
  - window: get
    steps:
      - device.http_get: ${url}
        expect: ['Send OK (\d+) ${word}', 'Done']
        never: ['###']
        within: 90s
        as: reply
        retry: 2
      - await: {quiet: 90s}
  - repeat: ${cycles}
    every: ${pause}
    window: cycle
    steps:
      - device.udp: {to: "${host}:23080", send: "${cycle} ${reply[1]}", reply: '^2\d\d'}
        when: ${reply} != "${word} there"
      - carrier.delete_session:
      - await: {event: session.created}
        within: 2m
      - await: {packet: {direction: up, to: "${host}"}}
      - await: {mqtt: puback}
      - await: {console: '${reply}|${word}'}
      - wait: ${pause}
  - device.start: [mosquitto_pub, -h, "${host}", -P, "${password}"]
    vars: {host: "eu.${host}"}
  - device.exited: 0
cleanup:
  - device.deactivate:
expect:
  - reconnect: {count: "${cycles}"}   # of ${nothing}
`

func TestMakeEverything(t *testing.T) {
	p, err := makePlan(t, whole, abilities(), map[string]string{"cycles": "5"})
	require.NoError(t, err)
	require.Equal(t, "http://beam.soracom.io:8888/", p.Vars["url"])
	require.Equal(t, map[string]string{"password": "BOARD_PASSWORD"}, p.Secrets)

	activate := p.Setup[0]
	require.Equal(t, plan.DeviceVerb, activate.Kind)
	require.Equal(t, "setup[0]", activate.Path)
	require.Equal(t, map[string]string{"apn": "soracom.io", "password": "${password}"}, activate.Args, "a secret stays a name")
	require.Equal(t, 3*time.Minute, activate.Within, "the driver's own deadline")
	require.Equal(t, 1, activate.Repeat)

	get := p.Steps[0].Steps[0]
	require.Equal(t, "steps[0].steps[0]", get.Path)
	require.Equal(t, "get", p.Steps[0].Window)
	require.Equal(t, map[string]string{"url": "http://beam.soracom.io:8888/"}, get.Args)
	require.Equal(t, 90*time.Second, get.Within)
	require.Equal(t, "reply", get.As)
	require.Equal(t, 2, get.Retry)
	require.Equal(t, `Send OK (\d+) hello`, get.Expect[0].Text)
	require.True(t, get.Expect[0].Re.MatchString("Send OK 5 hello"))
	require.Len(t, get.Never, 1)
	quiet := p.Steps[0].Steps[1]
	require.Equal(t, 90*time.Second, quiet.Await.Quiet)
	require.Equal(t, 4*time.Minute, quiet.Within, "long enough for a late packet to begin the silence again")

	cycle := p.Steps[1]
	require.Equal(t, plan.Group, cycle.Kind)
	require.Equal(t, 5, cycle.Repeat)
	require.True(t, cycle.Cycles)
	require.Equal(t, 10*time.Minute, cycle.Every)
	require.Equal(t, map[string]string{"to": "beam.soracom.io:23080", "send": "${cycle} ${reply[1]}", "reply": `^2\d\d`, "reply_within": "5s"}, cycle.Steps[0].Args)
	require.Equal(t, `"${reply}" != "hello there"`, cycle.Steps[0].When)
	require.Equal(t, plan.CarrierVerb, cycle.Steps[1].Kind)
	require.Equal(t, plan.DefaultWithin, cycle.Steps[1].Within)
	require.Equal(t, "session.created", cycle.Steps[2].Await.Event)
	require.Equal(t, "beam.soracom.io", cycle.Steps[3].Await.Packet.To)
	require.Equal(t, "puback", cycle.Steps[4].Await.MQTT)
	require.Nil(t, cycle.Steps[5].Await.Console.Re, "the run knows the rest")
	require.Equal(t, plan.Wait, cycle.Steps[6].Kind)
	require.Equal(t, 10*time.Minute, cycle.Steps[6].Wait)

	require.Equal(t, strings.Join([]string{"mosquitto_pub", "-h", "eu.beam.soracom.io", "-P", "${password}"}, plan.ListSeparator), p.Steps[2].Args["command"])
	require.Equal(t, "0", p.Steps[3].Args["code"])
}

func TestMakeErrors(t *testing.T) {
	head := "name: x\nsteps:\n  - " // a step's keys begin in line 3, column 5
	noTap, deferred, noCarrier, noConsole := abilities(), abilities(), abilities(), abilities()
	noTap.Tap = false
	deferred.Deferred = true
	noCarrier.Carrier, noCarrier.Events = nil, nil
	noConsole.NoConsole = true
	for _, c := range []struct {
		name, text string
		can        plan.Abilities
		set        map[string]string
		want       string
	}{
		{"another model", "name: x\ndevice: {model: button}\nsteps:\n  - wait: 1s\n", abilities(), nil, `f.yaml:2:9: the scenario is about model "button", and device "board-1" of the bench is a "wio-lte": choose another device`},
		{"another driver", "name: x\ndevice: {driver: modem}\nsteps:\n  - wait: 1s\n", abilities(), nil, `f.yaml:2:9: the scenario needs driver "modem", and device "board-1" of the bench has "wio-lte"`},
		{"verb", head + "device.http_gte: x\n", abilities(), nil, `f.yaml:3:5: device.http_gte: a wio-lte has no verb "http_gte": did you mean "http_get"? known: activate, deactivate, http_get, udp, start, exited, click`},
		{"carrier's verb", head + "carrier.reboot:\n", abilities(), nil, `f.yaml:3:5: carrier.reboot: the carrier has no verb "reboot": known: delete_session, set_speed_class`},
		{"no carrier", head + "carrier.delete_session:\n", noCarrier, nil, `f.yaml:3:5: carrier.delete_session: device "board-1" of the bench has no carrier: name one in the bench file`},
		{"argument missing", head + "device.http_get:\n", abilities(), nil, `f.yaml:3:5: device.http_get: argument "url" is missing: what to get`},
		{"argument unknown", head + "device.udp: {to: 'a:1', sned: x}\n", abilities(), nil, `f.yaml:3:29: device.udp: unknown argument "sned": did you mean "send"? known: to, send, reply, reply_within`},
		{"argument without name", head + "device.udp: a:1\n", abilities(), nil, `f.yaml:3:17: device.udp: "a:1" stands for no argument: name its arguments: {to: …, send: …, reply: …, reply_within: …}`},
		{"argument of none", head + "device.deactivate: now\n", abilities(), nil, `f.yaml:3:24: device.deactivate: "now" stands for no argument: it takes none`},
		{"argument without value", head + "device.udp: {to: }\n", abilities(), nil, `device.udp: to: want host:port, got nothing`},
		{"address", head + "device.udp: {to: beam.soracom.io}\n", abilities(), nil, `f.yaml:3:22: device.udp: to: want host:port, got "beam.soracom.io"`},
		{"port", head + "device.udp: {to: 'beam.soracom.io:70000'}\n", abilities(), nil, `f.yaml:3:22: device.udp: to: "70000" is not a port from 1 to 65535`},
		{"pattern", head + "device.udp: {to: 'a:1', reply: '('}\n", abilities(), nil, `f.yaml:3:36: device.udp: reply: bad pattern: missing closing ) at "("`},
		{"duration", head + "device.udp: {to: 'a:1', reply_within: 5}\n", abilities(), nil, `f.yaml:3:43: device.udp: reply_within: "5" has no unit: write 5s, 2m, 500ms`},
		{"int", head + "device.exited: zero\n", abilities(), nil, `f.yaml:3:20: device.exited: code: want a whole number, got "zero"`},
		{"bool", head + "device.exited: {clean: perhaps}\n", abilities(), nil, `f.yaml:3:28: device.exited: clean: want true or false, got "perhaps"`},
		{"choice", head + "device.click: doubel\n", abilities(), nil, `f.yaml:3:19: device.click: kind: "doubel": did you mean "double"? known: single, double, long`},
		{"list", head + "device.start: {command: {a: b}}\n", abilities(), nil, `f.yaml:3:29: device.start: command: want a list, got a mapping`},
		{"list in a list", head + "device.start: [a, [b]]\n", abilities(), nil, `f.yaml:3:23: device.start: command: want a text in the list, got a list`},
		{"list where a text is wanted", head + "device.http_get: [a]\n", abilities(), nil, `f.yaml:3:22: device.http_get: url: want a text, got a list`},
		{"NUL in a list", head + "device.start: [\"a\\0b\"]\n", abilities(), nil, `f.yaml:3:20: device.start: command: a NUL byte can't stand in a list`},
		{"override of nothing", "name: x\nvars: {url: a, cycles: 1}\nsteps:\n  - wait: 1s\n", abilities(), map[string]string{"ulr": "b"}, `f.yaml: no variable "ulr" to set: did you mean "url"? known: cycles, url`},
		{"override of a secret", "name: x\nsecrets: {key: KEY}\nsteps:\n  - wait: 1s\n", abilities(), map[string]string{"key": "b"}, `f.yaml: "key" is a secret: set the environment variable KEY instead`},
		{"circle", "name: x\nvars: {a: \"${b}\", b: \"${c}\", c: \"${a}\"}\nsteps:\n  - wait: 1s\n", abilities(), nil, `f.yaml:2:11: vars.a refers to itself: a → b → c → a`},
		{"growing", "name: x\nvars:\n" + doubling(30) + "steps:\n  - wait: 1s\n", abilities(), nil, `grows beyond 65536 bytes`},
		{"unknown in a variable", "name: x\nvars: {host: a, url: \"${hots}\"}\nsteps:\n  - wait: 1s\n", abilities(), nil, `f.yaml:2:22: ${hots}: unknown variable: did you mean "host"? known: host, url`},
		{"unknown in an argument", head + "device.http_get: ${url}\n", abilities(), nil, `f.yaml:3:22: ${url}: unknown variable: there is none`},
		{"no reference", head + "device.http_get: '${a-b}'\n", abilities(), nil, `f.yaml:3:22: "${a-b}" is no reference to a variable: write ${name}`},
		{"cycle outside", head + "device.http_get: ${cycle}\n", abilities(), nil, `f.yaml:3:22: ${cycle} has a value only inside a repeat`},
		{"cycle in a group that does not repeat", head + "window: w\n    steps:\n      - device.http_get: ${cycle}\n", abilities(), nil, `f.yaml:5:26: ${cycle} has a value only inside a repeat`},
		{"answer too early", head + "device.http_get: ${reply}\n  - device.http_get: x\n    as: reply\n", abilities(), nil, `f.yaml:3:22: ${reply} has no value yet: the step that gives it stands further down`},
		{"name taken", "name: x\nvars: {a: 1}\nsteps:\n  - device.http_get: x\n    as: a\n", abilities(), nil, `f.yaml:5:9: "a" is a variable already: choose another name`},
		{"name of the cycle", head + "device.http_get: x\n    as: cycle\n", abilities(), nil, `f.yaml:4:9: "cycle" counts the cycles of a repeat: choose another name`},
		{"variable over an answer", head + "device.http_get: x\n    as: a\n  - device.http_get: x\n    vars: {a: 1}\n", abilities(), nil, `f.yaml:6:15: "a" is the name of a step's answer already: choose another name`},
		{"secret in a pattern", "name: x\nsecrets: {key: KEY}\nsteps:\n  - device.http_get: x\n    expect: ${key}\n", abilities(), nil, `f.yaml:5:13: ${key} is a secret: only verbs' arguments may use it, for all else is recorded`},
		{"secret in a claim", "name: x\nsecrets: {key: KEY}\nsteps:\n  - wait: 1s\nexpect:\n  - dns: {names: [\"${key}\"]}\n", abilities(), nil, `f.yaml:6:19: ${key} is a secret`},
		{"unknown in a claim", "name: x\nvars: {n: 3}\nsteps:\n  - wait: 1s\nexpect:\n  - reconnect: {count: \"${m}\"}\n", abilities(), nil, `f.yaml:6:24: ${m}: unknown variable: did you mean "n"? known: n`},
		{"pattern with a variable", "name: x\nvars: {n: 'a('}\nsteps:\n  - device.http_get: x\n    expect: ok ${n}\n", abilities(), nil, `f.yaml:5:13: bad pattern: missing closing ) at "ok a("`},
		{"pattern with an answer", head + "device.http_get: x\n    as: a\n  - device.http_get: x\n    expect: '(${a}'\n", abilities(), nil, `f.yaml:6:13: bad pattern: missing closing ) at "(x"`},
		{"repeat", "name: x\nvars: {n: many}\nsteps:\n  - repeat: ${n}\n    steps:\n      - wait: 1s\n", abilities(), nil, `f.yaml:4:13: repeat: "many" is not a count from 1 to 1000000`},
		{"repeat never", "name: x\nvars: {n: 0}\nsteps:\n  - repeat: ${n}\n    steps:\n      - wait: 1s\n", abilities(), nil, `f.yaml:4:13: repeat: "0" is not a count from 1 to 1000000`},
		{"length in a variable", "name: x\nvars: {d: 60}\nsteps:\n  - wait: ${d}\n", abilities(), nil, `f.yaml:4:11: wait: "60" has no unit: write 60s, 2m, 500ms`},
		{"length of an answer", head + "device.http_get: x\n    as: d\n  - wait: ${d}\n", abilities(), nil, `f.yaml:5:11: wait: ${d} is known only during the run, and this must be known before`},
		{"window twice", head + "wait: 1s\n    window: w\n  - repeat: 2\n    window: w\n    steps:\n      - wait: 1s\n", abilities(), nil, `f.yaml:6:13: window "w" stands in line 4 already: choose another name`},
		{"condition", head + "wait: 1s\n    when: a = b\n", abilities(), nil, `f.yaml:4:11: when: "a = b" is not a condition: write ${x}, ${x} == y or ${x} != y`},
		{"unknown in a condition", head + "wait: 1s\n    when: ${a} == b\n", abilities(), nil, `f.yaml:4:11: ${a}: unknown variable: there is none`},
		{"quiet unseen", head + "await: {quiet: 1s}\n", noTap, nil, `f.yaml:3:12: await quiet needs a tap, and the bench has none that sees device "board-1": add one to the bench file, or await an event or a console line`},
		{"quiet at the end", head + "await: {quiet: 1s}\n", deferred, nil, `f.yaml:3:12: await quiet needs packets while the run goes on, and every tap that sees device "board-1" gives its packets when the run ends (peek)`},
		{"mqtt at the end", head + "await: {mqtt: publish}\n", deferred, nil, `f.yaml:3:12: await mqtt needs packets while the run goes on`},
		{"packet unseen", head + "await: {packet: {direction: up}}\n", noTap, nil, `f.yaml:3:12: await packet needs a tap`},
		{"mqtt unseen", head + "await: {mqtt: puback}\n", noTap, nil, `f.yaml:3:12: await mqtt needs a tap`},
		{"quiet too long", head + "await: {quiet: 90s}\n    within: 60s\n", abilities(), nil, `f.yaml:4:13: within 1m can't be: the silence alone takes 1m30s`},
		{"event", head + "await: {event: session.create}\n", abilities(), nil, `f.yaml:3:12: the carrier tells of no event "session.create": did you mean "session.created"? known: session.created, session.deleted`},
		{"event without carrier", head + "await: {event: session.created}\n", noCarrier, nil, `f.yaml:3:12: await event needs a carrier that tells of events, and device "board-1" of the bench has none`},
		{"console of none", head + "await: {console: x}\n", noConsole, nil, `f.yaml:3:22: device "board-1" has no console on which lines could appear: await a packet instead`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := makePlan(t, c.text, c.can, c.set)
			require.ErrorAs(t, err, new(scenario.Errors))
			require.Contains(t, err.Error(), c.want)
		})
	}
}

// doubling are variables each of which holds the one before twice.
func doubling(n int) string {
	var b strings.Builder
	b.WriteString("  v0: x\n")
	for i := 1; i <= n; i++ {
		fmt.Fprintf(&b, "  v%d: \"${v%d}${v%d}\"\n", i, i-1, i-1)
	}
	return b.String()
}

func TestMakeGivesAllErrorsInOrder(t *testing.T) {
	_, err := makePlan(t, "name: x\ndevice: {model: y}\nsteps:\n  - device.no:\n  - device.http_get: ${url}\n", abilities(), map[string]string{"a": "b"})
	require.EqualError(t, err, `f.yaml: no variable "a" to set: there is none
f.yaml:2:9: the scenario is about model "y", and device "board-1" of the bench is a "wio-lte": choose another device
f.yaml:4:5: device.no: a wio-lte has no verb "no": known: activate, deactivate, http_get, udp, start, exited, click
f.yaml:5:22: ${url}: unknown variable: there is none
4 errors`)
}

func TestAMistypedArgumentIsOneMistake(t *testing.T) {
	_, err := makePlan(t, "name: x\nsteps:\n  - device.http_get: {ulr: x}\n", abilities(), nil)
	require.EqualError(t, err, `f.yaml:3:23: device.http_get: unknown argument "ulr": did you mean "url"? known: url
1 error`)
}

func TestWithoutABenchOnlyTheFileIsChecked(t *testing.T) {
	text := "name: x\nsteps:\n  - device.anything: {a: [\"${b}\"]}\n  - carrier.anything: ${c}\n  - await: {event: any.thing}\n  - await: {quiet: 1s}\n"
	_, err := makePlan(t, text, plan.Abilities{Unknown: true}, nil)
	require.EqualError(t, err, `f.yaml:3:27: ${b}: unknown variable: there is none
f.yaml:4:23: ${c}: unknown variable: there is none
2 errors`)
}

func TestNamesGivenInStepsAreKnownInCleanup(t *testing.T) {
	p, err := makePlan(t, "name: x\nsteps:\n  - device.http_get: x\n    as: id\ncleanup:\n  - device.http_get: /undo/${id}\n", abilities(), nil)
	require.NoError(t, err)
	require.Equal(t, "/undo/${id}", p.Cleanup[0].Args["url"])
}

func TestMakeLeavesTheScenarioAsItIs(t *testing.T) {
	s, err := scenario.Parse("f.yaml", []byte(whole))
	require.NoError(t, err)
	before := fmt.Sprintf("%+v", s)
	_, err = plan.Make(s, abilities(), map[string]string{"cycles": "9", "host": "elsewhere"})
	require.NoError(t, err)
	require.Equal(t, before, fmt.Sprintf("%+v", s))
	p, err := plan.Make(s, abilities(), nil)
	require.NoError(t, err)
	require.Equal(t, 3, p.Steps[1].Repeat)
}

// What is right in a scenario with mistakes of form is planned, and what follows from them is not told again.
func TestMistakesOfFormHideNoOthers(t *testing.T) {
	s, err := scenario.Parse("f.yaml", []byte(`name: x
var: {host: a.example, n: 3}
steps:
  - windw: get
    steps:
      - device.http_get: http://${host}/
        az: reply
      - device.http_gett: ${reply}
      - wait: ${n}
      - wait: ${pause}
      - device.x: 1
        wait: 3s
expect:
  - packets: ${n}
  - packets: ${most}
`))
	require.Error(t, err)
	_, err = plan.Make(s, abilities(), nil)
	require.EqualError(t, err, `f.yaml:8:9: device.http_gett: a wio-lte has no verb "http_gett": did you mean "http_get"? known: activate, deactivate, http_get, udp, start, exited, click
f.yaml:10:15: ${pause}: unknown variable: there is none
f.yaml:15:14: ${most}: unknown variable: there is none
3 errors`)
}

// Whatever a file says, planning ends, and every mistake has a place.
func FuzzMake(f *testing.F) {
	f.Add([]byte(whole))
	for _, s := range []string{
		"name: x\nvars: {a: \"${a}\"}\nsteps:\n  - device.udp: {to: \"${a}\"}\n",
		"name: x\nsecrets: {k: K}\nsteps:\n  - repeat: 2\n    steps:\n      - device.start: [\"${k}\", \"${cycle}\"]\n        as: y\n        when: ${y[1]} == 'z'\n",
		"name: x\nsteps:\n  - await: {packet: {to: \"${\"}}\n  - wait: ${w}\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := scenario.Parse("f.yaml", data)
		if s == nil {
			return
		}
		sound := err == nil
		for _, can := range []plan.Abilities{abilities(), {}, {Unknown: true}} {
			p, err := plan.Make(s, can, nil)
			if err == nil {
				require.Len(t, p.Steps, len(s.Steps))
				continue
			}
			if !sound {
				continue // a place may be missing with what should stand there
			}
			var errs scenario.Errors
			require.ErrorAs(t, err, &errs)
			for _, e := range errs {
				require.Positive(t, e.Pos.Line, e.Message)
				require.Positive(t, e.Pos.Column, e.Message)
			}
		}
	})
}
