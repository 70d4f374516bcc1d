package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tollgate-iot/tollgate/harness"
	"github.com/tollgate-iot/tollgate/harness/plan"
	"github.com/tollgate-iot/tollgate/harness/report"
)

// benchFlags are the flags of `bench` and `bench test`.
type benchFlags struct{ bench, sim string }

func (a *app) benchCommand() *cobra.Command {
	var f benchFlags
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Show what a bench has, and test it",
		Long:  "Show the devices of a bench and what they and their carrier can be told to do. Nothing is opened.",
		Args:  none,
		RunE:  func(*cobra.Command, []string) error { return a.showBench(f) },
	}
	test := &cobra.Command{
		Use:   "test",
		Short: "Open every device with its carrier and its taps, and say what works",
		Long: `Open every device of a bench in turn with its carrier and its taps, and say what works: the taps capture, the device's
port opens, the carrier answers. Nothing is cut and no verb is carried out.`,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.testBench(cmd, f) },
	}
	cmd.PersistentFlags().StringVar(&f.bench, "bench", "", "inventory `FILE` of a real bench (default: the simulated one)")
	test.Flags().StringVar(&f.sim, "sim", "", "how the simulated bench behaves, as `NAME=VALUE,…`: see tollgate run --help")
	cmd.AddCommand(test)
	return cmd
}

func (a *app) showBench(f benchFlags) error {
	parts, err := harness.Bench(f.bench)
	if err != nil {
		return err
	}
	fmt.Fprintf(a.out, "bench %s\n", report.Safe(parts.Name))
	for _, d := range parts.Devices {
		fmt.Fprintf(a.out, "\n  %s   model %s · driver %s\n", report.Safe(d.Device), report.Safe(d.Model), report.Safe(d.Driver))
		a.showVerbs("device", d.Verbs)
		a.showVerbs("carrier", d.Carrier)
		if len(d.Events) > 0 {
			fmt.Fprintf(a.out, "    %-42s %s\n", "await: {event: …}", strings.Join(d.Events, ", "))
		}
	}
	for _, t := range parts.Taps {
		fmt.Fprintf(a.out, "\n  tap %s\n", report.Safe(t))
	}
	return nil
}

// showVerbs shows each verb as a step is written.
func (a *app) showVerbs(who string, verbs []plan.VerbSpec) {
	for _, v := range verbs {
		var args []string
		for _, arg := range v.Args {
			name := arg.Name
			if !arg.Required {
				name = "[" + name + "]"
			}
			args = append(args, name)
		}
		name := strings.TrimSpace(who + "." + v.Name + " " + strings.Join(args, " "))
		fmt.Fprintf(a.out, "    %-42s %s\n", name, firstSentence(v.Doc))
	}
}

func firstSentence(s string) string {
	if i := strings.Index(s, ". "); i >= 0 {
		return s[:i+1]
	}
	return s
}

func (a *app) testBench(cmd *cobra.Command, f benchFlags) error {
	checks, err := harness.TestBench(cmd.Context(), f.bench, f.sim)
	if err != nil {
		return err
	}
	for _, c := range checks {
		mark, text := a.style().Mark(c.Err == nil), ""
		if c.Err != nil {
			text = report.Safe(c.Err.Error())
			a.code = exitInconclusive
		}
		fmt.Fprintln(a.out, strings.TrimRight(fmt.Sprintf("%s %-40s %s", mark, report.Safe(c.What), text), " "))
		for _, note := range c.Notes {
			fmt.Fprintf(a.out, "  %s\n", report.Safe(note))
		}
	}
	return nil
}
