package plan

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// condition is a step's `when`: two texts compared, or one that is true or not.
type condition struct {
	left, op, right string // op is "==", "!=" or ""
}

// operand is a text in quotes, or one without that ends where the operator begins. A variable holds no quotes.
var operand = `("(?:[^"\\]|\\.)*"|'[^']*'|[^"'=!\s](?:[^=!]*[^=!\s])?|)`

var whenShape = regexp.MustCompile(`^\s*` + operand + `\s*(?:(==|!=)\s*` + operand + `)?\s*$`)

// parseCondition reads `${x}`, `${x} == y` or `${x} != y`; y may stand in quotes.
func parseCondition(text string) (condition, error) {
	m := whenShape.FindStringSubmatch(text)
	if m == nil || m[1] == "" && m[2] == "" {
		return condition{}, fmt.Errorf(`%q is not a condition: write ${x}, ${x} == y or ${x} != y; a text that holds = or ! stands in quotes`, text)
	}
	return condition{left: unquote(m[1]), op: m[2], right: unquote(m[3])}, nil
}

func unquote(text string) string {
	if strings.HasPrefix(text, "'") {
		return strings.Trim(text, "'")
	}
	if plain, err := strconv.Unquote(text); err == nil && strings.HasPrefix(text, `"`) {
		return plain
	}
	return text
}

// String writes the condition so that parseCondition reads the same, whatever the texts hold.
func (c condition) String() string {
	if c.op == "" {
		return strconv.Quote(c.left)
	}
	return strconv.Quote(c.left) + " " + c.op + " " + strconv.Quote(c.right)
}

// Holds says whether a step's When is so for a run's variables. Two texts are compared as texts; one alone is so unless
// it is empty, "false", "no" or "0". A name that no step has given a value is empty. No condition always holds.
func Holds(when string, vars map[string]string) (bool, error) {
	if when == "" {
		return true, nil
	}
	c, err := parseCondition(when)
	if err != nil {
		return false, fmt.Errorf("when: %w", err)
	}
	left, right := insertAll(c.left, vars), insertAll(c.right, vars)
	switch c.op {
	case "==":
		return left == right, nil
	case "!=":
		return left != right, nil
	}
	switch strings.ToLower(left) {
	case "", "false", "no", "0":
		return false, nil
	}
	return true, nil
}
