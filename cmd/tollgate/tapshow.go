package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tollgate-iot/tollgate/harness"
	"github.com/tollgate-iot/tollgate/harness/bench"
	"github.com/tollgate-iot/tollgate/harness/report"
	"github.com/tollgate-iot/tollgate/harness/trace"
	"github.com/tollgate-iot/tollgate/harness/watch"
)

// tapShow shows how a capture goes on.
type tapShow interface {
	begin()
	tell(harness.TapView)
	end()
}

// tapShow chooses how, and says in o how many devices are wanted.
func (a *app) tapShow(f tapFlags, o *harness.TapOptions) tapShow {
	switch {
	case f.json:
		o.Top = func() int { return jsonTop }
		return jsonShow{a.out}
	case f.watch && isTerminal(a.out):
		s := &screenShow{out: a.out, file: a.out.(*os.File), style: a.style(), write: f.write}
		o.Top = s.rows
		return s
	case f.watch:
		o.Top = func() int { return 1 }
		return lineShow{a.out}
	}
	return &alarmShow{out: a.err, style: coloured(a.err)}
}

// alarmShow tells nothing but what nobody should overlook, when it begins and when it is over.
type alarmShow struct {
	out     io.Writer
	style   report.Style
	outages int  // whose beginning was told
	lasting bool // the last of them was not over then
	trouble string
}

func (*alarmShow) begin() {}
func (*alarmShow) end()   {}

func (s *alarmShow) tell(v harness.TapView) {
	// Outages are added, never taken away.
	if s.lasting && !v.Outages[s.outages-1].To.IsZero() {
		s.lasting = false
		fmt.Fprintf(s.out, "capturing again since %s\n", clockText(v.Outages[s.outages-1].To))
	}
	for _, o := range v.Outages[s.outages:] {
		s.outages++
		s.lasting = o.To.IsZero()
		fmt.Fprintf(s.out, "%s\n", alarmed(s.style, true, report.Safe(deafText(o))))
	}
	if v.Trouble != "" && v.Trouble != s.trouble { // a full disk is tried again every second
		s.trouble = v.Trouble
		fmt.Fprintf(s.out, "%s\n", alarmed(s.style, true, "NOT RECORDING: "+report.Safe(v.Trouble)))
	}
}

// deafText tells of a span in which the tap did not capture, while it lasts and when it is over.
func deafText(o bench.Outage) string {
	if o.To.IsZero() {
		return fmt.Sprintf("NOT CAPTURING since %s: %s", clockText(o.From), o.Cause)
	}
	return outageText(o)
}

// deafness tells of the last span in which the tap did not capture, "" where there was none.
func deafness(v harness.TapView) string {
	switch n := len(v.Outages); n {
	case 0:
		return ""
	case 1:
		return deafText(v.Outages[0])
	default:
		return fmt.Sprintf("%s (and %s before)", deafText(v.Outages[n-1]), counted(uint64(n-1), "time"))
	}
}

// lastingCause says why nothing is captured at the moment, "" where it is.
func lastingCause(v harness.TapView) string {
	if n := len(v.Outages); n > 0 && v.Outages[n-1].To.IsZero() {
		return report.Safe(v.Outages[n-1].Cause)
	}
	return ""
}

// screenShow fills a terminal's other screen, so that what was on it is there again afterwards.
type screenShow struct {
	out   io.Writer
	file  *os.File
	style report.Style
	write string
	begun bool
}

const (
	// The other screen, no cursor, and no new line where one ends: a stranger's wide characters are wider than they count.
	screenOn  = "\x1b[?1049h\x1b[?25l\x1b[?7l"
	screenOff = "\x1b[?7h\x1b[?25h\x1b[?1049l"
	headRows  = 5 // before the devices
	tailRows  = 1 // behind them: the others
)

func (s *screenShow) begin() {
	s.begun = true
	fmt.Fprint(s.out, screenOn)
}

func (s *screenShow) end() {
	if s.begun {
		fmt.Fprint(s.out, screenOff)
	}
}

// rows is how many devices there is room for.
func (s *screenShow) rows() int {
	_, rows := s.size()
	return max(rows-headRows-tailRows-1, 1)
}

// size is the terminal's: as it says, or as the environment does.
func (s *screenShow) size() (columns, rows int) {
	columns, rows = windowSize(s.file)
	if columns == 0 {
		columns, _ = strconv.Atoi(os.Getenv("COLUMNS"))
	}
	if rows == 0 {
		rows, _ = strconv.Atoi(os.Getenv("LINES"))
	}
	if columns <= 0 {
		columns = 80
	}
	if rows <= 0 {
		rows = 24
	}
	return columns, rows
}

func (s *screenShow) tell(v harness.TapView) {
	columns, rows := s.size()
	var b strings.Builder
	b.WriteString("\x1b[H")
	lines := s.lines(v, columns)
	for _, line := range lines[:min(len(lines), max(rows-1, 0))] { // the cursor's line is the last
		b.WriteString(line)
		b.WriteString("\x1b[K\n")
	}
	b.WriteString("\x1b[J")
	fmt.Fprint(s.out, b.String())
}

