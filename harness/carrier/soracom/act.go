package soracom

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tollgate-iot/tollgate/harness/plan"
)

// speedClasses are those that the definition names (schema UpdateSpeedClassRequest); which of them a SIM can have is
// its plan's matter.
var speedClasses = []string{
	"s1.minimum", "s1.slow", "s1.standard", "s1.fast", "s1.4xfast", "s1.8xfast", "u1.standard", "u1.slow",
}

// Verbs implements bench.Carrier. It needs no sign-in and always gives the same.
func Verbs() []plan.VerbSpec {
	const short = time.Minute
	return []plan.VerbSpec{
		{Name: "delete_session", Timeout: 2 * time.Minute,
			Doc: "Cuts the device's session from the network side. Answers with the session's ID. The cut itself follows a moment later: await session.deleted."},
		{Name: "set_speed_class", Main: "class", Timeout: short,
			Doc:  "Sets the SIM's speed class.",
			Args: []plan.ArgSpec{{Name: "class", Doc: "The speed class; it must be one of the SIM's plan.", Type: plan.String, Required: true, Choices: speedClasses}}},
		{Name: "activate", Timeout: short, Doc: "Sets the SIM's status to active: it may have sessions."},
		{Name: "deactivate", Timeout: short, Doc: "Sets the SIM's status to inactive, which ends its session."},
		{Name: "suspend", Timeout: short, Doc: "Sets the SIM's status to suspended, which ends its session."},
		{Name: "set_to_standby", Timeout: short, Doc: "Sets the SIM's status to standby, where its plan has that."},
		{Name: "ping", Timeout: short,
			Doc: "Has the network ping the device. Answers with \"answered\" or \"unanswered\" and the figures.",
			Args: []plan.ArgSpec{
				{Name: "count", Doc: "How many requests, 1 to 5.", Type: plan.Int, Default: "1"},
				{Name: "timeout", Doc: "How long each is waited for: 1s, 2s or 3s.", Type: plan.Duration, Default: "1s"},
			}},
	}
}

// Verbs implements bench.Carrier.
func (c *Carrier) Verbs() []plan.VerbSpec { return Verbs() }

// statuses are the verbs that set the SIM's status, and the status.
var statuses = map[string]string{"activate": "active", "deactivate": "inactive", "suspend": "suspended", "set_to_standby": "standby"}

// Do implements bench.Carrier.
func (c *Carrier) Do(ctx context.Context, verb string, args map[string]string) (string, error) {
	if status, ok := statuses[verb]; ok {
		return c.setStatus(ctx, verb, status)
	}
	switch verb {
	case "delete_session":
		return c.deleteSession(ctx)
	case "set_speed_class":
		return c.setSpeedClass(ctx, args["class"])
	case "ping":
		count, err := strconv.Atoi(cmp.Or(args["count"], "1"))
		if err != nil || count < 1 || count > 5 {
			return "", fmt.Errorf("ping: count: %q is not a number from 1 to 5", args["count"])
		}
		timeout, err := time.ParseDuration(cmp.Or(args["timeout"], "1s"))
		if err != nil || timeout < time.Second || timeout > 3*time.Second || timeout%time.Second != 0 {
			return "", fmt.Errorf("ping: timeout: %q is not 1s, 2s or 3s", args["timeout"])
		}
		return c.ping(ctx, count, timeout)
	}
	return "", fmt.Errorf("carrier verb %q: soracom has none of that name; it has %s", verb, verbNames())
}

func verbNames() string {
	var names []string
	for _, v := range Verbs() {
		names = append(names, v.Name)
	}
	return strings.Join(names, ", ")
}

// deleteSession cuts the present session. It asks first which that is, so that after a lost answer it can be told
// whether that one is gone.
func (c *Carrier) deleteSession(ctx context.Context) (string, error) {
	op := "delete the session of SIM " + c.sim
	before, err := c.state(ctx)
	if err != nil {
		return "", fmt.Errorf("%s: %w", op, err)
	}
	since := c.clock.Now()
	err = c.act(ctx, action{op: op, path: "/delete_session", cut: true, done: func(ctx context.Context) (bool, error) {
		return c.gone(ctx, before.Session, since)
	}})
	return before.Session.ID, err
}

