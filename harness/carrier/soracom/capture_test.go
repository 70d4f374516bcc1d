package soracom

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/sim/api"
)

// captureUntil has the clock leap until a session is in a state.
func (n *network) captureUntil(c *Carrier, id, want string) {
	n.Helper()
	for range 100 {
		state, _, _, err := c.CaptureState(context.Background(), id)
		require.NoError(n, err)
		if state == want {
			return
		}
		require.NoError(n, n.clock.Sleep(context.Background(), time.Second))
	}
	require.Fail(n, "the session never gets "+want)
}

func (n *network) readCapture(c *Carrier, id string) string {
	n.Helper()
	file, err := c.ReadCapture(context.Background(), id)
	require.NoError(n, err)
	data, err := io.ReadAll(file)
	require.NoError(n, err)
	require.NoError(n, file.Close())
	return string(data)
}

// TestCaptures goes through a session's life, of a SIM named by its IMSI and by its SIM ID.
func TestCaptures(t *testing.T) {
	ctx := context.Background()
	for _, sim := range []string{imsi, simID} {
		n := newNetwork(t, Options{SIM: sim})
		c := n.carrier
		id, err := c.StartCapture(ctx, time.Minute)
		require.NoError(t, err)
		_, err = c.ReadCapture(ctx, id)
		require.ErrorContains(t, err, "gives no https link to it (its state is REQUESTED)")
		require.ErrorContains(t, c.StopCapture(ctx, id), "only when its status is CAPTURING")
		n.captureUntil(c, id, CaptureCapturing)
		n.sim.Pass([]byte("a packet"))
		require.NoError(t, n.clock.Sleep(ctx, time.Second))
		stopped := n.clock.Now()
		require.NoError(t, c.StopCapture(ctx, id))
		require.NoError(t, c.StopCapture(ctx, id), "it has ended: so it shall be")
		n.captureUntil(c, id, CaptureDone)
		_, _, ended, err := c.CaptureState(ctx, id)
		require.NoError(t, err)
		require.Equal(t, stopped, ended)
		require.Contains(t, n.readCapture(c, id), "a packet")
		require.Contains(t, n.readCapture(c, id), "a packet", "again, by another link")
		require.NoError(t, c.DeleteCapture(ctx, id))
		require.NoError(t, c.DeleteCapture(ctx, id), "it is gone")
		require.Zero(t, n.server.Captures())
	}
}

func TestCaptureThatFails(t *testing.T) {
	ctx := context.Background()
	n := newNetwork(t, Options{})
	for _, most := range []time.Duration{0, 29 * time.Second, 25 * time.Hour} {
		_, err := n.carrier.StartCapture(ctx, most)
		require.ErrorContains(t, err, "it lasts from 30s to 24h0m0s")
	}
	n.server.SetCaptureFaults(api.CaptureFaults{Fail: "the VPG\nhas none"})
	id, err := n.carrier.StartCapture(ctx, time.Minute)
	require.NoError(t, err)
	n.captureUntil(n.carrier, id, CaptureFailed)
	_, reason, _, err := n.carrier.CaptureState(ctx, id)
	require.NoError(t, err)
	require.Equal(t, "the VPG has none", reason)
	require.NoError(t, n.carrier.StopCapture(ctx, id), "nothing is left to stop")
	_, err = n.carrier.ReadCapture(ctx, id)
	require.ErrorContains(t, err, "its state is FAILED")
}

// TestCaptureIsCreatedOnce though the answer is lost: it is found by its name.
func TestCaptureIsCreatedOnce(t *testing.T) {
	ctx := context.Background()
	for _, f := range []api.Fault{{Status: 503, Done: true}, {HangUp: true, Done: true}} {
		n := newNetwork(t, Options{})
		for range 4 { // the pages have three
			_, err := n.carrier.StartCapture(ctx, time.Minute)
			require.NoError(t, err)
		}
		f.Method, f.Path = http.MethodPost, "/sims/*/packet_capture_sessions"
		n.server.Inject(f)
		id, err := n.carrier.StartCapture(ctx, time.Minute)
		require.NoError(t, err)
		require.Equal(t, 5, n.server.Captures())
		n.captureUntil(n.carrier, id, CaptureCapturing)
	}
	n := newNetwork(t, Options{})
	n.server.Inject(api.Fault{Method: http.MethodPost, Path: "/sims/*/packet_capture_sessions", Status: 503})
	_, err := n.carrier.StartCapture(ctx, time.Minute)
	var unclear *UnclearError
	require.ErrorAs(t, err, &unclear)
	require.Equal(t, 1, n.calls("POST /sims/"+simID+"/packet_capture_sessions"), "never sent again")
}

