package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/tollgate-iot/tollgate/harness/report"
	"github.com/tollgate-iot/tollgate/harness/trace"
)

// isTerminal says whether a person may be looking.
func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && f.Name() != os.DevNull && os.Getenv("TERM") != "dumb"
}

// heard makes writing to a pipe that nobody reads any more succeed. A terminal stays as it is.
func heard(w io.Writer) io.Writer {
	if isTerminal(w) {
		return w
	}
	return heardWriter{w, new(atomic.Bool)}
}

type heardWriter struct {
	io.Writer
	gone *atomic.Bool // nobody reads any more
}

func (w heardWriter) Write(b []byte) (int, error) {
	n, err := w.Writer.Write(b)
	if errors.Is(err, syscall.EPIPE) {
		w.gone.Store(true)
		return len(b), nil
	}
	return n, err
}

// unheard says that nobody reads any more what is written to w.
func unheard(w io.Writer) bool {
	h, ok := w.(heardWriter)
	return ok && h.gone.Load()
}

// coloured is how single lines are written to w: in colours on a terminal, unless NO_COLOR is set.
func coloured(w io.Writer) report.Style {
	return report.Style{Color: isTerminal(w) && os.Getenv("NO_COLOR") == ""}
}

// style is how standard output is written to: colours on a terminal unless NO_COLOR is set (https://no-color.org), lines
// as long as a terminal is wide, or as COLUMNS says.
func (a *app) style() report.Style {
	s := coloured(a.out)
	s.Width = widthOf(a.out)
	return s
}

// The widths that lines are fitted to. What is narrower is left to the terminal to wrap.
const (
	leastWidth = 40
	mostWidth  = 160
)

// widthOf is how many columns there are; 0 where nobody says.
func widthOf(w io.Writer) int {
	width, _ := strconv.Atoi(os.Getenv("COLUMNS"))
	if f, ok := w.(*os.File); ok && width <= 0 && isTerminal(f) {
		width, _ = windowSize(f)
	}
	if width <= 0 {
		return 0
	}
	return min(max(width, leastWidth), mostWidth)
}

// teller tells how a run goes on: every event where asked to, else the step under way in one line of a terminal.
type teller struct {
	mu      sync.Mutex
	out     io.Writer
	all     bool
	live    bool
	width   int
	written bool
	begin   time.Time
}

func (a *app) teller(f runFlags) *teller {
	return &teller{out: a.err, all: f.verbose, live: !f.verbose && isTerminal(a.err), width: cmp.Or(widthOf(a.err), 80)}
}

// event is told of each event of a run.
func (t *teller) event(e trace.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e.Kind == trace.EventRun && e.State == "begin" {
		t.begin = e.Time
	}
	at := e.Time.Sub(t.begin).Seconds()
	switch {
	case t.all:
		fmt.Fprintf(t.out, "%+9.3f  %-8s %-9s %s\n", at, e.Kind, report.Safe(e.State), report.Safe(eventText(e)))
	case t.live && e.Kind == trace.EventStep && e.State == "begin":
		line := []rune(fmt.Sprintf("%+9.1f s  %s", at, report.Safe(e.Name)))
		fmt.Fprintf(t.out, "\r\x1b[K%s", string(line[:min(len(line), t.width-1)])) // a line that wraps can't be taken back
		t.written = true
	}
}

func eventText(e trace.Event) string {
	if e.Name == "" || e.Text == "" {
		return e.Name + e.Text
	}
	return strings.TrimSuffix(e.Name, ":") + ": " + e.Text // a verb without an argument ends in a colon itself
}

// clear takes the line of the step under way back.
func (t *teller) clear() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.written {
		fmt.Fprint(t.out, "\r\x1b[K")
		t.written = false
	}
}
