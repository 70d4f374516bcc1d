package scenario

import (
	"maps"
	"regexp"
	"slices"
	"strings"
)

// The shapes of names.
const (
	verbShape   = `[a-z][a-z0-9_]*`
	nameShape   = `[A-Za-z_][A-Za-z0-9_]*`
	windowShape = `[A-Za-z_][A-Za-z0-9_-]*`
	fileShape   = `[A-Za-z0-9][A-Za-z0-9._-]*`
)

var (
	verbName     = regexp.MustCompile(`^` + verbShape + `$`)
	varName      = regexp.MustCompile(`^` + nameShape + `$`)
	windowName   = regexp.MustCompile(`^` + windowShape + `$`)
	scenarioName = regexp.MustCompile(`^` + fileShape + `(/` + fileShape + `)*$`)
	labelName    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/-]*$`)
	eventName    = regexp.MustCompile(`^[a-z][a-z0-9_]*(\.[a-z0-9_]+)*$`)
	countOrVar   = regexp.MustCompile(`^(0*[1-9][0-9]*|\$\{` + nameShape + `\})$`)
)

// The words that may stand for a packet's direction, phase and protocol, and for an MQTT message. The phases are the
// analyser's; a test in package harness holds the two lists together.
var (
	Directions = []string{"up", "down"}
	Protocols  = []string{"tcp", "udp", "icmp", "icmpv6", "arp"}
	Phases     = []string{"dns", "tcp_handshake", "tls_handshake", "mqtt_connect", "mqtt_subscribe", "mqtt_publish", "mqtt_ping",
		"mqtt_disconnect", "request", "response", "tls_alert", "keepalive", "teardown", "reset", "arp", "icmp", "other"}
	MQTTTypes = []string{"connect", "connack", "publish", "puback", "pubrec", "pubrel", "pubcomp", "subscribe", "suback",
		"unsubscribe", "unsuback", "pingreq", "pingresp", "disconnect", "auth"}
)

// MaxNesting is how deep steps may stand in steps.
const MaxNesting = 8

// language is the whole language, as tables: the parser reads by them, the schema is written from them.
var language = scenarioObject(stepObject())

func scenarioObject(step *Object[Step]) *Object[Scenario] {
	steps := ListOf(1, step.Form())
	device := &Object[DeviceWant]{
		Name: "a device", Like: "{model: wio-lte}", Doc: "Which device of the bench the scenario wants.",
		Keys: []Key[DeviceWant]{
			Field("model", "The device's model, as its label on the bench says: wio-lte.", Text("a model"), func(d *DeviceWant) *string { return &d.Model }),
			Field("driver", "The driver that operates it.", Text("a driver's name"), func(d *DeviceWant) *string { return &d.Driver }),
			Field("labels", "Labels that the device must have.", MapOf("a label's name", labelName, Text("a label's value")), func(d *DeviceWant) *map[string]string { return &d.Labels }),
		},
		Check: func(_ *Errors, d *DeviceWant, v Value, _ bool) { d.Pos = v.Pos },
	}
	return &Object[Scenario]{
		Name: "a scenario", Doc: "Drives a device and says what must be true on the wire.",
		Keys: []Key[Scenario]{
			Needed(Field("name", "The scenario's name, with its folder: wio-lte/http.", Word("a scenario's name such as wio-lte/http", scenarioName), func(s *Scenario) *string { return &s.Name })),
			Field("about", "What it proves, in a sentence.", Text("a sentence"), func(s *Scenario) *string { return &s.About }),
			Field("device", "Which device of the bench the scenario wants.", device.Form(), func(s *Scenario) *DeviceWant { return &s.Device }),
			Each("vars", "Values that steps use as ${name}; --var name=value puts another in place.", variables(), func(s *Scenario, e Entry, v map[string]string) {
				s.Vars, s.VarsAt = v, places(e.Value)
			}),
			Each("secrets", "Names of secrets, each with the environment variable that holds it; used as ${name} in verbs' arguments, never recorded.",
				MapOf("a secret's name", varName, Word("an environment variable's name", varName)), func(s *Scenario, e Entry, v map[string]string) {
					s.Secrets, s.SecretsAt = v, places(e.Value)
				}),
			Field("setup", "Steps that make the device ready; a failure there is inconclusive, not the device's fault.", steps, func(s *Scenario) *[]Step { return &s.Setup }),
			Needed(Field("steps", "What is judged.", steps, func(s *Scenario) *[]Step { return &s.Steps })),
			Field("cleanup", "Steps that always run at the end.", steps, func(s *Scenario) *[]Step { return &s.Cleanup }),
			Field("expect", "The claims: the name of an expectations file, several, or the claims themselves.", expectForm(), func(s *Scenario) *Expect { return &s.Expect }),
		},
		Check: checkScenario,
	}
}

// variables is a mapping from names to values. One whose value can't be read is left out: nothing is known of it.
func variables() Form[map[string]string] {
	f := MapOf("a variable's name such as url_1", varName, Text("a value"))
	read := f.Read
	f.Read = func(errs *Errors, name string, v Value) map[string]string {
		out := read(errs, name, v)
		for _, e := range v.Map {
			if e.Value.Scalar == nil {
				delete(out, e.Key)
			}
		}
		return out
	}
	return f
}

// places says where each value of a mapping stands.
func places(v Value) map[string]Pos {
	at := make(map[string]Pos, len(v.Map))
	for _, e := range v.Map {
		at[e.Key] = e.Value.Pos
	}
	return at
}

func checkScenario(errs *Errors, s *Scenario, v Value, _ bool) {
	s.Pos = v.Pos
	for _, steps := range [][]Step{s.Setup, s.Steps, s.Cleanup} {
		checkNesting(errs, steps, 1)
	}
	for _, e := range v.Map {
		if e.Key != "secrets" {
			continue
		}
		for _, secret := range e.Value.Map {
			if _, ok := s.Vars[secret.Key]; ok {
				errs.Addf(secret.Pos, "%q is a variable already: a secret needs a name of its own", secret.Key)
			}
		}
	}
}

// verbs are the keys that make a step what it is, with the options that may stand beside each. Exactly one of them
// stands in a step.
var verbs = []struct{ key, options string }{
	{"device.", "window expect never within as when retry vars"},
	{"carrier.", "window expect never within as when retry vars"},
	{"await", "window never within when vars"},
	{"wait", "window never when vars"},
	{"steps", "window repeat every when vars"},
}

func stepObject() *Object[Step] {
	patterns := OneOrMany(PatternForm())
	step := &Object[Step]{Name: "a step", Like: "{device.VERB: …}", Doc: "One verb with its argument, and what may stand beside it.", Check: checkStep, Rules: stepRules()}
	step.Keys = []Key[Step]{
		Each("device.", "A verb of the device's driver, with its argument.", Anything(), verbOf(Device)),
		Each("carrier.", "A verb of the carrier, with its argument.", Anything(), verbOf(Carrier)),
		Each("wait", "Wait for a length of time.", Length(), func(s *Step, e Entry, v Span) { s.Verb, s.Wait, s.Arg = "wait", v, e.Value }),
		Each("await", "Wait until something is so.", awaitObject().Form(), func(s *Step, e Entry, v Await) { s.Verb, s.Await, s.Arg = "await", &v, e.Value }),
		Each("steps", "Steps in a window, a repetition or both.", ListOf(1, step.Form()), func(s *Step, _ Entry, v []Step) { s.Verb, s.Steps = "group", v }),
		Field("window", "The name of the stretch of the run that this step is; expectations can be limited to it.", Word("a window's name such as get_1", windowName), func(s *Step) *string { return &s.Window }),
		Field("repeat", "How often the steps run; ${cycle} counts from 1.", repeatForm(), func(s *Step) *string { return &s.Repeat }),
		Field("every", "From the beginning of one cycle to the next's.", Length(), func(s *Step) *Span { return &s.Every }),
		Field("expect", "Patterns (RE2) of console lines that must appear, in order.", patterns, func(s *Step) *[]Pattern { return &s.Expect }),
		Field("never", "Patterns (RE2) of console lines that must not appear meanwhile.", patterns, func(s *Step) *[]Pattern { return &s.Never }),
		Field("within", "The step's deadline.", Length(), func(s *Step) *Span { return &s.Within }),
		Field("as", "The name under which the verb's answer is kept, used as ${name} by later steps.", Word("a name such as reply_1", varName), func(s *Step) *string { return &s.As }),
		Field("when", `The step runs only where this is so: "${x}", "${x} == y", "${x} != y".`, Text("a condition"), func(s *Step) *string { return &s.When }),
		Field("retry", "How often the verb is tried again after it failed.", Count(0, 100), func(s *Step) *int { return &s.Retry }),
		Each("vars", "Variables for this step and the steps in it.", variables(), func(s *Step, e Entry, v map[string]string) { s.Vars, s.VarsAt = v, places(e.Value) }),
	}
	return step
}

func verbOf(who Who) func(*Step, Entry, Value) {
	return func(s *Step, e Entry, v Value) {
		_, s.Verb, _ = strings.Cut(e.Key, ".")
		s.Who, s.Arg = who, v
	}
}

// repeatForm is a count of cycles, or one variable that holds it.
func repeatForm() Form[string] {
	f := Word("a count above zero such as 10 or ${cycles}", countOrVar)
	f.Schema = fixed(map[string]any{"anyOf": []any{map[string]any{"type": "integer", "minimum": 1},
		map[string]any{"type": "string", "pattern": countOrVar.String()}}})
	return f
}

func awaitObject() *Object[Await] {
	packet := &Object[PacketWant]{
		Name: "a packet", Like: "{direction: up, to: beam.soracom.io}", Doc: "A packet of the device; what is not said is not cared about.",
		Keys: []Key[PacketWant]{
			Field("direction", "up (from the device) or down (to it).", Choice("direction", Directions...), func(p *PacketWant) *string { return &p.Direction }),
			Field("to", "Where it goes: a name or an address, with or without a port.", Text("a name or an address"), func(p *PacketWant) *string { return &p.To }),
			Field("from", "Where it comes from: a name or an address, with or without a port.", Text("a name or an address"), func(p *PacketWant) *string { return &p.From }),
			Field("phase", "What the packet is for.", Choice("phase", Phases...), func(p *PacketWant) *string { return &p.Phase }),
			Field("proto", "Its protocol.", Choice("protocol", Protocols...), func(p *PacketWant) *string { return &p.Proto }),
		},
		Check: func(_ *Errors, p *PacketWant, v Value, _ bool) { p.Pos = v.Pos },
	}
	conditions := []Key[Await]{
		Field("quiet", "No packet of the device for so long.", Length(), func(a *Await) *Span { return &a.Quiet }),
		Field("event", "The carrier tells of this event: session.created, session.deleted.", Word("an event such as session.created", eventName), func(a *Await) *string { return &a.Event }),
		Each("packet", "Such a packet is seen.", packet.Form(), func(a *Await, _ Entry, v PacketWant) { a.Packet = &v }),
		Field("mqtt", "An MQTT message of this type is seen.", Choice("MQTT message", MQTTTypes...), func(a *Await) *string { return &a.MQTT }),
		Each("console", "A line of the console matches this pattern.", PatternForm(), func(a *Await, _ Entry, v Pattern) { a.Console = &v }),
	}
	names := make([]string, len(conditions))
	for i, c := range conditions {
		names[i] = c.Name
	}
	return &Object[Await]{
		Name: "a condition", Like: "{quiet: 90s}", Doc: "What to wait for: exactly one of these.", Keys: conditions,
		Rules: []map[string]any{{"minProperties": 1, "maxProperties": 1}},
		Check: func(errs *Errors, a *Await, v Value, known bool) {
			a.Pos = v.Pos
			switch {
			case len(v.Map) == 0:
				errs.Addf(v.Pos, "await needs one of %s", strings.Join(names, ", "))
			case len(v.Map) > 1 && known:
				errs.Addf(v.Map[1].Pos, "await has one condition, and here is a second: %q; write two steps", v.Map[1].Key)
			}
		},
	}
}

// checkStep judges the step as a whole: exactly one verb, and beside it only what has a meaning there.
func checkStep(errs *Errors, s *Step, v Value, known bool) {
	s.Pos, s.At = v.Pos, places(v)
	var found []Entry
	var options string
	for _, e := range v.Map {
		for _, verb := range verbs {
			if e.Key == verb.key || strings.HasSuffix(verb.key, ".") && strings.HasPrefix(e.Key, verb.key) {
				found, options = append(found, e), verb.options
			}
		}
	}
	switch {
	case len(found) == 0 && known:
		errs.Addf(v.Pos, "a step needs a verb: device.VERB, carrier.VERB, wait, await or steps")
	case len(found) > 1:
		errs.Addf(found[1].Pos, "a step has one verb, and here is a second: %q beside %q; write two steps", found[1].Key, found[0].Key)
		s.Who, s.Verb = Self, "group" // nobody can tell which was meant
	case len(found) == 1:
		s.VerbAt = found[0].Pos
		checkBeside(errs, v, found[0].Key, strings.Fields(options))
	}
	s.Text = stepText(v, found)
}

// besides says what to write instead of an option that has no meaning beside a verb.
var besides = map[string]string{
	"repeat": "put the step under steps", "every": "put the step under steps",
	"expect": "await: {console: PATTERN} waits for a line", "within": "give its steps deadlines",
}

func checkBeside(errs *Errors, v Value, verb string, allowed []string) {
	repeat := false
	for _, e := range v.Map {
		repeat = repeat || e.Key == "repeat"
		if e.Key == verb || slices.Contains(allowed, e.Key) || !slices.Contains(optionNames(), e.Key) {
			continue
		}
		hint := ""
		if text := besides[e.Key]; text != "" && !(e.Key == "within" && verb == "wait") {
			hint = ": " + text
		}
		errs.Addf(e.Pos, "%q has no meaning beside %q%s", e.Key, verb, hint)
	}
	for _, e := range v.Map {
		if e.Key == "every" && verb == "steps" && !repeat {
			errs.Addf(e.Pos, `"every" needs "repeat" beside it`)
		}
	}
}

// optionNames are all keys that are no verbs.
func optionNames() []string {
	all := map[string]bool{}
	for _, v := range verbs {
		for _, o := range strings.Fields(v.options) {
			all[o] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// checkNesting refuses steps that stand too deep.
func checkNesting(errs *Errors, steps []Step, depth int) {
	for i := range steps {
		if depth > MaxNesting {
			errs.Addf(steps[i].Pos, "steps stand in steps more than %d deep", MaxNesting)
			return
		}
		checkNesting(errs, steps[i].Steps, depth+1)
	}
}

// stepRules say in a schema what checkStep judges: one verb, and what may not stand beside it.
func stepRules() []map[string]any {
	var one []any
	var rules []map[string]any
	for _, v := range verbs {
		has := map[string]any{"required": []string{v.key}}
		if prefix, ok := strings.CutSuffix(v.key, "."); ok {
			// "not every key is of another shape": some key is of this one
			has = map[string]any{"not": map[string]any{"propertyNames": map[string]any{"not": map[string]any{"pattern": `^` + prefix + `\.`}}}}
		}
		one = append(one, has)
		refused := map[string]any{}
		for _, o := range optionNames() {
			if !slices.Contains(strings.Fields(v.options), o) {
				refused[o] = false
			}
		}
		rules = append(rules, map[string]any{"if": has, "then": map[string]any{"properties": refused}})
	}
	every := map[string]any{"dependencies": map[string]any{"every": []string{"repeat"}}}
	return append([]map[string]any{{"oneOf": one}, every}, rules...)
}
