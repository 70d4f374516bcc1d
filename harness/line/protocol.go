package line

import (
	"fmt"
	"strconv"
	"strings"
)

// Command is one command of the protocol.
type Command struct {
	ID    uint32
	Verb  string
	Words []string
}

// String gives the command as it goes over the line, without the line's end.
func (c Command) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "#%d %s", c.ID, Quote(c.Verb))
	for _, w := range c.Words {
		b.WriteByte(' ')
		b.WriteString(Quote(w))
	}
	return b.String()
}

// ParseCommand reads a command from a line as a board got it; noise in front of the number sign is passed over.
// A line that holds none gives false.
func ParseCommand(s string) (Command, bool) {
	for {
		id, rest, ok := numbered(s)
		if !ok {
			return Command{}, false
		}
		if words, err := Split(rest); err == nil && len(words) > 0 {
			return Command{ID: id, Verb: words[0], Words: words[1:]}, true
		}
		s = rest
	}
}

// ReplyKind says what a board's reply means.
type ReplyKind uint8

// The kinds of replies. Those but Accepted are final.
const (
	Accepted ReplyKind = iota + 1
	OK
	Failed
)

var replyMarks = map[string]ReplyKind{">": Accepted, "OK": OK, "ERROR": Failed}

// Reply is what a board says to a command.
type Reply struct {
	ID   uint32
	Kind ReplyKind
	Text string // the verb, the answer or the reason
}

// String gives the reply as it goes over the line, without the line's end.
func (r Reply) String() string {
	mark := map[ReplyKind]string{Accepted: ">", OK: "OK", Failed: "ERROR"}[r.Kind]
	if r.Text == "" {
		return fmt.Sprintf("#%d %s", r.ID, mark)
	}
	return fmt.Sprintf("#%d %s %s", r.ID, mark, Quote(r.Text))
}

// ParseReply reads a reply from a line of the console; noise in front of the number sign is passed over. A line that
// is the sketch's own gives false. What follows the mark is one word, or, where it is no proper one, taken as it is:
// sketches are written by hand.
func ParseReply(s string) (Reply, bool) {
	for {
		id, rest, ok := numbered(s)
		if !ok {
			return Reply{}, false
		}
		mark, text, _ := strings.Cut(rest, " ")
		if kind, known := replyMarks[mark]; known {
			if words, err := Split(text); err == nil && len(words) == 1 {
				text = words[0]
			}
			return Reply{ID: id, Kind: kind, Text: text}, true
		}
		s = rest
	}
}

// numbered finds the first "#<number> " and gives what follows it.
func numbered(s string) (id uint32, rest string, ok bool) {
	for {
		at := strings.IndexByte(s, '#')
		if at < 0 {
			return 0, "", false
		}
		s = s[at+1:]
		digits, after, found := strings.Cut(s, " ")
		if !found {
			continue
		}
		if n, err := strconv.ParseUint(digits, 10, 32); err == nil && digits[0] != '+' {
			return uint32(n), after, true
		}
	}
}

// Quote gives a word as it stands on the line.
func Quote(word string) string {
	if word != "" && strings.IndexFunc(word, needsQuotes) < 0 && !strings.ContainsRune(word, '\uFFFD') {
		return word
	}
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(word) {
		switch c := word[i]; {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\r':
			b.WriteString(`\r`)
		case c == '\t':
			b.WriteString(`\t`)
		case c < ' ' || c > '~':
			fmt.Fprintf(&b, `\x%02x`, c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

func needsQuotes(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' }

// Split takes a line apart into its words. It is the inverse of joining quoted words with spaces.
func Split(s string) ([]string, error) {
	var words []string
	for {
		s = strings.TrimLeft(s, " \t")
		if s == "" {
			return words, nil
		}
		word, rest, err := nextWord(s)
		if err != nil {
			return nil, err
		}
		words, s = append(words, word), rest
	}
}

// nextWord reads the word at the beginning of s, which is not empty and begins with no space.
func nextWord(s string) (word, rest string, err error) {
	if s[0] != '"' {
		end := strings.IndexAny(s, " \t")
		if end < 0 {
			end = len(s)
		}
		return s[:end], s[end:], nil
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			if i+1 < len(s) && s[i+1] != ' ' && s[i+1] != '\t' {
				return "", "", fmt.Errorf("%q follows a closing quote without a space", s[i+1:])
			}
			return b.String(), s[i+1:], nil
		case '\\':
			c, n, err := escape(s[i+1:])
			if err != nil {
				return "", "", err
			}
			b.WriteByte(c)
			i += n
		default:
			b.WriteByte(s[i])
		}
	}
	return "", "", fmt.Errorf("a quote is not closed in %q", s)
}

// escape reads what follows a backslash, and says how many bytes of it there were.
func escape(s string) (c byte, n int, err error) {
	if s == "" {
		return 0, 0, fmt.Errorf("a backslash at the end")
	}
	switch s[0] {
	case '"', '\\':
		return s[0], 1, nil
	case 'n':
		return '\n', 1, nil
	case 'r':
		return '\r', 1, nil
	case 't':
		return '\t', 1, nil
	case 'x':
		if len(s) >= 3 {
			if v, err := strconv.ParseUint(s[1:3], 16, 8); err == nil {
				return byte(v), 3, nil
			}
		}
	}
	return 0, 0, fmt.Errorf("unknown escape \\%.3s", s)
}
