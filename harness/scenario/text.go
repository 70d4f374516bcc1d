package scenario

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxText bounds a step's text: it is one line of a timeline.
const maxText = 200

// Kind says in messages what a value is.
func (v Value) Kind() string {
	switch {
	case v.Scalar != nil:
		return strconv.Quote(shorten(*v.Scalar, 40))
	case v.List != nil:
		return "a list"
	case v.Map != nil:
		return "a mapping"
	}
	return "nothing"
}

// plain says whether a text can stand in YAML's flow style without quotes, for a reader's eye. A variable's braces do
// no harm there.
func plain(text string) bool {
	bare := Variable.ReplaceAllString(text, "")
	return text != "" && strings.TrimSpace(text) == text && !strings.Contains(text, ": ") && !strings.ContainsAny(bare, ",[]{}\"#\n\r\t")
}

// Text writes the value on one line, as YAML's flow style would. Variables and secrets stay names.
func (v Value) Text() string {
	var b strings.Builder
	v.write(&b)
	return b.String()
}

func (v Value) write(b *strings.Builder) {
	switch {
	case b.Len() > maxText: // shown shortened: no need to go on
	case v.Scalar != nil && plain(*v.Scalar):
		b.WriteString(*v.Scalar)
	case v.Scalar != nil:
		b.WriteString(strconv.Quote(*v.Scalar))
	case v.List != nil:
		b.WriteByte('[')
		for i, m := range v.List {
			if i > 0 {
				b.WriteString(", ")
			}
			m.write(b)
		}
		b.WriteByte(']')
	case v.Map != nil:
		b.WriteByte('{')
		for i, e := range v.Map {
			if i > 0 {
				b.WriteString(", ")
			}
			b.WriteString(e.Key + ": ")
			e.Value.write(b)
		}
		b.WriteByte('}')
	}
}

// stepText is a step on one line: its verb with the argument; for steps in steps what holds them together.
func stepText(v Value, verb []Entry) string {
	if len(verb) == 0 {
		return ""
	}
	if verb[0].Key != "steps" {
		return oneLine(verb[0])
	}
	var parts []string
	for _, e := range v.Map {
		if e.Key == "repeat" || e.Key == "every" || e.Key == "window" {
			parts = append(parts, oneLine(e))
		}
	}
	if len(parts) == 0 {
		return "steps"
	}
	return strings.Join(parts, ", ")
}

func oneLine(e Entry) string {
	text := e.Value.Text()
	if s := e.Value.Scalar; s != nil && !strings.ContainsAny(*s, "\n\r\t") {
		text = *s
	}
	return shorten(strings.TrimRight(e.Key+": "+text, " "), maxText)
}

// shorten cuts a text to so many characters.
func shorten(s string, limit int) string {
	if utf8.RuneCountInString(s) <= limit {
		return s
	}
	return string([]rune(s)[:limit-1]) + "…"
}
