package scenario

import (
	"bytes"
	"regexp"
	"strings"
)

// YAML reads a plain value that begins with > as a folded text, so `up: >= 3` is no valid YAML unless it is quoted.
// A comparison must not need quotes in one direction only: where a value begins with > and a number follows, the sign is
// hidden behind a private character while the file is read, which moves no line and no column, and put back after.
const (
	greater = ">"
	hidden  = "\ue03e"
)

var comparisonBegins = regexp.MustCompile(`([:\-,]\s+|[\[{]\s*)>(=\s*[0-9$]|\s+[0-9$])`)

// hideComparisons hides the signs of comparisons that stand without quotes.
func hideComparisons(data []byte) []byte {
	if !bytes.Contains(data, []byte(greater)) {
		return data
	}
	return comparisonBegins.ReplaceAll(data, []byte("${1}"+hidden+"${2}"))
}

// showComparisons puts the signs back.
func showComparisons(text string) string { return strings.ReplaceAll(text, hidden, greater) }
