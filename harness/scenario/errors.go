package scenario

import (
	"fmt"
	"slices"
	"sort"
	"strings"
)

// Error is one mistake in a file a user wrote, at its place.
type Error struct {
	Pos     Pos
	Message string // what is wrong, and what was probably meant
}

func (e *Error) Error() string {
	if e.Pos.Line == 0 {
		return fmt.Sprintf("%s: %s", e.Pos.File, e.Message)
	}
	return fmt.Sprintf("%s:%d:%d: %s", e.Pos.File, e.Pos.Line, e.Pos.Column, e.Message)
}

// Errors are all mistakes of a file, or of several, in the order of their places.
type Errors []*Error

func (es Errors) Error() string {
	var b strings.Builder
	for _, e := range es {
		b.WriteString(e.Error())
		b.WriteByte('\n')
	}
	if len(es) == 1 {
		b.WriteString("1 error")
	} else {
		fmt.Fprintf(&b, "%d errors", len(es))
	}
	return b.String()
}

// Addf notes a mistake.
func (es *Errors) Addf(at Pos, format string, args ...any) {
	*es = append(*es, &Error{Pos: at, Message: fmt.Sprintf(format, args...)})
}

// Err gives the mistakes in order of their places, nil where there are none. What an alias repeats is said once.
func (es Errors) Err() error {
	if len(es) == 0 {
		return nil
	}
	sort.SliceStable(es, func(i, j int) bool {
		a, b := es[i].Pos, es[j].Pos
		if a.File != b.File {
			return a.File < b.File
		}
		if a.Line != b.Line {
			return a.Line < b.Line
		}
		return a.Column < b.Column
	})
	return slices.CompactFunc(es, func(a, b *Error) bool { return *a == *b })
}

// Closest gives the word among those known that word was probably meant to be, "" where none is near.
func Closest(word string, known []string) string {
	best, bestDistance := "", len(word)/3+2
	for _, k := range known {
		if d := distance(strings.ToLower(word), k); d < bestDistance {
			best, bestDistance = k, d
		}
	}
	return best
}

// distance is Levenshtein's: insertions, deletions and substitutions.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			diagonal, row[j] = row[j], min(row[j]+1, row[j-1]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
