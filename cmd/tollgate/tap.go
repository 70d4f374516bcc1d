package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tollgate-iot/tollgate/harness"
	"github.com/tollgate-iot/tollgate/harness/bench"
	"github.com/tollgate-iot/tollgate/harness/catalog"
	"github.com/tollgate-iot/tollgate/harness/privilege"
	"github.com/tollgate-iot/tollgate/harness/report"
	"github.com/tollgate-iot/tollgate/harness/trace"
)

// tapFlags are the flags of `tap`.
type tapFlags struct {
	bench, write, rotate string
	count                uint64
	duration, every      time.Duration
	devices              []string
	ports                []uint
	watch, json          bool
}

func (a *app) tapCommand() *cobra.Command {
	var f tapFlags
	cmd := &cobra.Command{
		Use:   "tap TAP [KEY=VALUE…]",
		Short: "Capture a mirror: record it, watch it",
		Long: `Capture a mirror until Ctrl-C: record it with --write, look at devices, flows and rates with --watch, and be told at the
end what was received, filtered, dropped, cut short and doubled.

TAP is a driver with its options (vxlan listen=10.0.0.2:4789), or with --bench the name of one of a bench's taps. Where an
option may be a list, its values stand behind each other with commas between them (vni=1,2).

peek captures one SIM's packets in its carrier's network, with the credentials that a run has (a profile in
$SORACOM_PROFILE_DIR or ~/.soracom): the SIM of sim=IMSI, or with --bench that of the device, sim=NAME where several have
one. The carrier gives the packets when the capture ends.

Exit codes: 0 it ended as it was to: by Ctrl-C, --count, --duration, or at the end of its source · 2 wrong usage ·
3 the tap can't be started, broke or did not capture for a while, or not everything could be recorded ·
130 Ctrl-C before --count or --duration was reached.

` + catalog.TapHelp(),
		Example: "  tollgate tap afpacket interface=eth0 capture=gre --write night.pcapng --rotate 100MiB\n" +
			"  tollgate tap vxlan listen=10.0.0.2 --watch\n  tollgate tap junction --bench desk.yaml --write - | wireshark -k -i -\n" +
			"  tollgate tap peek sim=440103123456789 --duration 10m --write night.pcapng",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage("tap: which? Name a driver with its options, or one of a bench's taps\nsee `tollgate tap --help`")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return a.tap(cmd, args, f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.bench, "bench", "", "inventory `FILE` of a bench; TAP is then one of its taps")
	flags.StringVarP(&f.write, "write", "w", "", "record in `FILE`, pcapng; - for standard output")
	flags.StringVar(&f.rotate, "rotate", "", "go on in another file before one is larger than `SIZE`, such as 100MiB: FILE-0002, FILE-0003, …")
	flags.Uint64VarP(&f.count, "count", "c", 0, "end after `N` packets")
	flags.DurationVar(&f.duration, "duration", 0, "end after so long, such as 90s")
	flags.StringSliceVar(&f.devices, "device", nil, "only packets of this device: `ADDR|CIDR`, may be repeated; fragments, ARP, ICMPv6 and what can't be read always")
	flags.UintSliceVar(&f.ports, "vxlan-port", nil, "a UDP `PORT` that carries VXLAN beside 4789; may be repeated")
	flags.BoolVar(&f.watch, "watch", false, "show devices, flows and rates: on a terminal the whole screen, else a line every second")
	flags.BoolVar(&f.json, "json", false, "print a JSON object every second, and one at the end, each in a line")
	flags.DurationVar(&f.every, "every", time.Second, "how often --watch and --json tell")
	return cmd
}

// lean has garbage collected early where the user says nothing of it ($GOGC). Nearly all that a tap holds is the states of
// open flows, in which the collector has nothing to look at: to wait until garbage is as much as those costs memory and
// saves no time.
func lean() {
	const percent = 20
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(percent)
	}
}

