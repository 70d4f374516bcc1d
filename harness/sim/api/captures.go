package api

import (
	"bytes"
	"encoding/binary"
	"net/http"
	"regexp"
	"slices"
	"sync"
	"time"
)

// Capturer is a SIM whose packets can be captured. A SIM that is none refuses packet capture sessions.
type Capturer interface {
	// Capture captures from now until finish is called, which gives a pcap file: little-endian, microseconds, its times on
	// the carrier's clock.
	Capture() (finish func() []byte)
}

// captureState is the state of a packet capture session (definition, schema PacketCaptureSession).
type captureState string

const (
	captureRequested  captureState = "REQUESTED"
	captureAccepted   captureState = "ACCEPTED"
	captureCapturing  captureState = "CAPTURING"
	captureProcessing captureState = "POST_PROCESSING"
	captureDone       captureState = "DONE"
	captureFailed     captureState = "FAILED"
)

// How long the steps of a session take, on the carrier's clock, and how long a file's link lives. The real service takes seconds
// to minutes.
const (
	captureAccepts = time.Second
	captureStarts  = 3 * time.Second
	captureCloses  = 2 * time.Second
	linkLives      = 5 * time.Minute
)

// CaptureFaults is how packet capture sessions go wrong.
type CaptureFaults struct {
	Fail string // they fail instead of beginning to capture, for that reason
}

// captureSession is one session. What becomes of it is worked out when it is asked for, from the times.
type captureSession struct {
	id, sim, prefix string
	duration        time.Duration
	created         time.Time
	stopped         time.Time // asked for; zero where it was not
	fail            string
	finish          func() []byte // nil once the file is made
	file            []byte
}

func (s *captureSession) started() time.Time { return s.created.Add(captureStarts) }

// ended is when it captures no more.
func (s *captureSession) ended() time.Time {
	end := s.started().Add(s.duration)
	if !s.stopped.IsZero() && s.stopped.Before(end) {
		return s.stopped
	}
	return end
}

// state is its state at a moment; the file is made as soon as the capture is over.
func (s *captureSession) state(now time.Time) captureState {
	if s.fail != "" && !now.Before(s.started()) {
		s.close(s.started())
		return captureFailed
	}
	switch {
	case now.Before(s.created.Add(captureAccepts)):
		return captureRequested
	case now.Before(s.started()):
		return captureAccepted
	case now.Before(s.ended()):
		return captureCapturing
	}
	s.close(s.ended())
	if now.Before(s.ended().Add(captureCloses)) {
		return captureProcessing
	}
	return captureDone
}

// close makes the file of what passed from the begin to a moment.
func (s *captureSession) close(end time.Time) {
	if s.finish == nil {
		return
	}
	s.file = between(s.finish(), s.started(), end)
	s.finish = nil
}

// between cuts a pcap file to the records of a span.
func between(file []byte, from, to time.Time) []byte {
	const header, recordHeader = 24, 16
	out := slices.Clone(file[:min(header, len(file))])
	for rest := file[len(out):]; len(rest) >= recordHeader; {
		seconds, micros := binary.LittleEndian.Uint32(rest), binary.LittleEndian.Uint32(rest[4:])
		size := recordHeader + int(binary.LittleEndian.Uint32(rest[8:]))
		at := time.Unix(int64(seconds), int64(micros)*1000)
		if !at.Before(from.Truncate(time.Microsecond)) && at.Before(to) {
			out = append(out, rest[:size]...)
		}
		rest = rest[size:]
	}
	return out
}

// captures are the sessions of all SIMs, and the links to their files.
type captures struct {
	mu     sync.Mutex
	faults CaptureFaults
	list   []*captureSession // the latest last
	links  map[string]link
}

type link struct {
	session *captureSession
	until   time.Time
}

// SetCaptureFaults says how the sessions to come go wrong.
func (a *API) SetCaptureFaults(f CaptureFaults) {
	a.captures.mu.Lock()
	defer a.captures.mu.Unlock()
	a.captures.faults = f
}

// Captures gives how many packet capture sessions there are, whatever their state.
func (a *API) Captures() int {
	a.captures.mu.Lock()
	defer a.captures.mu.Unlock()
	return len(a.captures.list)
}

// closeCaptures ends all captures.
func (a *API) closeCaptures() {
	a.captures.mu.Lock()
	defer a.captures.mu.Unlock()
	for _, s := range a.captures.list {
		s.close(s.created)
	}
}

var capturePrefix = regexp.MustCompile(`^[0-9A-Za-z_\-]{0,100}$`)

