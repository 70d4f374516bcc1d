package report

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tollgate-iot/tollgate/harness/flow"
	"github.com/tollgate-iot/tollgate/harness/packet"
	"github.com/tollgate-iot/tollgate/harness/trace"
)

// InspectText writes what a capture holds for a terminal: a head, a table of phases for each device with its flows under
// it, and how complete the capture is. What strangers wrote is made safe first.
func InspectText(w io.Writer, c *trace.Capture, o InspectOptions) error {
	t := &inspectText{w: bufio.NewWriter(w), c: c, account: o.account(), o: o}
	t.head()
	t.taps()
	t.contents()
	t.completeness(c.Completeness)
	for _, other := range c.Others {
		t.c = other
		t.line("")
		t.line("at %s", placeName(other.Place))
		t.contents()
		t.completeness(completeAt(other, o))
	}
	if err := t.w.Flush(); err != nil {
		return fmt.Errorf("write inspection of %s: %w", c.File, err)
	}
	return nil
}

// inspectText is a report being written; the writer keeps its first error for Flush.
type inspectText struct {
	w       *bufio.Writer
	c       *trace.Capture
	account trace.Account
	o       InspectOptions
}

// contents tells of the devices of a record, or of all in one.
func (t *inspectText) contents() {
	if t.o.Summary {
		t.total()
		return
	}
	for i := range t.c.Devices {
		t.device(&t.c.Devices[i])
	}
}

// taps tells what each tap counted, and at which place the record is that follows.
func (t *inspectText) taps() {
	taps := inspectedTaps(t.c, t.o)
	if taps == nil {
		return
	}
	t.line("")
	for _, l := range tapLines(taps, Style{}) {
		t.line("%s", l)
	}
	if len(t.c.Others) > 0 {
		t.line("")
		t.line("at %s", placeName(t.c.Place))
	}
}

// run tells which run the capture is of.
func (t *inspectText) run() {
	r := t.o.Run
	if r == nil {
		return
	}
	var addresses []string
	for _, a := range r.DeviceAddrs {
		addresses = append(addresses, a.String())
	}
	t.line("%s", Safe(joined(" · ", r.Scenario, r.Bench, r.Device, strings.Join(addresses, ", "))))
	for _, trouble := range []string{r.Trouble, r.Failed} {
		if trouble != "" {
			t.line("%s", Safe(trouble))
		}
	}
	if r.Interrupted {
		t.line("%s", interruption(r))
	}
}

func (t *inspectText) line(format string, args ...any) {
	_, _ = t.w.WriteString(strings.TrimRight(fmt.Sprintf(format, args...), " ") + "\n")
}

// head tells the file, its frames and what lay around the packets.
func (t *inspectText) head() {
	c := t.c
	parts := []string{c.Format, plural(c.Frames, "frame")}
	for _, name := range slices.Sorted(maps.Keys(c.Tunnels)) {
		if n := c.Tunnels[name]; n > 0 && name != packet.NoTunnel.String() {
			parts = append(parts, number(n)+" in "+strings.ToUpper(name))
		}
	}
	for _, x := range []struct {
		n    uint64
		what string
	}{{c.Undecodable, "undecodable"}, {c.Truncated, "cut short"}, {c.Duplicates, "doubled by the mirror"}} {
		if x.n > 0 {
			parts = append(parts, number(x.n)+" "+x.what)
		}
	}
	t.line("%s   %s", Safe(c.File), strings.Join(parts, " · "))
	if c.First != 0 {
		t.line("%s   %s", time.Unix(0, c.First).UTC().Format("2006-01-02 15:04:05.000 MST"), took(time.Duration(c.Last-c.First)))
	}
	t.run()
	who := "devices as told"
	if c.Inferred {
		who = "devices inferred from who opened the flows (--device says it)"
	}
	if c.Foreign > 0 {
		who += ", " + plural(c.Foreign, "flow") + " of others left out"
	}
	t.line("%s · bytes: %s", who, accountWords(t.account))
}

