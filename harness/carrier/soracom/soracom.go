// Package soracom drives one SIM through the SORACOM API (definition, version 20260604-092803): it cuts and watches
// sessions, changes status and speed class, reads what the carrier counted, and has it ping the device.
//
// Three rules shape it. Only the one SIM that a bench lists is ever touched. What may have happened is looked up, never
// sent again blindly: a session deletion whose answer was lost is checked against the session and its events. And
// nothing secret is ever in an error or an answer.
//
// All waiting is on the bench's clock; only a single HTTP exchange is timed by the wall's.
package soracom

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tollgate-iot/tollgate/harness/bench"
)

// Options of a carrier.
type Options struct {
	// SIM is the one SIM: an IMSI (15 digits) or a SIM ID (19 digits).
	SIM string
	// Allowed are the SIMs that the bench lists, by IMSI or SIM ID. New refuses a SIM that is not among them; where it is
	// empty SIM alone is allowed.
	Allowed []string
	// Profile is the name of the profile file to sign in with, where Credentials is zero; "default" where empty.
	Profile string
	// Credentials to sign in with, in place of a profile.
	Credentials Credentials
	// Endpoint is the base of the API, with or without /v1. Where empty it is $SORACOM_ENDPOINT, else the profile's, else
	// that of the coverage type.
	Endpoint string
	// Clock is the bench's.
	Clock bench.Clock
	// Budget limits calls and cuts; it may be shared by carriers. Nil: no limits.
	Budget *Budget
	// HTTPTimeout is for one exchange, on the wall's clock; 30 s where 0.
	HTTPTimeout time.Duration
	// StatsEvery is how long the periods are in which the carrier counts; 5 minutes where 0, as on the real service.
	StatsEvery time.Duration
	// Getenv looks environment variables up; os.Getenv where nil.
	Getenv func(string) string
}

// Carrier is a SIM of SORACOM's. It implements bench.Carrier and may be used by several goroutines at once.
type Carrier struct {
	sim    string
	path   string // "/subscribers/440…" or "/sims/8981…"
	base   string // "https://api.soracom.io/v1"
	clock  bench.Clock
	budget *Budget
	// statsEvery is how long the periods are in which it counts.
	statsEvery time.Duration
	http       *http.Client
	own        *http.Transport
	creds      Credentials

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	calls  sync.WaitGroup
	closed sync.Once

	signing  chan struct{} // holds one value while someone signs in
	mu       sync.Mutex
	session  signIn
	captures string // where the SIM's packet capture sessions are, "" until asked for
}

// New makes a carrier. It makes no call: the first one signs in.
func New(o Options) (*Carrier, error) {
	resource, err := resourceOf(o.SIM)
	if err != nil {
		return nil, err
	}
	if len(o.Allowed) > 0 && !slices.Contains(o.Allowed, o.SIM) {
		return nil, fmt.Errorf("use SIM %s: it is not among the bench's SIMs; add it to the carrier's sims to allow it", o.SIM)
	}
	if o.Clock == nil {
		return nil, fmt.Errorf("use SIM %s: no clock was given", o.SIM)
	}
	getenv := o.Getenv
	if getenv == nil {
		getenv = os.Getenv
	}
	profile := Profile{Credentials: o.Credentials}
	if o.Credentials == (Credentials{}) {
		if profile, err = LoadProfile(o.Profile, getenv); err != nil {
			return nil, err
		}
	}
	base, err := baseURL(cmp.Or(o.Endpoint, getenv("SORACOM_ENDPOINT"), profile.endpoint()))
	if err != nil {
		return nil, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	c := &Carrier{
		sim: o.SIM, path: resource, base: base, clock: o.Clock, budget: o.Budget, statsEvery: cmp.Or(o.StatsEvery, 5*time.Minute), creds: profile.Credentials, own: transport,
		signing: make(chan struct{}, 1),
		http: &http.Client{
			Transport: transport,
			Timeout:   cmp.Or(o.HTTPTimeout, 30*time.Second),
			// A redirect would carry the token to another host.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c, nil
}

// resourceOf gives the path of a SIM, by the form of its number.
func resourceOf(sim string) (string, error) {
	if strings.Trim(sim, "0123456789") == "" {
		switch len(sim) {
		case 14, 15:
			return "/subscribers/" + sim, nil
		case 18, 19, 20:
			return "/sims/" + sim, nil
		}
	}
	return "", fmt.Errorf("use SIM %q: neither an IMSI (15 digits) nor a SIM ID (19 digits); in YAML, quote it", sim)
}

// Account implements bench.Carrier.
func (c *Carrier) Account() string { return "soracom" }

// Address implements bench.Carrier.
func (c *Carrier) Address(ctx context.Context) (netip.Addr, error) {
	s, err := c.state(ctx)
	if err != nil || !s.Session.Online {
		return netip.Addr{}, err
	}
	return parseAddress(s.Session.Address)
}

// parseAddress reads an address of an answer; none at all is an invalid address and no error.
func parseAddress(text string) (netip.Addr, error) {
	if text == "" {
		return netip.Addr{}, nil
	}
	a, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("read the device's address from the carrier: %w", err)
	}
	return a, nil
}

// Canary implements bench.Carrier: a downlink ping. Whether the device answers it does not matter: the request is what
// a tap must see.
func (c *Carrier) Canary(ctx context.Context) error {
	_, err := c.ping(ctx, 1, time.Second)
	return err
}

// signOutFor is how long Close waits for the carrier to take the token back.
const signOutFor = time.Second

// Close implements bench.Carrier. Calls in progress end; the token is given back where that can be done quickly.
func (c *Carrier) Close() error {
	c.closed.Do(func() {
		c.mu.Lock() // no call begins between the end of the context and the wait
		c.cancel()
		c.mu.Unlock()
		c.calls.Wait()
		c.signOut()
		c.own.CloseIdleConnections()
	})
	return nil
}

// state is what the API tells of a subscriber or SIM, as far as it is needed here.
type state struct {
	SimID      string  `json:"simId"`
	Status     string  `json:"status"`
	SpeedClass string  `json:"speedClass"`
	Session    session `json:"sessionStatus"`
}

type session struct {
	Online  bool   `json:"online"`
	ID      string `json:"sessionId"`
	Address string `json:"ueIpAddress"`
}

func (c *Carrier) state(ctx context.Context) (state, error) {
	var s state
	_, err := c.call(ctx, request{op: "get SIM " + c.sim, method: http.MethodGet, path: c.path, into: &s})
	return s, err
}

// Budget limits what a bench may do to its carrier. The zero value limits nothing.
type Budget struct {
	// Cuts and Calls are the most session cuts and API calls; 0: no limit.
	Cuts, Calls int

	mu          sync.Mutex
	cuts, calls int
}

// BudgetError says that a limit of the bench's is reached; the call was not made.
type BudgetError struct {
	What  string // "cuts", "calls"
	Limit int
}

func (e *BudgetError) Error() string {
	return fmt.Sprintf("the bench's limit of %d %s is reached; raise limits.%s of the carrier to allow more", e.Limit, e.What, e.What)
}

// call takes one call, and one cut where it is one, or neither.
func (b *Budget) call(cut bool) error {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.Calls > 0 && b.calls >= b.Calls {
		return &BudgetError{What: "calls", Limit: b.Calls}
	}
	if cut {
		if b.Cuts > 0 && b.cuts >= b.Cuts {
			return &BudgetError{What: "cuts", Limit: b.Cuts}
		}
		b.cuts++
	}
	b.calls++
	return nil
}

// Used gives the cuts and calls made so far.
func (b *Budget) Used() (cuts, calls int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.cuts, b.calls
}
