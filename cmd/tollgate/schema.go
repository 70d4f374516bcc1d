package main

import (
	"github.com/spf13/cobra"

	"github.com/tollgate-iot/tollgate/expectations"
	"github.com/tollgate-iot/tollgate/harness/bench"
	"github.com/tollgate-iot/tollgate/harness/scenario"
)

// schemas gives the JSON Schema of each kind of file.
var schemas = map[string]func() []byte{
	"scenario":    scenario.Schema,
	"expectation": expectations.Schema,
	"bench":       bench.Schema,
}

func (a *app) schemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:       "schema scenario|expectation|bench",
		Short:     "Print the JSON Schema of a kind of file, for editors",
		Example:   "  tollgate schema scenario >scenario.schema.json\n  # and in the first line of a scenario:\n  # yaml-language-server: $schema=scenario.schema.json",
		ValidArgs: []string{"scenario", "expectation", "bench"},
		Args:      exactly(cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs)),
		RunE: func(_ *cobra.Command, args []string) error {
			_, err := a.out.Write(schemas[args[0]]())
			return err
		},
	}
}
