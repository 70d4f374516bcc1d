package main

import (
	"github.com/spf13/cobra"

	"github.com/tollgate-iot/tollgate/harness/report"
)

func (a *app) inspectCommand() *cobra.Command {
	var f readFlags
	var json, summary bool
	cmd := &cobra.Command{
		Use:   "inspect CAPTURE",
		Short: "Show what a capture holds: phases, flows, teardown, completeness",
		Long: `Show what a capture holds: the phase table of each device, its flows, how they ended, and whether anything is missing.
The capture is a file or - for standard input: pcap or pcapng, plain, gzip or zstd. --summary is for thousands of devices:
one total, in memory that does not grow with them.`,
		Example: "  tollgate inspect field.pcap.gz\n  ssh mirror tcpdump -w - -i eth0 | tollgate inspect - --summary --json",
		Args:    one("a capture, or - for standard input"),
		RunE: func(_ *cobra.Command, args []string) error {
			o, account, err := f.options()
			if err != nil {
				return err
			}
			o.KeepFlows = !summary
			c, err := a.readCapture(args[0], o)
			if err != nil {
				return err
			}
			show := report.InspectText
			if json {
				show = report.InspectJSON
			}
			return show(a.out, c, report.InspectOptions{Account: account, Summary: summary})
		},
	}
	cmd.Flags().BoolVar(&json, "json", false, "print JSON")
	cmd.Flags().BoolVar(&summary, "summary", false, "one total instead of every device")
	f.register(cmd.Flags())
	return cmd
}
