package benchtest

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/bench"
	"github.com/tollgate-iot/tollgate/harness/pcap"
)

// TapFixture is a fresh tap with its far end.
type TapFixture struct {
	Tap bench.Tap
	// Send makes the far end send one frame for each text, with the text somewhere in it, and returns when all have
	// reached the tap as Flush understands it. It is called after Start.
	Send func(t *testing.T, texts ...string)
	// Unwanted makes the far end send frames that the tap is told to leave out, and returns how many when they have reached
	// the tap. Nil: it leaves nothing out.
	Unwanted func(t *testing.T) int
	// Break ends the far end, not in good order. Nil: it can't be broken.
	Break func(t *testing.T)
	// Mend, where not nil, brings a far end back that was broken: the tap is one that begins anew by itself (bench.Restarting).
	// It returns when that has been done for which the tap waits.
	Mend func(t *testing.T)
	// Started, where not nil, is called on another goroutine as Start is called, for far ends that must then begin.
	Started func()
	// Text finds a text that was sent in a frame; "" where there is none.
	Text func(data []byte) string
}

// sink keeps what a tap gives.
type sink struct {
	mu     sync.Mutex
	texts  []string
	text   func([]byte) string
	inside atomic.Int32
	twice  atomic.Bool
	closed atomic.Bool
	late   atomic.Bool
}

func (s *sink) take(rec pcap.Record) {
	if s.inside.Add(1) != 1 {
		s.twice.Store(true)
	}
	defer s.inside.Add(-1)
	if s.closed.Load() {
		s.late.Store(true)
	}
	if text := s.text(rec.Data); text != "" {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.texts = append(s.texts, text)
	}
}

func (s *sink) got() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string{}, s.texts...)
}

// Tap holds a tap to the promises of bench.Tap, a bench.Deferred one to those that it makes.
func Tap(t *testing.T, fixture func(t *testing.T) TapFixture) {
	if _, ok := fixture(t).Tap.(bench.Deferred); ok {
		deferredTap(t, fixture)
		return
	}
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
	run(t, "it has a name, always the same", func(t *testing.T) {
		f := fixture(t)
		require.NotEmpty(t, f.Tap.Name())
		require.Equal(t, f.Tap.Name(), f.Tap.Name())
		require.NoError(t, f.Tap.Close())
	})
	run(t, "Flush returns when all that was sent has been given, in order, once", func(t *testing.T) {
		f, s := start(t)
		flushed(t, f, s)
		require.NoError(t, f.Tap.Err())
		require.NoError(t, f.Tap.Close())
		require.False(t, s.twice.Load(), "the sink was called while it was being called")
	})
	run(t, "what is not wanted is counted, and not given", func(t *testing.T) { tapFilters(t, start) })
	run(t, "Stats may be asked for at any time, and never go back", func(t *testing.T) { tapCounts(t, start) })
	run(t, "the sink is not called after Close, and nothing is left running", func(t *testing.T) { tapCloses(t, start) })
	run(t, "Close may be called before Start", func(t *testing.T) {
		f := fixture(t)
		require.NoError(t, f.Tap.Close())
		require.NoError(t, f.Tap.Close())
		require.Error(t, f.Tap.Flush(limited(t)), "a tap that never captured has nothing to flush")
	})
	run(t, "Start and Flush return soon after their context ends", func(t *testing.T) {
		f := fixture(t)
		require.Error(t, returns(t, "Start", func() error { return f.Tap.Start(cancelled(), func(pcap.Record) {}) }))
		require.NoError(t, f.Tap.Close())
		f, _ = start(t)
		_ = returns(t, "Flush", func() error { return f.Tap.Flush(cancelled()) }) // there may be nothing to wait for
		require.NoError(t, f.Tap.Close())
	})
	run(t, "Err tells that the tap ended by itself", func(t *testing.T) { tapBreaks(t, start) })
	run(t, "a tap that begins anew tells its outage", func(t *testing.T) { tapMends(t, start) })
}

// flushed sends ever more frames and holds each Flush to have given all of them, and the counters to go with it.
func flushed(t *testing.T, f TapFixture, s *sink) {
	want := []string{}
	var last bench.TapStats
	for round := range 30 {
		texts := make([]string, round)
		for i := range texts {
			texts[i] = fmt.Sprintf("tap %d.%d", round, i)
		}
		f.Send(t, texts...)
		require.NoError(t, f.Tap.Flush(limited(t)))
		want = append(want, texts...)
		require.Equal(t, want, s.got(), "after round %d", round)
		now := f.Tap.Stats()
		notBack(t, last, now)
		require.GreaterOrEqual(t, now.Received, uint64(len(want)))
		last = now
	}
}

func notBack(t *testing.T, was, is bench.TapStats) {
	t.Helper()
	require.GreaterOrEqual(t, is.Received, was.Received)
	require.GreaterOrEqual(t, is.Filtered, was.Filtered)
	require.GreaterOrEqual(t, is.Dropped, was.Dropped)
	require.GreaterOrEqual(t, is.Truncated, was.Truncated)
}

