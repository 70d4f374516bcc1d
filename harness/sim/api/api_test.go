package api_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/tollgate-iot/tollgate/harness/sim/api"
	"github.com/tollgate-iot/tollgate/harness/sim/api/apitest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	imsi  = "001010123456789"
	simID = "8981100000000000001"
)

// handClock is a clock that a test moves.
type handClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *handClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *handClock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// bed is a network of one SIM behind an API.
type bed struct {
	*testing.T
	clock *handClock
	sim   *api.MemorySIM
	api   *api.API
	h     http.Handler
	key   string
	token string
}

func newBed(t *testing.T, o api.Options) *bed {
	b := &bed{T: t, clock: &handClock{now: time.Date(2026, 11, 22, 1, 38, 33, 0, time.UTC)}}
	memory := api.NewMemory(b.clock.Now)
	b.sim = memory.Add(api.Info{ID: simID, IMSI: imsi, ICCID: simID, Name: "wio-1"}, api.Hooks{})
	b.connect("10.213.7.42")
	b.api = api.New(memory, o)
	b.h = b.api
	return b
}

func (b *bed) connect(address string) string {
	return b.sim.Connect(api.Session{
		Address: netip.MustParseAddr(address), IMEI: "359000000000001", APN: "soracom.io",
		DNS: []netip.Addr{netip.MustParseAddr("100.127.0.53"), netip.MustParseAddr("100.127.1.53")},
	})
}

// answer is what a call gave.
type answer struct {
	Status int
	Header http.Header
	Body   []byte
}

func (a answer) into(t testing.TB, v any) {
	t.Helper()
	require.NoError(t, json.Unmarshal(a.Body, v), "%s", a.Body)
}

// call makes a call; a body that is not a string is sent as JSON.
func (b *bed) call(method, path string, body any) answer {
	b.Helper()
	var r io.Reader
	switch v := body.(type) {
	case nil:
	case string:
		r = strings.NewReader(v)
	default:
		data, err := json.Marshal(v)
		require.NoError(b, err)
		r = bytes.NewReader(data)
	}
	req := httptest.NewRequest(method, "/v1"+path, r)
	if b.token != "" {
		req.Header.Set("X-Soracom-API-Key", b.key)
		req.Header.Set("X-Soracom-Token", b.token)
	}
	w := httptest.NewRecorder()
	b.h.ServeHTTP(w, req)
	return answer{w.Code, w.Header(), w.Body.Bytes()}
}

func (b *bed) signIn() *bed {
	b.Helper()
	c := b.api.Credentials()
	a := b.call("POST", "/auth", map[string]any{"authKeyId": c.AuthKeyID, "authKey": c.AuthKey, "tokenTimeoutSeconds": 3600})
	require.Equal(b, 200, a.Status, "%s", a.Body)
	var got struct{ APIKey, Token string }
	a.into(b, &got)
	b.key, b.token = got.APIKey, got.Token
	return b
}

// failure holds an answer to be a flat error.
func (b *bed) failure(a answer, status int, code string) {
	b.Helper()
	var e struct{ Code, Message string }
	a.into(b, &e)
	require.Equal(b, status, a.Status)
	require.Equal(b, code, e.Code)
	require.NotEmpty(b, e.Message)
}

func TestEveryRouteIsInTheDefinition(t *testing.T) {
	d := apitest.Load(t)
	routes := newBed(t, api.Options{}).api.Routes()
	require.Len(t, routes, 31)
	for _, r := range routes {
		method, path, _ := strings.Cut(r, " ")
		require.True(t, d.Has(method, strings.TrimPrefix(path, "/v1")), r)
	}
}

