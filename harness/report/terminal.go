package report

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tollgate-iot/tollgate/harness/trace"
	"github.com/tollgate-iot/tollgate/harness/verdict"
)

// Style is how a terminal is written to.
type Style struct {
	Color bool
	// Width is how many columns there are: rows of tables are fitted to it. 0 is for what no person looks at through a
	// window: rows take a line each, however long.
	Width int
}

// paint gives text a colour (SGR parameters, ECMA-48 8.3.117) where colours are wanted.
func (s Style) paint(code, text string) string {
	if !s.Color || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (s Style) bold(text string) string { return s.paint("1", text) }
func (s Style) dim(text string) string  { return s.paint("2", text) }

// verdict paints text in the verdict's colour.
func (s Style) verdict(v verdict.Verdict, text string) string {
	return s.paint([...]string{"33", "32", "31"}[v], text)
}

// plainWidth is where lines end that are broken even where nobody says how wide there is.
const plainWidth = 100

// manyTables is from how many windows of one name on they are shown as a line each.
const manyTables = 3

// shownTables is how many of those with a failure are shown in full beside that.
const shownTables = 2

// Terminal writes a run's report for a person.
func Terminal(w io.Writer, r *Run, s Style) error {
	p := &page{style: s, run: r}
	p.title()
	p.trouble()
	p.tables()
	p.taps()
	p.findings()
	p.closing()
	_, err := io.WriteString(w, p.out.String())
	return err
}

// page is a report being written.
type page struct {
	style Style
	run   *Run
	out   strings.Builder
}

func (p *page) line(format string, args ...any) {
	fmt.Fprintf(&p.out, format, args...)
	p.out.WriteByte('\n')
}

// title is the scenario, what it ran on, the verdict and the time it took.
func (p *page) title() {
	t := p.run.Trace
	left := Safe(t.Scenario)
	on := Safe(joined(" · ", t.Bench, t.Device))
	word := strings.ToUpper(p.run.Verdict.String())
	right := ""
	if took := duration(t); took != "" {
		right = "   " + took
	}
	gap := cmp.Or(p.style.Width, plainWidth) - utf8.RuneCountInString(left+"   "+on+word+right)
	p.line("%s   %s%s%s%s", p.style.bold(left), p.style.dim(on), strings.Repeat(" ", max(2, gap)),
		p.style.bold(p.style.verdict(p.run.Verdict, word)), right)
}

// duration is the run's time, and the simulated one where that is another; "" for a bare capture, which no run took.
func duration(t *trace.Trace) string {
	if t.Begin.IsZero() {
		return ""
	}
	s := took(t.Wall)
	if own := t.End.Sub(t.Begin); own > t.Wall+t.Wall/10+time.Second {
		s += " (simulated " + took(own) + ")"
	}
	return s
}

func joined(sep string, parts ...string) string {
	var out []string
	for _, p := range parts {
		if p != "" {
			out = append(out, p)
		}
	}
	return strings.Join(out, sep)
}

// trouble comes first: what a verdict can't be had for is the cause of what follows.
func (p *page) trouble() {
	t := p.run.Trace
	if t.Interrupted {
		p.line("\n  %s", p.style.verdict(verdict.Inconclusive, interruption(t)))
	}
	if t.Trouble != "" {
		p.line("\n  %s", p.style.verdict(verdict.Inconclusive, "the run itself went wrong: "+Safe(t.Trouble)))
	}
}

// interruption says what became of the cleanup of a run that was interrupted.
func interruption(t *trace.Trace) string {
	begun := false
	for _, e := range t.Timeline {
		if e.Kind != trace.EventStep || !strings.HasPrefix(e.Step, "cleanup[") {
			continue
		}
		if e.State == "failed" || e.State == "interrupted" { // by the end of the time that it may take
			return "interrupted; the cleanup was tried and failed: " + Safe(e.Name)
		}
		begun = true
	}
	if !begun {
		return "interrupted; there was no cleanup to carry out"
	}
	return "interrupted; the cleanup was carried out"
}

// tables writes the packets by phase, window by window.
func (p *page) tables() {
	tables := Tables(p.run)
	for i := 0; i < len(tables); {
		n := 1
		for i+n < len(tables) && baseName(tables[i+n].Name) == baseName(tables[i].Name) {
			n++
		}
		if n > manyTables {
			p.manyTables(tables[i : i+n])
		} else {
			for j := i; j < i+n; j++ {
				p.table(&tables[j])
			}
		}
		i += n
	}
}

func baseName(window string) string {
	name, _, _ := strings.Cut(window, "[")
	return name
}

// manyTables writes a line for each of many windows, and the first few that failed in full.
func (p *page) manyTables(tables []Table) {
	p.head(baseName(tables[0].Name))
	for i := range tables {
		row := tables[i].Total
		row.Name = tables[i].Name
		if tables[i].worst() != verdict.Pass && len(row.Marks) == 0 {
			row.Marks = []Mark{{tables[i].worst(), "see below"}}
		}
		p.row(&row)
	}
	shown := 0
	for i := range tables {
		if tables[i].worst() == verdict.Fail && shown < shownTables {
			p.table(&tables[i])
			shown++
		}
	}
}

func (p *page) table(t *Table) {
	p.head(t.Name)
	for i := range t.Rows {
		p.row(&t.Rows[i])
	}
	p.row(&t.Total)
	if t.Air != nil {
		p.row(t.Air)
	}
}

// nameWidth holds the longest phase name.
const nameWidth = 16

// head names a table, and the account of its bytes unless those are the frames' own.
func (p *page) head(name string) {
	s := fmt.Sprintf("\n  %s  %s  %s", p.style.bold(pad(Safe(name), nameWidth)), p.style.dim(padLeft("up", 17)), p.style.dim(padLeft("down", 19)))
	if a := p.run.account().Name; a != trace.Wire.Name {
		s += "    " + p.style.dim("account "+Safe(a))
	}
	p.line("%s", s)
}

func (p *page) row(r *Row) {
	p.line("%s", p.marked(fmt.Sprintf("    %s%s  %s", pad(Safe(r.Name), nameWidth-2), cells(r.Up), cells(r.Down)), r.Marks))
}

// marked puts the marks behind a row, those that no longer fit below it.
func (p *page) marked(row string, marks []Mark) string {
	at := utf8.RuneCountInString(row)
	indent := strings.Repeat(" ", min(at+4, max(8, p.style.Width/2)))
	for i, m := range marks {
		text := sign(m.Verdict) + " " + Safe(m.Text)
		length := utf8.RuneCountInString(text)
		switch {
		case p.style.Width > 0 && at+4+length > p.style.Width:
			row += "\n" + indent
			at = len(indent)
		case i == 0:
			row += "    "
			at += 4
		default:
			row += "   "
			at += 3
		}
		row += p.style.verdict(m.Verdict, text)
		at += length
	}
	return row
}

func cells(c Count) string {
	return padLeft(number(c.Packets), 7) + padLeft(number(c.Bytes)+" B", 12)
}

// taps tells what each of several taps counted, and what passed the places that are not judged but compared with.
func (p *page) taps() {
	t := p.run.Trace
	taps := severalTaps(t)
	if taps == nil {
		return
	}
	p.line("")
	for _, l := range tapLines(taps, p.style) {
		p.line("%s", l)
	}
	for _, c := range placeCounts(t, p.run.account()) {
		p.line("    at %s in the whole run: %s up, %s B · %s down, %s B", placeName(c.Place), number(c.Up.Packets), number(c.Up.Bytes), number(c.Down.Packets), number(c.Down.Bytes))
	}
}

// findings writes what failed with everything that shows it, then what could not be decided, then the rest in a line.
func (p *page) findings() {
	if len(p.run.Findings) == 0 {
		p.line("\n  %s", p.style.verdict(verdict.Inconclusive, "? nothing was expected, so nothing was proved"))
		return
	}
	for i := range p.run.Findings {
		if f := &p.run.Findings[i]; f.Verdict == verdict.Fail {
			p.failed(f)
		}
	}
	for _, u := range undecidedBy(p.run.Findings) {
		p.undecided(&u)
	}
	p.passed()
}

// failed writes a failure, and every packet of the flows that it rests on.
func (p *page) failed(f *verdict.Finding) {
	p.line("")
	p.line("  %s %s  %s", p.style.verdict(f.Verdict, sign(f.Verdict)), p.style.bold(pad(Safe(claimLine(f)), 22)), Safe(f.Reason))
	if f.Doubt != "" {
		p.line("      %s", p.style.dim(Safe(f.Doubt)))
	}
	if f.Where != "" {
		p.line("      %s", p.style.dim(Safe(f.Where)))
	}
	for _, l := range listing(p.run, f) {
		p.packet(l)
	}
}

// undecided writes a cause, and the claims that it leaves open.
func (p *page) undecided(u *undecided) {
	p.line("")
	p.line("  %s %s", p.style.verdict(verdict.Inconclusive, sign(verdict.Inconclusive)), Safe(u.Cause))
	p.line("    so it can't be decided whether")
	for _, item := range u.Items {
		claim := "      " + pad(Safe(item.Claim), 44)
		if item.Seen != "" {
			claim += "  " + p.style.dim("seen: "+Safe(item.Seen))
		}
		p.line("%s", strings.TrimRight(claim, " "))
	}
}

// passed counts what held, and says what the passes rest on where that is less than proof.
func (p *page) passed() {
	count := 0
	doubts := map[string]int{}
	var order []string
	for i := range p.run.Findings {
		f := &p.run.Findings[i]
		if f.Verdict != verdict.Pass {
			continue
		}
		count++
		if f.Doubt != "" {
			if doubts[f.Doubt] == 0 {
				order = append(order, f.Doubt)
			}
			doubts[f.Doubt]++
		}
	}
	if count == 0 {
		return
	}
	what := plural(uint64(count), "expectation")
	if count < len(p.run.Findings) {
		what = plural(uint64(count), "other expectation")
	}
	p.line("")
	p.line("  %s %s", p.style.verdict(verdict.Pass, sign(verdict.Pass)), what)
	for _, d := range order {
		p.line("      %s", p.style.dim(p.rests(doubts[d], d)))
	}
}

// rests says what so many passes rest on. Where that is all that is said of the capture below, it is not said twice.
func (p *page) rests(count int, doubt string) string {
	if c := p.run.Trace.Capture; c != nil && doubt == strings.Join(c.Completeness.Reasons, "; ") {
		return fmt.Sprintf("%d of them unproven: by what the capture shows, and it may lack something, as said below", count)
	}
	return fmt.Sprintf("%d of them unproven: %s", count, Safe(doubt))
}

// claimLine is a claim with what it is about.
func claimLine(f *verdict.Finding) string {
	if f.Scope == "" {
		return f.Claim
	}
	return f.Claim + " (" + f.Scope + ")"
}

func (p *page) packet(l listed) {
	if l.head != "" {
		p.line("      %s", p.style.dim(Safe(l.head)))
		return
	}
	if l.left > 0 {
		p.line("           %s", p.style.dim(fmt.Sprintf("… %s", plural(uint64(l.left), "packet"))))
		return
	}
	s := fmt.Sprintf("    %6d  %9s  %s  %s %7s  %s %s", l.number, l.time, l.arrow, pad(l.flags, 9), l.payload, pad(l.phase, 14), Safe(l.note))
	s = strings.TrimRight(s, " ")
	if l.here {
		s = p.style.verdict(verdict.Fail, pad(s, 70)+" ◄ here")
	}
	p.line("%s", s)
}

// closing says how complete the capture is and where everything was put.
func (p *page) closing() {
	p.line("")
	if c := p.run.Trace.Capture; c != nil {
		p.completeness("capture ", &c.Completeness)
		for _, other := range c.Others {
			state := p.run.Trace.At(other.Place).Completeness(trace.Scope{})
			p.completeness("capture at "+placeName(other.Place)+" ", &state)
		}
	}
	if p.run.Dir == "" {
		return
	}
	s := "  " + Safe(p.run.Dir) + "/"
	if hint := wireshark(p.run); hint != "" {
		s += "     wireshark: " + hint
	}
	p.line("%s", s)
}

// completeness says how complete the record of a place is, and why.
func (p *page) completeness(of string, c *trace.Completeness) {
	v := [...]verdict.Verdict{trace.Unproven: verdict.Inconclusive, trace.Whole: verdict.Pass, trace.Broken: verdict.Fail}[c.State]
	s := "  " + of + p.style.verdict(v, c.State.String())
	at := utf8.RuneCountInString("  " + of + c.State.String())
	l := lines{width: cmp.Or(p.style.Width, plainWidth), at: at, indent: min(at+2, maxIndent)}
	for i, reason := range c.Reasons {
		before := ", "
		if i == 0 {
			before = ": "
		}
		l.reason(before, Safe(reason))
	}
	p.line("%s", s+l.text.String())
}

// lines breaks text where a line would become too long: before a reason rather than in it, else between its words.
type lines struct {
	width, at, indent int
	text              strings.Builder
}

// maxIndent is how far in the lines after the first begin at most.
const maxIndent = 20

func (l *lines) reason(before, reason string) {
	fits := l.at+len(before)+utf8.RuneCountInString(reason) <= l.width
	for i, word := range strings.Fields(reason) {
		length := utf8.RuneCountInString(word)
		switch {
		case i == 0 && (fits || before == ": "):
			l.put(before)
		case i == 0:
			l.put(strings.TrimRight(before, " "))
			l.next()
		case l.at+1+length > l.width:
			l.next()
		default:
			l.put(" ")
		}
		l.put(word)
	}
}

func (l *lines) put(text string) {
	l.text.WriteString(text)
	l.at += utf8.RuneCountInString(text)
}

func (l *lines) next() {
	l.text.WriteString("\n" + strings.Repeat(" ", l.indent))
	l.at = l.indent
}

// wireshark is a display filter for the packets of the first failure.
func wireshark(r *Run) string {
	for i := range r.Findings {
		f := &r.Findings[i]
		if f.Verdict != verdict.Fail {
			continue
		}
		for _, w := range f.Witnesses {
			if w.Number > 0 {
				return fmt.Sprintf("frame.number == %d", w.Number)
			}
		}
	}
	return ""
}

// Mark is a painted ✓ or ✗.
func (s Style) Mark(ok bool) string {
	v := verdict.Fail
	if ok {
		v = verdict.Pass
	}
	return s.verdict(v, sign(v))
}