// TestSecretLinks: the link to a file is in no error, whatever becomes of the download.
func TestSecretLinks(t *testing.T) {
	const secret = "sig-5ecret"
	ctx := context.Background()
	status := http.StatusForbidden
	link := ""
	var server *httptest.Server
	server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/v1/auth":
			fmt.Fprint(w, `{"apiKey":"api-1234","token":"tok-5678","operatorId":"OP1"}`)
		case r.URL.Path == "/v1/auth/logout":
			w.WriteHeader(http.StatusNoContent)
		case r.URL.Path == "/file":
			if r.Header.Get("X-Soracom-Token") != "" {
				t.Error("the token went with the download")
			}
			w.Header().Set("Location", server.URL+"/elsewhere?signature="+secret)
			w.WriteHeader(status)
			fmt.Fprint(w, "expired: "+r.URL.String())
		case strings.HasPrefix(r.URL.Path, "/v1/sims/"):
			_ = json.NewEncoder(w).Encode(map[string]string{"sessionId": "s", "status": "DONE", "url": link})
		default:
			t.Error(r.URL)
		}
	}))
	defer server.Close()
	c, err := New(Options{SIM: simID, Credentials: Credentials{AuthKeyID: "k", AuthKey: "s"}, Endpoint: server.URL, Clock: &leapClock{}})
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	for _, at := range []struct {
		link   string
		status int
		want   string
	}{
		{server.URL + "/file?signature=" + secret, http.StatusForbidden, "answered 403 Forbidden"},
		{server.URL + "/file?signature=" + secret, http.StatusTemporaryRedirect, "answered 307"},
		{"http://127.0.0.1:1/file?signature=" + secret, 0, "connection refused"},
		{"http://files.example.com/file?signature=" + secret, 0, "no https link"},
		{"file:///etc/passwd?" + secret, 0, "no https link"},
		{"https://%zz/" + secret, 0, "no https link"},
		{"", 0, "no https link"},
	} {
		link, status = at.link, at.status
		_, err := c.ReadCapture(ctx, "s")
		require.ErrorContains(t, err, at.want)
		require.NotContains(t, err.Error(), secret)
	}
	require.NotContains(t, fmt.Sprintf("%v %+v %#v", captureSession{URL: secret}, captureSession{URL: secret}, captureSession{URL: secret}), secret)
}

// TestStrangeSessions: what the carrier gives for an ID does not become a path of its own.
func TestStrangeSessions(t *testing.T) {
	n := newNetwork(t, Options{})
	for _, id := range []string{"", "../../suspend", "a/b", "x?y", "ü"} {
		_, _, _, err := n.carrier.CaptureState(context.Background(), id)
		require.ErrorContains(t, err, "that is no session's ID", id)
		require.Error(t, n.carrier.StopCapture(context.Background(), id))
		require.Error(t, n.carrier.DeleteCapture(context.Background(), id))
		_, err = n.carrier.ReadCapture(context.Background(), id)
		require.Error(t, err)
	}
	require.Zero(t, n.calls("packet_capture"))
}

func FuzzCaptureAnswers(f *testing.F) {
	f.Add(`{"sessionId":"0b3c","status":"CAPTURING","prefix":"tollgate-1"}`)
	f.Add(`{"sessionId":"../x","status":"STOPPED","url":"https://h/f?s=1","endedTime":"2026-11-22T01:38:33Z"}`)
	f.Add(`{"status":"FAILED","failedReason":"a\u0000b\n","url":"http://127.0.0.1:0/%"}`)
	f.Add(`[]`)
	var body string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/auth" {
			fmt.Fprint(w, `{"apiKey":"a","token":"t","operatorId":"OP1"}`)
			return
		}
		fmt.Fprint(w, body)
	}))
	f.Cleanup(server.Close)
	c, err := New(Options{SIM: simID, Credentials: Credentials{AuthKeyID: "k", AuthKey: "s"}, Endpoint: server.URL, Clock: &leapClock{}})
	require.NoError(f, err)
	f.Cleanup(func() { _ = c.Close() })
	f.Fuzz(func(t *testing.T, text string) {
		body = text
		ctx := context.Background()
		if id, err := c.StartCapture(ctx, time.Minute); err == nil && !sessionID.MatchString(id) {
			t.Fatalf("session %q", id)
		}
		state, reason, _, err := c.CaptureState(ctx, "s")
		if err == nil && state == "" || strings.ContainsAny(reason, "\n\x00") {
			t.Fatalf("state %q, %q", state, reason)
		}
	})
}
