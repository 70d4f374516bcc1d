package soracom

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// APIError is an answer that is an error. Nothing in it is secret.
type APIError struct {
	Op      string // what was asked for: "delete the session of SIM 440…"
	Status  int    // HTTP
	Code    string // the service's, "SEM0016"; "" where the answer had none
	Message string // the service's, on one line

	retryAfter time.Duration // of a 429
}

func (e *APIError) Error() string {
	what := fmt.Sprintf("%d %s", e.Status, http.StatusText(e.Status))
	if e.Code != "" {
		what += " " + e.Code
	}
	if e.Message != "" {
		what += ": " + e.Message
	}
	return e.Op + ": " + strings.TrimSpace(what) + hint(e)
}

// hint says what an operator can do.
func hint(e *APIError) string {
	switch {
	case e.Code == codeOffline:
		return " (is the device switched on and registered?)"
	case e.Status == http.StatusUnauthorized:
		return " (check the profile's credentials)"
	case e.Status == http.StatusForbidden:
		return " (the user lacks the permission for this call)"
	case e.Status == http.StatusTooManyRequests:
		return " (the operator's rate limit is used up)"
	}
	return ""
}

// codeOffline is the service's code for a SIM without a session.
const codeOffline = "SEM0016"

// UnclearError says that a change may or may not have been carried out: its answer was lost, and looking did not tell.
type UnclearError struct {
	Op    string
	Cause error // why the answer was lost
	Check error // why looking failed; nil where it did not show the change
}

func (e *UnclearError) Error() string {
	looked := "it had not happened when last looked"
	if e.Check != nil {
		looked = "looking failed: " + e.Check.Error()
	}
	return fmt.Sprintf("%s: unclear whether it was carried out: %s; %s", e.Op, e.Cause.Error(), looked)
}

func (e *UnclearError) Unwrap() error { return e.Cause }

// exchangeError is a call that got no whole answer.
type exchangeError struct {
	op    string
	cause error
}

func (e *exchangeError) Error() string { return e.op + ": " + e.cause.Error() }
func (e *exchangeError) Unwrap() error { return e.cause }

// unclear says whether a failed call may have been carried out all the same.
func unclear(err error) bool {
	var api *APIError
	if errors.As(err, &api) {
		return api.Status >= 500
	}
	var lost *exchangeError
	return errors.As(err, &lost)
}

// longest is the most characters of an answer's text that an error shows.
const longest = 200

// parseError reads the body of an error in whatever form it comes: flat, {"code", "message"}; the definition's nested
// {"httpStatus", "errorMessage": {…}}; text or HTML from a load balancer or a proxy.
func parseError(body []byte) (code, message string) {
	var flat, nested struct {
		Code    json.RawMessage `json:"code"`
		Message json.RawMessage `json:"message"`
		Error   json.RawMessage `json:"errorMessage"`
	}
	if json.Unmarshal(body, &flat) != nil {
		return "", oneLine(text(body))
	}
	if json.Unmarshal(flat.Error, &nested) == nil && (nested.Code != nil || nested.Message != nil) {
		flat = nested
	} else if flat.Message == nil {
		flat.Message = flat.Error // {"errorMessage": "text"}
	}
	code, message = oneLine(word(flat.Code)), oneLine(word(flat.Message))
	if code == "" && message == "" {
		message = oneLine(string(body))
	}
	return code, message
}

// word gives a JSON string's text, and any other JSON value as it is written.
func word(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	return string(raw)
}

var (
	htmlTitle = regexp.MustCompile(`(?is)<title[^>]*>(.*?)</title>`)
	htmlTag   = regexp.MustCompile(`(?s)<[^>]*>`)
)

// text gives what a person would read of a page: an HTML page's title, else everything without tags.
func text(body []byte) string {
	if m := htmlTitle.FindSubmatch(body); m != nil && strings.TrimSpace(string(m[1])) != "" {
		return string(m[1])
	}
	return string(htmlTag.ReplaceAll(body, []byte(" ")))
}

// oneLine makes strangers' text fit to be shown in an error: one line of printable characters, at most longest.
func oneLine(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }), " ")
	if utf8.RuneCountInString(s) > longest {
		s = string([]rune(s)[:longest-1]) + "…"
	}
	return s
}
