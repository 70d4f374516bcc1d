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
	// SecretsAt says where each secret's environment variable stands.
	SecretsAt map[string]Pos
	Setup     []Step
	Steps     []Step
	Cleanup   []Step
	Expect    Expect
	Source    []byte // the file as it was read
	// Words are, of a scenario with mistakes of form, all its keys and plain values outside of claims: a name that seems
	// to be missing may stand where a mistake hides it. Nil where there are no mistakes.
	Words map[string]bool
}

// DeviceWant says which device of a bench the scenario wants: by model, driver or labels.
type DeviceWant struct {
	Pos    Pos
	Model  string
	Driver string
	Labels map[string]string
}

// Any says whether any device will do.
func (d DeviceWant) Any() bool { return d.Model == "" && d.Driver == "" && len(d.Labels) == 0 }

// Expect is the scenario's claims: the names of expectation files, or claims written in place.
type Expect struct {
	Pos     Pos
	Names   []string
	NamesAt []Pos // where each of the names stands
	// Claims are those in place, a list or a mapping in the form of an expectations file; nil where Names are given.
	// Package expectations reads them.
	Claims *Value
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
	VerbAt Pos       // where the verb's key stands
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
