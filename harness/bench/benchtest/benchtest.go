// Package benchtest holds drivers to the promises of package bench: one suite each for Device, Carrier and Tap, which
// every driver's own tests run. A driver that passes can be driven by the runner without either knowing the other.
//
// A suite is given a function that makes a fresh driver with the means to move what is at its far end. What a far end
// can't do is left nil, and the promises that need it are skipped by name.
package benchtest

import (
	"context"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/tollgate-iot/tollgate/harness/plan"
)

// soon is how long anything may take that a contract says happens "soon". It is long: it tells a hang from a busy
// machine, and measures nothing.
var soon = 20 * time.Second

// run runs one promise as a subtest and holds it to leave no goroutine behind. What the promise starts it must end
// before it returns; clean-ups registered with t come too late.
func run(t *testing.T, promise string, test func(t *testing.T)) {
	t.Helper()
	t.Run(promise, func(t *testing.T) {
		before := goleak.IgnoreCurrent()
		// Clean-ups run last in, first out: this one is after all those of the test.
		t.Cleanup(func() {
			if !t.Failed() && !t.Skipped() {
				goleak.VerifyNone(t, before)
			}
		})
		test(t)
	})
}

// limited gives a context for what must not hang.
func limited(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	t.Cleanup(cancel)
	return ctx
}

// cancelled gives a context that has ended.
func cancelled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// returns holds a call to return soon and gives what it returned.
func returns(t *testing.T, what string, call func() error) error {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- call() }()
	timer := time.NewTimer(soon)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		require.FailNow(t, what+" does not return")
		return nil
	}
}

// unknownVerb is no driver's.
const unknownVerb = "no_such_verb"

var snake = regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`)

// verbs holds a driver's list of verbs to be one that a plan can be made with and a person can read.
func verbs(t *testing.T, list func() []plan.VerbSpec) {
	t.Helper()
	all := list()
	require.NotEmpty(t, all, "a driver without verbs can do nothing")
	require.Equal(t, all, list(), "the list is always the same")
	seen := map[string]bool{}
	for _, v := range all {
		require.Regexp(t, snake, v.Name, "a verb's name")
		require.NotEqual(t, unknownVerb, v.Name)
		require.False(t, seen[v.Name], "verb %s is listed twice", v.Name)
		seen[v.Name] = true
		require.NotEmpty(t, v.Doc, "verb %s is not documented", v.Name)
		require.Positive(t, v.Timeout, "verb %s has no time limit: a step without `within` would have none", v.Name)
		arguments(t, v)
	}
}

func arguments(t *testing.T, v plan.VerbSpec) {
	t.Helper()
	seen := map[string]bool{}
	for _, a := range v.Args {
		where := "argument " + a.Name + " of verb " + v.Name
		require.Regexp(t, snake, a.Name, where)
		require.False(t, seen[a.Name], "%s is listed twice", where)
		seen[a.Name] = true
		require.NotEmpty(t, a.Doc, "%s is not documented", where)
		require.False(t, a.Required && a.Default != "", "%s is required and has a default", where)
		if len(a.Choices) > 0 && a.Default != "" {
			require.Contains(t, a.Choices, a.Default, "the default of %s", where)
		}
		if a.Default != "" {
			require.NoError(t, fits(a.Type, a.Default), "the default of %s", where)
		}
		require.Contains(t, []plan.ArgType{plan.String, plan.Int, plan.Bool, plan.Duration, plan.Pattern, plan.Address, plan.List}, a.Type, where)
	}
	if v.Main != "" {
		require.True(t, seen[v.Main], "verb %s: its main argument %s is none of its arguments", v.Name, v.Main)
	}
}

// fits says whether a value can be one of a type.
func fits(typ plan.ArgType, value string) (err error) {
	switch typ {
	case plan.Int:
		_, err = strconv.Atoi(value)
	case plan.Bool:
		_, err = strconv.ParseBool(value)
	case plan.Duration:
		_, err = time.ParseDuration(value)
	case plan.Pattern:
		_, err = regexp.Compile(value)
	}
	return err
}

// Call is a verb with its arguments. The zero value is no call.
type Call struct {
	Verb string
	Args map[string]string
}

func (c Call) isZero() bool { return c.Verb == "" }

// withDefaults gives arguments as a plan would: what is left out has its default.
func withDefaults(list []plan.VerbSpec, c Call) map[string]string {
	args := map[string]string{}
	for _, v := range list {
		if v.Name != c.Verb {
			continue
		}
		for _, a := range v.Args {
			if a.Default != "" {
				args[a.Name] = a.Default
			}
		}
	}
	for k, v := range c.Args {
		args[k] = v
	}
	return args
}
