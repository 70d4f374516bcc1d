package benchtest

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/bench"
	"github.com/tollgate-iot/tollgate/harness/trace"
)

// CarrierFixture is a fresh carrier with its far end. The device is online.
type CarrierFixture struct {
	Carrier bench.Carrier
	Clock   bench.Clock
	// Address is the device's in its present session.
	Address netip.Addr
	// Cut is the verb that ends the session. Afterwards the device comes back, by itself or as Reconnect makes it.
	Cut       Call
	Reconnect func(t *testing.T)
	// Harmless is a verb that can be called at any time.
	Harmless Call
	// Block makes the far end take calls and answer none. Nil: it can't.
	Block func(t *testing.T)
	// Traffic passes what Stats then counts, and returns when it would. Nil: it can't.
	Traffic func(t *testing.T)
}

// Carrier holds a carrier to the promises of bench.Carrier.
func Carrier(t *testing.T, fixture func(t *testing.T) CarrierFixture) {
	run(t, "its verbs are unique, documented and limited in time", func(t *testing.T) {
		f := fixture(t)
		verbs(t, f.Carrier.Verbs)
		require.NoError(t, f.Carrier.Close())
	})
	run(t, "a verb that it has not, or without what it needs, is an error", func(t *testing.T) {
		f := fixture(t)
		ctx := limited(t)
		_, err := f.Carrier.Do(ctx, unknownVerb, nil)
		require.Error(t, err)
		for _, v := range f.Carrier.Verbs() {
			for _, a := range v.Args {
				if a.Required {
					_, err := f.Carrier.Do(ctx, v.Name, nil)
					require.Error(t, err, "%s without %s", v.Name, a.Name)
				}
			}
		}
		require.NoError(t, f.Carrier.Close())
	})
	run(t, "its account is one that is known", func(t *testing.T) {
		f := fixture(t)
		_, err := trace.ParseAccount(f.Carrier.Account())
		require.NoError(t, err)
		require.NoError(t, f.Carrier.Close())
	})
	run(t, "a verb is carried out", func(t *testing.T) {
		f := fixture(t)
		_, err := f.do(limited(t), f.Harmless)
		require.NoError(t, err)
		require.NoError(t, f.Carrier.Canary(limited(t)))
		require.NoError(t, f.Carrier.Close())
	})
	run(t, "a cut ends the session, and the events tell it", func(t *testing.T) { carrierCuts(t, fixture(t)) })
	run(t, "Stats are sums that do not shrink", func(t *testing.T) { carrierCounts(t, fixture(t)) })
	run(t, "calls return soon after their context ends", func(t *testing.T) { carrierObeys(t, fixture(t)) })
	run(t, "Close may be called twice, and calls after it are errors", func(t *testing.T) {
		f := fixture(t)
		_, err := f.Carrier.Address(limited(t))
		require.NoError(t, err)
		require.NoError(t, returns(t, "Close", f.Carrier.Close))
		require.NoError(t, f.Carrier.Close())
		for what, call := range f.calls() {
			require.Error(t, returns(t, what, func() error { return call(limited(t)) }), "%s of a closed carrier", what)
		}
	})
}

func (f CarrierFixture) do(ctx context.Context, c Call) (string, error) {
	return f.Carrier.Do(ctx, c.Verb, withDefaults(f.Carrier.Verbs(), c))
}

// calls are all that may wait.
func (f CarrierFixture) calls() map[string]func(context.Context) error {
	now := f.Clock.Now()
	return map[string]func(context.Context) error{
		"Do":      func(ctx context.Context) error { _, err := f.do(ctx, f.Harmless); return err },
		"Address": func(ctx context.Context) error { _, err := f.Carrier.Address(ctx); return err },
		"Events":  func(ctx context.Context) error { _, err := f.Carrier.Events(ctx, now); return err },
		"Stats":   func(ctx context.Context) error { _, err := f.Carrier.Stats(ctx, now, now); return err },
		"Canary":  f.Carrier.Canary,
	}
}

