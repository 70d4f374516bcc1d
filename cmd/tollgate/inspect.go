package main

import (
	"github.com/spf13/cobra"

	"github.com/tollgate-iot/tollgate/harness"
	"github.com/tollgate-iot/tollgate/harness/report"
	"github.com/tollgate-iot/tollgate/harness/trace"
)

func (a *app) inspectCommand() *cobra.Command {
	var f readFlags
	var json, summary bool
	cmd := &cobra.Command{
		Use:   "inspect RUN|CAPTURE",
		Short: "Show what a run or a capture holds: phases, flows, teardown, completeness",
		Long: `Show what a capture holds: the phase table of each device, its flows, how they ended, and whether anything is missing.
The capture is a file or - for standard input: pcap or pcapng, plain, gzip or zstd. --summary is for thousands of devices:
one total, in memory that does not grow with them.

Of a run's directory (runs/last) all parts of its capture are shown, with what the run knows: its device, what each tap
counted, how complete that is. The run's own canaries are in it, too, and are told.`,
		Example: "  tollgate inspect field.pcap.gz\n  tollgate inspect runs/last\n  ssh mirror tcpdump -w - -i eth0 | tollgate inspect - --summary --json",
		Args:    one("a capture, a run's directory (runs/last), or - for standard input"),
		RunE: func(_ *cobra.Command, args []string) error {
			c, o, err := a.inspected(args[0], f, summary)
			if err != nil {
				return err
			}
			show := report.InspectText
			if json {
				show = report.InspectJSON
			}
			return show(a.out, c, o)
		},
	}
	cmd.Flags().BoolVar(&json, "json", false, "print JSON")
	cmd.Flags().BoolVar(&summary, "summary", false, "one total instead of every device")
	f.register(cmd.Flags())
	return cmd
}

// inspected reads what is to be shown: a capture, or a run with its capture.
func (a *app) inspected(what string, f readFlags, summary bool) (*trace.Capture, report.InspectOptions, error) {
	show := report.InspectOptions{Summary: summary}
	o, account, err := f.options()
	if err != nil {
		return nil, show, err
	}
	show.Account = account
	dir, isRun := runDirectory(what)
	if !isRun {
		o.KeepFlows = !summary
		c, err := a.readCapture(what, o)
		return c, show, err
	}
	if err := (&readFlags{devices: f.devices, ports: f.ports, sameMirror: f.sameMirror}).refuse(); err != nil {
		return nil, show, err
	}
	t, err := harness.Inspect(dir)
	if err != nil {
		return nil, show, readTrouble(err)
	}
	if t.Capture == nil {
		return nil, show, usage("%s has no capture: the run ended before anything was captured", dir)
	}
	show.Run, show.Own = t, harness.Canaries(t)
	if f.account == "" {
		show.Account = t.Account
	}
	return t.Capture, show, nil
}
