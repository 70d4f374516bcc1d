package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
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

// style is how standard output is written to: colours on a terminal unless NO_COLOR is set (https://no-color.org).
func (a *app) style() report.Style {
	width, _ := strconv.Atoi(os.Getenv("COLUMNS"))
	if width < 60 || width > 160 {
		width = 100
	}
	return report.Style{Color: isTerminal(a.out) && os.Getenv("NO_COLOR") == "", Width: width}
}

// teller tells how a run goes on: every event where asked to, else the step under way in one line of a terminal.
type teller struct {
	mu      sync.Mutex
	out     io.Writer
	all     bool
	live    bool
	written bool
	begin   time.Time
}

func (a *app) teller(f runFlags) *teller {
	return &teller{out: a.err, all: f.verbose, live: !f.verbose && isTerminal(a.err)}
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
		fmt.Fprintf(t.out, "\r\x1b[K%+9.1f s  %s", at, report.Safe(e.Name))
		t.written = true
	}
}

func eventText(e trace.Event) string {
	if e.Name == "" || e.Text == "" {
		return e.Name + e.Text
	}
	return e.Name + ": " + e.Text
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
