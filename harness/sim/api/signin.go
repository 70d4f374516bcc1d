package api

import (
	"net/http"
	"sync"
	"time"
)

// maxTokenTimeout is the longest life that a token may be given (definition, schema AuthRequest).
const maxTokenTimeout = 172800

// token is what a sign-in gave.
type token struct {
	apiKey  string
	expires time.Time
}

// tokens are those given and not yet taken back.
type tokens struct {
	mu    sync.Mutex
	given map[string]token
}

func (t *tokens) give(apiKey string, expires time.Time) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.given == nil {
		t.given = map[string]token{}
	}
	secret := random(48)
	t.given[secret] = token{apiKey: apiKey, expires: expires}
	return secret
}

// valid says whether a call carries an API key and a token that belong together and are not expired.
func (t *tokens) valid(r *http.Request, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	given, ok := t.given[r.Header.Get("X-Soracom-Token")]
	return ok && given.apiKey == r.Header.Get("X-Soracom-API-Key") && now.Before(given.expires)
}

// drop takes back every token of an API key.
func (t *tokens) drop(apiKey string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for secret, g := range t.given {
		if g.apiKey == apiKey {
			delete(t.given, secret)
		}
	}
}

// Expire ends every token that was given, as if its time were over: the next call with one is answered 401.
func (a *API) Expire() {
	a.tokens.mu.Lock()
	defer a.tokens.mu.Unlock()
	clear(a.tokens.given)
}

// life is the time that a token shall live, false where the client asks for one that is not to be had.
func life(seconds *int64) (time.Duration, bool) {
	if seconds == nil {
		return 86400 * time.Second, true
	}
	if *seconds < 0 || *seconds > maxTokenTimeout {
		return 0, false
	}
	return time.Duration(*seconds) * time.Second, true
}

func (a *API) auth(w http.ResponseWriter, r *http.Request) {
	var req authRequest
	if !read(w, r, &req) {
		return
	}
	if !a.accepts(req) {
		fail(w, http.StatusUnauthorized, codeUnauthorized, "Authentication failed")
		return
	}
	d, ok := life(req.TokenTimeout)
	if !ok {
		fail(w, http.StatusBadRequest, codeBadRequest, "tokenTimeoutSeconds is at most 172800")
		return
	}
	apiKey := "api-" + random(16)
	secret := a.tokens.give(apiKey, a.backend.Now().Add(d))
	answer(w, http.StatusOK, authResponse{APIKey: apiKey, OperatorID: a.o.Credentials.OperatorID, Token: secret, UserName: req.UserName})
}

// accepts compares a sign-in with the credentials, one of the three ways at a time.
func (a *API) accepts(q authRequest) bool {
	c := a.o.Credentials
	pair := func(ours1, ours2, theirs1, theirs2 string) bool {
		return ours1 != "" && ours2 != "" && ours1 == theirs1 && ours2 == theirs2
	}
	switch {
	case q.AuthKeyID != "":
		return pair(c.AuthKeyID, c.AuthKey, q.AuthKeyID, q.AuthKey)
	case q.Email != "":
		return pair(c.Email, c.Password, q.Email, q.Password)
	default:
		return q.OperatorID == c.OperatorID && pair(c.UserName, c.UserPassword, q.UserName, q.Password)
	}
}

// refresh gives a new token for one that is still good. One that is not is answered with 400, in the nested form:
// both are what the definition says of this call, unlike of any other.
func (a *API) refresh(w http.ResponseWriter, r *http.Request) {
	now := a.backend.Now()
	if !a.tokens.valid(r, now) || r.PathValue("operator_id") != a.o.Credentials.OperatorID {
		failNested(w, http.StatusBadRequest, codeUnauthorized, "The token is wrong or has expired; sign in again")
		return
	}
	var req tokenRequest
	if !read(w, r, &req) {
		return
	}
	d, ok := life(req.TokenTimeout)
	if !ok {
		failNested(w, http.StatusBadRequest, codeBadRequest, "tokenTimeoutSeconds is at most 172800")
		return
	}
	secret := a.tokens.give(r.Header.Get("X-Soracom-API-Key"), now.Add(d))
	answer(w, http.StatusOK, tokenResponse{Token: secret})
}

func failNested(w http.ResponseWriter, status int, code, message string) {
	answer(w, status, nestedError{Status: status, Error: flatError{Code: code, Message: message}})
}

func (a *API) logout(w http.ResponseWriter, r *http.Request) {
	a.tokens.drop(r.Header.Get("X-Soracom-API-Key"))
	w.WriteHeader(http.StatusNoContent)
}
