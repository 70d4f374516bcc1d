package api_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/sim/api"
)

type told struct {
	Event, SessionID, UEIPAddress, DNS0 string
	Time                                int64
}

// events reads all pages of a SIM's events.
func (b *bed) events(query string) (all []told, pages int) {
	b.Helper()
	for key := ""; ; {
		a := b.call("GET", "/subscribers/"+imsi+"/events/sessions?"+query+"&last_evaluated_key="+url.QueryEscape(key), nil)
		require.Equal(b, 200, a.Status, "%s", a.Body)
		var page []told
		a.into(b, &page)
		all, pages = append(all, page...), pages+1
		if key = a.Header.Get("X-Soracom-Next-Key"); key == "" {
			require.Empty(b, a.Header.Get("Link"))
			return all, pages
		}
		require.Contains(b, a.Header.Get("Link"), "rel=next")
	}
}

func kinds(events []told) (out []string) {
	for _, e := range events {
		out = append(out, e.Event)
	}
	return out
}

func TestEventsAndPages(t *testing.T) {
	b := newBed(t, api.Options{}).signIn()
	begin := b.clock.Now()
	b.clock.Add(time.Second)
	b.sim.Move()
	b.clock.Add(time.Second)
	require.NoError(t, b.sim.DeleteSession()) // Deleted and Created in the same millisecond

	all, pages := b.events("")
	require.Equal(t, 1, pages)
	require.Equal(t, []string{"Created", "Deleted", "Modified", "Created"}, kinds(all), "newest first")
	require.Equal(t, begin.UnixMilli(), all[3].Time)
	require.Equal(t, "100.127.0.53", all[3].DNS0)
	require.Equal(t, all[3].SessionID, all[1].SessionID)
	require.NotEqual(t, all[0].SessionID, all[1].SessionID)

	for limit := 1; limit <= 5; limit++ {
		paged, pages := b.events(fmt.Sprintf("limit=%d", limit))
		require.Equal(t, all, paged, "each event once, whatever the page's size")
		require.Equal(t, (4+limit-1)/limit, pages)
	}
	some, _ := b.events(fmt.Sprintf("from=%d&to=%d", begin.UnixMilli()+1, begin.UnixMilli()+1000))
	require.Equal(t, []string{"Modified"}, kinds(some))

	for _, bad := range []string{"from=x", "to=1.5", "limit=0", "limit=-1", "limit=many", "last_evaluated_key=never"} {
		b.failure(b.call("GET", "/subscribers/"+imsi+"/events/sessions?"+bad, nil), 400, "SIM0400")
	}
	b.clock.Add(api.Kept)
	b.signIn()
	some, _ = b.events("")
	require.Equal(t, []string{"Created", "Deleted"}, kinds(some), "kept for 32 days")
}

func TestEventFaults(t *testing.T) {
	b := newBed(t, api.Options{Events: api.EventFaults{Late: 10 * time.Second}}).signIn()
	all, _ := b.events("")
	require.Empty(t, all)
	b.clock.Add(10 * time.Second)
	all, _ = b.events("")
	require.Equal(t, []string{"Created"}, kinds(all))

	require.NoError(t, b.sim.DeleteSession())
	b.api.SetEvents(api.EventFaults{DeletedLater: 3 * time.Second})
	all, _ = b.events("")
	require.Equal(t, []string{"Deleted", "Created", "Created"}, kinds(all), "the Deleted carries the later time")
	require.Equal(t, all[1].Time+3000, all[0].Time)

	b.api.SetEvents(api.EventFaults{Misordered: true})
	all, _ = b.events("limit=1")
	require.Equal(t, []string{"Deleted", "Created", "Created"}, kinds(all))
	require.Equal(t, all[0].Time, all[1].Time)
}

