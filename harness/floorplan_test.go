package harness_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The floor plan of the house. A package may import only packages of floors below its own: whoever reads one knows what
// it can depend on, and a driver can be written, or thrown away, without anybody else noticing. The tables are the
// rules; a package, a module or a place that is not in them is refused until somebody has written down why it is there.
//
// The rules are about what ships: files ending in _test.go may import what they need.

const module = "github.com/tollgate-iot/tollgate/"

// room is one package of the house.
type room struct {
	floor   int
	path    string
	purpose string
	traits  trait
}

type trait uint8

const (
	pure    trait = 1 << iota // no files, no processes, no network: the same input always gives the same output
	support                   // for tests and tools only: what ships never imports it
)

var rooms = []room{
	{0, "harness/verdict", "pass, fail, inconclusive; findings and how they join", pure},
	{0, "harness/packet", "bytes ↔ packets; tunnels off", pure},
	{0, "harness/pcap", "capture files and streams ↔ records", 0},
	{0, "harness/filter", "which frames a tap takes: BPF programs and tcpdump expressions", pure},
	{0, "harness/privilege", "the one capability that capturing needs, in force only while a socket is opened", 0},
	{0, "harness/scenario", "YAML → Scenario, every mistake at its place; the forms that other files are read by, too", pure},

	{1, "harness/flow", "packets → flows, phases, how a flow ended", pure},
	{1, "harness/merge", "what several taps saw of the same packets → one stream", pure},
	{1, "harness/plan", "scenario × what a bench can do → steps and deadlines", pure},
	{1, "harness/scenario/schematest", "holds a file's parser and its JSON Schema together", support},
	{1, "scenarios", "the shipped scenarios, embedded", 0},

	{2, "harness/trace", "one run's record, its accounts and completeness; saved and loaded", 0},

	{3, "harness/bench", "the contracts Device, Carrier, Tap, Clock; the inventory file", pure},
	{3, "harness/bench/benchtest", "the conformance suite that every driver passes", support},
	{3, "harness/line", "a serial line: lines with times, and the protocol that sketches are driven by", 0},
	{3, "harness/recording", "a run's packets on the disk: pcapng in parts, ahead of analysis, whatever becomes of process and disk", 0},
	{3, "harness/watch", "what passes a tap at present: devices, flows and rates, bounded", pure},
	{3, "expectations", "kinds of claims in Go, their numbers in YAML beside", pure},

	{4, "harness/device/wiolte", "driver: Wio LTE over USB serial", 0},
	{4, "harness/device/trigger", "driver: devices that have only a button or a switch", 0},
	{4, "harness/carrier/soracom", "driver: the carrier's HTTP API", 0},
	{4, "harness/capture/afpacket", "driver: a ring on an interface of this host", 0},
	{4, "harness/capture/lab", "network namespaces with real kernels in them, for the tests of drivers", support},
	{4, "harness/capture/file", "driver: a capture file, replayed", 0},
	{4, "harness/capture/hub", "one tap shared by the runs of many devices: each gets its own packets", 0},
	{4, "harness/capture/peek", "driver: the carrier's own packet capture sessions", 0},
	{4, "harness/capture/pipe", "driver: a capture that arrives as a stream", 0},
	{4, "harness/capture/ssh", "driver: tcpdump on another host, by the user's own ssh", 0},
	{4, "harness/capture/socket", "driver: a mirror that sends to this host, on a UDP or a raw socket", 0},
	{4, "harness/sim", "the simulated bench: clock, network, device on a pty, mirror", 0},
	{4, "harness/sim/api", "the simulated carrier's HTTP API", 0},
	{4, "harness/sim/api/apitest", "holds both ends of the carrier's API against its definition", support},
	{4, "harness/runner", "drives a plan on a bench and records; owns every goroutine of a run", 0},
	{4, "harness/report", "trace and findings → terminal, JSON, JUnit, HTML, annotated capture", 0},

	{5, "harness/catalog", "one literal table: names → drivers", 0},
	{6, "harness", "the façade: run, judge", 0},
	{7, "cmd/tollgate", "flags, environment, exit codes", 0},

	{3, "fixtures/synth", "captures made packet by packet, for fixtures and benchmarks", support},
	{3, "fixtures/oracle", "reads what another analyser says of real captures", support},
	{3, "fixtures/generate", "command: writes the captures under fixtures", support},
}

