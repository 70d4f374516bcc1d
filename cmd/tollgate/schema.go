package main

import (
	"maps"
	"slices"

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
		Args:      one("scenario, expectation or bench"),
		RunE: func(_ *cobra.Command, args []string) error {
			schema := schemas[args[0]]
			if schema == nil {
				return usage("schema: none for %q: %s", args[0], scenario.Suggest(args[0], slices.Sorted(maps.Keys(schemas))))
			}
			_, err := a.out.Write(schema())
			return err
		},
	}
}
