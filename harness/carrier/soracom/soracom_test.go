package soracom

import (
	"context"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/tollgate-iot/tollgate/harness/bench"
	"github.com/tollgate-iot/tollgate/harness/flow"
	"github.com/tollgate-iot/tollgate/harness/sim/api"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	imsi  = "001010123456789"
	simID = "8981100000000000001"
)

// leapClock is a clock on which sleeping takes no time: it leaps to the end of the sleep.
type leapClock struct {
	mu    sync.Mutex
	now   time.Time
	slept []time.Duration
	// during is called in each sleep, after the leap.
	during func()
}

func (c *leapClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *leapClock) Sleep(ctx context.Context, d time.Duration) error {
	c.mu.Lock()
	c.now = c.now.Add(d)
	c.slept = append(c.slept, d)
	during := c.during
	c.mu.Unlock()
	if during != nil {
		during()
	}
	return context.Cause(ctx)
}

func (c *leapClock) WithTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, d)
}

func (c *leapClock) sleeps() []time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]time.Duration(nil), c.slept...)
}

// network is a simulated network of one SIM, its API, and a carrier that uses it.
type network struct {
	*testing.T
	clock   *leapClock
	sim     *api.MemorySIM
	server  *api.Server
	carrier *Carrier
}

func newNetwork(t *testing.T, o Options) *network {
	t.Helper()
	n := &network{T: t, clock: &leapClock{now: time.Date(2026, 11, 22, 1, 38, 33, 0, time.UTC)}}
	memory := api.NewMemory(n.clock.Now)
	n.sim = memory.Add(api.Info{ID: simID, IMSI: imsi}, api.Hooks{})
	n.sim.Connect(api.Session{Address: netip.MustParseAddr("10.213.7.42")})
	server, err := api.Serve(memory, api.Options{PageLimit: 3})
	require.NoError(t, err)
	n.server = server
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	n.carrier = n.another(o)
	return n
}

// another gives another carrier on the same network.
func (n *network) another(o Options) *Carrier {
	n.Helper()
	if o.SIM == "" {
		o.SIM = imsi
	}
	if o.Credentials == (Credentials{}) {
		c := n.server.Credentials()
		o.Credentials = Credentials{AuthKeyID: c.AuthKeyID, AuthKey: c.AuthKey}
	}
	if o.Endpoint == "" {
		o.Endpoint = n.server.URL()
	}
	o.Clock = n.clock
	o.Getenv = func(string) string { return "" }
	c, err := New(o)
	require.NoError(n, err)
	n.Cleanup(func() { require.NoError(n, c.Close()) })
	return c
}

// calls gives the calls so far that hold a text.
func (n *network) calls(text string) int {
	count := 0
	for _, c := range n.server.Calls() {
		if strings.Contains(c, text) {
			count++
		}
	}
	return count
}

func (n *network) names(since time.Time) []string {
	n.Helper()
	events, err := n.carrier.Events(context.Background(), since)
	require.NoError(n, err)
	var out []string
	for _, e := range events {
		out = append(out, strings.TrimPrefix(e.Name, "session."))
	}
	return out
}

func TestSignInWays(t *testing.T) {
	n := newNetwork(t, Options{})
	c := n.server.Credentials()
	for name, way := range map[string]Credentials{
		"key":   {AuthKeyID: c.AuthKeyID, AuthKey: c.AuthKey},
		"email": {Email: c.Email, Password: c.Password},
		"user":  {OperatorID: c.OperatorID, UserName: c.UserName, Password: c.UserPassword},
	} {
		_, err := n.another(Options{Credentials: way}).Address(context.Background())
		require.NoError(t, err, name)
	}
	_, err := n.another(Options{Credentials: Credentials{AuthKeyID: c.AuthKeyID, AuthKey: "wrong-secret"}}).Address(context.Background())
	require.EqualError(t, err, "sign in to the carrier: 401 Unauthorized SIM0401: Authentication failed (check the profile's credentials)")
	_, err = n.another(Options{Credentials: Credentials{AuthKeyID: "half"}}).Address(context.Background())
	require.ErrorContains(t, err, "not complete")
	require.Equal(t, 4, n.calls("POST /auth"), "a wrong sign-in is not repeated")
}

func TestAddress(t *testing.T) {
	n := newNetwork(t, Options{})
	for _, c := range []*Carrier{n.carrier, n.another(Options{SIM: simID})} {
		a, err := c.Address(context.Background())
		require.NoError(t, err)
		require.Equal(t, netip.MustParseAddr("10.213.7.42"), a)
	}
	n.sim.Disconnect("")
	a, err := n.carrier.Address(context.Background())
	require.NoError(t, err)
	require.False(t, a.IsValid())
}

