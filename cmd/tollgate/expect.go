package main

import (
	"cmp"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tollgate-iot/tollgate/expectations"
	"github.com/tollgate-iot/tollgate/harness/trace"
)

func (a *app) expectCommand() *cobra.Command {
	var f readFlags
	var file string
	cmd := &cobra.Command{
		Use:   "expect RUN|CAPTURE",
		Short: "Write expectations from a run or a capture that is known to be good",
		Long: `Write expectations from a run or a capture that is known to be good: what it shows becomes the claim.
Read them before you use them, and leave out what you do not care about.
A capture that is known to lack something, and a run that went wrong, show nothing that could be claimed: they are refused.`,
		Example: "  tollgate expect runs/last -o expectations.yaml",
		Args:    one("a run's directory (runs/last) or a capture"),
		RunE: func(_ *cobra.Command, args []string) error {
			t, err := a.traceOf(args[0], f)
			if err != nil {
				return err
			}
			if err := knownGood(args[0], t); err != nil {
				return err
			}
			b, err := expectations.FromTrace(t)
			if err != nil {
				return readTrouble(fmt.Errorf("expect %s: %w", args[0], err))
			}
			return a.write(file, b)
		},
	}
	cmd.Flags().StringVarP(&file, "output", "o", "", "write to `FILE` instead of standard output")
	f.register(cmd.Flags())
	return cmd
}

// knownGood refuses a record that can't be known to be good: limits made of it would fail devices that are.
func knownGood(what string, t *trace.Trace) error {
	if t.Interrupted || t.Trouble != "" || t.Failed != "" {
		return usage("expect %s: the run did not do all that it was to do (%s): take one that passed", what, cmp.Or(t.Trouble, t.Failed, "it was interrupted"))
	}
	if t.Capture == nil {
		return nil // said by who looks for packets
	}
	c := t.Completeness(trace.Scope{})
	if c.State == trace.Broken {
		return usage("expect %s: the capture lacks something (%s): limits made of it would fail good devices; take a whole one", what, strings.Join(c.Reasons, "; "))
	}
	return nil
}

// write writes to a file, or to standard output where none is named.
func (a *app) write(file string, b []byte) error {
	if file == "" {
		_, err := a.out.Write(b)
		return err
	}
	if err := os.WriteFile(file, b, 0o644); err != nil {
		return usage("--output: %w", err)
	}
	return nil
}
