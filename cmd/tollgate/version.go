package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/tollgate-iot/tollgate/harness"
)

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Say which Tollgate this is",
		Args:  none,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintf(a.out, "tollgate %s %s/%s %s\n", harness.Version(), runtime.GOOS, runtime.GOARCH, runtime.Version())
			return err
		},
	}
}
