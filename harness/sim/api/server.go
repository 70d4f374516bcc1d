package api

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Options of a server. The zero value is good.
type Options struct {
	// Address to listen on; "127.0.0.1:0" where empty. Only loopback addresses are accepted: the API's credentials are
	// made up and what it says is not true.
	Address string
	// Credentials that POST /auth accepts; made at random where zero.
	Credentials Credentials
	// StatsEvery is the length of a sample of period=minutes. 5 minutes where 0, as on the real service.
	StatsEvery time.Duration
	// PageLimit is the most items on a page of a list; 100 where 0.
	PageLimit int
	// Hold, where not nil, is called when a call comes in and gives what is called when it is answered: a backend whose
	// clock is faster than the wall's can hold it meanwhile, so that a call takes the time that it takes on the wall.
	Hold func() (release func())
	// Faults to begin with; see Server.Inject.
	Faults []Fault
	// Events says how session events come; the zero value is at once and in order.
	Events EventFaults
	// Captures says how packet capture sessions go wrong; the zero value is not.
	Captures CaptureFaults
}

// Credentials are the three ways to sign in. A way with empty fields is refused.
type Credentials struct {
	AuthKeyID, AuthKey string
	Email, Password    string // the root account's
	OperatorID         string
	UserName           string // a SAM user's, with OperatorID
	UserPassword       string
}

// newCredentials makes credentials at random, in the forms of the definition's examples.
func newCredentials() Credentials {
	return Credentials{
		AuthKeyID: "keyId-" + random(16), AuthKey: "secret-" + random(32),
		Email: "operator@example.com", Password: "p-" + random(8),
		OperatorID: "OP00" + strings.ToUpper(random(4)), UserName: "tollgate", UserPassword: "u-" + random(8),
	}
}

// random gives n random bytes in hexadecimal.
func random(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	return hex.EncodeToString(b)
}

// API answers the carrier's HTTP API under /v1 (http.Handler). Serve puts it on a socket.
type API struct {
	backend  Backend
	o        Options
	mux      *http.ServeMux
	paths    []string
	faults   faults
	tokens   tokens
	captures captures
	closed   chan struct{} // ends delayed answers

	mu      sync.Mutex // orders closing and the begin of calls
	running sync.WaitGroup
}

// New gives an API before a backend. Options.Address is not used.
func New(b Backend, o Options) *API {
	if o.Credentials == (Credentials{}) {
		o.Credentials = newCredentials()
	}
	o.StatsEvery = cmp.Or(o.StatsEvery, 5*time.Minute)
	o.PageLimit = cmp.Or(o.PageLimit, 100)
	a := &API{backend: b, o: o, mux: http.NewServeMux(), closed: make(chan struct{})}
	a.faults.list = append(a.faults.list, o.Faults...)
	a.faults.events = o.Events
	a.captures.faults = o.Captures
	a.routes()
	return a
}

// Credentials are those that the API accepts.
func (a *API) Credentials() Credentials { return a.o.Credentials }

// Inject adds a fault; it strikes the calls to come that it is about.
func (a *API) Inject(f Fault) { a.faults.add(f) }

// SetEvents changes how session events come from now on.
func (a *API) SetEvents(f EventFaults) { a.faults.setEvents(f) }

// Calls gives every call so far that reached the API, as "POST /auth", in order of arrival; those that a fault struck
// are among them.
func (a *API) Calls() []string { return a.faults.calls() }

// routes names everything that is answered. What each path and form is, is the definition's to say.
func (a *API) routes() {
	a.open("POST /v1/auth", a.auth)
	a.signed("POST /v1/auth/logout", a.logout)
	a.open("POST /v1/operators/{operator_id}/token", a.refresh)
	a.signed("GET /v1/subscribers", a.listSubscribers)
	a.signed("GET /v1/sims", a.listSims)
	a.signed("GET /v1/query/sims", a.querySims)
	for _, k := range []kind{
		{path: "/v1/subscribers/{imsi}", stats: "/v1/stats/air/subscribers/{imsi}", key: "imsi"},
		{path: "/v1/sims/{sim_id}", stats: "/v1/stats/air/sims/{sim_id}", key: "sim_id"},
	} {
		a.signed("GET "+k.path, a.one(k, a.show))
		a.signed("POST "+k.path+"/delete_session", a.one(k, a.deleteSession))
		for verb, status := range statusVerbs {
			a.signed("POST "+k.path+"/"+verb, a.one(k, a.setStatus(status)))
		}
		a.signed("POST "+k.path+"/update_speed_class", a.one(k, a.updateSpeedClass))
		a.signed("POST "+k.path+"/downlink/ping", a.one(k, a.ping))
		a.signed("GET "+k.path+"/events/sessions", a.one(k, a.events))
		a.signed("GET "+k.stats, a.one(k, a.airStats))
	}
	// Packet capture sessions are a SIM's, never a subscriber's.
	sim, sessions := kind{key: "sim_id"}, "/v1/sims/{sim_id}/packet_capture_sessions"
	a.signed("POST "+sessions, a.one(sim, a.createCapture))
	a.signed("GET "+sessions, a.one(sim, a.listCaptures))
	a.signed("GET "+sessions+"/{session_id}", a.one(sim, a.aCapture(a.showCapture)))
	a.signed("DELETE "+sessions+"/{session_id}", a.one(sim, a.aCapture(a.deleteCapture)))
	a.signed("POST "+sessions+"/{session_id}/stop", a.one(sim, a.aCapture(a.stopCapture)))
	a.mux.HandleFunc("GET "+filesPath, a.file) // no part of the API
}

