package soracom

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The carrier counts in whole periods: the first can begin before the time that was asked for.
func TestStatsOfAPeriodThatBeganBefore(t *testing.T) {
	from := time.Unix(1_800_000_000, 5e8)
	sample := func(after time.Duration) []airStats { return []airStats{{UnixTime: from.Add(after).Unix()}} }
	for _, c := range []struct {
		after, every time.Duration
		wide         bool
	}{
		{3 * time.Minute, 5 * time.Minute, true},
		{5 * time.Minute, 5 * time.Minute, false},
		{7 * time.Minute, 5 * time.Minute, false},
		{0, time.Second, false},
		{4 * time.Second, time.Second, false},
	} {
		require.Equal(t, c.wide, sum(sample(c.after), from, c.every).Wide, "a period of %s that ends %s after", c.every, c.after)
	}
	require.True(t, sum(append(sample(8*time.Minute), sample(time.Minute)...), from, 5*time.Minute).Wide)
}
