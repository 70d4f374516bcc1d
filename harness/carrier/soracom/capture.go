package soracom

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// captureSession is a packet capture session as the API tells it (definition, schema PacketCaptureSession).
type captureSession struct {
	ID     string `json:"sessionId"`
	Status string `json:"status"`
	Prefix string `json:"prefix"`
	Reason string `json:"failedReason"`
	Ended  string `json:"endedTime"`
	URL    string `json:"url"` // signed: whoever has it can read the file
}

// String keeps the link out of whatever prints a session.
func (s captureSession) String() string { return "packet capture session " + s.ID }

// GoString is String.
func (s captureSession) GoString() string { return s.String() }

// The states of a capture, in words that are not this carrier's alone.
const (
	CaptureStarting  = "starting"
	CaptureCapturing = "capturing"
	CaptureClosing   = "closing"
	CaptureDone      = "done"
	CaptureFailed    = "failed"
)

// captureStates are the API's states. STOPPED stands before the file is there, or instead: it is done where there is a link.
var captureStates = map[string]string{
	"REQUESTED": CaptureStarting, "ACCEPTED": CaptureStarting, "CAPTURING": CaptureCapturing, "POST_PROCESSING": CaptureClosing,
	"STOPPED": CaptureClosing, "DONE": CaptureDone, "FAILED": CaptureFailed,
}

// sessionID is what a session's ID may look like, before it becomes part of a path.
var sessionID = regexp.MustCompile(`^[0-9A-Za-z_-]{1,100}$`)

// The shortest and the longest session (definition, schema PacketCaptureSessionRequest).
const (
	CaptureLeast = 30 * time.Second
	CaptureMost  = 24 * time.Hour
)

// StartCapture asks for a packet capture session of the SIM that lasts as long at most, and gives its ID. It begins to
// capture a while later (CaptureState). A session whose creation was not answered is found again by a name of its own.
func (c *Carrier) StartCapture(ctx context.Context, most time.Duration) (string, error) {
	op := "start a packet capture session of SIM " + c.sim
	if most < CaptureLeast || most > CaptureMost {
		return "", fmt.Errorf("%s: it lasts from %s to %s, not %s", op, CaptureLeast, CaptureMost, most)
	}
	path, err := c.capturePath(ctx)
	if err != nil {
		return "", fmt.Errorf("%s: %w", op, err)
	}
	var s captureSession
	prefix := capturePrefix()
	body := map[string]any{"duration": int(most / time.Second), "prefix": prefix}
	_, err = c.call(ctx, request{op: op, method: http.MethodPost, path: path, body: body, into: &s})
	if err != nil && unclear(err) && ctx.Err() == nil {
		if s, err = c.findCapture(ctx, op, path, prefix, err); err == nil {
			return s.ID, nil
		}
	}
	if err == nil && !sessionID.MatchString(s.ID) {
		err = fmt.Errorf("%s: read the carrier's answer: %q is no session's ID", op, oneLine(s.ID))
	}
	return s.ID, err
}

// capturePrefix is a name that no other session has.
func capturePrefix() string {
	b := make([]byte, 8)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	return "tollgate-" + hex.EncodeToString(b)
}

// findCapture looks for a session that was perhaps created.
func (c *Carrier) findCapture(ctx context.Context, op, path, prefix string, cause error) (captureSession, error) {
	var found captureSession
	happened, lookErr := c.look(ctx, action{op: op, done: func(ctx context.Context) (bool, error) {
		var all, page []captureSession
		err := c.pages(ctx, request{op: "list the packet capture sessions of SIM " + c.sim, method: http.MethodGet, path: path, query: url.Values{"limit": {"100"}}}, func() any {
			all, page = append(all, page...), nil
			return &page
		})
		all = append(all, page...)
		i := slices.IndexFunc(all, func(s captureSession) bool { return s.Prefix == prefix && sessionID.MatchString(s.ID) })
		if i >= 0 {
			found = all[i]
		}
		return i >= 0, err
	}})
	if happened {
		return found, nil
	}
	return found, &UnclearError{Op: op, Cause: cause, Check: lookErr}
}

