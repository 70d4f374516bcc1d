package report

import (
	"bytes"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// safeLength is the longest text of a stranger's that a report shows, in runes: room for any sentence.
const safeLength = 1000

// Safe makes a stranger's text fit to be shown on a terminal or a page: a name from a DNS answer, a host, a console line.
// Control characters (ANSI sequences begin with one), line ends, bytes that are not UTF-8, and the characters that turn
// the direction of text or take no room (Unicode categories Cf, Zl, Zp, Co, Cs) are written as escapes: \x1b, \u202e. A
// backslash stays as it is. What is longer than 1,000 characters is cut, and says so with "…".
func Safe(s string) string {
	if plain(s) {
		return s
	}
	var b strings.Builder
	for count := 0; s != ""; count++ {
		if count == safeLength {
			b.WriteString("…")
			break
		}
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case !harmless(r) && r < 0x80:
			fmt.Fprintf(&b, `\x%02x`, r)
		case !harmless(r) && r > 0xFFFF:
			fmt.Fprintf(&b, `\U%08x`, r)
		case !harmless(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
		s = s[n:]
	}
	return b.String()
}

// SafeLines is Safe for a text of several lines, such as an error that lists mistakes: each line is made fit by itself.
func SafeLines(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = Safe(lines[i])
	}
	return strings.Join(lines, "\n")
}

// plain says whether text is short printable ASCII: what nearly all of it is.
func plain(s string) bool {
	if len(s) > safeLength {
		return false
	}
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7E {
			return false
		}
	}
	return true
}

// harmless says whether a rune shows itself and moves nothing. Combining marks are harmless one by one; a report's
// columns may suffer from them, its meaning not.
func harmless(r rune) bool {
	return r == ' ' || unicode.IsGraphic(r) && !unicode.Is(unicode.Zs, r) || r == '\u00a0' || r == '\u3000'
}

// safeJSON escapes in JSON what encoding/json leaves as it is and Safe does not: a JSON text reads the same and may be
// shown on a terminal.
func safeJSON(b []byte) []byte {
	if !bytes.ContainsFunc(b, needsEscape) {
		return b
	}
	out := make([]byte, 0, len(b)+16)
	for _, r := range string(b) {
		switch high, low := utf16.EncodeRune(r); {
		case !needsEscape(r):
			out = utf8.AppendRune(out, r)
		case high != utf8.RuneError:
			out = fmt.Appendf(out, `\u%04x\u%04x`, high, low)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
	}
	return out
}

func needsEscape(r rune) bool { return r >= 0x7f && !harmless(r) }
