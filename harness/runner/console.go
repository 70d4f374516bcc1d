package runner

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/tollgate-iot/tollgate/harness/bench"
	"github.com/tollgate-iot/tollgate/harness/plan"
	"github.com/tollgate-iot/tollgate/harness/trace"
)

// console reads every line of the device, always: it writes console.log and the timeline, and holds each line against
// what the step under way watches for.
type console struct {
	lines  chan bench.Line    // the driver sends, unbuffered: a line that was sent is being handled
	sync   chan chan struct{} // see settle
	quit   chan struct{}
	done   chan struct{}
	record *record
	file   *os.File
	err    error // the first of writing; read after done

	mu      sync.Mutex
	watch   *watch
	history []bench.Line // since the last verb began, for awaits that look back
}

// historyLimit bounds the lines kept for an await.
const historyLimit = 10_000

func newConsole(dir string, r *record) (*console, error) {
	f, err := os.Create(filepath.Join(dir, ConsoleFile))
	if err != nil {
		return nil, fmt.Errorf("write console log: %w", err)
	}
	c := &console{
		lines: make(chan bench.Line), sync: make(chan chan struct{}), quit: make(chan struct{}), done: make(chan struct{}),
		record: r, file: f,
	}
	go c.read()
	return c, nil
}

// read handles lines until close.
func (c *console) read() {
	defer close(c.done)
	for {
		select {
		case l := <-c.lines:
			c.handle(l)
		case ack := <-c.sync:
			close(ack)
		case <-c.quit:
			return
		}
	}
}

func (c *console) handle(l bench.Line) {
	text := c.record.mask(printable(l.Text))
	if _, err := fmt.Fprintf(c.file, "%s  %s\n", l.Time.UTC().Format(timeFormat), text); err != nil && c.err == nil {
		c.err = err
	}
	c.record.note(trace.Event{Time: l.Time, Kind: trace.EventConsole, Text: text})
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.history) < historyLimit {
		c.history = append(c.history, l)
	}
	if c.watch != nil {
		c.watch.see(l)
	}
}

// timeFormat shows milliseconds: a serial line is no faster.
const timeFormat = "2006-01-02T15:04:05.000Z"

// printable shows control characters and bytes that are no text as escapes, so that a console's line stays one line.
func printable(s string) string {
	clean := true
	for _, r := range s {
		if r == utf8.RuneError || (r != '\t' && !strconv.IsPrint(r)) {
			clean = false
			break
		}
	}
	if clean {
		return s
	}
	quoted := strconv.Quote(s)
	return strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
}

// settle returns when every line that the driver had sent before the call has been handled.
func (c *console) settle() {
	ack := make(chan struct{})
	select {
	case c.sync <- ack:
		<-ack
	case <-c.done:
	}
}

// forgetBefore lets go of the lines that no await will look back to.
func (c *console) forgetBefore(at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.history = slices.DeleteFunc(c.history, func(l bench.Line) bool { return l.Time.Before(at) })
}

// begin watches lines from now on; what was printed earlier is never this step's.
func (c *console) begin(w *watch) {
	c.settle()
	c.mu.Lock()
	c.watch = w
	c.mu.Unlock()
}

// beginBack watches like begin, and is shown the lines kept since a time first.
func (c *console) beginBack(w *watch) {
	c.settle()
	c.mu.Lock()
	for _, l := range c.history {
		w.see(l)
	}
	c.watch = w
	c.mu.Unlock()
}

// end stops watching, after the lines that are already there.
func (c *console) end() {
	c.settle()
	c.mu.Lock()
	c.watch = nil
	c.mu.Unlock()
}

// close stops reading; the driver must have been closed. Lines that could not be written, on a full disk, are noted: the
// timeline has them all.
func (c *console) close() {
	close(c.quit)
	<-c.done
	err := c.file.Close()
	if c.err != nil {
		err = c.err
	}
	if err != nil {
		c.record.note(trace.Event{Kind: trace.EventRecord, Name: ConsoleFile, State: "not recorded", Text: err.Error()})
	}
}

// watch holds lines against what a step expects: patterns that must appear, each on a later line than the one before
// it, and patterns that must not appear meanwhile. Its fields but the channels are guarded by console.mu while watched.
type watch struct {
	from   time.Time
	until  time.Time // a line after it comes too late, whenever it is looked at
	expect []plan.Match
	never  []plan.Match
	next   int
	last   string        // the last line seen
	lastAt time.Time     // of the line that completed it
	groups []string      // what the groups of the pattern matched last hold
	done   chan struct{} // closed when all expected lines were seen; nil patterns: from the start
	bad    chan struct{} // closed when a forbidden line was seen
	fault  string        // which one
}

func newWatch(from, until time.Time, expect, never []plan.Match) *watch {
	w := &watch{from: from, until: until, expect: expect, never: never, done: make(chan struct{}), bad: make(chan struct{})}
	if len(expect) == 0 {
		close(w.done)
	}
	return w
}

// see is shown each line in turn.
func (w *watch) see(l bench.Line) {
	if l.Time.Before(w.from) || l.Time.After(w.until) || w.fault != "" {
		return
	}
	w.last = l.Text
	for _, n := range w.never {
		if n.Re.MatchString(l.Text) {
			w.fault = fmt.Sprintf("the console showed %q, which '%s' forbids", printable(l.Text), n.Text)
			close(w.bad)
			return
		}
	}
	if w.next >= len(w.expect) {
		return
	}
	if m := w.expect[w.next].Re.FindStringSubmatch(l.Text); m != nil {
		w.groups = m[1:]
		w.next++
		if w.next == len(w.expect) {
			w.lastAt = l.Time
			close(w.done)
		}
	}
}

// faultOf gives the forbidden line that was seen, "" where none was.
func (w *watch) faultOf(mu *sync.Mutex) string {
	mu.Lock()
	defer mu.Unlock()
	return w.fault
}

// missing says what has not been seen, and what was seen last instead.
func (w *watch) missing(within time.Duration) string {
	s := fmt.Sprintf("no console line matched '%s' within %s", w.expect[w.next].Text, span(within))
	if w.next > 0 {
		s += fmt.Sprintf(" after the line for '%s'", w.expect[w.next-1].Text)
	}
	if w.last == "" {
		return s + "; the console stayed silent"
	}
	return s + fmt.Sprintf("; its last line was %q", printable(w.last))
}
