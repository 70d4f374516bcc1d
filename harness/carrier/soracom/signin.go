package soracom

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// signIn is what signing in gave.
type signIn struct {
	apiKey, token, operator string
	renewAt                 time.Time // bench clock
}

// tokenLife is the life that is asked for: the definition's default. A token is renewed when three quarters of it are
// over.
const (
	tokenLife  = 86400 * time.Second
	renewAfter = tokenLife / 4 * 3
)

type authRequest struct {
	AuthKeyID  string `json:"authKeyId,omitempty"`
	AuthKey    string `json:"authKey,omitempty"`
	Email      string `json:"email,omitempty"`
	OperatorID string `json:"operatorId,omitempty"`
	UserName   string `json:"userName,omitempty"`
	Password   string `json:"password,omitempty"`
	Timeout    int    `json:"tokenTimeoutSeconds"`
}

// request gives the sign-in's body: by key where there is one, else as a user of an operator, else by email.
func (c Credentials) request() (authRequest, error) {
	q := authRequest{Timeout: int(tokenLife.Seconds())}
	switch {
	case c.AuthKeyID != "" && c.AuthKey != "":
		q.AuthKeyID, q.AuthKey = c.AuthKeyID, c.AuthKey
	case c.OperatorID != "" && c.UserName != "" && c.Password != "":
		q.OperatorID, q.UserName, q.Password = c.OperatorID, c.UserName, c.Password
	case c.Email != "" && c.Password != "":
		q.Email, q.Password = c.Email, c.Password
	default:
		return q, errors.New("sign in to the carrier: the credentials are not complete; they are authKeyId and authKey, " +
			"or email and password, or operatorId, username and password")
	}
	return q, nil
}

// token gives the present sign-in, signing in or renewing it first where needed. Callers that come meanwhile wait for
// the one sign-in.
func (c *Carrier) token(ctx context.Context, r request) (signIn, error) {
	if r.bare || r.once {
		return c.kept(), nil
	}
	select {
	case c.signing <- struct{}{}:
		defer func() { <-c.signing }()
	case <-ctx.Done():
		return signIn{}, fmt.Errorf("%s: %w", r.op, context.Cause(ctx))
	}
	kept, now := c.kept(), c.clock.Now()
	switch {
	case kept.token == "":
		return c.signIn(ctx)
	case now.After(kept.renewAt):
		return c.renew(ctx, kept)
	}
	return kept, nil
}

func (c *Carrier) kept() signIn {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.session
}

func (c *Carrier) keep(s signIn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.session = s
}

// forget lets a refused token go, unless another has taken its place already.
func (c *Carrier) forget(refused signIn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session.token == refused.token {
		c.session = signIn{}
	}
}

func (c *Carrier) signIn(ctx context.Context) (signIn, error) {
	body, err := c.creds.request()
	if err != nil {
		return signIn{}, err
	}
	var got struct {
		APIKey     string `json:"apiKey"`
		OperatorID string `json:"operatorId"`
		Token      string `json:"token"`
	}
	asked := c.clock.Now()
	_, err = c.call(ctx, request{
		op: "sign in to the carrier", method: http.MethodPost, path: "/auth", body: body, into: &got,
		account: true, bare: true, safe: true,
	})
	if err != nil {
		return signIn{}, err
	}
	if got.APIKey == "" || got.Token == "" {
		return signIn{}, errors.New("sign in to the carrier: its answer holds no API key and token; is the endpoint right?")
	}
	s := signIn{apiKey: got.APIKey, token: got.Token, operator: cmp.Or(got.OperatorID, c.creds.OperatorID), renewAt: asked.Add(renewAfter)}
	c.keep(s)
	return s, nil
}

// renew exchanges the token for a new one while it is still good; where that fails it signs in anew.
func (c *Carrier) renew(ctx context.Context, old signIn) (signIn, error) {
	var got struct {
		Token string `json:"token"`
	}
	body := map[string]int{"tokenTimeoutSeconds": int(tokenLife.Seconds())}
	asked := c.clock.Now()
	_, err := c.call(ctx, request{
		op: "renew the carrier's token", method: http.MethodPost, path: "/operators/" + url.PathEscape(old.operator) + "/token",
		body: body, into: &got, account: true, once: true,
	})
	if err != nil || got.Token == "" {
		return c.signIn(ctx)
	}
	s := signIn{apiKey: old.apiKey, token: got.Token, operator: old.operator, renewAt: asked.Add(renewAfter)}
	c.keep(s)
	return s, nil
}

// signOut gives the token back, if there is one and the carrier answers soon.
func (c *Carrier) signOut() {
	if c.kept().token == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), signOutFor)
	defer cancel()
	// A token that is not taken back ends by itself in a day.
	_, _ = c.call(ctx, request{op: "sign out", method: http.MethodPost, path: "/auth/logout", account: true, once: true})
	c.keep(signIn{})
}