func (a *app) tap(cmd *cobra.Command, args []string, f tapFlags) error {
	o, err := f.options(args)
	if err != nil {
		return err
	}
	show := a.tapShow(f, &o)
	lean()
	o.Ready = func(tap string, notes []string) {
		fmt.Fprintf(a.err, "capturing on %s\n", report.Safe(tapName(args, f)))
		if err := privilege.Renounce(); err != nil { // no more sockets will be opened
			fmt.Fprintf(a.err, "CAP_NET_RAW could not be given up, and stays in force: %v\n", err)
		}
		for _, n := range notes {
			fmt.Fprintf(a.err, "%s\n", report.Safe(n))
		}
		show.begin()
	}
	o.Ending = func(wait time.Duration) {
		fmt.Fprintf(a.err, "waiting for its packets, %s at most (Ctrl-C gives them up, and leaves with the carrier what it has)\n", wait)
	}
	o.Tell = show.tell
	o.Unheard = func() bool { return unheard(a.out) }
	r, err := harness.Tap(cmd.Context(), o)
	show.end()
	if err != nil {
		return err
	}
	if f.json {
		printJSON(a.out, endOf(r))
	}
	a.tapSummary(r, o)
	a.code = f.exit(r)
	return nil
}

// tapName says what is captured, as it was asked for.
func tapName(args []string, f tapFlags) string {
	if f.bench != "" {
		return args[0] + " of " + f.bench
	}
	return strings.Join(args, " ")
}

// exit is the exit code of a capture.
func (f tapFlags) exit(r *harness.TapResult) int {
	switch e := r.Recording; {
	case r.End == harness.TapBroke, len(r.Outages) > 0, e != nil && (len(e.Gaps) > 0 || e.Unended != "") && f.write != "-":
		return exitInconclusive
	case r.End == harness.TapInterrupted && (f.count > 0 || f.duration > 0):
		return exitInterrupted
	}
	return exitPass
}

func (f tapFlags) options(args []string) (harness.TapOptions, error) {
	o := harness.TapOptions{Bench: f.bench, Name: args[0], Words: args[1:], Write: f.write, Out: os.Stdout,
		Count: f.count, Duration: f.duration, Every: f.every, Live: f.watch}
	var errs []error
	if f.rotate != "" {
		size, err := parseBytes(f.rotate)
		errs = append(errs, err)
		o.Rotate = size
	}
	for _, c := range []struct {
		wrong bool
		text  string
	}{
		{f.rotate != "" && (f.write == "" || f.write == "-"), "--rotate: name the first file with --write"},
		{f.write == "-" && (f.watch || f.json), "--write -: standard output is the capture's; leave --watch and --json out, or name a file"},
		{f.write == "-" && isTerminal(o.Out), "--write -: standard output is a terminal, and packets are strangers' bytes: pipe it (… | wireshark -k -i -), or name a file"},
		{f.watch && f.json, "--watch and --json: one of them"},
		{f.every <= 0, "--every: write a length of time above zero"},
		{f.duration < 0, "--duration: write a length of time above zero"},
	} {
		if c.wrong {
			errs = append(errs, errors.New(c.text))
		}
	}
	read := readFlags{devices: f.devices, ports: f.ports}
	t, _, err := read.options()
	errs = append(errs, err)
	o.Devices, o.VXLANPorts = t.Devices, t.VXLANPorts
	if err := errors.Join(errs...); err != nil {
		return o, usage("%w\nsee `tollgate tap --help`", err)
	}
	return o, nil
}

// parseBytes reads a size: 100MiB, 2GB, 65536.
func parseBytes(text string) (int64, error) {
	number, factor := text, int64(1)
	for i, unit := range []string{"KiB", "MiB", "GiB", "TiB", "kB", "MB", "GB", "TB"} {
		if n, ok := strings.CutSuffix(text, unit); ok {
			number, factor = n, 1
			for range i%4 + 1 {
				factor *= map[bool]int64{true: 1024, false: 1000}[i < 4]
			}
		}
	}
	n, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
	if err != nil || n <= 0 || n > (1<<62)/factor || n*factor < leastPart {
		return 0, fmt.Errorf("--rotate %q: write a size of at least 4096 bytes, such as 100MiB or 2GB", text)
	}
	return n * factor, nil
}