// neighbours are the imports that go to the same floor, or to a supporting package, all the same.
var neighbours = []struct{ from, to, why string }{
	{"harness/bench/benchtest", "harness/bench", "the suite is the contracts' other half: it tests drivers against them"},
	{"harness/sim", "harness/sim/api", "the simulated network is what stands behind the simulated carrier's API; both are one product"},
	{"harness/capture/ssh", "harness/capture/pipe", "a capture over ssh is a pipe from ssh's standard output: reading, flushing and beginning anew are the pipe's"},
	{"fixtures/generate", "fixtures/synth", "the command around the maker"},
}

// never are imports that the floors would allow and the design does not.
var never = []struct{ from, to, why string }{
	{"harness/runner", "expectations", "running and judging are two acts, joined by a saved record"},
	{"harness/runner", "harness/verdict", "the runner says what happened, never whether that is good"},
	{"harness/report", "expectations", "a report shows findings; it makes none"},
	{"harness/report", "harness/bench", "a report is made from a record alone, so that a saved run can be reported again"},
	{"cmd/tollgate", "harness/sim", "benches come from the catalogue, the simulated one like every other"},
	{"cmd/tollgate", "harness/runner", "the façade runs; the command reads flags"},
}

// modules are the modules of others, each with the packages that may use it. Tests may use any of them.
var modules = []struct {
	path string
	by   []string
	why  string
}{
	{"github.com/google/gopacket", []string{"fixtures/synth", "harness/report"}, "90 times slower than reading the file: never where every packet passes (packet, flow, trace)"},
	{"gopkg.in/yaml.v3", []string{"harness/scenario", "harness/scenario/schematest", "harness/sim/api/apitest", "expectations", "harness"}, "files that people write come in through scenario.Document, with places and bounds; others only write YAML"},
	{"go.bug.st/serial", []string{"harness/line"}, "its traps (0, nil on a time-out; writes that never end) are dealt with in one place"},
	{"github.com/creack/pty", []string{"harness/sim"}, "the simulated board's end of a serial line"},
	{"gvisor.dev/gvisor", []string{"harness/sim"}, "the simulated device's and servers' TCP/IP; no judgement may rest on somebody's stack"},
	{"github.com/klauspost/compress", []string{"harness/pcap"}, "compressed captures"},
	{"golang.org/x/net/dns/dnsmessage", []string{"harness/flow", "harness/packet", "harness/watch", "harness/sim", "fixtures/synth"}, "DNS messages, fuzzed by others already"},
	{"golang.org/x/net/bpf", []string{"harness/filter", "harness/capture/afpacket"}, "programs are assembled where the words are known, and run in its machine by tests"},
	{"golang.org/x/net/http/httpguts", []string{"harness/sim"}, "HTTP's own rules for names"},
	{"kernel.org/pub/linux/libs/security/libcap/psx", []string{"harness/privilege"}, "what belongs to threads is changed on all of them, those of C libraries too"},
	{"golang.org/x/sys", []string{"harness/privilege", "harness/capture/afpacket", "harness/capture/lab", "cmd/tollgate", "harness/capture/pipe", "harness/capture/socket", "harness/line", "harness/sim", "harness/runner"}, "what the standard library does not reach"},
	{"github.com/cenkalti/backoff/v5", []string{"harness/carrier/soracom", "harness/capture/pipe"}, "when to ask a busy API again, or a writer that died"},
	{"github.com/spf13", []string{"cmd/tollgate"}, "the command line stays in the command"},
	{"github.com/vbauerster/mpb", []string{"cmd/tollgate"}, "progress is the terminal's business"},
	{"github.com/santhosh-tekuri/jsonschema", []string{"harness/scenario/schematest", "harness/sim/api/apitest"}, "schemas are checked by tests only"},
	{"github.com/stretchr/testify", []string{"harness/bench/benchtest", "harness/scenario/schematest"}, "assertions belong to tests"},
	{"pgregory.net/rapid", []string{"harness/scenario/schematest"}, "laws belong to tests"},
	{"go.uber.org/goleak", []string{"harness/bench/benchtest"}, "Close means stopped: the suite looks"},
}

