package line

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// anyWord draws words of any bytes, and more often of those that have a meaning on the line.
var anyWord = rapid.OneOf(
	rapid.StringMatching(`[ -~]{0,20}`),
	rapid.StringMatching(`["\\# \t\r\nx0-9A-F]{0,12}`),
	rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 20), func(b []byte) string { return string(b) }),
)

func TestCommandRoundTripLaw(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := Command{
			ID:    rapid.Uint32().Draw(t, "id"),
			Verb:  anyWord.Draw(t, "verb"),
			Words: rapid.SliceOfN(anyWord, 0, 5).Draw(t, "words"),
		}
		text := c.String()
		require.NotContains(t, text, "\n")
		require.NotContains(t, text, "\r")
		got, ok := ParseCommand(rapid.StringMatching(`[^#]{0,5}`).Draw(t, "noise") + text)
		require.True(t, ok, text)
		require.Equal(t, c.ID, got.ID)
		require.Equal(t, c.Verb, got.Verb)
		require.Equal(t, len(c.Words), len(got.Words))
		for i := range c.Words {
			require.Equal(t, c.Words[i], got.Words[i])
		}
	})
}

func TestReplyRoundTripLaw(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := Reply{
			ID:   rapid.Uint32().Draw(t, "id"),
			Kind: rapid.SampledFrom([]ReplyKind{Accepted, OK, Failed}).Draw(t, "kind"),
			Text: anyWord.Draw(t, "text"),
		}
		got, ok := ParseReply(rapid.StringMatching(`[^#]{0,5}`).Draw(t, "noise") + r.String())
		require.True(t, ok, r.String())
		require.Equal(t, r, got)
	})
}

func TestParseReply(t *testing.T) {
	for _, c := range []struct {
		text string
		want Reply
		ok   bool
	}{
		{"#12 > http_get", Reply{12, Accepted, "http_get"}, true},
		{"#12 OK", Reply{12, OK, ""}, true},
		{"#12 OK hello", Reply{12, OK, "hello"}, true},
		{`#12 OK "two words"`, Reply{12, OK, "two words"}, true},
		{"#12 ERROR said by hand, without quotes", Reply{12, Failed, "said by hand, without quotes"}, true},
		{`#12 ERROR "not closed`, Reply{12, Failed, `"not closed`}, true},
		{"\x00\xff~#3 OK x", Reply{3, OK, "x"}, true},
		{"#1 #2 OK", Reply{2, OK, ""}, true},
		{"### Close ERROR! ###", Reply{}, false},
		{"Send OK 5 hello", Reply{}, false},
		{"#12 http_get http://x/", Reply{}, false}, // an echo of the command
		{"#12", Reply{}, false},
		{"# 12 OK", Reply{}, false},
		{"#+1 OK", Reply{}, false},
		{"#4294967296 OK", Reply{}, false},
		{"#-1 OK", Reply{}, false},
		{"", Reply{}, false},
	} {
		got, ok := ParseReply(c.text)
		require.Equal(t, c.ok, ok, c.text)
		require.Equal(t, c.want, got, c.text)
	}
}

func TestParseCommand(t *testing.T) {
	for _, c := range []struct {
		text string
		want Command
		ok   bool
	}{
		{"#1 udp h:1 \"a b\" 5s", Command{1, "udp", []string{"h:1", "a b", "5s"}}, true},
		{"#1   udp\t h:1 ", Command{1, "udp", []string{"h:1"}}, true},
		{`#1 send ""`, Command{1, "send", []string{""}}, true},
		{`#1 send "\x00\n\r\t\"\\"`, Command{1, "send", []string{"\x00\n\r\t\"\\"}}, true},
		{`#1 send "a"b`, Command{}, false},
		{`#1 send "\q"`, Command{}, false},
		{`#1 send "\x0"`, Command{}, false},
		{`#1 send "\`, Command{}, false},
		{"#1 ", Command{}, false},
		{"plain text", Command{}, false},
	} {
		got, ok := ParseCommand(c.text)
		require.Equal(t, c.ok, ok, c.text)
		if ok {
			require.Equal(t, c.want.ID, got.ID)
			require.Equal(t, append([]string{c.want.Verb}, c.want.Words...), append([]string{got.Verb}, got.Words...), c.text)
		}
	}
}

// What a line's parsers accept they write again as a line that means the same; nothing makes them panic.
func FuzzProtocol(f *testing.F) {
	for _, s := range []string{
		"#12 > http_get", "#12 OK hello", `#7 ERROR "no reply within 5s"`, "### Close ERROR! ###", "Send OK 5 hello",
		"#1 udp beam.soracom.io:23080 \"hello, world\" 5s", "\xff#1 #2 OK \"", `#0 hello`, `#1 a "\x`, "####9 OK # OK",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if c, ok := ParseCommand(s); ok {
			again, ok := ParseCommand(c.String())
			require.True(t, ok, c.String())
			require.Equal(t, c.ID, again.ID)
			require.Equal(t, c.Verb, again.Verb)
			require.Equal(t, strings.Join(c.Words, "\x00"), strings.Join(again.Words, "\x00"))
		}
		if r, ok := ParseReply(s); ok {
			again, ok := ParseReply(r.String())
			require.True(t, ok, r.String())
			require.Equal(t, r, again)
		}
	})
}
