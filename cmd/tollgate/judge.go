package main

import (
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/tollgate-iot/tollgate/expectations"
	"github.com/tollgate-iot/tollgate/harness"
	"github.com/tollgate-iot/tollgate/harness/report"
	"github.com/tollgate-iot/tollgate/harness/scenario"
	"github.com/tollgate-iot/tollgate/harness/trace"
)

// judgeFlags are the flags of `judge`.
type judgeFlags struct {
	expect, vars  []string
	strict, json  bool
	junit, window string
	read          readFlags
}

func (a *app) judgeCommand() *cobra.Command {
	var f judgeFlags
	cmd := &cobra.Command{
		Use:   "judge RUN|CAPTURE",
		Short: "Judge a saved run, or any capture",
		Long: `Judge a saved run or any capture by expectations: files, or built-in names (wio-lte/http).

Built-in expectations are about one window of a run: a capture of no run stands for it as a whole. Where expectations speak
of several windows --window says which of them a capture is.

A run directory is judged by its own expectations unless others are named, and gives the findings that the run gave,
byte for byte. Nothing in it is changed. A capture is a file or - for standard input, pcap or pcapng, plain or compressed.`,
		Example: "  tollgate judge runs/last\n  tollgate judge field.pcap --expect wio-lte/http --window get --device 10.213.7.42",
		Args:    one("a run's directory (runs/last) or a capture"),
		RunE:    func(_ *cobra.Command, args []string) error { return a.judge(args[0], f) },
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&f.expect, "expect", nil, "expectations: a `FILE` or a built-in name; may be repeated")
	flags.StringArrayVar(&f.vars, "var", nil, "set a variable of the expectations, `NAME=VALUE`; may be repeated")
	flags.BoolVar(&f.strict, "strict", false, "a claim that only holds if nothing was missed is inconclusive unless the capture is proved whole")
	flags.BoolVar(&f.json, "json", false, "print the result as JSON, as in result.json")
	flags.StringVar(&f.junit, "junit", "", "write a JUnit `FILE`")
	flags.StringVar(&f.window, "window", "", "the whole capture is the window `NAME` that expectations speak of")
	f.read.register(flags)
	return cmd
}

func (a *app) judge(what string, f judgeFlags) error {
	set, err := readExpectations(f.expect, f.vars)
	if err != nil {
		return err
	}
	if err := canWrite("--junit", f.junit); err != nil {
		return err
	}
	r, err := a.judged(what, set, f)
	if err != nil {
		return err
	}
	a.code = exitOf(r.Verdict)
	if err := a.show(r, f.json); err != nil {
		return err
	}
	return writeJUnit(f.junit, []*harness.Result{r})
}

func (a *app) judged(what string, set *expectations.Set, f judgeFlags) (*harness.Result, error) {
	if dir, ok := runDirectory(what); ok {
		if f.window != "" {
			return nil, usage("--window is for captures: a run has its own windows")
		}
		if err := f.read.refuse(); err != nil {
			return nil, err
		}
		r, err := harness.JudgeRun(dir, set, f.strict)
		if err != nil {
			return nil, readTrouble(err)
		}
		return r, nil
	}
	if set == nil {
		if err := there(what); err != nil {
			return nil, err
		}
		return nil, usage("judge %s: a capture says nothing of what was expected: name expectations with --expect", what)
	}
	if err := checkWindow(f.window, set); err != nil {
		return nil, err
	}
	t, err := a.readTrace(what, f.read)
	if err != nil {
		return nil, err
	}
	if f.window != "" {
		t.Windows = []trace.Window{{Name: f.window, From: time.Unix(0, t.Capture.First).UTC(), To: time.Unix(0, t.Capture.Last+1).UTC()}}
	}
	r := harness.Judge(t, set, f.strict)
	if f.read.account != "" {
		r.Account = t.Account
	}
	return r, nil
}

// there says what is wrong with a path that leads to nothing.
func there(path string) error {
	if path == "-" {
		return nil
	}
	_, err := os.Stat(path)
	if err != nil && filepath.Base(path) == report.LastName {
		return usage("%w: no run has ended there yet", openError(err))
	}
	if err != nil {
		return usage("%w", openError(err))
	}
	return nil
}

// checkWindow refuses a window that no claim is about: the claims would look for another in vain.
func checkWindow(name string, set *expectations.Set) error {
	windows := set.Windows()
	switch {
	case name == "" || slices.Contains(windows, name):
		return nil
	case len(windows) == 0:
		return usage("--window %s: no claim is about a window: leave it out", name)
	}
	return usage("--window %s: no claim is about it: %s", name, scenario.Suggest(name, windows))
}

// runDirectory says whether a path is a run's, and where it leads to.
func runDirectory(path string) (string, bool) {
	path = report.ResolveLast(path)
	if info, err := os.Stat(path); err != nil || !info.IsDir() {
		return "", false
	}
	return filepath.Clean(path), true
}

// readExpectations joins expectations; nil where none are named.
func readExpectations(names, vars []string) (*expectations.Set, error) {
	values, err := variables(vars)
	if err != nil || len(names) == 0 {
		return nil, err
	}
	var all mistakes
	var set *expectations.Set
	for _, name := range names {
		s, err := harness.Expectations(name, values)
		if err := all.add(err); err != nil {
			return nil, err
		}
		switch {
		case s == nil:
		case set == nil:
			set = s
		default:
			set.Claims = append(set.Claims, s.Claims...)
		}
	}
	return set, all.err()
}

// traceOf reads a run or a capture.
func (a *app) traceOf(what string, f readFlags) (*trace.Trace, error) {
	if dir, ok := runDirectory(what); ok {
		if err := f.refuse(); err != nil {
			return nil, err
		}
		t, err := harness.Load(dir)
		if err != nil {
			return nil, readTrouble(err)
		}
		return t, nil
	}
	return a.readTrace(what, f)
}