// accountWords says how bytes are counted.
func accountWords(a trace.Account) string {
	words := Safe(a.Name) + ", the inner Ethernet frame without padding"
	for _, x := range []struct {
		n   int
		dir string
	}{{a.PerPacketUp, "up"}, {a.PerPacketDown, "down"}} {
		if x.n != 0 {
			words += fmt.Sprintf(", %+d for each packet %s", x.n, x.dir)
		}
	}
	return words
}

func (t *inspectText) device(d *trace.Device) {
	t.table(d.Address.String(), d.Tally, &d.Phases)
	t.line("")
	for _, id := range d.Flows {
		t.flow(t.c.Flow(id))
	}
}

func (t *inspectText) total() {
	n := &t.c.Total
	t.table(plural(n.Devices, "device"), n.Tally, &n.Phases)
	var flows, closes []string
	for _, proto := range slices.Sorted(maps.Keys(n.Flows)) {
		flows = append(flows, proto+" "+number(n.Flows[proto]))
	}
	for k, m := range n.Closes {
		if m > 0 {
			closes = append(closes, flow.Close(k).String()+" "+number(m))
		}
	}
	t.line("")
	t.line("    flows      %s", strings.Join(flows, " · "))
	t.line("    teardown   %s", strings.Join(closes, " · "))
}

// table is the phase table: packets and bytes, up and down.
func (t *inspectText) table(title string, sum flow.Both[flow.Tally], phases *flow.Phases) {
	t.line("")
	t.line("  %-35s%20s", pad(title, 16)+padLeft("up", 19), "down")
	for p := range phases {
		if phases[p][flow.Up].Packets+phases[p][flow.Down].Packets > 0 {
			t.row(flow.Phase(p).String(), counts(t.account, phases[p]))
		}
	}
	captured, air := counts(t.account, sum), airCounts(t.account, sum)
	t.row("total", captured)
	if air != captured {
		t.row("on the air", air)
	}
}

func (t *inspectText) row(name string, c both[count]) {
	t.line("    %-14s%7s%12s B%8s%12s B", name, number(c.Up.Packets), number(c.Up.Bytes), number(c.Down.Packets), number(c.Down.Bytes))
}

// flow tells one flow in a line, and in more what it was for and what is special about it.
func (t *inspectText) flow(f *flow.Flow) {
	port := ""
	if f.Kind == packet.TCP || f.Kind == packet.UDP {
		port = fmt.Sprintf(":%d", f.Device.Port())
	}
	t.line("    %-6s %6s → %-22s %6s ▲ %6s ▼ %+11.3f s  %-9s %s", trace.Proto(f.Kind), port, endpoint(f.Kind, f.Peer),
		number(f.Sides[flow.Up].Tally.Packets), number(f.Sides[flow.Down].Tally.Packets),
		float64(f.Start-t.c.First)/1e9, took(time.Duration(f.End-f.Start)), Safe(f.Name))
	notes := append(flowTalk(f), flowNotes(f)...)
	if n := t.o.Own[f]; n > 0 {
		notes = append(notes, "the run's own canary: "+plural(uint64(n), "packet"))
	}
	for _, n := range notes {
		t.line("    %13s   %s", "", n)
	}
}

// talkLines is how many queries, exchanges or messages of a flow are told; the rest are counted.
const talkLines = 8

// flowTalk tells what a flow said, as far as it was readable.
func flowTalk(f *flow.Flow) []string {
	var out []string
	for _, q := range first(f.Queries) {
		what := "no answer"
		if q.Answered {
			what = q.RCode
		}
		out = append(out, fmt.Sprintf("%s %s: %s", Safe(q.Type), Safe(q.Name), Safe(what)))
	}
	if f.TLS != nil {
		out = append(out, tlsWords(f))
	}
	for _, x := range first(f.Exchanges) {
		status := "no answer"
		if x.Status != 0 {
			status = fmt.Sprint(x.Status)
		}
		out = append(out, fmt.Sprintf("%s %s: %s", Safe(x.Method), Safe(x.Host+x.Target), status))
	}
	for _, m := range first(f.Messages) {
		arrow := "▲"
		if m.Dir == flow.Down {
			arrow = "▼"
		}
		out = append(out, strings.TrimSpace(fmt.Sprintf("%s mqtt %s %s", arrow, m.Type, Safe(m.Topic))))
	}
	if more := len(f.Queries) + len(f.Exchanges) + len(f.Messages) - len(out); more > 0 && len(out) >= talkLines {
		out = append(out, fmt.Sprintf("and %s more", number(uint64(more))))
	}
	return out
}

