package sim

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

var testStart = time.Date(2026, 11, 22, 1, 38, 33, 0, time.UTC)

// fired is one timer's firing as the clock showed it.
type fired struct {
	id       int
	due, now time.Time
}

// Timers fire once each, in the order of their times and then of their setting, with Now exactly at their time, and
// never after they were stopped, whatever is set, reset and stopped from within them.
func TestClockTimersLaw(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newClock(testStart, DefaultSpeed)
		var got []fired
		pending := map[int]time.Time{} // what must still fire
		timers := map[int]*timer{}
		order := map[int]int{} // when each was last set
		serial := 0
		set := func(id int, d time.Duration, again func()) {
			serial++
			pending[id], order[id] = c.Now().Add(d), serial
			if old := timers[id]; old != nil {
				old.Reset(d)
				return
			}
			timers[id] = c.AfterFunc(d, func() {
				got = append(got, fired{id, pending[id], c.Now()})
				delete(pending, id)
				again()
			}).(*timer)
		}
		wait := rapid.Custom(func(t *rapid.T) time.Duration {
			return time.Duration(rapid.IntRange(0, 400).Draw(t, "ms")) * time.Millisecond
		})
		n := rapid.IntRange(1, 12).Draw(t, "timers")
		acts := rapid.SliceOfN(rapid.IntRange(0, 3), n, n).Draw(t, "acts")
		next := n
		for id := range n {
			set(id, wait.Draw(t, "wait"), func() {
				other := (id + 1) % n
				switch acts[id] {
				case 1: // a new one
					set(next, time.Duration(id)*time.Millisecond, func() {})
					next++
				case 2:
					if timers[other].Stop() {
						delete(pending, other)
					}
				case 3:
					if _, due := pending[other]; due {
						set(other, 50*time.Millisecond, nil)
					}
				}
			})
		}
		for range 600 {
			before := c.Now()
			c.tick()
			require.False(t, c.Now().Before(before), "time went back")
			if rapid.IntRange(0, 9).Draw(t, "touch") == 0 {
				c.Touch()
			}
		}
		require.Empty(t, pending, "timers that never fired")
		for i, f := range got {
			require.Equal(t, f.due, f.now, "timer %d", f.id)
			require.True(t, i == 0 || !f.now.Before(got[i-1].now), "timer %d fired before an earlier one", f.id)
		}
	})
}

func TestClockKeepsTheOrderOfEqualTimes(t *testing.T) {
	c := newClock(testStart, DefaultSpeed)
	var got []int
	for i := range 20 {
		c.at(testStart.Add(5*time.Millisecond), func() { got = append(got, i) })
	}
	for range 10 {
		c.tick()
	}
	want := make([]int, 20)
	for i := range want {
		want[i] = i
	}
	require.Equal(t, want, got)
}

// pace measures how far one tick goes.
func pace(c *Clock) time.Duration {
	before := c.Now()
	c.tick()
	return c.Now().Sub(before)
}

func TestClockHurriesOnlyWhenIdle(t *testing.T) {
	c := newClock(testStart, DefaultSpeed)
	for range quietTicks {
		require.Equal(t, tick, pace(c))
	}
	for range rampTicks {
		require.Equal(t, rampSpeed*tick, pace(c))
	}
	require.Equal(t, DefaultSpeed*tick, pace(c))
	c.Touch()
	require.Equal(t, tick, pace(c))
}

func TestClockHeldNeverHurries(t *testing.T) {
	c := newClock(testStart, DefaultSpeed)
	one, two := c.Hold(), c.Hold()
	one()
	one() // a second release is none
	for range 10 * (quietTicks + rampTicks) {
		require.Equal(t, tick, pace(c))
	}
	two()
	for range quietTicks + rampTicks {
		c.tick()
	}
	require.Equal(t, DefaultSpeed*tick, pace(c))
}

func TestClockActivityEndsAHurriedTick(t *testing.T) {
	c := newClock(testStart, DefaultSpeed)
	for range quietTicks + rampTicks + 1 {
		c.tick()
	}
	due := c.Now().Add(7 * time.Millisecond)
	later := false
	c.at(due, c.Touch)
	c.at(due.Add(time.Millisecond), func() { later = true })
	c.tick()
	require.Equal(t, due, c.Now(), "what reacts to the activity sees its time")
	require.False(t, later)
	c.tick()
	require.True(t, later)
}

func TestClockSpeedOneIsTheWalls(t *testing.T) {
	c := newClock(testStart, 1)
	for range 10 * (quietTicks + rampTicks) {
		require.Equal(t, tick, pace(c))
	}
}

// No wake-up is lost, and none comes early, however many sleep at once.
func TestClockSleepers(t *testing.T) {
	c := NewClock(0)
	defer c.Stop()
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(1, uint64(i)))
			for range 5 {
				d := time.Duration(rng.IntN(3000)) * time.Millisecond
				begin := c.Now()
				if err := c.Sleep(context.Background(), d); err != nil || c.Now().Sub(begin) < d {
					t.Errorf("slept %s of %s: %v", c.Now().Sub(begin), d, err)
				}
			}
		})
	}
	wg.Wait()
}

func TestClockSleepEndsWithItsContext(t *testing.T) {
	c := newClock(testStart, DefaultSpeed) // it never goes on
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(ErrStopped)
	require.ErrorIs(t, c.Sleep(ctx, time.Hour), ErrStopped)
	require.ErrorIs(t, c.Sleep(ctx, 0), ErrStopped)
	require.Empty(t, c.timers, "a sleeper that gave up leaves no timer")
}

func TestClockTimeout(t *testing.T) {
	c := NewClock(0)
	defer c.Stop()
	ctx, cancel := c.WithTimeout(context.Background(), time.Second)
	defer cancel()
	begin := c.Now()
	<-ctx.Done()
	require.ErrorIs(t, context.Cause(ctx), context.DeadlineExceeded)
	require.GreaterOrEqual(t, c.Now().Sub(begin), time.Second)

	ctx, cancel = c.WithTimeout(context.Background(), time.Hour)
	cancel()
	require.ErrorIs(t, context.Cause(ctx), context.Canceled)
}

func TestClockStopWakesSleepers(t *testing.T) {
	c := NewClock(0)
	slept := make(chan error)
	go func() { slept <- c.Sleep(context.Background(), 1000*time.Hour) }()
	c.Stop()
	require.ErrorIs(t, <-slept, ErrStopped)
	c.Stop() // a second time is no trouble
}
