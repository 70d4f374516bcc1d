package expectations

import (
	"fmt"
	"math"
	"regexp"
	"strings"

	"github.com/tollgate-iot/tollgate/harness/scenario"
)

// unlimited is a bound's high end where it has none.
const unlimited = math.MaxInt64

// bound is what a measured value is compared with: the values from low to high, both taken in.
type bound struct {
	text      string // as written
	low, high int64
}

func (b bound) holds(v int64) bool { return b.low <= v && v <= b.high }

// unit is what a bound's numbers count: how they are read and written.
type unit struct {
	what    string // in messages: "a number of packets"
	example string
	number  string         // regular expression of one number, for the schema
	bare    map[string]any // schema of a number without quotes or unit, nil where that means nothing
	parse   func(text string) (int64, error)
	format  func(int64) string
}

// The parts of a comparison. The percent sign belongs to the tolerance, so a number is what stands before ±.
var (
	comparison = regexp.MustCompile(`^(==|<=|>=|<|>)\s*(.+)$`)
	between    = regexp.MustCompile(`^(.+?)\s*\.\.\s*(.+)$`)
	around     = regexp.MustCompile(`^(.+?)\s*(?:±|\+-|\+/-)\s*(\d+(?:\.\d+)?)\s*%$`)
)

// parseBound reads a comparison: a bare number or == for exactly, <=, <, >=, >, a range 4..6, a tolerance 860 ±2%,
// and none for 0.
func parseBound(u unit, text string) (bound, error) {
	b := bound{text: strings.Trim(text, " \t\r\n\f"), high: unlimited}
	if b.text == "none" {
		b.high = 0
		return b, nil
	}
	if m := around.FindStringSubmatch(b.text); m != nil {
		return b.around(u, m[1], m[2])
	}
	if m := between.FindStringSubmatch(b.text); m != nil {
		return b.between(u, m[1], m[2])
	}
	operator, number := "==", b.text
	if m := comparison.FindStringSubmatch(b.text); m != nil {
		operator, number = m[1], m[2]
	}
	v, err := u.parse(number)
	if err != nil {
		return b, err
	}
	switch operator {
	case "==":
		b.low, b.high = v, v
	case "<=":
		b.high = v
	case "<":
		if v == 0 {
			return b, fmt.Errorf("nothing is %s: write none for zero", b.text)
		}
		b.high = v - 1
	case ">=":
		b.low = v
	case ">":
		if v == unlimited {
			return b, fmt.Errorf("nothing is %s", b.text)
		}
		b.low = v + 1
	}
	return b, nil
}

func (b bound) between(u unit, from, to string) (bound, error) {
	var err error
	if b.low, err = u.parse(from); err != nil {
		return b, err
	}
	if b.high, err = u.parse(to); err != nil {
		return b, err
	}
	if b.high < b.low {
		return b, fmt.Errorf("the range %s is empty: write %s..%s", b.text, to, from)
	}
	return b, nil
}

func (b bound) around(u unit, middle, percent string) (bound, error) {
	v, err := u.parse(middle)
	if err != nil {
		return b, err
	}
	var share float64
	if _, err := fmt.Sscanf(percent, "%g", &share); err != nil {
		return b, fmt.Errorf("%q is not a percentage", percent)
	}
	b.low = capped(math.Ceil(max(0, float64(v)*(1-share/100)-1e-9)))
	b.high = capped(math.Floor(float64(v)*(1+share/100) + 1e-9))
	return b, nil
}

// capped is a number not below zero as a bound's end: Go does not say what becomes of one that an int64 can't hold.
func capped(v float64) int64 {
	if v >= unlimited {
		return unlimited
	}
	return int64(v)
}

// limit says in words what the bound allows, for reasons.
func (b bound) limit(u unit) string {
	switch {
	case b.high == 0:
		return "none allowed"
	case b.low == b.high:
		return "exactly " + u.format(b.low) + " wanted"
	case b.low == 0:
		return "at most " + u.format(b.high) + " allowed"
	case b.high == unlimited:
		return "at least " + u.format(b.low) + " wanted"
	}
	return u.format(b.low) + " to " + u.format(b.high) + " wanted"
}

// boundForm is the form of a comparison in a unit.
func boundForm(u unit) scenario.Form[bound] {
	pattern := fmt.Sprintf(`^\s*(none|((==|<=|>=|<|>)\s*)?%[1]s|%[1]s\s*\.\.\s*%[1]s|%[1]s\s*(±|\+-|\+/-)\s*[0-9]+(\.[0-9]+)?\s*%%)\s*$`, u.number)
	schema := map[string]any{"type": "string", "pattern": pattern}
	if u.bare != nil {
		schema = map[string]any{"anyOf": []any{u.bare, schema}}
	}
	return scenario.Form[bound]{
		Schema: func(map[string]any) map[string]any { return schema },
		Read: func(errs *scenario.Errors, name string, v scenario.Value) bound {
			if v.Scalar == nil {
				errs.Addf(v.Pos, "%s: want %s such as %s, got %s", name, u.what, u.example, v.Kind())
				return bound{}
			}
			b, err := parseBound(u, *v.Scalar)
			if err != nil {
				errs.Addf(v.Pos, "%s: %s", name, err)
			}
			return b
		},
	}
}