func carrierCuts(t *testing.T, f CarrierFixture) {
	ctx := limited(t)
	before, err := f.Carrier.Events(ctx, time.Time{})
	require.NoError(t, err)
	address, err := f.Carrier.Address(ctx)
	require.NoError(t, err)
	require.Equal(t, f.Address, address)

	since := f.Clock.Now().Add(-time.Second) // events may carry whole milliseconds
	_, err = f.do(ctx, f.Cut)
	require.NoError(t, err)
	deleted := awaitEvent(ctx, t, f, since, "session.deleted")
	require.Equal(t, f.Address, deleted.Address)
	if f.Reconnect != nil {
		f.Reconnect(t)
	}
	created := awaitEvent(ctx, t, f, since, "session.created", deleted.SessionID)
	require.NotEqual(t, deleted.SessionID, created.SessionID, "a new session has its own name")
	address, err = f.Carrier.Address(ctx)
	require.NoError(t, err)
	require.Equal(t, created.Address, address)

	all, err := f.Carrier.Events(ctx, time.Time{})
	require.NoError(t, err)
	require.Greater(t, len(all), len(before))
	for i := 1; i < len(all); i++ {
		require.False(t, all[i].Time.Before(all[i-1].Time), "events are the oldest first")
	}
	for _, e := range all {
		require.Contains(t, []string{"session.created", "session.modified", "session.deleted"}, e.Name)
		require.NotEmpty(t, e.SessionID)
	}
	future, err := f.Carrier.Events(ctx, f.Clock.Now().Add(time.Hour))
	require.NoError(t, err)
	require.Empty(t, future)
	require.NoError(t, f.Carrier.Close())
}

// awaitEvent waits on the bench's clock for an event of a session other than those named.
func awaitEvent(ctx context.Context, t *testing.T, f CarrierFixture, since time.Time, name string, not ...string) bench.Event {
	t.Helper()
	for {
		events, err := f.Carrier.Events(ctx, since)
		require.NoError(t, err)
		for _, e := range events {
			if e.Name == name && (len(not) == 0 || e.SessionID != not[0]) {
				return e
			}
		}
		require.NoError(t, f.Clock.Sleep(ctx, time.Second), "%s does not come", name)
	}
}

func carrierCounts(t *testing.T, f CarrierFixture) {
	ctx := limited(t)
	begin := f.Clock.Now().Add(-time.Hour)
	was, err := f.Carrier.Stats(ctx, begin, f.Clock.Now())
	require.NoError(t, err)
	if f.Traffic == nil {
		require.NoError(t, f.Carrier.Close())
		t.Skip("its far end can't be made to pass traffic")
	}
	f.Traffic(t)
	is, err := f.Carrier.Stats(ctx, begin, f.Clock.Now())
	require.NoError(t, err)
	more := false
	for d := range is.Packets {
		require.GreaterOrEqual(t, is.Packets[d], was.Packets[d])
		require.GreaterOrEqual(t, is.Bytes[d], was.Bytes[d])
		more = more || is.Packets[d] > was.Packets[d] && is.Bytes[d] > was.Bytes[d]
	}
	require.True(t, more, "what passed was not counted: %+v, %+v", was, is)
	require.False(t, is.At.IsZero())
	require.NoError(t, f.Carrier.Close())
}

func carrierObeys(t *testing.T, f CarrierFixture) {
	for what, call := range f.calls() {
		require.Error(t, returns(t, what, func() error { return call(cancelled()) }), "%s with a context that has ended", what)
	}
	if f.Block == nil {
		require.NoError(t, f.Carrier.Close())
		t.Skip("its far end can't be blocked")
	}
	f.Block(t)
	for what, call := range f.calls() {
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- call(ctx) }()
		cancel()
		require.Error(t, returns(t, what, func() error { return <-ended }), "%s cancelled in progress", what)
	}
	require.NoError(t, returns(t, "Close", f.Carrier.Close))
}
