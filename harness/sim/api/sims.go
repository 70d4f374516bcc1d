package api

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

func (a *API) show(w http.ResponseWriter, _ *http.Request, k kind, s SIM) {
	answer(w, http.StatusOK, k.form(s.Info(), a.o.Credentials.OperatorID))
}

// settle answers a change of a SIM: the SIM as it is afterwards, or why it can't be changed.
func (a *API) settle(w http.ResponseWriter, r *http.Request, k kind, s SIM, err error) {
	switch {
	case err == nil:
		a.show(w, r, k, s)
	case errors.Is(err, ErrOffline):
		fail(w, http.StatusBadRequest, codeOffline, "The specified subscriber is offline")
	case errors.Is(err, ErrUnsupported):
		fail(w, http.StatusBadRequest, codeBadRequest, err.Error())
	default:
		fail(w, http.StatusInternalServerError, codeBroken, err.Error())
	}
}

func (a *API) deleteSession(w http.ResponseWriter, r *http.Request, k kind, s SIM) {
	a.settle(w, r, k, s, s.DeleteSession())
}

func (a *API) setStatus(to Status) func(http.ResponseWriter, *http.Request, kind, SIM) {
	return func(w http.ResponseWriter, r *http.Request, k kind, s SIM) {
		a.settle(w, r, k, s, s.SetStatus(to))
	}
}

func (a *API) updateSpeedClass(w http.ResponseWriter, r *http.Request, k kind, s SIM) {
	var req speedClassRequest
	if read(w, r, &req) {
		a.settle(w, r, k, s, s.SetSpeedClass(req.SpeedClass))
	}
}

// ping's limits are the definition's (schema DownlinkPingRequest).
func (a *API) ping(w http.ResponseWriter, r *http.Request, k kind, s SIM) {
	var req pingRequest
	if !read(w, r, &req) {
		return
	}
	count, timeout := 1, 1
	if req.Count != nil {
		count = *req.Count
	}
	if req.Timeout != nil {
		timeout = *req.Timeout
	}
	if count < 1 || count > 5 || timeout < 1 || timeout > 3 {
		fail(w, http.StatusBadRequest, codeBadRequest, "numberOfPingRequests is 1 to 5, timeoutSeconds 1 to 3")
		return
	}
	result, err := s.Ping(r.Context(), count, time.Duration(timeout)*time.Second)
	if err != nil {
		a.settle(w, r, k, s, err)
		return
	}
	answer(w, http.StatusOK, pingOf(result))
}

// listSubscribers takes status_filter and speed_class_filter of the definition's filters; the others are of tags and
// serial numbers, which simulated SIMs have not.
func (a *API) listSubscribers(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	a.list(w, r, kind{key: "imsi"}, func(in Info) bool {
		return among(q.Get("status_filter"), string(in.Status)) && among(q.Get("speed_class_filter"), in.SpeedClass)
	})
}

func among(filter, value string) bool {
	return filter == "" || slices.Contains(strings.Split(filter, "|"), value)
}

func (a *API) listSims(w http.ResponseWriter, r *http.Request) {
	a.list(w, r, kind{key: "sim_id"}, func(Info) bool { return true })
}

// querySims searches by exact IMSI, by parts of a name, and by session status, all of which must fit.
func (a *API) querySims(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	a.list(w, r, kind{key: "sim_id"}, func(in Info) bool {
		online := map[string]bool{"ONLINE": in.Session != nil, "OFFLINE": in.Session == nil, "NA": true, "": true}
		return (!q.Has("imsi") || slices.Contains(q["imsi"], in.IMSI)) &&
			(!q.Has("name") || strings.Contains(in.Name, q.Get("name"))) && online[q.Get("session_status")]
	})
}

// list answers a page of the SIMs that fit. The key of a page is its last SIM's name.
func (a *API) list(w http.ResponseWriter, r *http.Request, k kind, fits func(Info) bool) {
	var found []Info
	for _, s := range a.backend.SIMs() {
		if in := s.Info(); fits(in) {
			found = append(found, in)
		}
	}
	name := func(in Info) string {
		if k.key == "imsi" {
			return in.IMSI
		}
		return in.ID
	}
	shown, ok := page(w, r, found, name, a.o.PageLimit)
	if !ok {
		return
	}
	out := make([]any, len(shown))
	for i, in := range shown {
		out[i] = k.form(in, a.o.Credentials.OperatorID)
	}
	answer(w, http.StatusOK, out)
}

// page cuts a page out of a list, as limit and last_evaluated_key ask, and tells by x-soracom-next-key and link where
// the next begins. It answers and gives false where the query makes no sense.
func page[T any](w http.ResponseWriter, r *http.Request, all []T, key func(T) string, most int) ([]T, bool) {
	q := r.URL.Query()
	limit, err := number(q, "limit", int64(most))
	if err != nil || limit < 1 {
		fail(w, http.StatusBadRequest, codeBadRequest, "limit is a number from 1")
		return nil, false
	}
	if last := q.Get("last_evaluated_key"); last != "" {
		at := slices.IndexFunc(all, func(t T) bool { return key(t) == last })
		if at < 0 {
			fail(w, http.StatusBadRequest, codeBadRequest, "last_evaluated_key is not one that was given")
			return nil, false
		}
		all = all[at+1:]
	}
	if n := int(min(limit, int64(most))); len(all) > n {
		all = all[:n]
		next := key(all[n-1])
		q.Set("last_evaluated_key", next)
		w.Header().Set("X-Soracom-Next-Key", next)
		w.Header().Set("Link", "<"+r.URL.Path+"?"+q.Encode()+">; rel=next")
	}
	return all, true
}

// number reads a number of the query, with a default where it is not given.
func number(q url.Values, name string, otherwise int64) (int64, error) {
	if !q.Has(name) {
		return otherwise, nil
	}
	return strconv.ParseInt(q.Get(name), 10, 64)
}