func first[T any](list []T) []T { return list[:min(len(list), talkLines)] }

// tlsWords tells a TLS session's version, its server's name where the peer has another, and what the certificates cost.
func tlsWords(f *flow.Flow) string {
	words := "TLS"
	if v := f.TLS.Version; v>>8 == 3 && v > 0x0300 {
		words = fmt.Sprintf("TLS 1.%d", v&0xFF-1)
	}
	if f.TLS.ServerName != "" && f.TLS.ServerName != f.Name {
		words += " for " + Safe(f.TLS.ServerName)
	}
	if f.TLS.Certificate > 0 {
		words += ", certificates " + number(uint64(f.TLS.Certificate)) + " B"
	}
	return words
}

// flowNotes are the lines under a flow: its teardown and all that went wrong.
func flowNotes(f *flow.Flow) []string {
	var out []string
	if f.Kind == packet.TCP {
		out = append(out, teardownWords(f))
		if f.CloseDoubt != "" {
			out = append(out, "in doubt: "+Safe(f.CloseDoubt))
		}
	}
	if f.BeganBeforeCapture {
		out = append(out, "began before the capture")
	}
	if f.Resumed {
		out = append(out, "continues an earlier flow that had been let go")
	}
	for _, x := range []struct {
		what string
		of   func(*flow.Side) uint64
	}{
		{"retransmissions", func(s *flow.Side) uint64 { return uint64(s.Retransmissions) }},
		{"out of order", func(s *flow.Side) uint64 { return uint64(s.OutOfOrder) }},
		{"bytes missing", func(s *flow.Side) uint64 { return s.Missing }},
		{"zero windows", func(s *flow.Side) uint64 { return uint64(s.ZeroWindows) }},
		{"doubled by the mirror", func(s *flow.Side) uint64 { return uint64(s.Duplicates) }},
	} {
		if n := sides(f, x.of); n != (both[uint64]{}) {
			out = append(out, x.what+": "+arrows(n))
		}
	}
	return out
}

// teardownWords tells how a TCP flow ended: "reset_after_close: the device closed first; FIN 1 ▲ 1 ▼, RST 1 ▲".
func teardownWords(f *flow.Flow) string {
	d := teardownOf(f)
	words := d.Kind
	if d.First != "" {
		words += ": the " + d.First + " closed first"
	}
	var seen []string
	if d.FIN != (both[int]{}) {
		seen = append(seen, "FIN "+arrows(both[uint64]{uint64(d.FIN.Up), uint64(d.FIN.Down)}))
	}
	if d.RST != (both[int]{}) {
		seen = append(seen, "RST "+arrows(both[uint64]{uint64(d.RST.Up), uint64(d.RST.Down)}))
	}
	if len(seen) > 0 {
		words += "; " + strings.Join(seen, ", ")
	}
	return words
}

// arrows writes "3 ▲ 1 ▼", leaving out what is 0.
func arrows(n both[uint64]) string {
	var parts []string
	if n.Up > 0 {
		parts = append(parts, number(n.Up)+" ▲")
	}
	if n.Down > 0 {
		parts = append(parts, number(n.Down)+" ▼")
	}
	return strings.Join(parts, " ")
}

func (t *inspectText) completeness(c trace.Completeness) {
	t.line("")
	t.line("  capture %s", c.State)
	if missing := arrows(pair(c.Missing)); missing != "" {
		t.line("    bytes proved missing: %s", missing)
	}
	for _, r := range c.Reasons {
		t.line("    %s", Safe(r))
	}
}
