package afpacket

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/capture/lab"
	"github.com/tollgate-iot/tollgate/harness/pcap"
)

// TestFilling: of a block that frames filled it is known how long they took, and one that was handed over because of its age
// is no reason to rest.
func TestFilling(t *testing.T) {
	lab.Require(t)
	near, _ := lab.Cable(t, 1500)
	tap, err := New(Options{Interface: "m0"})
	require.NoError(t, err)
	var r *ring
	require.NoError(t, near.Do(func() error {
		s, err := open(tap.o)
		r, _ = s.(*ring)
		return err
	}))
	defer func() { require.NoError(t, r.close()) }()
	sender, err := lab.NewSender(near, "m0")
	require.NoError(t, err)
	defer func() { require.NoError(t, sender.Close()) }()

	const length = 1400
	frames := make([][]byte, blockSize/length)
	for i := range frames {
		frames[i] = bytes.Repeat([]byte{2}, length)
	}
	began := time.Now()
	var full, aged int
	for try := 0; full == 0 || aged == 0; try++ { // on a busy machine each block may come of age
		require.Less(t, try, 1000)
		_, err := sender.SendAll(frames)
		require.NoError(t, err)
		require.Eventually(t, r.ready, 10*time.Second, time.Millisecond)
		for r.ready() {
			room := int(blockSize - description(r.block()).Blk_len)
			filled := r.take(tap, func(pcap.Record) {})
			if filled == 0 {
				aged++
				continue
			}
			require.Less(t, room, 2*length)
			require.Less(t, filled, time.Since(began))
			full++
		}
	}
}