// lines is the screen, each line no wider than the terminal.
func (s *screenShow) lines(v harness.TapView, columns int) []string {
	board, stats := v.Board, v.Stats
	out := []string{
		fit(fmt.Sprintf("%s · %s · %s packets/s · %sB/s · %s · %s", report.Safe(v.Tap), v.Since.Truncate(time.Second),
			short(board.Up.Packets+board.Down.Packets), short(board.Up.Bytes+board.Down.Bytes),
			counted(uint64(board.Devices), "device"), counted(uint64(board.Flows), "flow")+more(board)), columns),
		alarmed(s.style, stats.Dropped > 0, fit(fmt.Sprintf("received %s · filtered %s · dropped %s · truncated %s", trace.Thousands(stats.Received),
			trace.Thousands(stats.Filtered), trace.Thousands(stats.Dropped), trace.Thousands(stats.Truncated)), columns)),
	}
	switch {
	case v.Trouble != "":
		out = append(out, alarmed(s.style, true, fit("NOT RECORDING: "+report.Safe(v.Trouble), columns)))
	case v.Missing > 0:
		out = append(out, alarmed(s.style, true, fit(fmt.Sprintf("recording in %s, %s missing in it", report.Safe(s.write), counted(v.Missing, "packet")), columns)))
	case s.write != "":
		out = append(out, fit("recording in "+report.Safe(s.write), columns))
	default:
		out = append(out, "")
	}
	out = append(out, alarmed(s.style, len(v.Outages) > 0, fit(report.Safe(deafness(v)), columns)), fit(fmt.Sprintf("%-*s %6s %9s %9s %9s %9s  %s", addressWidth, "device", "flows", "up p/s", "up B/s", "down p/s", "down B/s", "latest"), columns))
	for i := range board.Top {
		d := &board.Top[i]
		out = append(out, fit(deviceLine(addressText(d.Address), d, latest(d)), columns))
	}
	if board.Others > 0 {
		out = append(out, fit(deviceLine(trace.Thousands(uint64(board.Others))+" others", &board.Rest, ""), columns))
	}
	return out
}

// addressWidth is room for any IPv4 address and most IPv6 addresses.
const addressWidth = 24

func deviceLine(name string, d *watch.Device, latest string) string {
	return strings.TrimRight(fmt.Sprintf("%-*s %6s %9s %9s %9s %9s  %s", addressWidth, name, trace.Thousands(uint64(d.Flows)),
		short(d.Up.Packets), short(d.Up.Bytes), short(d.Down.Packets), short(d.Down.Bytes), latest), " ")
}

// latest says what a device did last, and with whom. The name is a stranger's text.
func latest(d *watch.Device) string {
	peer := d.Peer.String()
	if d.Peer.Port() == 0 {
		peer = d.Peer.Addr().String()
	}
	if d.Name != "" {
		peer = report.Safe(d.Name) + " " + peer
	}
	return trace.Proto(d.Kind) + " " + peer
}

func more(v watch.View) string {
	if v.Bounded {
		return " (and more than are kept apart)"
	}
	return ""
}

// short writes a rate in few characters: 17, 1.2k, 340k, 4.8M.
func short(x float64) string {
	for _, unit := range []string{"", "k", "M", "G", "T"} {
		switch {
		case unit != "" && x < 9.95:
			return fmt.Sprintf("%.1f%s", x, unit)
		case x < 999.5:
			return fmt.Sprintf("%.0f%s", x, unit)
		}
		x /= 1000
	}
	return fmt.Sprintf("%.0fP", x)
}

// fit cuts a line where the terminal ends.
func fit(line string, columns int) string {
	if utf8.RuneCountInString(line) <= columns {
		return line
	}
	return string([]rune(line)[:columns-1]) + "…"
}

// lineShow writes a plain line for each view.
type lineShow struct{ out io.Writer }

func (lineShow) begin() {}
func (lineShow) end()   {}

func (l lineShow) tell(v harness.TapView) {
	s, b := v.Stats, v.Board
	line := fmt.Sprintf("%s received %d filtered %d dropped %d truncated %d · up %s packets/s %sB/s · down %s packets/s %sB/s · %s %s",
		v.At.Format("15:04:05"), s.Received, s.Filtered, s.Dropped, s.Truncated, short(b.Up.Packets), short(b.Up.Bytes), short(b.Down.Packets), short(b.Down.Bytes),
		counted(uint64(b.Devices), "device"), counted(uint64(b.Flows), "flow")+more(b))
	if len(b.Top) > 0 {
		line += " · busiest " + addressText(b.Top[0].Address) + " " + latest(&b.Top[0])
	}
	if v.Trouble != "" {
		line += " · NOT RECORDING: " + report.Safe(v.Trouble)
	}
	if v.Missing > 0 {
		line += fmt.Sprintf(" · not recorded %d", v.Missing)
	}
	if lastingCause(v) != "" {
		line += " · " + report.Safe(deafness(v))
	}
	fmt.Fprintln(l.out, line)
}

