package expectations

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/tollgate-iot/tollgate/harness/scenario"
)

var whole = map[string]any{"type": "integer", "minimum": 0}

// The units in which claims are made.
var (
	pieces = unit{what: "a count", example: `3, "<= 8", "4..6" or none`, number: `[0-9]+`, bare: whole, parse: parseCount, format: group}
	octets = unit{what: "a number of bytes", example: `"<= 860", "1.5 kB" or none`, number: `[0-9]+(\.[0-9]+)?\s*(B|kB|KB|KiB|MB|MiB|GB|GiB)?`,
		bare: whole, parse: parseBytes, format: func(v int64) string { return group(v) + " B" }}
	spans = unit{what: "a length of time", example: `"<= 90s" or "10s..2m"`, number: scenario.LengthShape,
		parse: parseSpan, format: func(v int64) string { return span(time.Duration(v)) }}
	versions = unit{what: "a TLS version", example: `">= 1.2"`, number: `(TLS )?1\.[0-3]`, bare: map[string]any{"enum": []float64{1.0, 1.1, 1.2, 1.3}}, parse: parseVersion, format: versionName}
)

var wholeNumber = regexp.MustCompile(`^\d+$`)

func parseCount(text string) (int64, error) {
	if !wholeNumber.MatchString(text) {
		return 0, fmt.Errorf("%q is not a count: write 3, <= 8, >= 2, 4..6, 20 ±10%% or none", text)
	}
	v, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is too large a count", text)
	}
	return v, nil
}

var (
	byteForm  = regexp.MustCompile(`^(\d+(?:\.\d+)?)\s*([A-Za-z]*)$`)
	byteUnits = map[string]float64{"": 1, "B": 1, "kB": 1e3, "KB": 1e3, "KiB": 1 << 10, "MB": 1e6, "MiB": 1 << 20, "GB": 1e9, "GiB": 1 << 30}
)

func parseBytes(text string) (int64, error) {
	m := byteForm.FindStringSubmatch(text)
	if m == nil {
		return 0, fmt.Errorf("%q is not a number of bytes: write 860, <= 1.5 kB, 4..6 KiB, 860 ±2%% or none", text)
	}
	scale, ok := byteUnits[m[2]]
	if !ok {
		return 0, fmt.Errorf("%q has an unknown unit %q: write B, kB, KiB, MB, MiB, GB or GiB", text, m[2])
	}
	number, err := strconv.ParseFloat(m[1], 64)
	if err != nil || number*scale > math.MaxInt64/2 {
		return 0, fmt.Errorf("%q is too many bytes", text)
	}
	if v := number * scale; v != math.Trunc(v) {
		return 0, fmt.Errorf("%q is not a whole number of bytes", text)
	}
	return int64(number * scale), nil
}

func parseSpan(text string) (int64, error) {
	d, err := scenario.ParseLength(text)
	return int64(d), err
}

// parseVersion reads a TLS version as the number on the wire (RFC 8446, 4.1.2): 1.2 is 0x0303.
func parseVersion(text string) (int64, error) {
	minor, ok := strings.CutPrefix(strings.TrimPrefix(text, "TLS "), "1.")
	if !ok || len(minor) != 1 || minor < "0" || minor > "3" {
		return 0, fmt.Errorf("%q is not a TLS version: write 1.0, 1.1, 1.2 or 1.3", text)
	}
	return 0x0301 + int64(minor[0]-'0'), nil
}

func versionName(v int64) string { return fmt.Sprintf("TLS 1.%d", v-0x0301) }

// group writes a number with commas between thousands: 1,134.
func group(v int64) string {
	s := strconv.FormatInt(v, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// span writes a length of time as a person reads it: 350 ms, 60.0 s, 2 m 5 s, 3 h 10 m.
func span(d time.Duration) string {
	switch d = d.Round(time.Microsecond); {
	case d < 0:
		return "-" + span(-d)
	case d == 0:
		return "0 s"
	case d < time.Millisecond:
		return fmt.Sprintf("%d µs", d.Microseconds())
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Round(time.Millisecond).Milliseconds())
	case d < 2*time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%d m %d s", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%d h %d m", int(d.Hours()), int(d.Minutes())%60)
}

// clock writes a moment as a person reads it beside a capture: 11:59:53.512, in UTC.
func clock(ns int64) string { return time.Unix(0, ns).UTC().Format("15:04:05.000") }

// plural writes a count with its noun: 1 RST, 3 RSTs.
func plural(n int64, noun string) string {
	switch {
	case n == 1:
		return "1 " + noun
	case strings.HasSuffix(noun, "y"):
		return group(n) + " " + strings.TrimSuffix(noun, "y") + "ies"
	}
	return group(n) + " " + noun + "s"
}
