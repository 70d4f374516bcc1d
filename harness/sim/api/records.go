package api

import (
	"cmp"
	"fmt"
	"math"
	"net/http"
	"slices"
	"time"
)

// events answers the session events of a period, the newest first (inferred: the definition says that the latest
// event tells the present state, and nothing of the order).
func (a *API) events(w http.ResponseWriter, r *http.Request, _ kind, s SIM) {
	q := r.URL.Query()
	from, err1 := number(q, "from", 0)
	to, err2 := number(q, "to", math.MaxInt64)
	if err1 != nil || err2 != nil {
		fail(w, http.StatusBadRequest, codeBadRequest, "from and to are UNIX times in milliseconds")
		return
	}
	in, now, faults := s.Info(), a.backend.Now(), a.faults.eventFaults()
	var found []sessionEvent
	for _, e := range s.Events(now.Add(-Kept), time.Time{}) {
		if now.Before(e.Time.Add(faults.Late)) {
			continue
		}
		if e.Kind == Deleted {
			e.Time = e.Time.Add(faults.DeletedLater)
		}
		if out := eventOf(e, in, a.o.Credentials.OperatorID); out.Time >= from && out.Time <= to {
			found = append(found, out)
		}
	}
	arrange(found, faults.Misordered)
	key := func(e sessionEvent) string { return fmt.Sprintf("%d-%s-%s", e.Time, e.SessionID, e.Event) }
	if shown, ok := page(w, r, found, key, a.o.PageLimit); ok {
		answer(w, http.StatusOK, append([]sessionEvent{}, shown...))
	}
}

// arrange puts events in the order in which they are told: newest first, or each two neighbours changed over.
func arrange(events []sessionEvent, misordered bool) {
	slices.Reverse(events) // of two in one millisecond the later to come is the newer
	slices.SortStableFunc(events, func(x, y sessionEvent) int { return cmp.Compare(y.Time, x.Time) })
	if !misordered {
		return
	}
	for i := 0; i+1 < len(events); i += 2 {
		events[i], events[i+1] = events[i+1], events[i]
	}
}

// airStats answers what passed, summed over the periods that touch from..to. A period of minutes is told when it is
// over, and carries that moment as its time: the real service writes its samples about every five minutes (that they
// carry the time of writing is inferred). Days and months carry the time at which they begin, and are told as they are.
func (a *API) airStats(w http.ResponseWriter, r *http.Request, _ kind, s SIM) {
	q := r.URL.Query()
	from, err1 := number(q, "from", -1)
	to, err2 := number(q, "to", -1)
	begin := a.period(q.Get("period"))
	if err1 != nil || err2 != nil || from < 0 || to < from || begin == nil {
		fail(w, http.StatusBadRequest, codeBadRequest,
			"from and to are UNIX times in seconds, period is month, day or minutes; all three are required")
		return
	}
	first, _ := begin(time.Unix(from, 0))
	_, end := begin(time.Unix(to, 0))
	now := a.backend.Now()
	out := []airStats{}
	for _, p := range s.Traffic(first, end) {
		at, until := begin(p.Time)
		if q.Get("period") == "minutes" {
			if at = until; now.Before(until) {
				continue
			}
		}
		if n := len(out); n == 0 || out[n-1].UnixTime != at.Unix() {
			out = append(out, airStats{
				Date: at.UTC().Format("2006-01-02T15:04:05Z"), UnixTime: at.Unix(), Traffic: map[string]dataTraffic{},
			})
		}
		sum := out[len(out)-1].Traffic
		t := sum[p.SpeedClass]
		t.UpBytes, t.UpPackets = t.UpBytes+p.Up.Bytes, t.UpPackets+p.Up.Packets
		t.DownBytes, t.DownPackets = t.DownBytes+p.Down.Bytes, t.DownPackets+p.Down.Packets
		sum[p.SpeedClass] = t
	}
	answer(w, http.StatusOK, out)
}

// period gives, for a named period, the function from a time to the begin and end of the period that it is in; nil
// for a name that is none.
func (a *API) period(name string) func(time.Time) (time.Time, time.Time) {
	switch name {
	case "minutes":
		return func(t time.Time) (time.Time, time.Time) {
			begin := t.UTC().Truncate(a.o.StatsEvery)
			return begin, begin.Add(a.o.StatsEvery)
		}
	case "day":
		return func(t time.Time) (time.Time, time.Time) {
			y, m, d := t.UTC().Date()
			return time.Date(y, m, d, 0, 0, 0, 0, time.UTC), time.Date(y, m, d+1, 0, 0, 0, 0, time.UTC)
		}
	case "month":
		return func(t time.Time) (time.Time, time.Time) {
			y, m, _ := t.UTC().Date()
			return time.Date(y, m, 1, 0, 0, 0, 0, time.UTC), time.Date(y, m+1, 1, 0, 0, 0, 0, time.UTC)
		}
	}
	return nil
}