func TestAirStatsCountWhatPassed(t *testing.T) {
	b := newBed(t, api.Options{}).signIn()
	begin := b.clock.Now().Truncate(5 * time.Minute)
	carry := func(after time.Duration, upPackets, upBytes, downPackets, downBytes uint64) {
		b.sim.CarryAt(begin.Add(after), api.Usage{Packets: upPackets, Bytes: upBytes}, api.Usage{Packets: downPackets, Bytes: downBytes})
	}
	carry(0, 1, 100, 0, 0)
	carry(4*time.Minute+59*time.Second, 2, 200, 1, 54)
	carry(5*time.Minute, 4, 400, 0, 0)
	require.NoError(t, b.sim.SetSpeedClass("s1.slow"))
	carry(5*time.Minute, 8, 800, 0, 0)

	get := func(from, to time.Duration, period string) (out []struct {
		UnixTime            int64
		DataTrafficStatsMap map[string]struct {
			UploadByteSizeTotal, DownloadByteSizeTotal, UploadPacketSizeTotal, DownloadPacketSizeTotal uint64
		}
	}) {
		t.Helper()
		a := b.call("GET", fmt.Sprintf("/stats/air/sims/%s?from=%d&to=%d&period=%s", simID, begin.Add(from).Unix(), begin.Add(to).Unix(), period), nil)
		require.Equal(t, 200, a.Status, "%s", a.Body)
		a.into(t, &out)
		return out
	}
	require.Empty(t, get(0, 0, "minutes"), "no period is over")
	b.clock.Add(5 * time.Minute)
	one := get(time.Minute, 2*time.Minute, "minutes")
	require.Len(t, one, 1, "the second is not over")
	require.Equal(t, begin.Add(5*time.Minute).Unix(), one[0].UnixTime)
	s := one[0].DataTrafficStatsMap["s1.standard"]
	require.Equal(t, []uint64{300, 54, 3, 1}, []uint64{s.UploadByteSizeTotal, s.DownloadByteSizeTotal, s.UploadPacketSizeTotal, s.DownloadPacketSizeTotal})
	b.clock.Add(5 * time.Minute)
	both := get(0, 9*time.Minute, "minutes")
	require.Len(t, both, 2)
	require.EqualValues(t, 400, both[1].DataTrafficStatsMap["s1.standard"].UploadByteSizeTotal)
	require.EqualValues(t, 800, both[1].DataTrafficStatsMap["s1.slow"].UploadByteSizeTotal)
	day := get(0, 0, "day")
	require.Len(t, day, 1)
	require.EqualValues(t, 700, day[0].DataTrafficStatsMap["s1.standard"].UploadByteSizeTotal)
	require.Equal(t, begin.Truncate(24*time.Hour).Unix(), day[0].UnixTime)
	require.Equal(t, time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC).Unix(), get(0, 0, "month")[0].UnixTime)

	for _, bad := range []string{"", "from=1&to=2", "from=1&period=day", "from=2&to=1&period=day", "from=1&to=2&period=hour", "from=x&to=2&period=day"} {
		b.failure(b.call("GET", "/stats/air/sims/"+simID+"?"+bad, nil), 400, "SIM0400")
	}
}

func TestPagesOfSIMs(t *testing.T) {
	clock := &handClock{now: time.Unix(1800000000, 0)}
	memory := api.NewMemory(clock.Now)
	for i := range 5 {
		s := memory.Add(api.Info{ID: fmt.Sprintf("898110000000000000%d", i), IMSI: fmt.Sprintf("00101000000000%d", i), Name: fmt.Sprint("dev", i)}, api.Hooks{})
		if i%2 == 0 {
			s.Connect(api.Session{})
		}
	}
	b := &bed{T: t, clock: clock, api: api.New(memory, api.Options{PageLimit: 2})}
	b.h = b.api
	b.signIn()
	for path, want := range map[string]int{
		"/sims?": 5, "/subscribers?": 5, "/query/sims?session_status=ONLINE&": 3, "/query/sims?session_status=OFFLINE&": 2,
		"/query/sims?name=dev3&": 1, "/query/sims?imsi=001010000000001&imsi=001010000000002&": 2, "/query/sims?imsi=1&": 0,
		"/subscribers?status_filter=inactive&": 0, "/subscribers?speed_class_filter=s1.slow|s1.standard&": 5,
	} {
		seen := map[string]bool{}
		for key := ""; ; {
			a := b.call("GET", path+"last_evaluated_key="+key, nil)
			require.Equal(t, 200, a.Status)
			var page []shown
			a.into(t, &page)
			require.LessOrEqual(t, len(page), 2)
			for _, s := range page {
				seen[s.SimID] = true
			}
			if key = a.Header.Get("X-Soracom-Next-Key"); key == "" {
				break
			}
		}
		require.Len(t, seen, want, path)
	}
}