func tapFilters(t *testing.T, start func(*testing.T) (TapFixture, *sink)) {
	f, s := start(t)
	defer func() { require.NoError(t, f.Tap.Close()) }()
	if f.Unwanted == nil {
		t.Skip("it leaves nothing out")
	}
	f.Send(t, "wanted")
	n := f.Unwanted(t)
	require.Positive(t, n)
	f.Send(t, "wanted too")
	require.NoError(t, f.Tap.Flush(limited(t)))
	require.Equal(t, []string{"wanted", "wanted too"}, s.got())
	stats := f.Tap.Stats()
	require.EqualValues(t, n, stats.Filtered)
	require.EqualValues(t, 2, stats.Received)
	require.Zero(t, stats.Dropped, "what is not wanted is not lost")
}

// tapCounts asks for the counters all the time while frames come and while the tap is closed.
func tapCounts(t *testing.T, start func(*testing.T) (TapFixture, *sink)) {
	f, _ := start(t)
	enough, back := make(chan struct{}), make(chan string, 1)
	go func() {
		defer close(back)
		var was bench.TapStats
		for {
			is := f.Tap.Stats()
			if is.Received < was.Received || is.Filtered < was.Filtered || is.Dropped < was.Dropped || is.Truncated < was.Truncated {
				back <- fmt.Sprintf("from %+v to %+v", was, is)
				return
			}
			was = is
			select {
			case <-enough:
				return
			default:
			}
		}
	}()
	for round := range 10 {
		f.Send(t, fmt.Sprint("a ", round), fmt.Sprint("b ", round))
	}
	require.NoError(t, f.Tap.Flush(limited(t)))
	open := f.Tap.Stats()
	require.NoError(t, f.Tap.Close())
	close(enough)
	require.Empty(t, <-back, "the counters went back")
	notBack(t, open, f.Tap.Stats())
}

func tapCloses(t *testing.T, start func(*testing.T) (TapFixture, *sink)) {
	f, s := start(t)
	f.Send(t, "before")
	require.NoError(t, f.Tap.Flush(limited(t)))
	was := f.Tap.Stats()
	f.Send(t, "not waited for")
	require.NoError(t, returns(t, "Close", f.Tap.Close))
	s.closed.Store(true)
	require.NoError(t, f.Tap.Close(), "a second time")
	require.NoError(t, f.Tap.Err(), "closing is no failure")
	require.Error(t, f.Tap.Flush(limited(t)), "a closed tap can't promise anything")
	notBack(t, was, f.Tap.Stats())
	require.False(t, s.late.Load(), "the sink was called after Close")
}

func tapBreaks(t *testing.T, start func(*testing.T) (TapFixture, *sink)) {
	f, s := start(t)
	if f.Break == nil || f.Mend != nil {
		require.NoError(t, f.Tap.Close())
		t.Skip("its far end can't be broken for good")
	}
	f.Send(t, "one")
	require.NoError(t, f.Tap.Flush(limited(t)))
	require.NoError(t, f.Tap.Err())
	f.Break(t)
	require.Eventually(t, func() bool { return f.Tap.Err() != nil }, soon, time.Millisecond, "the tap does not tell that it is blind")
	require.Error(t, f.Tap.Flush(limited(t)))
	require.Equal(t, []string{"one"}, s.got())
	err := f.Tap.Err()
	require.NoError(t, f.Tap.Close())
	require.Equal(t, err, f.Tap.Err(), "what ended it is still told after Close")
}

func tapMends(t *testing.T, start func(*testing.T) (TapFixture, *sink)) {
	f, s := start(t)
	if f.Mend == nil {
		require.NoError(t, f.Tap.Close())
		t.Skip("it ends once and for all")
	}
	tap, ok := f.Tap.(bench.Restarting)
	require.True(t, ok, "a tap that begins anew tells when it did not capture")
	require.Empty(t, tap.Outages())
	for round := range 3 {
		text := fmt.Sprintf("round %d", round)
		f.Send(t, text)
		require.NoError(t, f.Tap.Flush(limited(t)))
		require.Equal(t, text, s.got()[round], "each is given once")
		f.Break(t)
		require.Eventually(t, func() bool { return len(tap.Outages()) == round+1 }, soon, time.Millisecond, "an outage is not told")
		require.Error(t, f.Tap.Flush(limited(t)), "a tap that does not capture can't promise anything")
		f.Mend(t)
		require.Eventually(t, func() bool { return !tap.Outages()[round].To.IsZero() }, soon, time.Millisecond, "it does not capture again")
		require.NoError(t, f.Tap.Err())
	}
	f.Send(t, "last")
	require.NoError(t, f.Tap.Flush(limited(t)))
	require.Equal(t, []string{"round 0", "round 1", "round 2", "last"}, s.got())
	require.NoError(t, f.Tap.Close())
	outagesInOrder(t, tap.Outages())
}

func outagesInOrder(t *testing.T, all []bench.Outage) {
	t.Helper()
	require.Len(t, all, 3, "after Close too")
	var last time.Time
	for _, o := range all {
		require.NotEmpty(t, o.Cause)
		require.False(t, o.From.Before(last), "one after the other")
		require.False(t, o.To.Before(o.From))
		last = o.To
	}
}
