package soracom

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/bench"
)

func TestParseError(t *testing.T) {
	for _, c := range []struct{ name, body, code, message string }{
		{"flat", `{"code":"SEM0016","message":"The specified subscriber is offline"}`, "SEM0016", "The specified subscriber is offline"},
		{"flat with arguments", `{"code":"X1","message":"no","messageArgs":["a",1]}`, "X1", "no"},
		{"nested", `{"httpStatus":400,"errorMessage":{"code":"X2","message":"bad"}}`, "X2", "bad"},
		{"nested and flat", `{"code":"A","message":"a","errorMessage":{"code":"X2","message":"bad"}}`, "X2", "bad"},
		{"nested, without code", `{"errorMessage":{"message":"bad"}}`, "", "bad"},
		{"text as errorMessage", `{"errorMessage":"bad"}`, "", "bad"},
		{"code alone", `{"code":"X3"}`, "X3", ""},
		{"numbers", `{"code":17,"message":null}`, "17", ""},
		{"another object", `{"error":"other"}`, "", `{"error":"other"}`},
		{"a list", `["a"]`, "", `["a"]`},
		{"a string", `"oops"`, "", `"oops"`},
		{"plain", "upstream connect error\nor disconnect\n", "", "upstream connect error or disconnect"},
		{"page with title", "<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>", "", "502 Bad Gateway"},
		{"page without", "<p>Service <b>Unavailable</b></p>", "", "Service Unavailable"},
		{"nothing", "", "", ""},
		{"control characters", "a\x1b[31mb\x00c\r\n\u202ed", "", "a [31mb c d"},
		{"not UTF-8", "caf\xe9", "", "caf\uFFFD"},
		{"long", strings.Repeat("é", 300), "", strings.Repeat("é", 199) + "…"},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, message := parseError([]byte(c.body))
			require.Equal(t, c.code, code)
			require.Equal(t, c.message, message)
		})
	}
}

func FuzzError(f *testing.F) {
	for _, seed := range []string{
		`{"code":"SEM0016","message":"The specified subscriber is offline","messageArgs":[]}`,
		`{"httpStatus":400,"errorMessage":{"code":"X2","message":"bad"}}`, `{"errorMessage":null,"code":{},"message":[]}`,
		"upstream connect error", "<html><title>502</title>", "<title></title><", "\xff\xfe", `"`, `null`, "",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		code, message := parseError(body)
		for _, s := range []string{code, message} {
			if !utf8.ValidString(s) || utf8.RuneCountInString(s) > longest || strings.TrimSpace(s) != s {
				t.Fatalf("not fit to be shown: %q", s)
			}
			for _, r := range s {
				if !unicode.IsPrint(r) {
					t.Fatalf("%q holds %U", s, r)
				}
			}
		}
		if (&APIError{Op: "op", Status: 400, Code: code, Message: message}).Error() == "" {
			t.Fatal("an error says nothing")
		}
		// A flat error of what was read is read as the same: nothing is lost by showing it.
		again, err := json.Marshal(map[string]string{"code": code, "message": message})
		if err != nil {
			t.Fatal(err)
		}
		if code2, message2 := parseError(again); code != "" && message != "" && (code2 != code || message2 != message) {
			t.Fatalf("%q %q became %q %q", code, message, code2, message2)
		}
	})
}

func FuzzAnswers(f *testing.F) {
	f.Add([]byte(`[{"event":"Created","time":1795311513000,"sessionId":"s","ueIpAddress":"10.0.0.1"},{"event":"Deleted","time":1,"sessionId":"s"}]`))
	f.Add([]byte(`[{"unixtime":1795311600,"dataTrafficStatsMap":{"s1.fast":{"uploadByteSizeTotal":1}}}]`))
	f.Add([]byte(`[{"event":"Modified","time":9223372036854775807,"ueIpAddress":"::%eth0"}]`))
	f.Fuzz(func(t *testing.T, body []byte) {
		var told []sessionEvent
		if json.Unmarshal(body, &told) == nil {
			events, err := eventsOf(told)
			if err == nil {
				checkEvents(t, told, events)
			}
		}
		var samples []airStats
		if json.Unmarshal(body, &samples) == nil {
			sum(samples, time.Time{}, time.Minute)
		}
	})
}

func checkEvents(t *testing.T, told []sessionEvent, events []bench.Event) {
	if len(events) > len(told) {
		t.Fatalf("%d events of %d", len(events), len(told))
	}
	for i := 1; i < len(events); i++ {
		if events[i].Time.Before(events[i-1].Time) {
			t.Fatalf("event %d is before the one before", i)
		}
	}
}

func TestEventsOf(t *testing.T) {
	at := time.Date(2026, 11, 22, 1, 0, 0, 0, time.UTC)
	events, err := eventsOf([]sessionEvent{
		{"Deleted", at.UnixMilli(), "a", ""}, {"Created", at.UnixMilli(), "a", "10.0.0.1"}, {"Created", at.UnixMilli(), "a", "10.0.0.1"},
		{"Renamed", at.UnixMilli(), "a", ""}, {"Modified", at.UnixMilli(), "a", ""},
	})
	require.NoError(t, err)
	require.Len(t, events, 3, "each once, unknown kinds left out")
	for i, name := range []string{eventCreated, eventModified, eventDeleted} {
		require.Equal(t, name, events[i].Name, "one session's events of one moment are in the order of its life")
		require.Equal(t, "10.0.0.1", events[i].Address.String(), "known from its session")
		require.Equal(t, at, events[i].Time)
	}
	_, err = eventsOf([]sessionEvent{{"Created", 0, "a", "nowhere"}})
	require.ErrorContains(t, err, "nowhere")
}