func TestTokenRunsOut(t *testing.T) {
	n := newNetwork(t, Options{})
	ctx := context.Background()
	_, err := n.carrier.Address(ctx)
	require.NoError(t, err)
	n.server.Expire()
	_, err = n.carrier.Do(ctx, "delete_session", nil)
	require.NoError(t, err, "a refused call is made again with a new token")
	n.server.Expire()
	_, err = n.carrier.Do(ctx, "suspend", nil)
	require.NoError(t, err)
	require.Equal(t, 3, n.calls("POST /auth"))

	require.NoError(t, n.clock.Sleep(ctx, renewAfter+time.Second))
	_, err = n.carrier.Address(ctx)
	require.NoError(t, err)
	require.Equal(t, 1, n.calls("/token"), "renewed before it runs out")
	require.Equal(t, 3, n.calls("POST /auth"))

	require.NoError(t, n.clock.Sleep(ctx, 2*tokenLife))
	_, err = n.carrier.Address(ctx)
	require.NoError(t, err)
	require.Equal(t, 2, n.calls("/token"))
	require.Equal(t, 4, n.calls("POST /auth"), "what can't be renewed is signed in anew")
}

func TestUnauthorizedTwice(t *testing.T) {
	n := newNetwork(t, Options{})
	n.server.Inject(api.Fault{Path: "/subscribers/*", Times: -1, Status: 401})
	_, err := n.carrier.Address(context.Background())
	require.ErrorContains(t, err, "401 Unauthorized")
	require.Equal(t, 2, n.calls("GET /subscribers"))
	require.Equal(t, 2, n.calls("POST /auth"))
}

func TestGETsAreMadeAgain(t *testing.T) {
	ctx := context.Background()
	for name, f := range map[string]api.Fault{
		"5xx": {Status: 500}, "load balancer": {Status: 503, Form: api.Plain}, "lost": {HangUp: true}, "nested": {Status: 502, Form: api.Nested},
	} {
		n := newNetwork(t, Options{})
		f.Path, f.Times = "/subscribers/*", tries-1
		n.server.Inject(f)
		_, err := n.carrier.Address(ctx)
		require.NoError(t, err, name)
		require.Equal(t, tries, n.calls("GET /subscribers"), name)
		require.NotEmpty(t, n.clock.sleeps(), name)
		require.Less(t, len(n.clock.sleeps()), tries, name)

		n = newNetwork(t, Options{})
		f.Times = -1
		n.server.Inject(f)
		_, err = n.carrier.Address(ctx)
		require.Error(t, err, name)
		require.Len(t, n.clock.sleeps(), tries-1, "no more than that")
	}
	n := newNetwork(t, Options{})
	n.server.Inject(api.Fault{Path: "/subscribers/*", Status: 404, Form: api.Plain})
	_, err := n.carrier.Address(ctx)
	require.ErrorContains(t, err, "404")
	require.Equal(t, 1, n.calls("GET /subscribers"), "what is the caller's mistake is not made again")
}

func TestRateLimit(t *testing.T) {
	n := newNetwork(t, Options{})
	n.server.Inject(api.Fault{Path: "/subscribers/*/delete_session", Times: 2, Status: 429, RetryAfter: 7 * time.Second})
	_, err := n.carrier.Do(context.Background(), "delete_session", nil)
	require.NoError(t, err)
	require.Equal(t, []time.Duration{7 * time.Second, 7 * time.Second}, n.clock.sleeps())
	require.Equal(t, 3, n.calls("delete_session"), "a call refused by the limit was not carried out")

	n.server.Inject(api.Fault{Path: "/subscribers/*", Times: -1, Status: 429, RetryAfter: time.Hour})
	_, err = n.carrier.Address(context.Background())
	var e *APIError
	require.ErrorAs(t, err, &e)
	require.Equal(t, 429, e.Status)
	require.ErrorContains(t, err, "rate limit is used up")
}

func TestDeleteSession(t *testing.T) {
	n := newNetwork(t, Options{})
	ctx := context.Background()
	since := n.clock.Now()
	before := n.sim.Info().Session.ID
	id, err := n.carrier.Do(ctx, "delete_session", nil)
	require.NoError(t, err)
	require.Equal(t, before, id)
	require.Equal(t, []string{"created", "deleted", "created"}, sorted(n.names(since)))

	n.sim.Disconnect("")
	_, err = n.carrier.Do(ctx, "delete_session", nil)
	require.EqualError(t, err, "delete the session of SIM "+imsi+": 400 Bad Request SEM0016: The specified subscriber is offline (is the device switched on and registered?)")
	require.Equal(t, 2, n.calls("delete_session"))
}

// sorted puts created before deleted where both carry the same time: which is first is then not told.
func sorted(names []string) []string {
	if len(names) == 3 && names[1] == "created" {
		names[1], names[2] = names[2], names[1]
	}
	return names
}