// createCapture begins a session; its limits are the definition's (schema PacketCaptureSessionRequest).
func (a *API) createCapture(w http.ResponseWriter, r *http.Request, _ kind, s SIM) {
	var req captureRequest
	if !read(w, r, &req) {
		return
	}
	if req.Duration < 30 || req.Duration > 86400 || !capturePrefix.MatchString(req.Prefix) {
		fail(w, http.StatusBadRequest, codeBadRequest, "duration is 30 to 86400, prefix at most 100 letters, digits, _ and -")
		return
	}
	capturer, ok := s.(Capturer)
	if !ok {
		fail(w, http.StatusBadRequest, codeBadRequest, "Failed to create a packet capture session for the specified SIM")
		return
	}
	c := &a.captures
	c.mu.Lock()
	defer c.mu.Unlock()
	session := &captureSession{
		id: newUUID(), sim: s.Info().ID, prefix: req.Prefix, duration: time.Duration(req.Duration) * time.Second,
		created: a.backend.Now(), fail: c.faults.Fail, finish: capturer.Capture(),
	}
	c.list = append(c.list, session)
	a.showCapture(w, r, session)
}

// showCapture answers with a session. The lock is held.
func (a *API) showCapture(w http.ResponseWriter, r *http.Request, s *captureSession) {
	answer(w, http.StatusOK, a.captureOf(r, s))
}

// captureOf is a session as the API tells it, with a new link to its file where there is one. The lock is held.
func (a *API) captureOf(r *http.Request, s *captureSession) captureText {
	now := a.backend.Now()
	out := captureText{ID: s.id, Prefix: s.prefix, Duration: int(s.duration / time.Second), Created: s.created.UTC().Format(time.RFC3339Nano), State: s.state(now)}
	switch out.State {
	case captureCapturing, captureProcessing, captureDone:
		out.Started = s.started().UTC().Format(time.RFC3339Nano)
	case captureFailed:
		out.Reason = s.fail
	}
	if out.State == captureProcessing || out.State == captureDone {
		out.Ended = s.ended().UTC().Format(time.RFC3339Nano)
	}
	if out.State == captureDone {
		token := random(16)
		if a.captures.links == nil {
			a.captures.links = map[string]link{}
		}
		a.captures.links[token] = link{s, now.Add(linkLives)}
		out.URL = "http://" + r.Host + filesPath + s.prefix + s.id + ".pcap?signature=" + token
	}
	return out
}

// filesPath is where files lie: the real service keeps them elsewhere than its API.
const filesPath = "/packet-capture-files/"

// file answers with a session's file, to whoever has a link that lives.
func (a *API) file(w http.ResponseWriter, r *http.Request) {
	c := &a.captures
	c.mu.Lock()
	defer c.mu.Unlock()
	l, ok := c.links[r.URL.Query().Get("signature")]
	if !ok || a.backend.Now().After(l.until) || r.URL.Path != filesPath+l.session.prefix+l.session.id+".pcap" {
		http.Error(w, "<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>", http.StatusForbidden)
		return
	}
	w.Header().Set("Content-Type", "application/vnd.tcpdump.pcap")
	_, _ = bytes.NewReader(l.session.file).WriteTo(w) // the client may have left
}

// aCapture looks the session of a path up for a handler, which is called with the lock held.
func (a *API) aCapture(h func(http.ResponseWriter, *http.Request, *captureSession)) func(http.ResponseWriter, *http.Request, kind, SIM) {
	return func(w http.ResponseWriter, r *http.Request, _ kind, sim SIM) {
		c := &a.captures
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, s := range c.list {
			if s.id == r.PathValue("session_id") && s.sim == sim.Info().ID {
				h(w, r, s)
				return
			}
		}
		fail(w, http.StatusNotFound, codeNotFound, "No such packet capture session found")
	}
}

func (a *API) stopCapture(w http.ResponseWriter, r *http.Request, s *captureSession) {
	now := a.backend.Now()
	if s.state(now) != captureCapturing {
		fail(w, http.StatusBadRequest, codeBadRequest, "The packet capture session can be stopped only when its status is CAPTURING")
		return
	}
	s.stopped = now
	a.showCapture(w, r, s)
}

func (a *API) deleteCapture(w http.ResponseWriter, r *http.Request, s *captureSession) {
	text := a.captureOf(r, s)
	s.close(s.created)
	a.captures.list = slices.DeleteFunc(a.captures.list, func(o *captureSession) bool { return o == s })
	answer(w, http.StatusOK, text)
}

// listCaptures answers a page of a SIM's sessions, the latest first.
func (a *API) listCaptures(w http.ResponseWriter, r *http.Request, _ kind, sim SIM) {
	c := &a.captures
	c.mu.Lock()
	defer c.mu.Unlock()
	var own []*captureSession
	for _, s := range slices.Backward(c.list) {
		if s.sim == sim.Info().ID {
			own = append(own, s)
		}
	}
	shown, ok := page(w, r, own, func(s *captureSession) string { return s.id }, a.o.PageLimit)
	if !ok {
		return
	}
	out := make([]captureText, len(shown))
	for i, s := range shown {
		out[i] = a.captureOf(r, s)
	}
	answer(w, http.StatusOK, out)
}
