package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tollgate-iot/tollgate/harness"
	"github.com/tollgate-iot/tollgate/harness/catalog"
	"github.com/tollgate-iot/tollgate/harness/report"
	"github.com/tollgate-iot/tollgate/harness/scenario"
	"github.com/tollgate-iot/tollgate/harness/verdict"
	"github.com/tollgate-iot/tollgate/scenarios"
)

// runFlags are the flags of `run`.
type runFlags struct {
	bench, sim, out, junit string
	vars                   []string
	strict, json, verbose  bool
	keep                   string
}

func (a *app) runCommand() *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "run [SCENARIO…]",
		Short: "Drive a device through scenarios and judge what the network carried",
		Long: `Drive a device through scenarios, one after the other, and judge what the network carried.

A scenario is a built-in name (wio-lte/http) or a file (my/scenario.yaml). Without one the built-in names are listed.
Without --bench the simulated bench is used: no hardware, no root, no network.

` + catalog.SimHelp(),
		Example: "  tollgate run wio-lte/beam-http\n  tollgate run wio-lte/http --sim mirror_loss=0.05,seed=1\n  tollgate run my/scenario.yaml --bench desk.yaml --var cycles=3",
		RunE:    func(cmd *cobra.Command, args []string) error { return a.run(cmd, args, f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.bench, "bench", "", "inventory `FILE` of a real bench (default: the simulated one)")
	flags.StringVar(&f.sim, "sim", "", "how the simulated bench behaves, as `NAME=VALUE,…`: see above")
	flags.StringVar(&f.out, "out", "runs", "make run directories in `DIR`")
	flags.StringVar(&f.keep, "keep", string(harness.KeepDevice), "which packets capture.pcapng keeps: `device`, those of the device, or mirror, other devices' too")
	flags.StringArrayVar(&f.vars, "var", nil, "set a variable of the scenario, `NAME=VALUE`; may be repeated")
	flags.StringVar(&f.junit, "junit", "", "write one JUnit `FILE` over all scenarios")
	flags.BoolVar(&f.strict, "strict", false, "a claim that only holds if nothing was missed is inconclusive unless the capture is proved whole")
	flags.BoolVar(&f.json, "json", false, "print each result as JSON, as in result.json")
	flags.BoolVarP(&f.verbose, "verbose", "v", false, "tell every event of the run on standard error")
	return cmd
}

// run runs the scenarios in turn. All of them are checked before the first one runs: a mistake in the last one must not
// come to light after hours.
func (a *app) run(cmd *cobra.Command, names []string, f runFlags) error {
	if len(names) == 0 {
		return a.listScenarios()
	}
	vars, err := variables(f.vars)
	if err != nil {
		return err
	}
	keep, err := keepOf(f.keep)
	if err != nil {
		return err
	}
	if err := canWrite("--junit", f.junit); err != nil {
		return err
	}
	tell := a.teller(f)
	o := harness.Options{Bench: f.bench, Sim: f.sim, Out: f.out, Vars: vars, Strict: f.strict, Notify: tell.event, Keep: keep}
	read, err := checkScenarios(names, o)
	if err != nil {
		return err
	}
	var results []*harness.Result
	for i, s := range read {
		if i > 0 && !f.json {
			fmt.Fprintln(a.out)
		}
		r, err := harness.RunScenario(cmd.Context(), s, o)
		tell.clear()
		if err != nil {
			return err
		}
		results = append(results, r)
		if err := a.show(r, f.json); err != nil {
			return err
		}
		if r.Trace.Interrupted {
			break
		}
	}
	a.code = exitOfAll(results)
	return writeJUnit(f.junit, results)
}

// keepOf reads --keep.
func keepOf(word string) (harness.Keep, error) {
	known := []string{string(harness.KeepDevice), string(harness.KeepMirror)}
	if !slices.Contains(known, word) {
		return "", usage("--keep: unknown word %q: %s", word, scenario.Suggest(word, known))
	}
	return harness.Keep(word), nil
}

// exitOfAll joins the exit codes: interrupted outranks fail, fail outranks inconclusive.
func exitOfAll(results []*harness.Result) int {
	var vs []verdict.Verdict
	for _, r := range results {
		if r.Trace.Interrupted {
			return exitInterrupted
		}
		vs = append(vs, r.Verdict)
	}
	return exitOf(verdict.Join(vs...))
}

// listScenarios shows what could be run. Nothing ran, and the exit code says so.
func (a *app) listScenarios() error {
	for _, name := range scenarios.Names() {
		s, err := harness.Scenario(name)
		if err != nil {
			return err
		}
		fmt.Fprintf(a.out, "%-22s %s\n", name, s.About)
	}
	fmt.Fprintln(a.err, "nothing ran: name a scenario")
	a.code = exitNothing
	return nil
}

// checkScenarios reads them all, and gives the mistakes of all.
func checkScenarios(names []string, o harness.Options) ([]*scenario.Scenario, error) {
	var out []*scenario.Scenario
	var all mistakes
	for _, name := range names {
		s, err := harness.CheckScenario(name, o)
		if err := all.add(err); err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, all.err()
}

// variables reads --var flags.
func variables(flags []string) (map[string]string, error) {
	out := map[string]string{}
	for _, f := range flags {
		name, value, ok := strings.Cut(f, "=")
		if !ok || name == "" {
			return nil, usage("--var %q: write NAME=VALUE", f)
		}
		out[name] = value
	}
	return out, nil
}

// show prints a result for a person, or as JSON.
func (a *app) show(r *harness.Result, json bool) error {
	if !json {
		return report.Terminal(a.out, r, a.style())
	}
	b, err := report.JSON(r)
	if err != nil {
		return err
	}
	_, err = a.out.Write(b)
	return err
}

// canWrite finds out whether a file can be written before hours are spent on what it shall hold.
func canWrite(flag, file string) error {
	if file == "" {
		return nil
	}
	_, absent := os.Stat(file)
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return usage("%s: %w", flag, err)
	}
	err = f.Close()
	if absent != nil { // an empty one would be taken for a report
		err = errors.Join(err, os.Remove(file))
	}
	return err
}

func writeJUnit(file string, results []*harness.Result) error {
	if file == "" {
		return nil
	}
	b, err := report.JUnit(results...)
	if err != nil {
		return err
	}
	if err := os.WriteFile(file, b, 0o644); err != nil {
		return usage("--junit: %w", err)
	}
	return nil
}
