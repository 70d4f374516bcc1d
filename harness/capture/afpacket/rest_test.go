package afpacket

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRest(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		filled time.Duration
		blocks uint32
		want   time.Duration
		why    string
	}{
		{0, 48, 0, "the block was not full: the next may be days away"},
		{-time.Hour, 48, 0, "a clock was set back"},
		{ms, 48, 6 * ms, "an eighth of the ring"},
		{ms, 2, ms / 4, "of the smallest too"},
		{4 * ms, 48, 20 * ms, "as long as a block is kept back that is not full"},
		{1 << 62, 1 << 12, 20 * ms, "a clock was set on, as far as it goes"},
	} {
		require.Equal(t, c.want, rest(c.filled, c.blocks), c.why)
	}
}
