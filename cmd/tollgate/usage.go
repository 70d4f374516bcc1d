package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/tollgate-iot/tollgate/harness"
	"github.com/tollgate-iot/tollgate/harness/scenario"
)

// usage is a mistake in how the command was called.
func usage(format string, args ...any) error {
	return &harness.UsageError{Err: fmt.Errorf(format, args...)}
}

// one takes exactly one argument, and says what is wanted where there is none, or more.
func one(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch len(args) {
		case 1:
			return nil
		case 0:
			return usage("%s: which? Name %s\nsee `%s --help`", cmd.Name(), what, cmd.CommandPath())
		}
		return usage("%s: one at a time, and here are %d: %s\nsee `%s --help`", cmd.Name(), len(args), strings.Join(args, " "), cmd.CommandPath())
	}
}

// none takes no argument: what is given may be a command that was mistyped.
func none(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var known []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			known = append(known, c.Name())
		}
	}
	if len(known) == 0 {
		return usage("%s takes no argument: leave %q out\nsee `%s --help`", cmd.Name(), args[0], cmd.CommandPath())
	}
	return usage("unknown command %q: %s\nsee `%s --help`", args[0], scenario.Suggest(args[0], known), cmd.CommandPath())
}

// flagError explains a mistake in a flag.
func flagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	var wrong *pflag.InvalidValueError
	text := err.Error()
	switch {
	case errors.As(err, &unknown) && unknown.GetSpecifiedShortnames() == "":
		var known []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) { known = append(known, "--"+f.Name) })
		if near := scenario.Closest("--"+unknown.GetSpecifiedName(), known); near != "" {
			text += fmt.Sprintf(": did you mean %s?", near)
		}
	case errors.As(err, &wrong):
		text = fmt.Sprintf("--%s=%s: write %s", wrong.GetFlag().Name, wrong.GetValue(), wanted(wrong.GetFlag()))
	}
	return usage("%s\nsee `%s --help`", text, cmd.CommandPath())
}

// wanted says what a flag's value looks like.
func wanted(f *pflag.Flag) string {
	switch f.Value.Type() {
	case "bool":
		return "true or false"
	case "uintSlice", "uint", "uint64", "int":
		return "a whole number"
	case "duration":
		return "a length of time such as 90s"
	}
	name, _ := pflag.UnquoteUsage(f)
	return name
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
				errs = append(errs, usage("%s=%s in the environment: write %s, or unset it", envName(f.Name), value, wanted(f)))
				return
			}
		}
	})
	return errors.Join(errs...)
}

// strayVariables tells of variables that were probably meant for a flag and stand for none: a run on the simulated bench
// because of TOLLGATE_BENHC would look like one on the real thing.
func strayVariables(root *cobra.Command, environ []string) (told []string) {
	known := map[string]bool{}
	gatherFlags(root, known)
	names := make([]string, 0, len(known))
	for name := range known {
		names = append(names, strings.TrimPrefix(name, envPrefix))
	}
	for _, e := range environ {
		name, _, _ := strings.Cut(e, "=")
		rest, ours := strings.CutPrefix(name, envPrefix)
		if !ours || known[name] {
			continue
		}
		if near := closestUpper(rest, names); near != "" {
			told = append(told, fmt.Sprintf("%s in the environment stands for no flag: did you mean %s%s?", name, envPrefix, near))
		}
	}
	return told
}

// closestUpper is scenario.Closest for words in capitals.
func closestUpper(word string, known []string) string {
	lower := make([]string, len(known))
	for i, k := range known {
		lower[i] = strings.ToLower(k)
	}
	return strings.ToUpper(scenario.Closest(word, lower))
}

// gatherFlags notes the variables of all flags of a command and those below it.
func gatherFlags(cmd *cobra.Command, into map[string]bool) {
	note := func(f *pflag.Flag) { into[envName(f.Name)] = true }
	cmd.Flags().VisitAll(note)
	cmd.PersistentFlags().VisitAll(note)
	for _, c := range cmd.Commands() {
		gatherFlags(c, into)
	}
}