// leastPart is the smallest size at which files are of any use.
const leastPart = 4096

// tapSummary tells what became of a capture.
func (a *app) tapSummary(r *harness.TapResult, o harness.TapOptions) {
	style := coloured(a.err)
	if r.Err != nil {
		fmt.Fprintf(a.err, "tollgate: %s\n", report.Safe(r.Err.Error()))
	}
	s, c := r.Stats, r.Capture
	fmt.Fprintf(a.err, "received %s · filtered %s · %s · truncated %s · duplicates %s\n", trace.Thousands(s.Received), trace.Thousands(s.Filtered),
		alarmed(style, s.Dropped > 0, "dropped "+trace.Thousands(s.Dropped)), trace.Thousands(s.Truncated), trace.Thousands(c.Duplicates))
	for _, out := range r.Outages {
		fmt.Fprintf(a.err, "%s\n", alarmed(style, true, report.Safe(outageText(out))))
	}
	if len(o.Devices) > 0 {
		fmt.Fprintf(a.err, "of the devices asked for %s, of others %s\n", counted(r.Taken, "packet"), trace.Thousands(r.Left))
	}
	if e := r.Recording; e != nil {
		a.tapRecorded(style, e, o.Write)
	}
	fmt.Fprintf(a.err, "%s, %s%s · capture %s", counted(c.Total.Devices, "device"), counted(flowsOf(c), "flow"), inferred(c), c.Completeness.State)
	before := ": "
	for _, reason := range c.Completeness.Reasons {
		fmt.Fprintf(a.err, "%s%s", before, report.Safe(reason))
		before = "\n    "
	}
	fmt.Fprintln(a.err)
}

// outageText tells of a span in which the tap did not capture.
func outageText(o bench.Outage) string {
	to := "the end"
	if !o.To.IsZero() {
		to = clockText(o.To)
	}
	return fmt.Sprintf("not captured: from %s to %s: %s", clockText(o.From), to, o.Cause)
}

func clockText(t time.Time) string { return t.Local().Format("15:04:05.000") }

func inferred(c *trace.Capture) string {
	if c.Inferred && c.Total.Devices > 0 {
		return " (devices are whoever opened the flows)"
	}
	return ""
}

func (a *app) tapRecorded(style report.Style, e *trace.RecordingEvidence, file string) {
	where := file
	switch {
	case file == "-":
		where = "standard output"
	case e.Parts > 1:
		where = fmt.Sprintf("%s to %s", file, trace.PartName(file, e.Parts))
	}
	fmt.Fprintf(a.err, "recorded %s in %s\n", counted(e.Frames, "packet"), report.Safe(where))
	for _, g := range e.Gaps {
		fmt.Fprintf(a.err, "%s\n", alarmed(style, true, report.Safe(fmt.Sprintf("not recorded: %s from %s to %s: %s", counted(g.Frames, "packet"),
			clockText(g.From), clockText(g.To), g.Cause))))
	}
	if e.Unended != "" && file != "-" {
		fmt.Fprintf(a.err, "%s\n", alarmed(style, true, report.Safe("the recording is not complete: "+e.Unended)))
	}
}

func flowsOf(c *trace.Capture) (n uint64) {
	for _, k := range c.Total.Flows {
		n += k
	}
	return n
}

func counted(n uint64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return trace.Thousands(n) + " " + what + "s"
}

// alarmed puts what nobody should overlook into bold red.
func alarmed(style report.Style, alarm bool, text string) string {
	if !alarm || !style.Color {
		return text
	}
	return "\x1b[1;31m" + text + "\x1b[0m"
}

// addressText is how a device's address is told.
func addressText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}
