package api_test

import (
	"bytes"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/pcap"
	"github.com/tollgate-iot/tollgate/harness/sim/api"
)

const sessions = "/sims/" + simID + "/packet_capture_sessions"

// capture is a packet capture session as a client reads it.
type capture struct{ SessionID, Status, URL, FailedReason, StartedTime, EndedTime string }

func (b *bed) capture(method, path string, body any) capture {
	b.Helper()
	a := b.call(method, path, body)
	require.Equal(b, 200, a.Status, "%s", a.Body)
	var out capture
	a.into(b, &out)
	return out
}

// download fetches a session's file from its link.
func (b *bed) download(link string) answer {
	b.Helper()
	u, err := url.Parse(link)
	require.NoError(b, err)
	w := httptest.NewRecorder()
	b.h.ServeHTTP(w, httptest.NewRequest("GET", u.RequestURI(), nil))
	return answer{w.Code, w.Header(), w.Body.Bytes()}
}

func texts(t *testing.T, file []byte) []string {
	r, err := pcap.NewReader(bytes.NewReader(file))
	require.NoError(t, err)
	out := []string{}
	for {
		rec, err := r.Next()
		if err != nil {
			require.False(t, r.Cut())
			return out
		}
		out = append(out, string(rec.Data))
	}
}

// TestCaptureSession goes through a session's life: what passes while it is capturing is in its file, and nothing else.
func TestCaptureSession(t *testing.T) {
	b := newBed(t, api.Options{}).signIn()
	s := b.capture("POST", sessions, map[string]any{"duration": 600, "prefix": "tollgate-1"})
	require.Equal(t, "REQUESTED", s.Status)
	at := sessions + "/" + s.SessionID
	b.sim.Pass([]byte("too early"))
	b.failure(b.call("POST", at+"/stop", nil), 400, "SIM0400")
	b.clock.Add(time.Second)
	require.Equal(t, "ACCEPTED", b.capture("GET", at, nil).Status)
	b.clock.Add(2 * time.Second)
	s = b.capture("GET", at, nil)
	require.Equal(t, "CAPTURING", s.Status)
	require.NotEmpty(t, s.StartedTime)
	require.Empty(t, s.URL)
	b.sim.Pass([]byte("one"))
	b.clock.Add(time.Second)
	b.sim.Pass([]byte("two"))
	b.clock.Add(time.Second)
	require.Equal(t, "POST_PROCESSING", b.capture("POST", at+"/stop", nil).Status)
	b.sim.Pass([]byte("too late"))
	b.clock.Add(2 * time.Second)
	s = b.capture("GET", at, nil)
	require.Equal(t, "DONE", s.Status)
	file := b.download(s.URL)
	require.Equal(t, 200, file.Status)
	require.Equal(t, []string{"one", "two"}, texts(t, file.Body))

	require.Equal(t, 403, b.download(strings.Replace(s.URL, "signature=", "signature=0", 1)).Status)
	b.clock.Add(6 * time.Minute)
	require.Equal(t, 403, b.download(s.URL).Status, "a link lives five minutes")
	require.Equal(t, 200, b.download(b.capture("GET", at, nil).URL).Status, "the file lives on")
	require.Equal(t, 1, b.api.Captures())
	b.capture("DELETE", at, nil)
	b.failure(b.call("GET", at, nil), 404, "SIM0404")
	require.Zero(t, b.api.Captures())
}

func TestCaptureSessionReachesItsEnd(t *testing.T) {
	b := newBed(t, api.Options{}).signIn()
	s := b.capture("POST", sessions, map[string]any{"duration": 30})
	b.clock.Add(4 * time.Second)
	b.sim.Pass([]byte("in time"))
	b.clock.Add(30 * time.Second)
	b.sim.Pass([]byte("after the end"))
	b.clock.Add(time.Minute)
	s = b.capture("GET", sessions+"/"+s.SessionID, nil)
	require.Equal(t, "DONE", s.Status)
	require.Equal(t, []string{"in time"}, texts(t, b.download(s.URL).Body))
}

func TestCaptureSessionFails(t *testing.T) {
	b := newBed(t, api.Options{Captures: api.CaptureFaults{Fail: "no VPG of type E or F"}}).signIn()
	s := b.capture("POST", sessions, map[string]any{"duration": 30})
	b.clock.Add(time.Minute)
	s = b.capture("GET", sessions+"/"+s.SessionID, nil)
	require.Equal(t, capture{SessionID: s.SessionID, Status: "FAILED", FailedReason: "no VPG of type E or F"}, s)
	for _, body := range []map[string]any{{}, {"duration": 29}, {"duration": 86401}, {"duration": 30, "prefix": "a/b"}} {
		b.failure(b.call("POST", sessions, body), 400, "SIM0400")
	}
	b.sim.Disconnect("")
	b.capture("POST", sessions, map[string]any{"duration": 30}) // whether it has a session or not
}

// TestCaptureSessionsAreListed page by page, the latest first.
func TestCaptureSessionsAreListed(t *testing.T) {
	b := newBed(t, api.Options{PageLimit: 2}).signIn()
	var want []string
	for range 3 {
		want = append([]string{b.capture("POST", sessions, map[string]any{"duration": 30}).SessionID}, want...)
	}
	var got []string
	for next := ""; ; {
		a := b.call("GET", sessions+"?limit=2"+next, nil)
		var page []capture
		a.into(t, &page)
		for _, s := range page {
			got = append(got, s.SessionID)
		}
		if next = a.Header.Get("X-Soracom-Next-Key"); next == "" {
			break
		}
		next = "&last_evaluated_key=" + next
	}
	require.Equal(t, want, got)
}
