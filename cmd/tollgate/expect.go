package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/tollgate-iot/tollgate/expectations"
)

func (a *app) expectCommand() *cobra.Command {
	var f readFlags
	var file string
	cmd := &cobra.Command{
		Use:   "expect RUN|CAPTURE",
		Short: "Write expectations from a run or a capture that is known to be good",
		Long: `Write expectations from a run or a capture that is known to be good: what it shows becomes the claim.
Read them before you use them, and leave out what you do not care about.`,
		Example: "  tollgate expect runs/last -o expectations.yaml",
		Args:    exactly(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			t, err := a.traceOf(args[0], f)
			if err != nil {
				return err
			}
			b, err := expectations.FromTrace(t)
			if err != nil {
				return readTrouble(err)
			}
			return a.write(file, b)
		},
	}
	cmd.Flags().StringVarP(&file, "output", "o", "", "write to `FILE` instead of standard output")
	f.register(cmd.Flags())
	return cmd
}

// write writes to a file, or to standard output where none is named.
func (a *app) write(file string, b []byte) error {
	if file == "" {
		_, err := a.out.Write(b)
		return err
	}
	if err := os.WriteFile(file, b, 0o644); err != nil {
		return usage("%w", err)
	}
	return nil
}