// TestLostDeletionIsNeverRepeatedBlindly: the answer is lost, but the session is gone.
func TestLostDeletionIsNeverRepeatedBlindly(t *testing.T) {
	for name, f := range map[string]api.Fault{
		"answer lost": {HangUp: true, Done: true}, "5xx afterwards": {Status: 500, Done: true}, "gateway timed out": {Status: 504, Form: api.HTML, Done: true},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNetwork(t, Options{})
			f.Path = "/subscribers/*/delete_session"
			n.server.Inject(f)
			id, err := n.carrier.Do(context.Background(), "delete_session", nil)
			require.NoError(t, err)
			require.Equal(t, id, n.sim.Info().Previous.ID)
			require.Equal(t, 1, n.calls("delete_session"))
		})
	}
}

// TestDeletionThatNeverHappened is asked for a second time, once the session has been seen to live on, and no third.
func TestDeletionThatNeverHappened(t *testing.T) {
	n := newNetwork(t, Options{})
	n.server.Inject(api.Fault{Path: "/subscribers/*/delete_session", Status: 503, Form: api.Plain})
	began := n.clock.Now()
	_, err := n.carrier.Do(context.Background(), "delete_session", nil)
	require.NoError(t, err)
	require.Equal(t, 2, n.calls("delete_session"))
	require.GreaterOrEqual(t, n.clock.Now().Sub(began), lookFor)

	n.server.Inject(api.Fault{Path: "/subscribers/*/delete_session", Times: -1, HangUp: true})
	_, err = n.carrier.Do(context.Background(), "delete_session", nil)
	var lost *UnclearError
	require.ErrorAs(t, err, &lost)
	require.NoError(t, lost.Check)
	require.ErrorContains(t, err, "unclear whether it was carried out")
	require.Equal(t, 4, n.calls("delete_session"))
}

// TestLateDeletion: the answer is lost and the session ends only while the client is looking.
func TestLateDeletion(t *testing.T) {
	n := newNetwork(t, Options{})
	n.server.Inject(api.Fault{Path: "/subscribers/*/delete_session", HangUp: true})
	looks := 0
	n.clock.during = func() {
		if looks++; looks == 5 {
			n.sim.Disconnect("")
		}
	}
	_, err := n.carrier.Do(context.Background(), "delete_session", nil)
	require.NoError(t, err)
	require.Equal(t, 1, n.calls("delete_session"))
}

func TestUnclearAndOffline(t *testing.T) {
	n := newNetwork(t, Options{})
	n.sim.Disconnect("")
	n.server.Inject(api.Fault{Path: "/subscribers/*/delete_session", Status: 500})
	_, err := n.carrier.Do(context.Background(), "delete_session", nil)
	require.ErrorContains(t, err, "looking failed: the SIM had no session before the call")
	require.Equal(t, 1, n.calls("delete_session"))
}

func TestStatusVerbs(t *testing.T) {
	n := newNetwork(t, Options{})
	ctx := context.Background()
	for verb, status := range statuses {
		got, err := n.carrier.Do(ctx, verb, nil)
		require.NoError(t, err)
		require.Equal(t, status, got)
		require.EqualValues(t, status, n.sim.Info().Status)
	}
	n.server.Inject(api.Fault{Path: "/subscribers/*/suspend", HangUp: true, Done: true})
	_, err := n.carrier.Do(ctx, "suspend", nil)
	require.NoError(t, err)
	require.Equal(t, 2, n.calls("/suspend"), "one of each: what came about is not asked for again")
}

func TestSpeedClass(t *testing.T) {
	n := newNetwork(t, Options{})
	ctx := context.Background()
	_, err := n.carrier.Do(ctx, "set_speed_class", map[string]string{"class": "s1.slow"})
	require.NoError(t, err)
	require.Equal(t, "s1.slow", n.sim.Info().SpeedClass)
	_, err = n.carrier.Do(ctx, "set_speed_class", map[string]string{"class": "s1.warp"})
	require.ErrorContains(t, err, `"s1.warp" is none; they are s1.minimum`)
	_, err = n.carrier.Do(ctx, "set_speed_class", map[string]string{"class": "u1.slow"})
	require.ErrorContains(t, err, "400 Bad Request")
	require.Equal(t, 2, n.calls("update_speed_class"))
}