// TestEveryExchangeFitsTheDefinition calls everything that is answered, in both ways to name a SIM, online and offline.
func TestEveryExchangeFitsTheDefinition(t *testing.T) {
	d := apitest.Load(t)
	b := newBed(t, api.Options{PageLimit: 2})
	b.h = d.Handler(t, b.api)
	called := map[string]bool{}
	do := func(want int, method, path string, body any) answer {
		t.Helper()
		a := b.call(method, path, body)
		require.Equal(t, want, a.Status, "%s %s: %s", method, path, a.Body)
		called[method+" "+strings.NewReplacer(imsi, "{imsi}", simID, "{sim_id}", b.api.Credentials().OperatorID, "{operator_id}").Replace(strings.Split(path, "?")[0])] = true
		return a
	}
	c := b.api.Credentials()
	do(401, "POST", "/auth", map[string]any{"authKeyId": c.AuthKeyID, "authKey": "wrong"})
	do(200, "POST", "/auth", map[string]any{"email": c.Email, "password": c.Password})
	do(200, "POST", "/auth", map[string]any{"operatorId": c.OperatorID, "userName": c.UserName, "password": c.UserPassword})
	do(401, "GET", "/sims", nil)
	b.signIn()
	do(200, "POST", "/operators/"+c.OperatorID+"/token", map[string]any{"tokenTimeoutSeconds": 60})
	do(200, "GET", "/subscribers?limit=1&status_filter=active|ready", nil)
	do(200, "GET", "/sims?limit=1", nil)
	do(200, "GET", "/query/sims?imsi="+imsi+"&session_status=ONLINE", nil)
	for _, sim := range []string{"/subscribers/" + imsi, "/sims/" + simID} {
		stats := fmt.Sprintf("/stats/air%s?from=%d&to=%d&period=", sim, b.clock.Now().Unix(), b.clock.Now().Unix()+60)
		do(200, "POST", sim+"/activate", nil)
		b.connect("10.213.7.43")
		do(200, "GET", sim, nil)
		do(200, "POST", sim+"/update_speed_class", map[string]any{"speedClass": "s1.fast"})
		do(400, "POST", sim+"/update_speed_class", map[string]any{"speedClass": "u1.slow"})
		do(200, "POST", sim+"/downlink/ping", map[string]any{"numberOfPingRequests": 2, "timeoutSeconds": 1})
		do(200, "POST", sim+"/delete_session", nil)
		b.clock.Add(10 * time.Minute)
		for _, period := range []string{"minutes", "day", "month"} {
			a := do(200, "GET", stats+period, nil)
			require.NotEqual(t, "[]", strings.TrimSpace(string(a.Body)), period)
		}
		next := do(200, "GET", sim+"/events/sessions?from=0&limit=2", nil).Header.Get("X-Soracom-Next-Key")
		do(200, "GET", sim+"/events/sessions?from=0&limit=2&last_evaluated_key="+next, nil)
		do(200, "POST", sim+"/set_to_standby", nil)
		do(400, "POST", sim+"/delete_session", nil)
		do(400, "POST", sim+"/downlink/ping", map[string]any{})
		do(200, "GET", sim, nil)
		do(200, "POST", sim+"/suspend", nil)
		do(200, "POST", sim+"/deactivate", nil)
		do(404, "POST", strings.TrimSuffix(sim, sim[len(sim)-1:])+"0/activate", nil)
	}
	do(200, "POST", "/sims/"+simID+"/activate", nil)
	b.connect("10.213.7.44")
	var session struct{ SessionID string }
	do(200, "POST", sessions, map[string]any{"duration": 30, "prefix": "x"}).into(t, &session)
	do(400, "POST", sessions, map[string]any{"duration": 1})
	do(200, "GET", sessions+"?limit=1", nil)
	for _, call := range []struct {
		want         int
		method, path string
	}{{400, "POST", "/stop"}, {200, "GET", ""}, {200, "POST", "/stop"}, {200, "DELETE", ""}, {404, "GET", ""}} {
		do(call.want, call.method, sessions+"/"+session.SessionID+call.path, nil)
		called[call.method+" /sims/{sim_id}/packet_capture_sessions/{session_id}"+call.path] = true
		b.clock.Add(3 * time.Second)
	}
	do(204, "POST", "/auth/logout", nil)
	do(401, "GET", "/sims", nil)
	for _, route := range b.api.Routes() {
		require.True(t, called[strings.Replace(route, " /v1", " ", 1)], "%s was not called", route)
	}
}

