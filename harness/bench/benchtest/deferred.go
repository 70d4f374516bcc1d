package benchtest

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/bench"
	"github.com/tollgate-iot/tollgate/harness/pcap"
)

// deferredTap holds a tap that gives its packets at its end to the promises of bench.Tap and bench.Deferred.
func deferredTap(t *testing.T, fixture func(t *testing.T) TapFixture) {
	start := func(t *testing.T) (TapFixture, *sink) {
		t.Helper()
		f := fixture(t)
		s := &sink{text: f.Text}
		if f.Started != nil {
			go f.Started()
		}
		require.NoError(t, returns(t, "Start", func() error { return f.Tap.Start(limited(t), s.take) }))
		return f, s
	}
	run(t, "it has a name, always the same, and says how long it takes to flush", func(t *testing.T) {
		f := fixture(t)
		require.NotEmpty(t, f.Tap.Name())
		require.Equal(t, f.Tap.Name(), f.Tap.Name())
		require.Positive(t, f.Tap.(bench.Deferred).FlushTime())
		require.NoError(t, f.Tap.Close())
	})
	run(t, "Flush gives all that was sent, in order, once", func(t *testing.T) { deferredFlush(t, start) })
	run(t, "a Flush that did not come through may be tried again", func(t *testing.T) {
		f, s := start(t)
		f.Send(t, "one", "two")
		require.Error(t, returns(t, "Flush", func() error { return f.Tap.Flush(cancelled()) }))
		require.NoError(t, f.Tap.Err())
		require.NoError(t, f.Tap.Flush(limited(t)))
		require.Equal(t, []string{"one", "two"}, s.got())
		require.NoError(t, f.Tap.Close())
	})
	run(t, "nothing is given after Close, and nothing is left running", func(t *testing.T) {
		f, s := start(t)
		f.Send(t, "not waited for")
		require.NoError(t, returns(t, "Close", f.Tap.Close))
		s.closed.Store(true)
		require.NoError(t, f.Tap.Close(), "a second time")
		require.NoError(t, f.Tap.Err(), "closing is no failure")
		require.Error(t, f.Tap.Flush(limited(t)), "a closed tap can't promise anything")
		require.False(t, s.late.Load(), "the sink was called after Close")
	})
	run(t, "Close may be called before Start", func(t *testing.T) {
		f := fixture(t)
		require.NoError(t, f.Tap.Close())
		require.NoError(t, f.Tap.Close())
		require.Error(t, f.Tap.Flush(limited(t)), "a tap that never captured has nothing to flush")
		require.Error(t, f.Tap.Start(limited(t), func(pcap.Record) {}))
	})
	run(t, "Start returns soon after its context ends", func(t *testing.T) {
		f := fixture(t)
		require.Error(t, returns(t, "Start", func() error { return f.Tap.Start(cancelled(), func(pcap.Record) {}) }))
		require.NoError(t, f.Tap.Close())
	})
	run(t, "Err tells that there will be no packets", func(t *testing.T) {
		f, s := start(t)
		if f.Break == nil {
			require.NoError(t, f.Tap.Close())
			t.Skip("its far end can't be broken")
		}
		f.Send(t, "one")
		f.Break(t)
		require.Error(t, f.Tap.Flush(limited(t)))
		require.Error(t, f.Tap.Err())
		err := f.Tap.Err()
		require.NoError(t, f.Tap.Close())
		require.Equal(t, err, f.Tap.Err(), "what ended it is still told after Close")
		require.Empty(t, s.got())
	})
}

func deferredFlush(t *testing.T, start func(*testing.T) (TapFixture, *sink)) {
	for _, count := range []int{0, 1, 50} {
		f, s := start(t)
		want := []string{}
		for i := range count {
			want = append(want, fmt.Sprint("text ", i))
		}
		f.Send(t, want...)
		require.Zero(t, f.Tap.Stats().Received, "nothing is given before the end")
		require.NoError(t, f.Tap.Flush(limited(t)))
		require.Equal(t, want, s.got())
		require.EqualValues(t, count, f.Tap.Stats().Received)
		require.NoError(t, f.Tap.Err())
		require.Error(t, f.Tap.Flush(limited(t)), "it captures nothing more, and promises nothing more")
		require.Equal(t, want, s.got())
		require.NoError(t, f.Tap.Close())
		require.EqualValues(t, count, f.Tap.Stats().Received)
		require.False(t, s.twice.Load(), "the sink was called while it was being called")
	}
}