// impure are the standard library's doors to the world; pure packages stay inside.
var impure = []string{"os", "os/exec", "os/signal", "net/http", "syscall", "unsafe", "log"}

// nameless are package names that say nothing about what a package owns.
var nameless = []string{"util", "utils", "lib", "libs", "common", "helper", "helpers", "misc", "base", "shared", "types"}

// topLevel is all that stands at the top of the repository, dot files and what git ignores aside.
var topLevel = []string{"README.md", "cmd", "expectations", "fixtures", "go.mod", "go.sum", "harness", "scenarios"}

func TestTopLevel(t *testing.T) {
	entries, err := os.ReadDir("..")
	require.NoError(t, err)
	ignored, err := os.ReadFile("../.gitignore")
	require.NoError(t, err)
	var found []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") || slices.Contains(strings.FieldsFunc(string(ignored), func(r rune) bool { return r == '\n' || r == '/' }), e.Name()) {
			continue
		}
		found = append(found, e.Name())
	}
	require.Equal(t, topLevel, found)
}

func TestFloorPlan(t *testing.T) {
	house := survey(t)
	plan := map[string]room{}
	for _, r := range rooms {
		require.NotContains(t, plan, r.path, "a package has one floor")
		plan[r.path] = r
		if house[r.path] == nil {
			t.Errorf("the plan draws %s, which is not there: take it off the plan", r.path)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(house)) {
		t.Run(name, func(t *testing.T) {
			from, ok := plan[name]
			require.True(t, ok, "package %s has no floor: give it one in floorplan_test.go", name)
			require.NotContains(t, nameless, path.Base(name), "name a package by the noun it owns")
			for _, f := range house[name] {
				for _, to := range f.imports {
					if objection := judge(plan, from, to); objection != "" {
						t.Errorf("%s imports %s: %s", f.name, to, objection)
					}
				}
				for _, habit := range f.habits {
					t.Errorf("%s: %s", f.name, habit)
				}
			}
		})
	}
}

// judge says what is wrong with an import, "" where nothing is.
func judge(plan map[string]room, from room, to string) string {
	if own, inside := strings.CutPrefix(to, module); inside {
		return judgeOwn(from, own, plan[own])
	}
	if from.traits&pure != 0 && slices.Contains(impure, to) {
		return from.path + " has no I/O"
	}
	if first, _, _ := strings.Cut(to, "/"); !strings.Contains(first, ".") {
		return "" // the standard library
	}
	for _, m := range modules {
		if to != m.path && !strings.HasPrefix(to, m.path+"/") {
			continue
		}
		if !slices.Contains(m.by, from.path) {
			return "only " + strings.Join(m.by, ", ") + " may: " + m.why
		}
		return ""
	}
	return "no rule of floorplan_test.go says why"
}

// judgeOwn judges an import of the house's own.
func judgeOwn(from room, name string, to room) string {
	for _, n := range never {
		if n.from == from.path && n.to == name {
			return n.why
		}
	}
	for _, n := range neighbours {
		if n.from == from.path && n.to == name {
			return ""
		}
	}
	switch {
	case to.path == "":
		return "it has no floor"
	case to.traits&support != 0:
		return "it is for tests and tools only"
	case to.floor == from.floor:
		return fmt.Sprintf("both stand on floor %d: neighbours don't know each other, both may use what is below", to.floor)
	case to.floor > from.floor:
		return fmt.Sprintf("floor %d is above floor %d", to.floor, from.floor)
	}
	return ""
}

func TestFloorPlanObjects(t *testing.T) {
	plan := map[string]room{}
	for _, r := range rooms {
		plan[r.path] = r
	}
	for _, c := range []struct{ from, to, want string }{
		{"harness/flow", module + "harness/packet", ""},
		{"harness/sim", module + "harness/sim/api", ""},
		{"harness/sim", "gvisor.dev/gvisor/pkg/tcpip", ""},
		{"harness/flow", "strings", ""},
		{"harness/packet", module + "harness/flow", "floor 1 is above floor 0"},
		{"harness/device/wiolte", module + "harness/sim", "both stand on floor 4"},
		{"harness/carrier/soracom", module + "harness/sim/api", "both stand on floor 4"},
		{"harness/runner", module + "expectations", "running and judging are two acts"},
		{"harness/trace", module + "fixtures/synth", "for tests and tools only"},
		{"harness/trace", module + "harness/unheard", "it has no floor"},
		{"harness/flow", "github.com/google/gopacket/layers", "never where every packet passes"},
		{"harness/flow", "os", "harness/flow has no I/O"},
		{"harness/runner", "github.com/spf13/cobra", "only cmd/tollgate may"},
		{"harness/runner", "gvisor.dev/gvisor/pkg/tcpip", "only harness/sim may"},
		{"harness/runner", "example.com/new", "no rule"},
	} {
		got := judge(plan, plan[c.from], c.to)
		if c.want == "" {
			require.Empty(t, got, "%s imports %s", c.from, c.to)
			continue
		}
		require.Contains(t, got, c.want, "%s imports %s", c.from, c.to)
	}
}

// source is one file of the house.
type source struct {
	name    string
	imports []string
	habits  []string // bad ones
}

// survey reads every file that ships, of every system, and groups them by package.
func survey(t *testing.T) map[string][]source {
	t.Helper()
	house := map[string][]source{}
	err := filepath.WalkDir("..", func(file string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && file != ".." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata"):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go"):
			return nil
		}
		name := strings.TrimPrefix(filepath.ToSlash(file), "../")
		house[path.Dir(name)] = append(house[path.Dir(name)], read(t, file, name))
		return nil
	})
	require.NoError(t, err)
	return house
}

