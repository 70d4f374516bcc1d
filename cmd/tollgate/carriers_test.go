package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tollgate-iot/tollgate/harness/pcap"
	"github.com/tollgate-iot/tollgate/harness/sim/api"
)

// fakeCarrier is the simulated carrier behind a script's SORACOM_ENDPOINT. Time passes on its clock with each call: of 2 s, and
// a packet capture session is first seen to begin, and then to capture; of 4 s, and it is seen to capture at once.
type fakeCarrier struct {
	api  *api.API
	sim  *api.MemorySIM
	pass [][]byte // frames that pass as soon as a session has been told to capture
	pace time.Duration
	mu   sync.Mutex
	now  time.Time
}

const (
	fakeIMSI      = "001010123456789"
	betweenFrames = time.Millisecond
)

// carrier PACE CAPTURE [REASON] starts a carrier with one SIM. The frames that a GRE mirror sent in a capture pass in its packet
// capture session; with a reason the sessions fail for it.
func carrier(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || len(args) > 3 {
		ts.Fatalf("usage: carrier PACE CAPTURE [REASON]")
	}
	pace, err := time.ParseDuration(args[0])
	ts.Check(err)
	c := &fakeCarrier{pace: pace, now: time.Date(2026, 3, 8, 12, 0, 0, 0, time.UTC), pass: framesOf(ts, args[1])}
	memory := api.NewMemory(c.clock)
	c.sim = memory.Add(api.Info{ID: "8981100000000000001", IMSI: fakeIMSI}, api.Hooks{})
	c.sim.Connect(api.Session{Address: netip.MustParseAddr("10.213.7.42")})
	var o api.Options
	if len(args) == 3 {
		o.Captures.Fail = args[2]
	}
	c.api = api.New(memory, o)
	server := httptest.NewServer(c)
	ts.Defer(server.Close)
	keys := c.api.Credentials()
	profile := fmt.Sprintf(`{"authKeyId": %q, "authKey": %q}`, keys.AuthKeyID, keys.AuthKey)
	ts.Check(os.WriteFile(filepath.Join(ts.MkAbs("."), "default.json"), []byte(profile), 0o600))
	ts.Setenv("SORACOM_PROFILE_DIR", ts.MkAbs("."))
	ts.Setenv("SORACOM_ENDPOINT", server.URL)
	*ts.Value(carrierKey{}).(**api.API) = c.api
}

// carrierKey is where a script keeps its carrier's API.
type carrierKey struct{}

func apiOf(ts *testscript.TestScript) *api.API {
	a := *ts.Value(carrierKey{}).(**api.API)
	if a == nil {
		ts.Fatalf("there is no carrier: start one first")
	}
	return a
}

func (c *fakeCarrier) clock() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *fakeCarrier) sleep(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// ServeHTTP answers a call, and has the frames pass before the answer that first says that a session captures.
func (c *fakeCarrier) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.sleep(c.pace)
	answer := httptest.NewRecorder()
	c.api.ServeHTTP(answer, r)
	if bytes.Contains(answer.Body.Bytes(), []byte(`"CAPTURING"`)) {
		for _, frame := range c.pass {
			c.sleep(betweenFrames)
			c.sim.Pass(frame)
		}
		c.pass = nil
	}
	for key, values := range answer.Header() {
		w.Header()[key] = values
	}
	w.WriteHeader(answer.Code)
	_, _ = w.Write(answer.Body.Bytes()) // the client may have left
}

// called N TEXT wants that so many calls of the carrier's API held a text.
func called(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: called N TEXT")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	calls := apiOf(ts).Calls()
	got := 0
	for _, call := range calls {
		if strings.Contains(call, args[1]) {
			got++
		}
	}
	if got != want {
		ts.Fatalf("%d calls hold %q, not %d:\n%s", got, args[1], want, strings.Join(calls, "\n"))
	}
}

// left N wants that the carrier has so many packet capture sessions.
func left(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: left N")
	}
	if got := strconv.Itoa(apiOf(ts).Captures()); got != args[0] {
		ts.Fatalf("the carrier has %s packet capture sessions, not %s", got, args[0])
	}
}

// framesOf gives what is inside a GRE mirror's frames.
func framesOf(ts *testscript.TestScript, file string) (out [][]byte) {
	f, err := os.Open(file)
	ts.Check(err)
	defer f.Close()
	in, err := pcap.NewReader(f)
	ts.Check(err)
	for {
		rec, err := in.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		ts.Check(err)
		out = append(out, bytes.Clone(rec.Data[inGRE:]))
	}
}
