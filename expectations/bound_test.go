package expectations

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/tollgate-iot/tollgate/harness/trace"
	"github.com/tollgate-iot/tollgate/harness/verdict"
)

func TestBounds(t *testing.T) {
	for _, c := range []struct {
		unit      unit
		text      string
		low, high int64
	}{
		{pieces, "3", 3, 3}, {pieces, "== 3", 3, 3}, {pieces, "<= 8", 0, 8}, {pieces, "<8", 0, 7}, {pieces, ">= 8", 8, unlimited}, {pieces, "> 8", 9, unlimited},
		{pieces, "none", 0, 0}, {pieces, "4..6", 4, 6}, {pieces, "4 .. 6", 4, 6}, {pieces, "860 ±2%", 843, 877}, {pieces, "100+-2.5%", 98, 102}, {pieces, "100 +/- 200%", 0, 300},
		{octets, "<= 1.5 kB", 0, 1500}, {octets, "1KiB..2KiB", 1024, 2048}, {octets, "860 B ±2%", 843, 877}, {octets, "3 MB", 3_000_000, 3_000_000},
		{spans, "<= 90s", 0, int64(90 * time.Second)}, {spans, "1m30s", int64(90 * time.Second), int64(90 * time.Second)}, {spans, "< 1d", 0, int64(24*time.Hour) - 1},
		{spans, "500ms..2m", int64(time.Second / 2), int64(2 * time.Minute)}, {versions, ">= 1.2", 0x0303, unlimited}, {versions, "TLS 1.3", 0x0304, 0x0304},
		{pieces, "9000000000000000000 ±99999999999999999999%", 0, unlimited}, {pieces, "9223372036854775807 ±0%", unlimited, unlimited}, {spans, "1μs", 1000, 1000}, {spans, "1.m", int64(time.Minute), int64(time.Minute)},
	} {
		b, err := parseBound(c.unit, c.text)
		require.NoError(t, err, c.text)
		require.Equal(t, []int64{c.low, c.high}, []int64{b.low, b.high}, c.text)
	}
	for _, c := range []struct {
		unit       unit
		text, want string
	}{
		{pieces, "x", "is not a count"}, {pieces, "-1", "is not a count"}, {pieces, "<= ", "is not a count"}, {pieces, "6..4", "is empty: write 4..6"}, {pieces, "< 0", "nothing is < 0"},
		{pieces, "99999999999999999999", "too large"}, {pieces, "", "is not a count"}, {octets, "1.5", "is not a whole number of bytes"}, {octets, "3 kb", `unknown unit "kb"`},
		{octets, "99999999999 GB", "too many bytes"}, {spans, "60", `"60" has no unit: write 60s, 2m, 500ms`}, {spans, "soon", "is not a length of time"}, {versions, "2", "is not a TLS version"},
		{versions, "1.-1", "is not a TLS version"}, {versions, "1.03", "is not a TLS version"}, {pieces, "> 9223372036854775807", "nothing is > 9223372036854775807"}, {spans, "+20s", "is not a length of time"},
	} {
		_, err := parseBound(c.unit, c.text)
		require.ErrorContains(t, err, c.want, c.text)
	}
}

func TestNumbersAsPeopleReadThem(t *testing.T) {
	require.Equal(t, []string{"0", "999", "1,000", "1,234,567", "-1,000"}, []string{group(0), group(999), group(1000), group(1234567), group(-1000)})
	for d, want := range map[time.Duration]string{0: "0 s", 3 * time.Microsecond: "3 µs", 350 * time.Millisecond: "350 ms", time.Minute: "60.0 s", 125 * time.Second: "2 m 5 s",
		190 * time.Minute: "3 h 10 m", -time.Second: "-1.0 s"} {
		require.Equal(t, want, span(d))
	}
	require.Equal(t, []string{"1 RST", "0 RSTs", "1,000 queries"}, []string{plural(1, "RST"), plural(0, "RST"), plural(1000, "query")})
}

// Whatever the truth is among what a measure allows, a ruling never contradicts it; a whole record decides.
func TestRulingsNeverContradictTheTruth(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		small := rapid.Int64Range(0, 12)
		m := measure{got: small.Draw(t, "got")}
		m.least = rapid.Int64Range(0, m.got).Draw(t, "least")
		m.most = rapid.OneOf(rapid.Just(int64(math.MaxInt64)), rapid.Int64Range(m.got, 14)).Draw(t, "most")
		b := bound{low: small.Draw(t, "low")}
		b.high = rapid.OneOf(rapid.Just(int64(unlimited)), rapid.Int64Range(b.low, 14)).Draw(t, "high")
		truth := rapid.Int64Range(m.least, min(m.most, 20)).Draw(t, "truth")

		verdictOf := map[bool]verdict.Verdict{true: verdict.Pass, false: verdict.Fail}
		require.Equal(t, verdictOf[b.holds(m.got)], proof{state: trace.Whole}.rule(m, b).verdict)
		for _, p := range []proof{{state: trace.Broken, doubt: "x"}, {state: trace.Unproven, strict: true, doubt: "x"}} {
			if r := p.rule(m, b); r.verdict != verdict.Inconclusive {
				require.Equal(t, verdictOf[b.holds(truth)], r.verdict, "decided although the truth could be another")
				require.Empty(t, r.doubt)
			} else {
				require.NotEmpty(t, r.doubt)
			}
		}
		open := proof{state: trace.Unproven, doubt: "x"}.rule(m, b)
		strict := proof{state: trace.Unproven, doubt: "x", strict: true}.rule(m, b)
		if open.verdict != strict.verdict {
			require.Equal(t, verdict.Pass, open.verdict, "strict only takes passes away")
			require.Equal(t, verdict.Inconclusive, strict.verdict)
			require.NotEmpty(t, open.doubt, "such a pass says what it rests on")
		}
	})
}
