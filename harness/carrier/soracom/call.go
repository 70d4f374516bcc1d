package soracom

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// request is a call to be made.
type request struct {
	op     string // for errors: "get SIM 440…"
	method string
	path   string // without /v1
	query  url.Values
	body   any // sent as JSON; none where nil
	into   any // the answer is read into it; let go where nil
	cut    bool
	// safe: may be made again after a lost answer. GETs are.
	safe bool
	// account: not about the SIM but about the sign-in itself.
	account bool
	// bare: carries no token.
	bare bool
	// once: no waiting, no second try, not even for a new token.
	once bool
}

// tries is how often a call is made at most that may be made again.
const tries = 5

// call makes a call and gives the answer's header. What is made again, and when:
//   - after 401, anything, once, with a new token: a call refused is not carried out;
//   - after 429, anything, when the carrier says so: the same;
//   - after 5xx or a lost answer, GETs and signing in alone.
func (c *Carrier) call(ctx context.Context, r request) (http.Header, error) {
	ctx, end, err := c.begin(ctx, r)
	if err != nil {
		return nil, err
	}
	defer end()
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = 500*time.Millisecond, 30*time.Second
	renewed := false
	for try := 1; ; try++ {
		token, err := c.token(ctx, r)
		if err != nil {
			return nil, err
		}
		header, err := c.exchange(ctx, r, token)
		var api *APIError
		isAPI := errors.As(err, &api)
		switch {
		case err == nil || r.once || ctx.Err() != nil:
			return header, err
		case isAPI && api.Status == http.StatusUnauthorized && !r.bare && !renewed:
			c.forget(token)
			renewed = true
			continue
		case try == tries:
			return nil, err
		case isAPI && api.Status == http.StatusTooManyRequests:
		case (r.safe || r.method == http.MethodGet) && unclear(err):
		default:
			return nil, err
		}
		wait := pause.NextBackOff()
		if isAPI && api.retryAfter > 0 {
			wait = api.retryAfter
		}
		if stopped := c.clock.Sleep(ctx, wait); stopped != nil {
			return nil, fmt.Errorf("%w (waiting to call again: %w)", err, stopped)
		}
	}
}

// begin checks a call and ties its context to the carrier's life.
func (c *Carrier) begin(ctx context.Context, r request) (context.Context, func(), error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !r.account && !c.owns(r.path) {
		return nil, nil, fmt.Errorf("%s: path %s is not of SIM %s, the only one that this carrier may touch", r.op, r.path, c.sim)
	}
	if c.ctx.Err() != nil && !r.once {
		return nil, nil, fmt.Errorf("%s: the carrier is closed", r.op)
	}
	c.calls.Add(1)
	if r.once {
		return ctx, c.calls.Done, nil
	}
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(c.ctx, cancel)
	return ctx, func() { stop(); cancel(); c.calls.Done() }, nil
}

// owns says whether a path is of the carrier's own SIM. It is called under mu.
func (c *Carrier) owns(path string) bool {
	return path == c.path || strings.HasPrefix(path, c.path+"/") || path == "/stats/air"+c.path ||
		c.captures != "" && (path == c.captures || strings.HasPrefix(path, c.captures+"/"))
}

// exchange makes one call over HTTP.
func (c *Carrier) exchange(ctx context.Context, r request, token signIn) (http.Header, error) {
	if err := c.budget.call(r.cut); err != nil {
		return nil, fmt.Errorf("%s: %w", r.op, err)
	}
	req, err := c.newRequest(ctx, r, token)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.op, err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, &exchangeError{op: r.op, cause: c.clean(err, token)}
	}
	defer func() { _ = resp.Body.Close() }() // read to its end, or given up
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return nil, c.apiError(r, resp, body, token)
	}
	if r.into == nil {
		return resp.Header, nil // carried out, whatever became of the answer's body
	}
	if err == nil {
		err = json.Unmarshal(body, r.into)
	}
	if err != nil {
		return nil, &exchangeError{op: r.op, cause: fmt.Errorf("read the carrier's answer: %w", c.clean(err, token))}
	}
	return resp.Header, nil
}

func (c *Carrier) newRequest(ctx context.Context, r request, token signIn) (*http.Request, error) {
	var body io.Reader
	if r.body != nil {
		data, err := json.Marshal(r.body)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(data)
	}
	target := c.base + r.path
	if len(r.query) > 0 {
		target += "?" + r.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, r.method, target, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("X-Soracom-Lang", "en")
	if r.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if !r.bare {
		req.Header.Set("X-Soracom-API-Key", token.apiKey)
		req.Header.Set("X-Soracom-Token", token.token)
	}
	return req, nil
}

func (c *Carrier) apiError(r request, resp *http.Response, body []byte, token signIn) *APIError {
	code, message := parseError(body)
	e := &APIError{Op: r.op, Status: resp.StatusCode, Code: c.hide(code, token), Message: c.hide(message, token)}
	if s, err := strconv.Atoi(resp.Header.Get("X-Soracom-Ratelimit-Seconds-Before-Refresh")); err == nil && s >= 0 {
		e.retryAfter = max(time.Duration(s)*time.Second, time.Millisecond)
	}
	return e
}

// clean takes secrets out of an error and keeps what it wraps, as far as callers may ask for it.
func (c *Carrier) clean(err error, token signIn) error {
	text := c.hide(oneLine(err.Error()), token)
	for _, known := range []error{context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, known) {
			return fmt.Errorf("%s: %w", text, known)
		}
	}
	return errors.New(text)
}

// hide takes secrets out of a text: a proxy's page may quote the request.
func (c *Carrier) hide(text string, token signIn) string {
	for _, secret := range []string{c.creds.AuthKey, c.creds.Password, token.token, token.apiKey} {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, "[secret]")
		}
	}
	return text
}

// pages makes a GET for every page of a list; each is read into a new value that into gives, and taken by done.
func (c *Carrier) pages(ctx context.Context, r request, into func() any) error {
	query := url.Values{}
	for k, v := range r.query {
		query[k] = v
	}
	seen := map[string]bool{}
	for {
		r.query, r.into = query, into()
		header, err := c.call(ctx, r)
		if err != nil {
			return err
		}
		next := header.Get("X-Soracom-Next-Key")
		if next == "" {
			return nil
		}
		if seen[next] {
			return fmt.Errorf("%s: the carrier's pages go in a circle (key %s twice)", r.op, cmp.Or(oneLine(next), "?"))
		}
		seen[next] = true
		query.Set("last_evaluated_key", next)
	}
}