func TestSignIn(t *testing.T) {
	c := api.Credentials{
		AuthKeyID: "keyId-1", AuthKey: "secret-1", Email: "a@example.com", Password: "pw", OperatorID: "OP0012345678",
		UserName: "sam", UserPassword: "sampw",
	}
	for name, body := range map[string]struct {
		body any
		want int
	}{
		"key":                     {map[string]any{"authKeyId": "keyId-1", "authKey": "secret-1"}, 200},
		"wrong key":               {map[string]any{"authKeyId": "keyId-1", "authKey": "secret-2"}, 401},
		"key's name alone":        {map[string]any{"authKeyId": "keyId-1"}, 401},
		"email":                   {map[string]any{"email": "a@example.com", "password": "pw"}, 200},
		"email, user's password":  {map[string]any{"email": "a@example.com", "password": "sampw"}, 401},
		"user":                    {map[string]any{"operatorId": "OP0012345678", "userName": "sam", "password": "sampw"}, 200},
		"user of another":         {map[string]any{"operatorId": "OP0000000000", "userName": "sam", "password": "sampw"}, 401},
		"user of nobody":          {map[string]any{"userName": "sam", "password": "sampw"}, 401},
		"nothing":                 {map[string]any{}, 401},
		"no body":                 {nil, 401},
		"not JSON":                {"{", 400},
		"another type":            {map[string]any{"authKeyId": 1}, 400},
		"token lives too long":    {map[string]any{"authKeyId": "keyId-1", "authKey": "secret-1", "tokenTimeoutSeconds": 172801}, 400},
		"token lives long enough": {map[string]any{"authKeyId": "keyId-1", "authKey": "secret-1", "tokenTimeoutSeconds": 172800}, 200},
	} {
		t.Run(name, func(t *testing.T) {
			a := newBed(t, api.Options{Credentials: c}).call("POST", "/auth", body.body)
			require.Equal(t, body.want, a.Status, "%s", a.Body)
		})
	}
}

func TestNoWayInWithoutCredentials(t *testing.T) {
	b := newBed(t, api.Options{Credentials: api.Credentials{AuthKeyID: "k", AuthKey: "s"}})
	for _, body := range []any{
		map[string]any{"email": "", "password": ""}, map[string]any{"operatorId": "", "userName": "", "password": ""},
	} {
		b.failure(b.call("POST", "/auth", body), 401, "SIM0401")
	}
}

func TestTokens(t *testing.T) {
	b := newBed(t, api.Options{})
	b.failure(b.call("GET", "/sims", nil), 401, "SIM0401")
	b.signIn()
	require.Equal(t, 200, b.call("GET", "/sims", nil).Status)

	key := b.key
	b.key = "api-other"
	b.failure(b.call("GET", "/sims", nil), 401, "SIM0401")
	b.key = key

	renew := "/operators/" + b.api.Credentials().OperatorID + "/token"
	require.Equal(t, 400, b.call("POST", "/operators/OP0000000000/token", map[string]any{}).Status, "another operator's")
	a := b.call("POST", renew, map[string]any{"tokenTimeoutSeconds": 7200})
	require.Equal(t, 200, a.Status)
	var got struct{ Token string }
	a.into(t, &got)
	old := b.token
	b.token = got.Token
	b.clock.Add(time.Hour)
	require.Equal(t, 200, b.call("GET", "/sims", nil).Status, "renewed for two hours")
	b.token = old
	b.failure(b.call("GET", "/sims", nil), 401, "SIM0401") // an hour has passed
	a = b.call("POST", renew, map[string]any{})
	require.Equal(t, 400, a.Status)
	var nested struct {
		HTTPStatus   int
		ErrorMessage struct{ Code, Message string }
	}
	a.into(t, &nested)
	require.Equal(t, 400, nested.HTTPStatus)
	require.NotEmpty(t, nested.ErrorMessage.Message)

	b.token = got.Token
	require.Equal(t, 204, b.call("POST", "/auth/logout", nil).Status)
	require.Equal(t, 401, b.call("GET", "/sims", nil).Status)
}

