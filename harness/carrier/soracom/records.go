package soracom

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/tollgate-iot/tollgate/harness/bench"
	"github.com/tollgate-iot/tollgate/harness/flow"
)

// The names of session events.
const (
	eventCreated  = "session.created"
	eventModified = "session.modified"
	eventDeleted  = "session.deleted"
)

// EventNames are the events that can be awaited.
func EventNames() []string { return []string{eventCreated, eventModified, eventDeleted} }

// sessionEvent is an event as the API tells it (definition, schema SessionEvent).
type sessionEvent struct {
	Event     string `json:"event"`
	Time      int64  `json:"time"` // milliseconds
	SessionID string `json:"sessionId"`
	Address   string `json:"ueIpAddress"`
}

var eventNames = map[string]string{"Created": eventCreated, "Modified": eventModified, "Deleted": eventDeleted}

// rank is the order of a session's life, for events of one session that carry the same time.
var rank = map[string]int{eventCreated: 0, eventModified: 1, eventDeleted: 2}

// Events implements bench.Carrier. The time of a Deleted can be later than that of the Created that follows it: which
// events belong together is told by SessionID, never by their order. An event that tells no address has that of its
// session's other events.
func (c *Carrier) Events(ctx context.Context, since time.Time) ([]bench.Event, error) {
	query := url.Values{"limit": {"100"}}
	if !since.IsZero() {
		query.Set("from", strconv.FormatInt(since.UnixMilli(), 10))
	}
	op := "get the session events of SIM " + c.sim
	var all []sessionEvent
	var page []sessionEvent
	err := c.pages(ctx, request{op: op, method: http.MethodGet, path: c.path + "/events/sessions", query: query}, func() any {
		all, page = append(all, page...), nil
		return &page
	})
	if err != nil {
		return nil, err
	}
	events, err := eventsOf(append(all, page...))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	return events, nil
}

// eventsOf gives the API's events in the bench's form: oldest first, each once, those of unknown kinds left out.
func eventsOf(told []sessionEvent) ([]bench.Event, error) {
	addresses := map[string]netip.Addr{}
	seen := map[sessionEvent]bool{}
	var out []bench.Event
	for _, t := range told {
		name, known := eventNames[t.Event]
		if !known || seen[t] {
			continue
		}
		seen[t] = true
		address, err := parseAddress(t.Address)
		if err != nil {
			return nil, err
		}
		if address.IsValid() {
			addresses[t.SessionID] = address
		}
		out = append(out, bench.Event{Name: name, Time: time.UnixMilli(t.Time).UTC(), SessionID: t.SessionID, Address: address})
	}
	for i := range out {
		if !out[i].Address.IsValid() {
			out[i].Address = addresses[out[i].SessionID]
		}
	}
	slices.SortStableFunc(out, func(a, b bench.Event) int {
		return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(rank[a.Name], rank[b.Name]))
	})
	return out, nil
}

// airStats is a sample as the API tells it (definition, schema AirStatsResponse).
type airStats struct {
	UnixTime int64 `json:"unixtime"` // seconds
	Traffic  map[string]struct {
		UpBytes     uint64 `json:"uploadByteSizeTotal"`
		DownBytes   uint64 `json:"downloadByteSizeTotal"`
		UpPackets   uint64 `json:"uploadPacketSizeTotal"`
		DownPackets uint64 `json:"downloadPacketSizeTotal"`
	} `json:"dataTrafficStatsMap"`
}

// Stats implements bench.Carrier: the sum over all speed classes of the samples that the carrier gives for the time.
// It counts in periods of about five minutes, gives every period that from or to is in as a whole, and writes one when
// it is over: so the sum can hold more than passed between the two (Wide), and lacks what passed since the last sample (At).
func (c *Carrier) Stats(ctx context.Context, from, to time.Time) (bench.Count, error) {
	query := url.Values{
		"from": {strconv.FormatInt(from.Unix(), 10)}, "to": {strconv.FormatInt(to.Unix(), 10)}, "period": {"minutes"},
	}
	var samples []airStats
	_, err := c.call(ctx, request{
		op: "get the air stats of SIM " + c.sim, method: http.MethodGet, path: "/stats/air" + c.path, query: query, into: &samples,
	})
	if err != nil {
		return bench.Count{}, err
	}
	return sum(samples, from, c.statsEvery), nil
}

// sum adds samples up, of periods so long. Times are whole seconds there, so that one second more or less is none.
func sum(samples []airStats, from time.Time, every time.Duration) bench.Count {
	var out bench.Count
	for _, s := range samples {
		if at := time.Unix(s.UnixTime, 0).UTC(); at.After(out.At) {
			out.At = at
		}
		out.Wide = out.Wide || time.Unix(s.UnixTime, 0).Add(time.Second-every).Before(from.Truncate(time.Second))
		for _, t := range s.Traffic {
			out.Packets[flow.Up] += t.UpPackets
			out.Packets[flow.Down] += t.DownPackets
			out.Bytes[flow.Up] += t.UpBytes
			out.Bytes[flow.Down] += t.DownBytes
		}
	}
	return out
}