// capturePath is where the SIM's sessions are: of a SIM that is named by its IMSI the SIM ID is asked for.
func (c *Carrier) capturePath(ctx context.Context) (string, error) {
	c.mu.Lock()
	path := c.captures
	c.mu.Unlock()
	if path != "" {
		return path, nil
	}
	resource := c.path
	if !strings.HasPrefix(resource, "/sims/") {
		s, err := c.state(ctx)
		if err != nil {
			return "", err
		}
		if resource, err = resourceOf(s.SimID); err != nil || !strings.HasPrefix(resource, "/sims/") {
			return "", fmt.Errorf("the carrier tells no SIM ID for it: %q", oneLine(s.SimID))
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.captures = resource + "/packet_capture_sessions"
	return c.captures, nil
}

// capture asks for a session.
func (c *Carrier) capture(ctx context.Context, id string) (captureSession, error) {
	op := "get packet capture session " + oneLine(id)
	var s captureSession
	path, err := c.sessionPath(ctx, id)
	if err != nil {
		return s, fmt.Errorf("%s: %w", op, err)
	}
	_, err = c.call(ctx, request{op: op, method: http.MethodGet, path: path, into: &s})
	return s, err
}

func (c *Carrier) sessionPath(ctx context.Context, id string) (string, error) {
	if !sessionID.MatchString(id) {
		return "", errors.New("that is no session's ID")
	}
	path, err := c.capturePath(ctx)
	return path + "/" + id, err
}

// CaptureState gives a session's state, one of the words above, why it failed where it did, and when it ended where that
// is told (the carrier's clock).
func (c *Carrier) CaptureState(ctx context.Context, id string) (state, reason string, ended time.Time, err error) {
	s, err := c.capture(ctx, id)
	if err != nil {
		return "", "", time.Time{}, err
	}
	state, known := captureStates[s.Status]
	switch {
	case !known:
		return "", "", time.Time{}, fmt.Errorf("get packet capture session %s: read the carrier's answer: %q is no state of one", id, oneLine(s.Status))
	case s.Status == "STOPPED" && s.URL != "":
		state = CaptureDone
	}
	ended, _ = time.Parse(time.RFC3339, s.Ended) // zero where it is not told, or not so
	return state, oneLine(s.Reason), ended, nil
}

// StopCapture ends a session; one that has ended is left alone. Its file comes a while later.
func (c *Carrier) StopCapture(ctx context.Context, id string) error {
	op := "stop packet capture session " + oneLine(id)
	path, err := c.sessionPath(ctx, id)
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	_, err = c.call(ctx, request{op: op, method: http.MethodPost, path: path + "/stop"})
	var api *APIError
	if err == nil || !unclear(err) && !(errors.As(err, &api) && api.Status == http.StatusBadRequest) || ctx.Err() != nil {
		return err
	}
	// Not answered, or refused because it does not capture: at its end all the same, or before it began.
	state, _, _, lookErr := c.CaptureState(ctx, id)
	switch {
	case lookErr != nil:
		return &UnclearError{Op: op, Cause: err, Check: lookErr}
	case state == CaptureCapturing || state == CaptureStarting:
		return err
	}
	return nil
}

// DeleteCapture deletes a session and its file. One that is gone is no mistake.
func (c *Carrier) DeleteCapture(ctx context.Context, id string) error {
	op := "delete packet capture session " + oneLine(id)
	path, err := c.sessionPath(ctx, id)
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	_, err = c.call(ctx, request{op: op, method: http.MethodDelete, path: path, safe: true}) // the same however often
	var api *APIError
	if errors.As(err, &api) && api.Status == http.StatusNotFound {
		return nil
	}
	return err
}

// ReadCapture gives the file of a session that is done, to be closed by the caller. Its link is signed, lives for minutes, and is in no
// error: it is asked for anew each time.
func (c *Carrier) ReadCapture(ctx context.Context, id string) (io.ReadCloser, error) {
	op := "download the file of packet capture session " + oneLine(id)
	s, err := c.capture(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	link, err := url.Parse(s.URL)
	if err != nil || link.Host == "" || link.Scheme != "https" && (link.Scheme != "http" || !loopback(link.Hostname())) {
		return nil, fmt.Errorf("%s: the carrier gives no https link to it (its state is %s)", op, oneLine(s.Status))
	}
	return c.download(ctx, op, link)
}

// download opens a link. Nothing of ours goes with the call: the link alone lets one in.
func (c *Carrier) download(ctx context.Context, op string, link *url.URL) (io.ReadCloser, error) {
	ctx, end, err := c.begin(ctx, request{op: op, account: true})
	if err != nil {
		return nil, err
	}
	fail := func(err error) (io.ReadCloser, error) {
		end()
		return nil, fmt.Errorf("%s from %s: %w", op, link.Host, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, link.String(), nil)
	if err != nil {
		return fail(errors.New("the carrier's link is not one"))
	}
	client := &http.Client{Transport: c.own, CheckRedirect: c.http.CheckRedirect} // bounded by its context: files can be large
	resp, err := client.Do(req)
	var outer *url.Error // quotes the link
	switch {
	case errors.As(err, &outer):
		return fail(outer.Err)
	case err != nil:
		return fail(err)
	case resp.StatusCode != http.StatusOK:
		_ = resp.Body.Close() // nothing of it is read
		return fail(fmt.Errorf("answered %d %s", resp.StatusCode, http.StatusText(resp.StatusCode)))
	}
	return &download{resp.Body, end}, nil
}

// download is a file on its way.
type download struct {
	io.ReadCloser
	end func()
}

// Close implements io.Closer.
func (d *download) Close() error {
	err := d.ReadCloser.Close()
	d.end()
	return err
}