func TestUnknownPaths(t *testing.T) {
	b := newBed(t, api.Options{}).signIn()
	for _, call := range []string{"GET /nothing", "DELETE /sims/" + simID, "GET /sims/" + simID + "/delete_session", "GET /", "POST /auth/"} {
		method, path, _ := strings.Cut(call, " ")
		b.failure(b.call(method, path, nil), 404, "SIM0404")
	}
	b.failure(b.call("GET", "/subscribers/001019999999999", nil), 404, "SIM0404")
	b.failure(b.call("GET", "/sims/"+imsi, nil), 404, "SIM0404")
}

type shown struct {
	IMSI, SimID, Status, SpeedClass, IPAddress string
	SessionStatus                              struct {
		Online                 bool
		SessionID, UEIPAddress string
	}
	PreviousSession *struct{ SessionID, UEIPAddress string }
}

func TestDeleteSession(t *testing.T) {
	for _, sim := range []string{"/subscribers/" + imsi, "/sims/" + simID} {
		b := newBed(t, api.Options{}).signIn()
		var before, after shown
		b.call("GET", sim, nil).into(t, &before)
		require.True(t, before.SessionStatus.Online)
		require.Equal(t, "10.213.7.42", before.SessionStatus.UEIPAddress)

		b.clock.Add(time.Second)
		require.Equal(t, 200, b.call("POST", sim+"/delete_session", nil).Status)
		b.call("GET", sim, nil).into(t, &after)
		require.True(t, after.SessionStatus.Online, "the device is back")
		require.NotEqual(t, before.SessionStatus.SessionID, after.SessionStatus.SessionID)
		require.Equal(t, before.SessionStatus.SessionID, after.PreviousSession.SessionID)

		b.sim.Disconnect("")
		b.failure(b.call("POST", sim+"/delete_session", nil), 400, "SEM0016")
		var offline shown
		b.call("GET", sim, nil).into(t, &offline)
		require.False(t, offline.SessionStatus.Online)
		require.Empty(t, offline.SessionStatus.SessionID)
		require.Equal(t, after.SessionStatus.SessionID, offline.PreviousSession.SessionID)
	}
}

func TestStatusAndSpeedClass(t *testing.T) {
	b := newBed(t, api.Options{}).signIn()
	var s shown
	for _, step := range []struct{ verb, status string }{
		{"suspend", "suspended"}, {"activate", "active"}, {"deactivate", "inactive"}, {"set_to_standby", "standby"},
	} {
		b.connect("10.0.0.1")
		a := b.call("POST", "/subscribers/"+imsi+"/"+step.verb, nil)
		require.Equal(t, 200, a.Status)
		a.into(t, &s)
		require.Equal(t, step.status, s.Status)
		require.Equal(t, step.verb == "activate", s.SessionStatus.Online, "service ends with the status")
	}
	a := b.call("POST", "/sims/"+simID+"/update_speed_class", map[string]any{"speedClass": "s1.slow"})
	a.into(t, &s)
	require.Equal(t, "s1.slow", s.SpeedClass)
	b.failure(b.call("POST", "/sims/"+simID+"/update_speed_class", map[string]any{"speedClass": "warp"}), 400, "SIM0400")
	b.failure(b.call("POST", "/sims/"+simID+"/update_speed_class", "{"), 400, "SIM0400")

	require.NoError(t, b.sim.SetStatus(api.StatusTerminated))
	b.failure(b.call("POST", "/sims/"+simID+"/activate", nil), 400, "SIM0400")
}

func TestPing(t *testing.T) {
	b := newBed(t, api.Options{}).signIn()
	ping := "/sims/" + simID + "/downlink/ping"
	var got struct {
		Success   bool
		RTT, Stat string
	}
	b.call("POST", ping, map[string]any{}).into(t, &got)
	require.True(t, got.Success)
	require.Equal(t, "40.000 ms", got.RTT)
	require.Equal(t, "1 packets transmitted, 1 received, 0% packet loss", got.Stat)
	for _, bad := range []map[string]any{
		{"numberOfPingRequests": 6}, {"numberOfPingRequests": 0}, {"timeoutSeconds": 4}, {"timeoutSeconds": -1}, {"timeoutSeconds": "1"},
	} {
		b.failure(b.call("POST", ping, bad), 400, "SIM0400")
	}
	b.sim.Disconnect("")
	b.failure(b.call("POST", ping, map[string]any{}), 400, "SEM0016")
}
