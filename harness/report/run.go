// Package report turns a run's trace and findings into what people and machines read: the terminal, result.json,
// junit.xml, report.html and a capture with the findings as packet comments. It also prints what inspect found in a
// capture. It judges nothing and changes no trace.
//
// Everything that came from outside (console lines, names in packets, errors) is a stranger's: it goes through Safe on
// its way to a terminal, and through the escaping of JSON, XML and HTML elsewhere.
package report

import (
	"cmp"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/tollgate-iot/tollgate/harness/flow"
	"github.com/tollgate-iot/tollgate/harness/trace"
	"github.com/tollgate-iot/tollgate/harness/verdict"
)

// Run is what a report is about: a judged trace.
type Run struct {
	Trace    *trace.Trace
	Findings []verdict.Finding
	Verdict  verdict.Verdict
	Dir      string // the run directory, "" for a bare capture
	Strict   bool   // judged with --strict
	Version  string // of Tollgate
	// Account is how tables and totals count bytes: that of the claims beside them. The zero value is the trace's own.
	Account trace.Account
}

func (r *Run) account() trace.Account {
	if r.Account == (trace.Account{}) {
		return r.Trace.Account
	}
	return r.Account
}

// Count is packets and the bytes that the account counts for them.
type Count struct {
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
}

// Row is one phase of a table, or its total.
type Row struct {
	Name  string
	Up    Count
	Down  Count
	Marks []Mark
}

// Mark is a claim about a row and what became of it.
type Mark struct {
	Verdict verdict.Verdict
	Text    string
}

// Table is the packets of a stretch of the run by phase.
type Table struct {
	Name  string
	Rows  []Row
	Total Row
	Air   *Row // the total as the air carried it, where that differs from what was captured
}

// worst is the verdict that the table's marks join to; Pass where it has none.
func (t *Table) worst() verdict.Verdict {
	vs := []verdict.Verdict{verdict.Pass}
	for _, r := range append(slices.Clone(t.Rows), t.Total) {
		for _, m := range r.Marks {
			vs = append(vs, m.Verdict)
		}
	}
	return verdict.Join(vs...)
}

// Tables gives a table for each window, in order of time, or one for the whole where there is no window.
func Tables(r *Run) []Table {
	if r.Trace.Capture == nil {
		return nil
	}
	windows := slices.Clone(r.Trace.Windows)
	sort.SliceStable(windows, func(i, j int) bool { return windows[i].From.Before(windows[j].From) })
	if len(windows) == 0 {
		return []Table{table(r, nil)}
	}
	out := make([]Table, len(windows))
	for i := range windows {
		out[i] = table(r, &windows[i])
	}
	return out
}

// table sums one window, or the whole where w is nil.
func table(r *Run, w *trace.Window) Table {
	t := Table{Name: "whole run", Total: Row{Name: "total"}}
	if w != nil {
		t.Name = WindowName(*w)
	}
	var phases flow.Phases
	var sum flow.Both[flow.Tally]
	for _, f := range r.Trace.Capture.Flows {
		if !ours(r.Trace, f) || w != nil && (f.End < w.From.UnixNano() || f.Start >= w.To.UnixNano()) {
			continue
		}
		for i := range f.Packets {
			p := &f.Packets[i]
			if w != nil && (p.Time < w.From.UnixNano() || p.Time >= w.To.UnixNano()) {
				continue
			}
			tally := flow.Tally{Packets: 1, Bytes: uint64(p.Wire), AirPackets: uint64(p.Air), AirBytes: uint64(p.AirWire)}
			phases[p.Phase][p.Dir].Add(tally)
			sum[p.Dir].Add(tally)
		}
	}
	t.fill(r, w, phases, sum)
	return t
}

// ours says whether a flow is the device's under test.
func ours(t *trace.Trace, f *flow.Flow) bool {
	return len(t.DeviceAddrs) == 0 || slices.Contains(t.DeviceAddrs, f.Device.Addr())
}