// clocksApart is how far the bench's clock and the carrier's may be apart where events are looked for.
const clocksApart = 10 * time.Minute

// gone says whether a session has ended: the present one is another, or there is an event that says so.
func (c *Carrier) gone(ctx context.Context, before session, since time.Time) (bool, error) {
	if !before.Online || before.ID == "" {
		return false, errors.New("the SIM had no session before the call, so there is nothing to tell it by")
	}
	now, err := c.state(ctx)
	if err != nil {
		return false, err
	}
	if !now.Session.Online || now.Session.ID != before.ID {
		return true, nil
	}
	events, err := c.Events(ctx, since.Add(-clocksApart))
	if err != nil {
		return false, err
	}
	for _, e := range events {
		if e.Name == eventDeleted && e.SessionID == before.ID {
			return true, nil
		}
	}
	return false, nil
}

func (c *Carrier) setStatus(ctx context.Context, verb, status string) (string, error) {
	return status, c.act(ctx, action{
		op: verb + " SIM " + c.sim, path: "/" + verb, cut: verb != "activate",
		done: func(ctx context.Context) (bool, error) {
			s, err := c.state(ctx)
			return s.Status == status, err
		},
	})
}

func (c *Carrier) setSpeedClass(ctx context.Context, class string) (string, error) {
	op := "set the speed class of SIM " + c.sim
	if !slices.Contains(speedClasses, class) {
		return "", fmt.Errorf("%s: %q is none; they are %s", op, class, strings.Join(speedClasses, ", "))
	}
	return class, c.act(ctx, action{
		op: op, path: "/update_speed_class", body: map[string]string{"speedClass": class},
		done: func(ctx context.Context) (bool, error) {
			s, err := c.state(ctx)
			return s.SpeedClass == class, err
		},
	})
}

// action is a change of the SIM.
type action struct {
	op   string
	path string // after the SIM's
	body any
	cut  bool
	// done says whether the change has come about; it is asked when the answer was lost.
	done func(context.Context) (bool, error)
}

// Looking whether a change has come about goes on for lookFor, a look each lookEvery, on the bench's clock.
const (
	lookFor   = 30 * time.Second
	lookEvery = 2 * time.Second
)

// act carries out a change. Where its answer is lost it looks whether the change came about; only where it did not,
// for so long that it won't any more, it asks a second time.
func (c *Carrier) act(ctx context.Context, a action) error {
	for try := 1; ; try++ {
		_, err := c.call(ctx, request{op: a.op, method: http.MethodPost, path: c.path + a.path, body: a.body, cut: a.cut})
		if err == nil || !unclear(err) || ctx.Err() != nil {
			return err
		}
		happened, lookErr := c.look(ctx, a)
		if happened {
			return nil
		}
		if lookErr != nil || try == 2 {
			return &UnclearError{Op: a.op, Cause: err, Check: lookErr}
		}
	}
}

// look waits for a change to have come about.
func (c *Carrier) look(ctx context.Context, a action) (bool, error) {
	for deadline := c.clock.Now().Add(lookFor); ; {
		happened, err := a.done(ctx)
		if happened || err != nil {
			return happened, err
		}
		if c.clock.Now().After(deadline) {
			return false, nil
		}
		if err := c.clock.Sleep(ctx, lookEvery); err != nil {
			return false, err
		}
	}
}

// ping has the network ping the device. It is never made again after a lost answer: the device's packets are counted.
func (c *Carrier) ping(ctx context.Context, count int, timeout time.Duration) (string, error) {
	var got struct {
		Success bool   `json:"success"`
		RTT     string `json:"rtt"`
		Stat    string `json:"stat"`
	}
	body := map[string]int{"numberOfPingRequests": count, "timeoutSeconds": int(timeout.Seconds())}
	_, err := c.call(ctx, request{op: "ping SIM " + c.sim, method: http.MethodPost, path: c.path + "/downlink/ping", body: body, into: &got})
	if err != nil {
		return "", err
	}
	if !got.Success {
		return oneLine("unanswered: " + got.Stat), nil
	}
	return oneLine("answered in " + got.RTT + ": " + got.Stat), nil
}