// statusVerbs are the calls that change a SIM's status.
var statusVerbs = map[string]Status{
	"activate": StatusActive, "deactivate": StatusInactive, "suspend": StatusSuspended, "set_to_standby": StatusStandby,
}

// kind is one of the two ways to name the same SIM: by its subscriber's IMSI, by its own ID.
type kind struct{ path, stats, key string }

// form gives the SIM as this way of naming it shows it.
func (k kind) form(in Info, operator string) any {
	if k.key == "imsi" {
		return subscriberOf(in, operator)
	}
	return simOf(in, operator)
}

// Routes gives every call that is answered, as "POST /v1/sims/{sim_id}/activate".
func (a *API) Routes() []string { return slices.Sorted(slices.Values(a.paths)) }

// open adds a route.
func (a *API) open(pattern string, h http.HandlerFunc) {
	a.paths = append(a.paths, pattern)
	a.mux.HandleFunc(pattern, h)
}

// signed adds a route for those who have signed in.
func (a *API) signed(pattern string, h http.HandlerFunc) {
	a.open(pattern, func(w http.ResponseWriter, r *http.Request) {
		if !a.tokens.valid(r, a.backend.Now()) {
			fail(w, http.StatusUnauthorized, codeUnauthorized, "The API key or token is missing, wrong or expired")
			return
		}
		h(w, r)
	})
}

// one looks the SIM of a path up for a handler.
func (a *API) one(k kind, h func(http.ResponseWriter, *http.Request, kind, SIM)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		id := r.PathValue(k.key)
		for _, s := range a.backend.SIMs() {
			if in := s.Info(); k.key == "imsi" && in.IMSI == id || k.key == "sim_id" && in.ID == id {
				h(w, r, k, s)
				return
			}
		}
		fail(w, http.StatusNotFound, codeNotFound, "No such SIM found")
	}
}

// ServeHTTP answers a call, unless a fault strikes it.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !a.begin() {
		panic(http.ErrAbortHandler)
	}
	defer a.running.Done()
	if a.o.Hold != nil {
		defer a.o.Hold()()
	}
	r.Body = http.MaxBytesReader(w, r.Body, 1<<20)
	f, struck := a.faults.next(r)
	if struck {
		f.answer(w, r, a.closed, a.dispatch)
		return
	}
	a.dispatch(w, r)
}

// begin counts a call as running, unless the API is closed.
func (a *API) begin() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	select {
	case <-a.closed:
		return false
	default:
		a.running.Add(1)
		return true
	}
}

func (a *API) dispatch(w http.ResponseWriter, r *http.Request) {
	if _, pattern := a.mux.Handler(r); pattern == "" {
		fail(w, http.StatusNotFound, codeNotFound, "No such resource: "+r.Method+" "+r.URL.Path)
		return
	}
	a.mux.ServeHTTP(w, r)
}

// Error codes. SEM0016 is the service's own; of its other codes no source is known, so these are the simulation's.
const (
	codeOffline      = "SEM0016"
	codeUnauthorized = "SIM0401"
	codeBadRequest   = "SIM0400"
	codeNotFound     = "SIM0404"
	codeRateLimited  = "SIM0429"
	codeBroken       = "SIM0500"
)

// fail answers with a flat error.
func fail(w http.ResponseWriter, status int, code, message string) {
	answer(w, status, flatError{Code: code, Message: message})
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json;charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client may have left
}

// read reads a JSON body; it answers and gives false where there is none, or none that fits.
func read(w http.ResponseWriter, r *http.Request, into any) bool {
	err := json.NewDecoder(r.Body).Decode(into)
	if err != nil && !errors.Is(err, io.EOF) {
		fail(w, http.StatusBadRequest, codeBadRequest, "The body is not the JSON that this call takes: "+err.Error())
		return false
	}
	return true
}

// Server is an API on a loopback socket.
type Server struct {
	*API
	listener net.Listener
	server   *http.Server
	done     chan struct{}
	once     sync.Once
}

// Serve puts the carrier's API on a loopback address and returns when it can be called.
func Serve(b Backend, o Options) (*Server, error) {
	address := cmp.Or(o.Address, "127.0.0.1:0")
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("serve the simulated carrier on %s: %w", address, err)
	}
	if tcp, ok := l.Addr().(*net.TCPAddr); !ok || !tcp.IP.IsLoopback() {
		_ = l.Close()
		return nil, fmt.Errorf("serve the simulated carrier on %s: not a loopback address; use 127.0.0.1:0", address)
	}
	s := &Server{API: New(b, o), listener: l, done: make(chan struct{})}
	s.server = &http.Server{Handler: s.API, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		defer close(s.done)
		_ = s.server.Serve(l) // http.ErrServerClosed, or the listener's end: Close says which
	}()
	return s, nil
}

// URL is the base of the API, without /v1: what SORACOM_ENDPOINT holds.
func (s *Server) URL() string { return "http://" + s.listener.Addr().String() }

// Close ends the server and every call in progress. It may be called twice.
func (s *Server) Close() error {
	var err error
	s.once.Do(func() {
		s.mu.Lock()
		close(s.closed)
		s.mu.Unlock()
		err = s.server.Close() // ends the contexts of calls in progress
	})
	<-s.done
	s.running.Wait()
	s.closeCaptures()
	return err
}
