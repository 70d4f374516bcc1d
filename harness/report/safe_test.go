package report

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func TestSafe(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"plain":             {"beam.soracom.io", "beam.soracom.io"},
		"other alphabets":   {"温度計 Zähler", "温度計 Zähler"},
		"ansi colour":       {"\x1b[31mred\x1b[0m", `\x1b[31mred\x1b[0m`},
		"8-bit csi":         {"\u009b31m", `\u009b31m`},
		"line end":          {"a\r\nb\tc", `a\x0d\x0ab\x09c`},
		"delete":            {"a\x7fb", `a\x7fb`},
		"not utf-8":         {"a\xff\xfeb", `a\xff\xfeb`},
		"override":          {"evil\u202etxt.exe", `evil\u202etxt.exe`},
		"isolate":           {"\u2066x\u2069", `\u2066x\u2069`},
		"no room":           {"a\u200bb\ufeffc", `a\u200bb\ufeffc`},
		"line separator":    {"a\u2028b", `a\u2028b`},
		"odd space":         {"a\u2003b", `a\u2003b`},
		"tag characters":    {"a\U000e0041", `a\U000e0041`},
		"private use":       {"\ue000", `\ue000`},
		"replacement shown": {"\ufffd", "\ufffd"},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, c.want, Safe(c.in)) })
	}
}

func TestSafeCutsLongText(t *testing.T) {
	got := Safe(strings.Repeat("é", 5000))
	require.Equal(t, safeLength+1, utf8.RuneCountInString(got))
	require.True(t, strings.HasSuffix(got, "…"))
}

func FuzzSafe(f *testing.F) {
	f.Add("beam.soracom.io")
	f.Add("\x1b]0;title\x07\u202e\xff")
	f.Fuzz(func(t *testing.T, s string) {
		got := Safe(s)
		require.True(t, utf8.ValidString(got))
		require.LessOrEqual(t, utf8.RuneCountInString(got), 10*safeLength+1)
		for _, r := range got {
			require.True(t, harmless(r), "%q lets %U through", s, r)
		}
	})
}
