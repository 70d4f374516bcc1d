package report

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tollgate-iot/tollgate/harness/trace"
	"github.com/tollgate-iot/tollgate/harness/verdict"
)

// number writes 1134 as 1,134.
func number(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// took writes a duration for people: 850 ms, 2.1 s, 1 m 34 s, 3 h 12 m.
func took(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < time.Hour:
		d = d.Round(time.Second)
		return fmt.Sprintf("%d m %d s", d/time.Minute, d%time.Minute/time.Second)
	}
	d = d.Round(time.Minute)
	return fmt.Sprintf("%d h %d m", d/time.Hour, d%time.Hour/time.Minute)
}

// since writes a moment as seconds from the begin of a run.
func since(begin time.Time, ns int64) string {
	return fmt.Sprintf("%+.3f", float64(ns-begin.UnixNano())/1e9)
}

// plural writes "1 packet", "3 packets".
func plural(n uint64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return number(n) + " " + noun + "s"
}

func pad(s string, width int) string {
	return s + strings.Repeat(" ", max(0, width-utf8.RuneCountInString(s)))
}

func padLeft(s string, width int) string {
	return strings.Repeat(" ", max(0, width-utf8.RuneCountInString(s))) + s
}

// sign is the mark of a verdict.
func sign(v verdict.Verdict) string {
	return [...]string{"?", "✓", "✗"}[v]
}

// origin is what times are relative to: the run's begin, or a bare capture's first packet.
func origin(t *trace.Trace) time.Time {
	if t.Begin.IsZero() && t.Capture != nil {
		return time.Unix(0, t.Capture.First).UTC()
	}
	return t.Begin
}
