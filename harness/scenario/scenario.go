package scenario

import (
	"regexp"
	"time"
)

// Pos is a place in a file, line and column from 1.
type Pos struct {
	File         string
	Line, Column int
}

// Scenario is a scenario file, checked for form.
type Scenario struct {
	Pos     Pos
	Name    string
	About   string
	Device  DeviceWant
	Vars    map[string]string // values as written; steps use them as ${name}
	VarsAt  map[string]Pos    // where each value stands
	Secrets map[string]string // name → environment variable that holds it; never recorded
	Setup   []Step
	Steps   []Step
	Cleanup []Step
	Expect  Expect
}

// DeviceWant says which device of a bench the scenario wants: by model, driver or labels.
type DeviceWant struct {
	Pos    Pos
	Model  string
	Driver string
	Labels map[string]string
}

// Expect is the scenario's claims: the names of expectation files, or claims written in place.
type Expect struct {
	Pos   Pos
	Names []string
	// Inline is a YAML document in the form of an expectations file (a mapping with `expect`), nil where Names are given.
	// Its line numbers are those of the scenario file.
	Inline []byte
	Line   int // line of the scenario file on which Inline's first line stands
}

// Who does a step's verb.
type Who string

// The doers.
const (
	Device  Who = "device"
	Carrier Who = "carrier"
	Self    Who = "" // window, repeat, wait, await: the runner itself
)

// Step is one step: one verb with its argument, and what may stand beside it.
type Step struct {
	Pos    Pos
	Text   string // the step as written, on one line: "device.http_get: ${url}"; secrets stay names
	Who    Who
	Verb   string    // "http_get", "delete_session", "wait", "await", "group" (only steps: in a window or repeat)
	Arg    Value     // the verb's argument as written
	Window string    // window that this step opens and closes
	Expect []Pattern // console lines that must appear, in order
	Never  []Pattern // console lines that must not appear meanwhile
	Within Span
	Repeat string // "" or a count, perhaps ${cycles}
	Every  Span
	As     string // name under which the step's answer is kept
	When   string // "" or a condition: "${x} == y", "${x} != y", "${x}"
	Retry  int    // further tries after the first
	Vars   map[string]string
	Wait   Span   // verb wait
	Await  *Await // verb await
	Steps  []Step // of a window, repeat or group
	// At says where the value of each of the step's keys stands, by key; VarsAt the same for its Vars.
	At, VarsAt map[string]Pos
}

// Span is a length of time as written; no Text means that none was given.
type Span struct {
	Pos    Pos
	Text   string        // "90s", "${pause}"
	Length time.Duration // 0 where Text holds a variable: package plan puts it in
}

// Pattern is a regular expression (RE2) on a console line; it may hold ${vars}, so it is compiled by package plan.
type Pattern struct {
	Pos  Pos
	Text string
}

// Await is a condition to wait for. Exactly one of its fields is set, beside Pos.
type Await struct {
	Pos     Pos
	Quiet   Span   // no packet of the device for so long
	Event   string // a carrier event: "session.created", "session.deleted"
	Packet  *PacketWant
	MQTT    string // an MQTT message of that type, "puback"
	Console *Pattern
}

// PacketWant describes a packet to wait for; what is empty is not cared about.
type PacketWant struct {
	Pos       Pos
	Direction string // "up", "down"
	To, From  string // host name, address, with or without ":port"
	Phase     string
	Proto     string
}

// Value is a YAML value with its place: exactly one of the forms is set; all nil is YAML null.
type Value struct {
	Pos    Pos
	Tag    string // of a scalar or null, YAML's own: "!!str", "!!int", "!!float", "!!bool", "!!null", "!!timestamp"
	Scalar *string
	List   []Value
	Map    []Entry // in the file's order
}

// Entry is a key of a mapping with its value.
type Entry struct {
	Key   string
	Pos   Pos // of the key
	Value Value
}

// Variable is the form of a reference to a variable: ${name}, or ${name[2]}.
var Variable = regexp.MustCompile(`\$\{([A-Za-z_][A-Za-z0-9_.]*(?:\[\d+\])?)\}`)
