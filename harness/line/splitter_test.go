package line

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// collect gives the lines that a splitter makes of pieces read a second apart.
func collect(pieces ...[]byte) []Line {
	var got []Line
	s := splitter{emit: func(l Line) { got = append(got, l) }}
	at := time.Unix(0, 0)
	for _, p := range pieces {
		at = at.Add(time.Second)
		s.add(p, at)
	}
	s.flush(at)
	return got
}

func texts(lines []Line) []string {
	var out []string
	for _, l := range lines {
		out = append(out, l.Text)
	}
	return out
}

// However the bytes come, the lines are the same, and nothing is lost but the lines' ends.
func TestSplitterLaw(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		data := rapid.SliceOfN(rapid.SampledFrom([]byte("ab#\r\n\n\x00\xff")), 0, 200).Draw(t, "data")
		var pieces [][]byte
		for rest := data; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "piece")
			pieces, rest = append(pieces, rest[:n]), rest[n:]
		}
		whole := texts(collect(data))
		require.Equal(t, whole, texts(collect(pieces...)))
		want := strings.Split(string(data), "\n")
		for i := range want {
			want[i] = strings.TrimSuffix(want[i], "\r")
		}
		if last := len(want) - 1; bytes.HasSuffix(data, []byte("\n")) || len(data) == 0 {
			want = want[:last]
		}
		require.Equal(t, strings.Join(want, "|"), strings.Join(whole, "|"))
		require.Equal(t, len(want), len(whole))
	})
}

func TestSplitterTimesAreThoseOfTheLastByte(t *testing.T) {
	got := collect([]byte("one\ntw"), []byte("o"), []byte("\r\nthree"))
	require.Equal(t, []string{"one", "two", "three"}, texts(got))
	require.Equal(t, []int64{1, 3, 3}, []int64{got[0].Time.Unix(), got[1].Time.Unix(), got[2].Time.Unix()})
}

func TestSplitterBoundsLines(t *testing.T) {
	long := bytes.Repeat([]byte("x"), 2*MaxLine+10)
	got := collect(append(append([]byte{}, long...), '\n'), []byte("next\n"))
	var lengths []int
	for _, l := range got {
		lengths = append(lengths, len(l.Text))
	}
	require.Equal(t, []int{MaxLine, MaxLine, 10, 4}, lengths)

	exact := append(bytes.Repeat([]byte("y"), MaxLine), '\r', '\n')
	require.Equal(t, MaxLine, len(collect(exact)[0].Text))
}

func FuzzSplitter(f *testing.F) {
	f.Add([]byte("Connected.\r\nSend OK 5 hello\r\n#1 OK"), 3)
	f.Add(bytes.Repeat([]byte{0}, 5000), 4096)
	f.Fuzz(func(t *testing.T, data []byte, size int) {
		size = max(1, min(size, 1<<16))
		var pieces [][]byte
		for rest := data; len(rest) > 0; {
			n := min(size, len(rest))
			pieces, rest = append(pieces, rest[:n]), rest[n:]
		}
		total := 0
		for _, l := range collect(pieces...) {
			require.LessOrEqual(t, len(l.Text), MaxLine)
			require.NotContains(t, l.Text, "\n")
			total += len(l.Text)
		}
		require.LessOrEqual(t, total, len(data))
		require.GreaterOrEqual(t, total+2*bytes.Count(data, []byte("\n"))+1, len(data))
	})
}
