package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/tollgate-iot/tollgate/harness"
	"github.com/tollgate-iot/tollgate/harness/scenario"
)

// app is one invocation: where it reads and writes, and the exit code that it comes to.
type app struct {
	in       io.Reader
	out, err io.Writer
	code     int
}

// execute runs the command line and gives the process's exit code. The first interrupt ends a run with its cleanup; a
// second one ends the process.
func execute(args []string, in io.Reader, out, errs io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	a := &app{in: in, out: out, err: errs}
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
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return fromEnvironment(cmd.Flags(), os.LookupEnv) },
		Args:              cobra.NoArgs,
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usage("%w\nsee `%s --help`", err, cmd.CommandPath())
	})
	root.AddCommand(a.runCommand(), a.judgeCommand(), a.inspectCommand(), a.expectCommand(), a.lintCommand(),
		a.schemaCommand(), a.benchCommand(), a.versionCommand())
	return root
}

// usage is a mistake in how the command was called.
func usage(format string, args ...any) error {
	return &harness.UsageError{Err: fmt.Errorf(format, args...)}
}

// exactly wraps a command's positional-argument check so that its mistakes are usage mistakes.
func exactly(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usage("%w\nsee `%s --help`", err, cmd.CommandPath())
		}
		return nil
	}
}

// report writes an error and gives its exit code.
func (a *app) report(err error) int {
	var mistakes scenario.Errors
	if errors.As(err, &mistakes) {
		fmt.Fprintln(a.err, mistakes)
		return exitUsage
	}
	fmt.Fprintf(a.err, "tollgate: %v\n", err)
	var wrong *harness.UsageError
	switch {
	case errors.As(err, &wrong), strings.HasPrefix(err.Error(), "unknown command"):
		return exitUsage
	case errors.Is(err, context.Canceled):
		return exitInterrupted
	}
	return exitInconclusive // something else went wrong here: nothing is known of the device
}

// envPrefix begins the names of the variables that stand for flags.
const envPrefix = "TOLLGATE_"

// envName is the variable that stands for a flag.
func envName(flag string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// fromEnvironment sets the flags that the command line did not, from the environment. A flag that can be given several
// times takes one value from each line.
func fromEnvironment(flags *pflag.FlagSet, lookup func(string) (string, bool)) error {
	var errs []error
	flags.VisitAll(func(f *pflag.Flag) {
		value, ok := lookup(envName(f.Name))
		if f.Changed || !ok || value == "" || f.Name == "help" {
			return
		}
		values := []string{value}
		if strings.HasSuffix(f.Value.Type(), "Array") {
			values = strings.Split(strings.TrimSpace(value), "\n")
		}
		for _, v := range values {
			if err := flags.Set(f.Name, v); err != nil {
				errs = append(errs, usage("%s=%q: %w", envName(f.Name), value, err))
				return
			}
		}
	})
	return errors.Join(errs...)
}
