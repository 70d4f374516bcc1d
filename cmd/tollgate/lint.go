package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tollgate-iot/tollgate/expectations"
	"github.com/tollgate-iot/tollgate/harness"
	"github.com/tollgate-iot/tollgate/scenarios"
)

func (a *app) lintCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "lint [FILE|DIR…]",
		Short: "Check scenarios, expectations and benches without driving anything",
		Long: `Check scenarios, expectations and benches without driving anything. Of directories every YAML file is checked, as what
its keys say it is. Without an argument the built-in scenarios and expectations are checked.
Every mistake is told, as FILE:LINE:COLUMN: what is wrong and what was probably meant.`,
		RunE: func(_ *cobra.Command, args []string) error { return a.lint(args) },
	}
}

func (a *app) lint(args []string) error {
	var all mistakes
	var checked int
	check := func(err error) error {
		checked++
		return all.add(err)
	}
	if len(args) == 0 {
		if err := lintBuiltin(check); err != nil {
			return err
		}
	}
	files, err := yamlFiles(args)
	if err != nil {
		return err
	}
	for _, f := range files {
		if err := check(harness.Lint(f)); err != nil {
			return err
		}
	}
	if err := all.err(); err != nil {
		return err
	}
	if checked == 0 {
		fmt.Fprintln(a.err, "nothing was checked: there is no .yaml file")
		a.code = exitNothing
		return nil
	}
	noun := "files"
	if checked == 1 {
		noun = "file"
	}
	_, err = fmt.Fprintf(a.out, "%d %s checked, no mistake\n", checked, noun)
	return err
}

// lintBuiltin checks what comes with Tollgate.
func lintBuiltin(check func(error) error) error {
	for _, name := range scenarios.Names() {
		_, err := harness.Scenario(name)
		if err := check(err); err != nil {
			return err
		}
	}
	for _, name := range expectations.Names() {
		_, err := expectations.Builtin(name)
		if err := check(err); err != nil {
			return err
		}
	}
	return nil
}

// yamlFiles gives files as they are, and the YAML files of directories, in order.
func yamlFiles(args []string) ([]string, error) {
	var out []string
	for _, arg := range args {
		info, err := os.Stat(arg)
		if err != nil {
			return nil, usage("lint: %w", openError(err))
		}
		if !info.IsDir() {
			out = append(out, arg)
			continue
		}
		err = filepath.WalkDir(arg, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.IsDir() && path != arg && strings.HasPrefix(d.Name(), ".") {
				return fs.SkipDir
			}
			if !d.IsDir() && slices.Contains([]string{".yaml", ".yml"}, filepath.Ext(path)) {
				out = append(out, path)
			}
			return nil
		})
		if err != nil {
			return nil, usage("lint: %w", err)
		}
	}
	return out, nil
}
