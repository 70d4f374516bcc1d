package harness

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/tollgate-iot/tollgate/expectations"
	"github.com/tollgate-iot/tollgate/harness/catalog"
	"github.com/tollgate-iot/tollgate/harness/report"
	"github.com/tollgate-iot/tollgate/harness/runner"
	"github.com/tollgate-iot/tollgate/harness/scenario"
	"github.com/tollgate-iot/tollgate/harness/trace"
	"github.com/tollgate-iot/tollgate/harness/verdict"
)

// Options say how a scenario is run and judged. The zero value runs on the simulated bench and writes under runs/.
type Options struct {
	Bench  string              // an inventory file; "" or "sim" for the simulated bench
	Sim    string              // how the simulated bench behaves: "speed=60,mirror_loss=0.05"; see catalog.SimOptions
	Out    string              // where run directories are made; "" for runs
	Vars   map[string]string   // instead of the scenario's own values
	Strict bool                // at-most claims on an unproven record are inconclusive
	Notify func(trace.Event)   // told of every event of the run as it happens
	Getenv func(string) string // where secrets are found; nil for os.Getenv
	Keep   Keep                // which packets the record keeps; "" for KeepDevice
}

// Keep says which packets a run's record keeps. Either way they are kept as they came, with the mirror's headers around
// them, and the judgement is the same.
type Keep string

// What can be kept.
const (
	KeepDevice Keep = "device" // those of the run's device, and what nobody can tell from them
	KeepMirror Keep = "mirror" // everything that the taps gave, other devices' packets too
)

// Result is a judged run: a trace with its capture, findings and the joined verdict.
type Result = report.Run

// Run drives a device through a scenario and judges the record. The scenario is a built-in name ("wio-lte/http") or a
// file. Whatever goes wrong on the bench is in the result, as an inconclusive finding: an error means that nothing ran
// (scenario.Errors for mistakes in files) or that the record could not be written.
func Run(ctx context.Context, name string, o Options) (*Result, error) {
	s, err := CheckScenario(name, o)
	if err != nil {
		return nil, err
	}
	return RunScenario(ctx, s, o)
}

// RunScenario is Run for a scenario that has been read; see CheckScenario.
func RunScenario(ctx context.Context, s *scenario.Scenario, o Options) (*Result, error) {
	o = o.defaults()
	secrets, err := secretsOf(s, o.Getenv)
	if err != nil {
		return nil, err
	}
	opened, err := catalog.Open(ctx, s.Device, catalog.Options{Bench: o.Bench, Sim: o.Sim})
	var broken *catalog.BrokenError
	if errors.As(err, &broken) {
		return runBroken(s, broken, o)
	}
	if err != nil {
		return nil, usageOf(err)
	}
	defer opened.Close()
	p, sources, err := prepare(s, catalog.Abilities(opened), o.Vars)
	if err != nil {
		return nil, errors.Join(err, opened.CloseParts())
	}
	dir, err := report.NewDir(o.Out, s.Name, time.Now())
	if err != nil {
		return nil, errors.Join(usageOf(err), opened.CloseParts())
	}
	if err := sources.save(dir); err != nil {
		return nil, errors.Join(err, opened.CloseParts())
	}
	t, err := runner.Run(ctx, p, opened, runner.Options{Dir: dir, Secrets: secrets, Notify: o.Notify, KeepMirror: o.Keep == KeepMirror})
	if err != nil {
		return nil, err
	}
	return conclude(t, dir, o)
}

func (o Options) defaults() Options {
	if o.Out == "" {
		o.Out = "runs"
	}
	if o.Getenv == nil {
		o.Getenv = os.Getenv
	}
	return o
}

// runBroken is the run of a bench that could not be opened: nothing was driven, and the result says why.
func runBroken(s *scenario.Scenario, broken error, o Options) (*Result, error) {
	dir, err := report.NewDir(o.Out, s.Name, time.Now())
	if err != nil {
		return nil, usageOf(err)
	}
	src, err := sourcesOf(s, s.Vars)
	if err != nil {
		return nil, err
	}
	if err := src.save(dir); err != nil {
		return nil, err
	}
	now := time.Now().UTC()
	t := &trace.Trace{Scenario: s.Name, File: s.Pos.File, About: s.About, Bench: o.Bench, Account: trace.Wire,
		Begin: now, End: now, Trouble: broken.Error()}
	return conclude(t, dir, o)
}

// conclude saves a record, judges what was saved, and writes the reports.
func conclude(t *trace.Trace, dir string, o Options) (*Result, error) {
	if err := t.Save(dir); err != nil {
		return nil, err
	}
	r, err := JudgeRun(dir, nil, o.Strict)
	if err != nil {
		return nil, err
	}
	if err := report.Write(r, runner.CaptureFile); err != nil {
		return nil, err
	}
	if err := report.Last(o.Out, dir); err != nil {
		return nil, err
	}
	return r, nil
}

// Judge judges a trace by expectations: the façade's name for the second act. Bytes are shown by the account of the
// expectations, where they have one for all their claims.
func Judge(t *trace.Trace, set *expectations.Set, strict bool) *Result {
	findings := set.Judge(t, expectations.Options{Strict: strict})
	if t.Capture != nil {
		t.Capture.Completeness = t.Completeness(trace.Scope{})
	}
	r := &Result{Trace: t, Findings: findings, Verdict: verdict.Of(findings), Strict: strict, Version: Version()}
	if set.Account != "" {
		r.Account, _ = trace.ParseAccount(set.Account) // checked when the file was read
	}
	return r
}

// JudgeRun judges a run directory by the expectations given, or by those that the run was made with where set is nil.
func JudgeRun(dir string, set *expectations.Set, strict bool) (*Result, error) {
	t, err := Load(dir)
	if err != nil {
		return nil, err
	}
	if set == nil {
		src, err := loadSources(dir)
		if err != nil {
			return nil, err
		}
		if set, err = src.parse(nil); err != nil {
			return nil, err
		}
	}
	r := Judge(t, set, strict)
	r.Dir = dir
	return r, nil
}

// secretsOf finds the values of a scenario's secrets, and tells of those that are missing.
func secretsOf(s *scenario.Scenario, getenv func(string) string) (map[string]string, error) {
	out := make(map[string]string, len(s.Secrets))
	var errs scenario.Errors
	for name, env := range s.Secrets {
		v := getenv(env)
		if v == "" && env != "" {
			errs.Addf(s.SecretsAt[name], "secret %q: the environment variable %s is not set: set it to the secret's value", name, env)
			continue
		}
		out[name] = v
	}
	return out, errs.Err()
}

// UsageError is a mistake of the caller's: nothing was driven, and nothing will be until it is mended.
type UsageError struct{ Err error }

func (e *UsageError) Error() string { return e.Err.Error() }

// usageOf makes an error the caller's mistake, unless it is the interruption of what was going on.
func usageOf(err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	return &UsageError{err}
}

// Unwrap gives the mistake itself.
func (e *UsageError) Unwrap() error { return e.Err }
