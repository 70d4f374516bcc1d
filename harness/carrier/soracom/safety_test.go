package soracom

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/sim/api"
)

func TestOnlyTheListedSIM(t *testing.T) {
	clock := &leapClock{}
	o := Options{Clock: clock, Credentials: Credentials{AuthKeyID: "k", AuthKey: "s"}, Getenv: func(string) string { return "" }}
	for sim, problem := range map[string]string{
		"": "neither an IMSI", "12": "neither", "44010312345678x": "neither", "440103123456789/../../sims": "neither", "00101012345678９": "neither",
	} {
		o.SIM = sim
		_, err := New(o)
		require.ErrorContains(t, err, problem, sim)
	}
	o.SIM, o.Allowed = imsi, []string{"440103123456789"}
	_, err := New(o)
	require.ErrorContains(t, err, "not among the bench's SIMs")

	n := newNetwork(t, Options{Allowed: []string{imsi}})
	for _, path := range []string{"/subscribers/" + imsi + "0", "/subscribers", "/sims/" + simID, "/stats/air/sims/" + simID, "/subscribers/001010000000000/suspend"} {
		_, err := n.carrier.call(context.Background(), request{op: "test", method: "POST", path: path})
		require.ErrorContains(t, err, "the only one that this carrier may touch", path)
	}
	require.Empty(t, n.server.Calls())
}

// TestSecretsStayOut has a proxy quote the whole request, secrets and all, in its error page.
func TestSecretsStayOut(t *testing.T) {
	c := Credentials{AuthKeyID: "keyId-abc", AuthKey: "secret-topsecret"}
	signedIn := false
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/auth" && !signedIn {
			signedIn = true
			fmt.Fprint(w, `{"apiKey":"api-1234","token":"tok-5678","operatorId":"OP1"}`)
			return
		}
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprintf(w, "denied: %v %s", r.Header, c.AuthKey)
	}))
	defer proxy.Close()
	carrier, err := New(Options{SIM: imsi, Credentials: c, Endpoint: proxy.URL + "/v1/", Clock: &leapClock{}})
	require.NoError(t, err)
	defer func() { require.NoError(t, carrier.Close()) }()
	_, err = carrier.Address(context.Background())
	require.ErrorContains(t, err, "403 Forbidden")
	require.ErrorContains(t, err, "[secret]")
	for _, secret := range []string{"topsecret", "api-1234", "tok-5678"} {
		require.NotContains(t, err.Error(), secret)
	}
	require.NotContains(t, fmt.Sprintf("%v %+v %#v", c, c, c), "topsecret")
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	var followed bool
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { followed = true }))
	defer elsewhere.Close()
	here := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect))
	defer here.Close()
	carrier, err := New(Options{SIM: imsi, Credentials: Credentials{AuthKeyID: "k", AuthKey: "s"}, Endpoint: here.URL, Clock: &leapClock{}})
	require.NoError(t, err)
	_, err = carrier.Address(context.Background())
	require.ErrorContains(t, err, "307")
	require.False(t, followed)
	require.NoError(t, carrier.Close())
}

func TestStrangeAnswers(t *testing.T) {
	for name, body := range map[string]string{
		"empty": "", "not JSON": "hello", "cut": `{"sessionStatus":{"onl`, "another type": `{"sessionStatus":"x"}`, "a list": `[]`,
		"no address": `{"sessionStatus":{"online":true,"sessionId":"s","ueIpAddress":"not an address"}}`,
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost {
				body := `{"apiKey":"api-1234","token":"tok-5678"}`
				fmt.Fprint(w, body)
				return
			}
			fmt.Fprint(w, body)
		}))
		carrier, err := New(Options{SIM: imsi, Credentials: Credentials{AuthKeyID: "k", AuthKey: "s"}, Endpoint: s.URL, Clock: &leapClock{}})
		require.NoError(t, err)
		_, err = carrier.Address(context.Background())
		require.Error(t, err, name)
		require.NoError(t, carrier.Close())
		s.Close()
	}
}

func TestPagesInACircle(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			fmt.Fprint(w, `{"apiKey":"api-1234","token":"tok-5678"}`)
			return
		}
		w.Header().Set("X-Soracom-Next-Key", "again")
		fmt.Fprint(w, `[]`)
	}))
	defer s.Close()
	carrier, err := New(Options{SIM: imsi, Credentials: Credentials{AuthKeyID: "k", AuthKey: "s"}, Endpoint: s.URL, Clock: &leapClock{}})
	require.NoError(t, err)
	defer func() { require.NoError(t, carrier.Close()) }()
	_, err = carrier.Events(context.Background(), time.Time{})
	require.ErrorContains(t, err, "go in a circle")
}

func TestContextAndClose(t *testing.T) {
	n := newNetwork(t, Options{})
	n.server.Inject(api.Fault{Path: "/subscribers/*", Times: -1, Delay: time.Hour})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	go func() {
		_, err := n.carrier.Address(ctx)
		ended <- err
	}()
	require.Eventually(t, func() bool { return n.calls("GET /subscribers") == 1 }, 10*time.Second, time.Millisecond)
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)

	go func() {
		_, err := n.carrier.Do(context.Background(), "delete_session", nil)
		ended <- err
	}()
	require.Eventually(t, func() bool { return n.calls("GET /subscribers") == 2 }, 10*time.Second, time.Millisecond)
	require.NoError(t, n.carrier.Close())
	require.Error(t, <-ended)
	require.Equal(t, 1, n.calls("/auth/logout"), "the token is given back")
	require.NoError(t, n.carrier.Close())
	_, err := n.carrier.Address(context.Background())
	require.ErrorContains(t, err, "the carrier is closed")
}

func TestHTTPTimeout(t *testing.T) {
	n := newNetwork(t, Options{HTTPTimeout: time.Second})
	_, err := n.carrier.Address(context.Background())
	require.NoError(t, err)
	n.server.Inject(api.Fault{Path: "/subscribers/*", Delay: time.Hour})
	_, err = n.carrier.Address(context.Background())
	require.NoError(t, err, "an exchange that takes too long is a lost answer")
	require.GreaterOrEqual(t, n.calls("GET /subscribers"), 3)
}

func TestVerbs(t *testing.T) {
	n := newNetwork(t, Options{})
	_, err := n.carrier.Do(context.Background(), "delete_sesion", nil)
	require.ErrorContains(t, err, `carrier verb "delete_sesion": soracom has none of that name`)
	require.Equal(t, "soracom", n.carrier.Account())
	require.Empty(t, n.server.Calls())
}
