package api

import (
	"fmt"
	"io"
	"net/http"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Fault is something that goes wrong with calls to come. One that has neither Status nor HangUp only delays the answer.
type Fault struct {
	// Method and Path say which calls it strikes: Path without /v1, in the form of path.Match ("/sims/*/delete_session").
	// Empty: any.
	Method, Path string
	// Times is how many calls it strikes; 1 where 0, all where negative.
	Times int

	// Delay is waited before anything else, on the wall's clock, or until the client goes away.
	Delay time.Duration
	// Status is answered in place of the answer: 429, 500, 503, ….
	Status int
	// Form is that of the error.
	Form ErrorForm
	// RetryAfter goes with a 429 as X-Soracom-Ratelimit-Seconds-Before-Refresh.
	RetryAfter time.Duration
	// HangUp ends the connection without an answer.
	HangUp bool
	// Done carries the call out before it is answered wrongly or not at all: to the client it may have happened or not.
	Done bool
}

// ErrorForm is one of the forms in which errors come.
type ErrorForm int

// The forms of errors.
const (
	Flat   ErrorForm = iota // {"code", "message"}
	Nested                  // {"httpStatus", "errorMessage": {"code", "message"}}
	Plain                   // text/plain, as from a load balancer
	HTML                    // text/html, as from a proxy
	Empty                   // no body
)

// EventFaults is how session events come.
type EventFaults struct {
	Late         time.Duration // they are told so long after they happened
	DeletedLater time.Duration // Deleted events carry a time so much later than the truth
	Misordered   bool          // neighbours are changed over
}

// faults are those to come, and the log of what was called.
type faults struct {
	mu     sync.Mutex
	list   []Fault
	events EventFaults
	log    []string
}

func (f *faults) add(x Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.list = append(f.list, x)
}

func (f *faults) setEvents(e EventFaults) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.events = e
}

func (f *faults) eventFaults() EventFaults {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.events
}

func (f *faults) calls() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.log...)
}

// logged is how many calls are remembered.
const logged = 10000

// next notes a call and takes the fault that strikes it, if any.
func (f *faults) next(r *http.Request) (Fault, bool) {
	p := strings.TrimPrefix(r.URL.Path, "/v1")
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.log) == logged {
		f.log = f.log[1:]
	}
	f.log = append(f.log, r.Method+" "+p)
	for i := range f.list {
		x := &f.list[i]
		if !x.strikes(r.Method, p) {
			continue
		}
		struck := *x
		if x.Times >= 0 {
			if x.Times--; x.Times <= 0 {
				f.list = append(f.list[:i], f.list[i+1:]...)
			}
		}
		return struck, true
	}
	return Fault{}, false
}

func (f *Fault) strikes(method, p string) bool {
	if f.Method != "" && f.Method != method {
		return false
	}
	fits, err := path.Match(f.Path, p)
	return f.Path == "" || err == nil && fits
}

// answer goes wrong in the way that the fault says, unless it is only late; do answers rightly.
func (f Fault) answer(w http.ResponseWriter, r *http.Request, closed <-chan struct{}, do http.HandlerFunc) {
	if f.Delay > 0 {
		timer := time.NewTimer(f.Delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.Context().Done():
			return
		case <-closed:
			return
		}
	}
	if f.Status == 0 && !f.HangUp {
		do(w, r)
		return
	}
	if f.Done {
		do(nowhere{http.Header{}}, r)
	}
	if f.HangUp {
		panic(http.ErrAbortHandler) // net/http's way to end a connection without an answer
	}
	f.fail(w)
}

// fail answers with the fault's status in the fault's form.
func (f Fault) fail(w http.ResponseWriter) {
	code, message := codeBroken, "An error occurred in the service"
	if f.Status == http.StatusTooManyRequests {
		code, message = codeRateLimited, "Too many requests"
		w.Header().Set("X-Soracom-Ratelimit-Limit", "60")
		w.Header().Set("X-Soracom-Ratelimit-Remaining", "0")
		w.Header().Set("X-Soracom-Ratelimit-Seconds-Before-Refresh", strconv.Itoa(int(f.RetryAfter.Seconds())))
	}
	text := fmt.Sprintf("%d %s", f.Status, http.StatusText(f.Status))
	switch f.Form {
	case Flat:
		fail(w, f.Status, code, message)
	case Nested:
		failNested(w, f.Status, code, message)
	case Plain:
		body(w, f.Status, "text/plain; charset=utf-8", "upstream connect error or disconnect: "+text+"\n")
	case HTML:
		body(w, f.Status, "text/html", "<html><head><title>"+text+"</title></head><body><h1>"+text+"</h1></body></html>\n")
	case Empty:
		w.WriteHeader(f.Status)
	}
}

func body(w http.ResponseWriter, status int, contentType, text string) {
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text) // the client may have left
}

// nowhere is where an answer goes that the client shall not see.
type nowhere struct{ header http.Header }

func (n nowhere) Header() http.Header         { return n.header }
func (n nowhere) Write(b []byte) (int, error) { return len(b), nil }
func (n nowhere) WriteHeader(int)             {}
