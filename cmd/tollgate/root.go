package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/tollgate-iot/tollgate/harness"
	"github.com/tollgate-iot/tollgate/harness/report"
	"github.com/tollgate-iot/tollgate/harness/scenario"
)

// app is one invocation: where it reads and writes, and the exit code that it comes to.
type app struct {
	in       io.Reader
	out, err io.Writer
	code     int
}

// execute runs the command line and gives the process's exit code. The first interrupt ends a run with its cleanup; a
// second one ends the process. A reader of the output that goes away (| head) ends nothing: the device's cleanup and the
// verdict do not depend on who looks.
func execute(args []string, in io.Reader, out, errs io.Writer) int {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // not under nohup: the terminal's end is the run's
		signals = append(signals, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), signals...)
	defer stop()
	context.AfterFunc(ctx, stop)
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) // writing gives an error instead
	a := &app{in: in, out: heard(out), err: heard(errs)}
	root := a.root()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errs)
	if err := root.ExecuteContext(ctx); err != nil {
		a.code = a.report(err)
	}
	return a.code
}

const about = `Tollgate drives a cellular device through a scenario, captures what the network really carried, and judges it.

Exit codes: 0 pass · 1 fail · 2 wrong usage or invalid file · 3 inconclusive · 4 nothing ran · 130 interrupted, cleanup done.
Every flag can be set in the environment too: --out as TOLLGATE_OUT, --vxlan-port as TOLLGATE_VXLAN_PORT.`

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:               "tollgate",
		Short:             "The release gate for cellular-device firmware, judged on the wire",
		Long:              about,
		SilenceUsage:      true,
		SilenceErrors:     true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return a.environment(cmd) },
		Args:              none,
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(flagError)
	root.AddCommand(a.runCommand(), a.judgeCommand(), a.inspectCommand(), a.expectCommand(), a.lintCommand(),
		a.schemaCommand(), a.benchCommand(), a.tapCommand(), a.versionCommand())
	return root
}

// environment sets flags from the environment, and warns of variables that look as if they were meant to.
func (a *app) environment(cmd *cobra.Command) error {
	for _, stray := range strayVariables(cmd.Root(), os.Environ()) {
		fmt.Fprintf(a.err, "tollgate: %s\n", report.Safe(stray))
	}
	return fromEnvironment(cmd.Flags(), os.LookupEnv)
}

// report writes an error and gives its exit code.
func (a *app) report(err error) int {
	var mistakes scenario.Errors
	if errors.As(err, &mistakes) {
		fmt.Fprintln(a.err, report.SafeLines(mistakes.Error()))
		return exitUsage
	}
	fmt.Fprintf(a.err, "tollgate: %s\n", report.SafeLines(err.Error()))
	var wrong *harness.UsageError
	switch {
	case errors.As(err, &wrong):
		return exitUsage
	case errors.Is(err, context.Canceled):
		return exitInterrupted
	}
	return exitInconclusive // something else went wrong here: nothing is known of the device
}