// jsonTop is how many devices a JSON line names.
const jsonTop = 20

// jsonShow writes a JSON object for each view.
type jsonShow struct{ out io.Writer }

func (jsonShow) begin() {}
func (jsonShow) end()   {}

// The JSON of `tollgate tap --json`. Keys are added, never renamed or taken away.
type (
	tapCounts struct {
		Received  uint64 `json:"received"`
		Filtered  uint64 `json:"filtered"`
		Dropped   uint64 `json:"dropped"`
		Truncated uint64 `json:"truncated"`
	}
	tapLine struct {
		Time    string      `json:"time"`
		Tap     string      `json:"tap"`
		Counts  tapCounts   `json:"counts"`
		Up      watch.Rate  `json:"up_per_second"`
		Down    watch.Rate  `json:"down_per_second"`
		Devices int         `json:"devices"`
		Flows   int         `json:"flows"`
		Top     []tapDevice `json:"top"`
		Trouble string      `json:"not_recording,omitempty"`
		Missing uint64      `json:"not_recorded,omitempty"`
		Deaf    string      `json:"not_capturing,omitempty"`
	}
	tapDevice struct {
		Address string     `json:"address"`
		Flows   int        `json:"flows"`
		Up      watch.Rate `json:"up_per_second"`
		Down    watch.Rate `json:"down_per_second"`
		Peer    string     `json:"peer"`
		Name    string     `json:"name,omitempty"`
		Proto   string     `json:"proto"`
	}
	tapHole struct {
		From  string `json:"from"`
		To    string `json:"to,omitempty"` // none where it lasted to the end
		Cause string `json:"cause"`
	}
	tapEnd struct {
		End        string    `json:"end"`
		Error      string    `json:"error,omitempty"`
		Counts     tapCounts `json:"counts"`
		Duplicates uint64    `json:"duplicates"`
		Taken      uint64    `json:"taken"`
		Recorded   *uint64   `json:"recorded,omitempty"`
		Files      int       `json:"files,omitempty"`
		Lost       uint64    `json:"not_recorded,omitempty"`
		Outages    []tapHole `json:"not_captured,omitempty"`
		Devices    uint64    `json:"devices"`
		Flows      uint64    `json:"flows"`
		State      string    `json:"completeness"`
		Reasons    []string  `json:"reasons"`
	}
)

func (j jsonShow) tell(v harness.TapView) {
	line := tapLine{Time: v.At.UTC().Format(time.RFC3339Nano), Tap: v.Tap, Counts: tapCounts(v.Stats), Up: v.Board.Up, Down: v.Board.Down,
		Devices: v.Board.Devices, Flows: v.Board.Flows, Top: []tapDevice{}, Trouble: report.Safe(v.Trouble), Missing: v.Missing, Deaf: lastingCause(v)}
	for _, d := range v.Board.Top {
		line.Top = append(line.Top, tapDevice{addressText(d.Address), d.Flows, d.Up, d.Down, d.Peer.String(), report.Safe(d.Name), trace.Proto(d.Kind)})
	}
	printJSON(j.out, line)
}

// endNames are the ends of a capture.
var endNames = map[harness.TapEnd]string{harness.TapAsked: "asked", harness.TapSource: "source ended", harness.TapInterrupted: "interrupted", harness.TapBroke: "broke"}

func endOf(r *harness.TapResult) tapEnd {
	c := r.Capture
	e := tapEnd{End: endNames[r.End], Counts: tapCounts(r.Stats), Duplicates: c.Duplicates, Taken: r.Taken, Devices: c.Total.Devices, Flows: flowsOf(c),
		State: c.Completeness.State.String(), Reasons: []string{}}
	for _, reason := range c.Completeness.Reasons {
		e.Reasons = append(e.Reasons, report.Safe(reason))
	}
	for _, o := range r.Outages {
		h := tapHole{From: o.From.UTC().Format(time.RFC3339Nano), Cause: report.Safe(o.Cause)}
		if !o.To.IsZero() {
			h.To = o.To.UTC().Format(time.RFC3339Nano)
		}
		e.Outages = append(e.Outages, h)
	}
	if r.Err != nil {
		e.Error = report.Safe(r.Err.Error())
	}
	if r.Recording != nil {
		e.Recorded, e.Files = &r.Recording.Frames, r.Recording.Parts
		for _, g := range r.Recording.Gaps {
			e.Lost += g.Frames
		}
	}
	return e
}

// printJSON writes an object in a line; control characters in it are escaped by JSON itself.
func printJSON(out io.Writer, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		panic("tap: " + err.Error()) // of numbers and texts
	}
	fmt.Fprintf(out, "%s\n", b)
}