func TestPing(t *testing.T) {
	n := newNetwork(t, Options{})
	ctx := context.Background()
	got, err := n.carrier.Do(ctx, "ping", map[string]string{"count": "3", "timeout": "2s"})
	require.NoError(t, err)
	require.Equal(t, "answered in 40.000 ms: 3 packets transmitted, 3 received, 0% packet loss", got)
	for _, bad := range []map[string]string{{"count": "0"}, {"count": "6"}, {"count": "x"}, {"timeout": "4s"}, {"timeout": "1500ms"}, {"timeout": "2"}} {
		_, err = n.carrier.Do(ctx, "ping", bad)
		require.Error(t, err, "%v", bad)
	}
	n.server.Inject(api.Fault{Path: "/subscribers/*/downlink/ping", Status: 500})
	require.Error(t, n.carrier.Canary(ctx), "never sent again: its packets count")
	require.Equal(t, 2, n.calls("/ping"))
	require.NoError(t, n.carrier.Canary(ctx))
	n.sim.Disconnect("")
	require.ErrorContains(t, n.carrier.Canary(ctx), "SEM0016")
}

func TestEventsArePairedAndOrdered(t *testing.T) {
	n := newNetwork(t, Options{})
	ctx := context.Background()
	begin := n.clock.Now()
	first := n.sim.Info().Session.ID
	for i := range 4 {
		require.NoError(t, n.clock.Sleep(ctx, time.Second))
		n.sim.Move()
		n.sim.Disconnect("")
		require.NoError(t, n.clock.Sleep(ctx, time.Second))
		n.sim.Connect(api.Session{Address: netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})})
	}
	n.server.SetEvents(api.EventFaults{DeletedLater: 1500 * time.Millisecond, Misordered: true})
	events, err := n.carrier.Events(ctx, begin)
	require.NoError(t, err)
	require.Len(t, events, 13, "over five pages, each once")
	for i := range len(events) - 1 {
		require.False(t, events[i+1].Time.Before(events[i].Time))
	}
	require.Equal(t, []string{"created", "modified", "created", "deleted"}, n.names(begin)[:4], "the deletion is told with a later time")
	require.Equal(t, first, events[3].SessionID)
	require.Equal(t, netip.MustParseAddr("10.213.7.42"), events[3].Address)
	require.Equal(t, time.UTC, events[0].Time.Location())

	since := n.clock.Now()
	events, err = n.carrier.Events(ctx, since)
	require.NoError(t, err)
	require.Equal(t, since, events[0].Time)
	all, err := n.carrier.Events(ctx, time.Time{})
	require.NoError(t, err)
	require.Len(t, all, 13)
}

func TestStatsAreSums(t *testing.T) {
	n := newNetwork(t, Options{})
	ctx := context.Background()
	begin := n.clock.Now()
	n.sim.Carry(api.Usage{Packets: 1, Bytes: 100}, api.Usage{Packets: 10, Bytes: 1000})
	got, err := n.carrier.Stats(ctx, begin, begin)
	require.NoError(t, err)
	require.Equal(t, bench.Count{}, got, "no sample yet")
	require.NoError(t, n.sim.SetSpeedClass("s1.fast"))
	n.sim.Carry(api.Usage{Packets: 2, Bytes: 200}, api.Usage{})
	require.NoError(t, n.clock.Sleep(ctx, 5*time.Minute))
	n.sim.Carry(api.Usage{Packets: 4, Bytes: 400}, api.Usage{})
	require.NoError(t, n.clock.Sleep(ctx, 5*time.Minute))
	got, err = n.carrier.Stats(ctx, begin, n.clock.Now())
	require.NoError(t, err)
	require.Equal(t, flow.Both[uint64]{7, 10}, got.Packets)
	require.Equal(t, flow.Both[uint64]{700, 1000}, got.Bytes)
	require.Equal(t, begin.Truncate(5*time.Minute).Add(10*time.Minute), got.At)
}

func TestBudget(t *testing.T) {
	b := &Budget{Cuts: 2, Calls: 9}
	n := newNetwork(t, Options{Budget: b})
	ctx := context.Background()
	_, err := n.carrier.Do(ctx, "activate", nil)
	require.NoError(t, err)
	_, err = n.carrier.Do(ctx, "delete_session", nil)
	require.NoError(t, err)
	_, err = n.carrier.Do(ctx, "suspend", nil)
	require.NoError(t, err)
	other := n.another(Options{Budget: b})
	_, err = other.Do(ctx, "delete_session", nil)
	require.EqualError(t, err, "delete the session of SIM "+imsi+": the bench's limit of 2 cuts is reached; raise limits.cuts of the carrier to allow more")
	require.Equal(t, 1, n.calls("delete_session"))
	_, err = other.Address(ctx)
	require.NoError(t, err)
	_, err = other.Address(ctx)
	require.NoError(t, err)
	_, err = other.Address(ctx)
	var limit *BudgetError
	require.ErrorAs(t, err, &limit)
	require.Equal(t, "calls", limit.What)
	cuts, calls := b.Used()
	require.Equal(t, []int{2, 9}, []int{cuts, calls})
}