func (t *Table) fill(r *Run, w *trace.Window, phases flow.Phases, sum flow.Both[flow.Tally]) {
	account := r.account()
	counted := func(d flow.Direction, tally flow.Tally) Count { return Count{tally.Packets, account.Bytes(d, tally)} }
	for p, tallies := range phases {
		row := Row{Name: flow.Phase(p).String(), Up: counted(flow.Up, tallies[flow.Up]), Down: counted(flow.Down, tallies[flow.Down])}
		row.Marks = marks(r, row.Name, w)
		if row.Up.Packets+row.Down.Packets > 0 || len(row.Marks) > 0 {
			t.Rows = append(t.Rows, row)
		}
	}
	t.Total.Up, t.Total.Down = counted(flow.Up, sum[flow.Up]), counted(flow.Down, sum[flow.Down])
	t.Total.Marks = marks(r, "", w)
	up, down := sum[flow.Up], sum[flow.Down]
	if up.AirPackets != up.Packets || down.AirPackets != down.Packets {
		t.Air = &Row{
			Name: "on the air",
			Up:   Count{up.AirPackets, account.AirBytes(flow.Up, up)},
			Down: Count{down.AirPackets, account.AirBytes(flow.Down, down)},
		}
	}
}

// marks gives the claims that a row of a window answers: those on its phase, and those on packets and bytes in all for
// the total (phase "").
func marks(r *Run, phase string, w *trace.Window) []Mark {
	var out []Mark
	for i := range r.Findings {
		f := &r.Findings[i]
		of := scope(f.Scope)
		if !sameWindow(of.window, w) {
			continue
		}
		switch {
		case f.Kind == "resets" && phase == flow.Reset.String():
			out = append(out, Mark{f.Verdict, resetText(f)})
		case (f.Kind == "packets" || f.Kind == "bytes") && of.phase == phase:
			out = append(out, Mark{f.Verdict, claimText(f.Claim) + r.otherwise(f, of.account)})
		}
	}
	return out
}

// otherwise says of a claim about bytes that its account is not the table's.
func (r *Run) otherwise(f *verdict.Finding, account string) string {
	account = cmp.Or(account, r.Trace.Account.Name)
	if f.Kind != "bytes" || account == r.account().Name {
		return ""
	}
	return " (account " + account + ")"
}

// resetText is short where it is plain.
func resetText(f *verdict.Finding) string {
	if strings.HasSuffix(f.Claim, "none") {
		return "none allowed"
	}
	return claimText(f.Claim)
}

// longNumber is a number that is read more easily with its thousands apart.
var longNumber = regexp.MustCompile(`\b\d{4,18}\b`)

// claimText writes a claim for reading: no braces, ≤ for <=, 1,134 for 1134.
func claimText(claim string) string {
	claim = strings.NewReplacer("{", "", "}", "", "<=", "≤", ">=", "≥", ": ", " ").Replace(claim)
	return longNumber.ReplaceAllStringFunc(claim, func(digits string) string {
		n, err := strconv.ParseUint(digits, 10, 64)
		if err != nil {
			return digits
		}
		return number(n)
	})
}

// scoped is what a finding is about.
type scoped struct{ phase, window, account string }

// scope takes a finding's scope apart: "phase dns, window cycle[3], account soracom".
func scope(s string) (of scoped) {
	for _, part := range strings.Split(s, ", ") {
		what, name, _ := strings.Cut(part, " ")
		switch what {
		case "phase":
			of.phase = name
		case "window":
			of.window = name
		case "account":
			of.account = name
		}
	}
	return of
}

// sameWindow says whether a scope's window is w; a name without a number means each window of that name.
func sameWindow(name string, w *trace.Window) bool {
	if w == nil {
		return name == ""
	}
	return name == w.Name || name == WindowName(*w)
}

// WindowName is how reports and claims call a window: "get", "cycle[3]".
func WindowName(w trace.Window) string {
	if w.Index == 0 {
		return w.Name
	}
	return w.Name + "[" + number(uint64(w.Index)) + "]"
}
