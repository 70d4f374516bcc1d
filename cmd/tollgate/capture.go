package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"github.com/tollgate-iot/tollgate/harness"
	"github.com/tollgate-iot/tollgate/harness/trace"
)

// readFlags say how a capture is read.
type readFlags struct {
	devices    []string
	account    string
	ports      []uint
	sameMirror bool
}

func (f *readFlags) register(flags *pflag.FlagSet) {
	flags.StringSliceVar(&f.devices, "device", nil, "who is a device: `ADDR|CIDR`, may be repeated (default: whoever opened the flows)")
	flags.StringVar(&f.account, "account", "", "how bytes are counted: wire (the default), soracom, or `NAME=wire+36up+4down`, your own by bytes added to each packet")
	flags.UintSliceVar(&f.ports, "vxlan-port", nil, "a UDP `PORT` that carries VXLAN beside 4789; may be repeated")
	flags.Lookup("vxlan-port").DefValue = "" // none is no list to show
	flags.BoolVar(&f.sameMirror, "same-mirror", false, "the same conversation in several tunnels is one, mirrored several times")
}

// refuse refuses flags that have no meaning where a run is read.
func (f *readFlags) refuse() error {
	var given []string
	for _, flag := range []struct {
		name string
		set  bool
	}{{"device", len(f.devices) > 0}, {"account", f.account != ""}, {"vxlan-port", len(f.ports) > 0}, {"same-mirror", f.sameMirror}} {
		if !flag.set {
			continue
		}
		name := "--" + flag.name
		if os.Getenv(envName(flag.name)) != "" {
			name += " (" + envName(flag.name) + " in the environment)"
		}
		given = append(given, name)
	}
	if len(given) == 0 {
		return nil
	}
	return usage("%s: only for captures: a run is read as it was recorded; leave it out", strings.Join(given, ", "))
}

func (f *readFlags) options() (trace.Options, trace.Account, error) {
	o := trace.Options{SameMirror: f.sameMirror}
	account, err := trace.ParseAccount(cmp.Or(f.account, trace.Wire.Name))
	if err != nil {
		return o, account, usage("--account: %w", err)
	}
	for _, d := range f.devices {
		prefix, err := parseDevice(d)
		if err != nil {
			return o, account, usage("--device %q: write an address or a network, 10.213.7.42 or 10.213.0.0/16", d)
		}
		o.Devices = append(o.Devices, prefix)
	}
	for _, p := range f.ports {
		if p == 0 || p > 0xffff {
			return o, account, usage("--vxlan-port %d: a port is 1 to 65535", p)
		}
		o.VXLANPorts = append(o.VXLANPorts, uint16(p))
	}
	return o, account, nil
}

func parseDevice(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	return p.Masked(), err
}

// readTrace reads a capture with its flows and their packets, for claims.
func (a *app) readTrace(file string, f readFlags) (*trace.Trace, error) {
	o, account, err := f.options()
	if err != nil {
		return nil, err
	}
	o.KeepFlows, o.KeepPackets = true, true
	c, err := a.readCapture(file, o)
	if err != nil {
		return nil, err
	}
	t := &trace.Trace{Scenario: file, File: file, Account: account, Capture: c}
	for _, d := range o.Devices {
		if !d.IsSingleIP() {
			return t, nil
		}
		t.DeviceAddrs = append(t.DeviceAddrs, d.Addr())
	}
	return t, nil
}

// readCapture reads a capture file, or standard input for "-", and shows how far it is where somebody is looking.
func (a *app) readCapture(file string, o trace.Options) (*trace.Capture, error) {
	if c, err := readParts(file, o); c != nil || err != nil {
		return c, err
	}
	in, size := a.in, int64(0)
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, usage("%w", openError(err))
		}
		defer f.Close()
		if info, err := f.Stat(); err == nil {
			size = info.Size()
		}
		in = f
	} else {
		file = "standard input"
	}
	in, done := a.progress(in, size)
	defer done()
	c, err := trace.Read(in, file, o)
	if err != nil {
		return nil, readTrouble(err)
	}
	return c, nil
}

// readParts reads a capture that goes on in other files; nil where it does not.
func readParts(file string, o trace.Options) (*trace.Capture, error) {
	if info, err := os.Stat(file); err != nil || !info.Mode().IsRegular() {
		return nil, nil
	}
	files, err := trace.FilesOf(file)
	if err != nil {
		return nil, usage("%w", err)
	}
	if len(files) < 2 {
		return nil, nil
	}
	c, err := trace.ReadFiles(files, file, o)
	if err != nil {
		return nil, readTrouble(err)
	}
	return c, nil
}

func openError(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return fmt.Errorf("open %s: %w", path.Path, path.Err)
	}
	return err
}

// readTrouble makes an error of reading a usage error: what was named is not what it was taken for.
func readTrouble(err error) error {
	var wrong *harness.UsageError
	if errors.As(err, &wrong) {
		return err
	}
	return &harness.UsageError{Err: err}
}