// read gives a file's imports, and what it does that no package should do on being imported.
func read(t *testing.T, file, name string) source {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	return examine(t, name, text)
}

func examine(t *testing.T, name string, text []byte) source {
	t.Helper()
	syntax, err := parser.ParseFile(token.NewFileSet(), name, text, parser.SkipObjectResolution)
	require.NoError(t, err)
	s := source{name: name}
	for _, i := range syntax.Imports {
		to := strings.Trim(i.Path.Value, "\"`")
		s.imports = append(s.imports, to)
		switch {
		case to == "C":
			s.habits = append(s.habits, "uses cgo: the product is built without")
		case i.Name != nil && i.Name.Name == "_" && to != "embed":
			s.habits = append(s.habits, "imports "+to+" for its side effects: nothing registers itself, the catalogue names what there is")
		case i.Name != nil && i.Name.Name == ".":
			s.habits = append(s.habits, "imports "+to+" with a dot: nobody can tell where a name comes from")
		}
	}
	for _, d := range syntax.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
			s.habits = append(s.habits, "has an init function: importing a package must do nothing")
		}
	}
	return s
}

func TestHabitsAreSeen(t *testing.T) {
	s := examine(t, "x.go", []byte("package x\nimport \"C\"\nimport _ \"embed\"\nimport _ \"image/png\"\nimport . \"fmt\"\nfunc init() {}\nfunc (T) init() {}\n"))
	require.Equal(t, []string{"C", "embed", "image/png", "fmt"}, s.imports)
	require.Len(t, s.habits, 4)
}