func TestFaults(t *testing.T) {
	b := newBed(t, api.Options{Faults: []api.Fault{{Method: "POST", Path: "/auth", Status: 503, Form: api.Plain}}})
	a := b.call("POST", "/auth", map[string]any{})
	require.Equal(t, 503, a.Status)
	require.Contains(t, a.Header.Get("Content-Type"), "text/plain")
	b.signIn()

	b.api.Inject(api.Fault{Path: "/sims/*", Times: 2, Status: 429, RetryAfter: 7 * time.Second})
	require.Equal(t, 200, b.call("GET", "/sims", nil).Status, "another path")
	for range 2 {
		a = b.call("GET", "/sims/"+simID, nil)
		b.failure(a, 429, "SIM0429")
		require.Equal(t, "7", a.Header.Get("X-Soracom-Ratelimit-Seconds-Before-Refresh"))
		require.Equal(t, "0", a.Header.Get("X-Soracom-Ratelimit-Remaining"))
	}
	require.Equal(t, 200, b.call("GET", "/sims/"+simID, nil).Status, "struck twice")

	for form, contentType := range map[api.ErrorForm]string{api.Flat: "application/json", api.Nested: "application/json", api.Plain: "text/plain", api.HTML: "text/html", api.Empty: ""} {
		b.api.Inject(api.Fault{Status: 502, Form: form})
		a = b.call("GET", "/sims", nil)
		require.Equal(t, 502, a.Status)
		require.Contains(t, a.Header.Get("Content-Type"), contentType)
		require.Equal(t, form == api.Empty, len(a.Body) == 0)
	}

	b.api.Inject(api.Fault{Path: "/sims/*/suspend", Times: -1, Status: 500, Done: true})
	for range 3 {
		require.Equal(t, 500, b.call("POST", "/sims/"+simID+"/suspend", nil).Status)
	}
	require.Equal(t, api.StatusSuspended, b.sim.Info().Status, "done all the same")
	calls := b.api.Calls()
	require.Equal(t, "POST /auth", calls[0])
	require.Equal(t, "POST /sims/"+simID+"/suspend", calls[len(calls)-1])
}

func TestServe(t *testing.T) {
	b := newBed(t, api.Options{})
	_, err := api.Serve(api.NewMemory(time.Now), api.Options{Address: "0.0.0.0:0"})
	require.ErrorContains(t, err, "not a loopback address")

	var held, released atomic.Int64
	s, err := api.Serve(api.NewMemory(b.clock.Now), api.Options{Hold: func() func() {
		held.Add(1)
		return func() { released.Add(1) }
	}})
	require.NoError(t, err)
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	resp, err := client.Get(s.URL() + "/v1/sims")
	require.NoError(t, err)
	_, err = io.Copy(io.Discard, resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, 401, resp.StatusCode)
	_, err = api.Serve(api.NewMemory(time.Now), api.Options{Address: s.URL()[len("http://"):]})
	require.Error(t, err, "the address is taken")

	s.Inject(api.Fault{HangUp: true})
	_, err = client.Post(s.URL()+"/v1/auth", "application/json", nil)
	require.Error(t, err)

	// A client that gives up, and a server that is closed, both end a delayed answer.
	s.Inject(api.Fault{Delay: time.Hour, Times: 2})
	ctx, cancel := context.WithCancel(context.Background())
	req, err := http.NewRequestWithContext(ctx, "GET", s.URL()+"/v1/sims", nil)
	require.NoError(t, err)
	go cancel()
	_, err = client.Do(req)
	require.ErrorIs(t, err, context.Canceled)
	failed := make(chan error)
	go func() {
		resp, err := client.Get(s.URL() + "/v1/sims")
		if err == nil {
			_ = resp.Body.Close()
		}
		failed <- errors.Join(err)
	}()
	require.Eventually(t, func() bool { return len(s.Calls()) >= 3 }, 10*time.Second, time.Millisecond)
	require.NoError(t, s.Close())
	require.NoError(t, s.Close())
	<-failed
	require.GreaterOrEqual(t, held.Load(), int64(3))
	require.Equal(t, held.Load(), released.Load(), "each call is over when the server is closed")
}
