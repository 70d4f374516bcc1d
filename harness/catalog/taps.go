package catalog

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/tollgate-iot/tollgate/harness/bench"
	"github.com/tollgate-iot/tollgate/harness/capture/pipe"
	"github.com/tollgate-iot/tollgate/harness/capture/socket"
	"github.com/tollgate-iot/tollgate/harness/scenario"
)

// tapDriver makes taps from the options in a bench file.
type tapDriver struct {
	check func(errs *scenario.Errors, p *bench.Part)
	// open makes the tap of a part that was checked, for a bench that has its clock and its carrier.
	open func(p *bench.Part, b *bench.Bench) (bench.Tap, error)
	// schema gives the options' JSON Schema.
	schema func(defs map[string]any) map[string]any
	// alone is the driver of a tap by itself, where that must say more than one of a bench does; nil where it must not.
	alone *tapDriver
}

// byItself gives the driver of a tap on a command line.
func (d tapDriver) byItself() tapDriver {
	if d.alone != nil {
		return *d.alone
	}
	return d
}

// tapOf is a driver whose options are read into a T.
func tapOf[T any](options *scenario.Object[T], open func(name string, o T, b *bench.Bench) (bench.Tap, error)) tapDriver {
	read := func(errs *scenario.Errors, p *bench.Part) T {
		var own scenario.Errors // of this tap: what is checked only where there is none must not depend on other taps
		defer func() { *errs = append(*errs, own...) }()
		return options.Read(&own, fmt.Sprintf("tap %q", p.Name), scenario.Value{Pos: p.Pos, Map: append([]scenario.Entry{}, p.Options...)})
	}
	return tapDriver{
		schema: options.Schema,
		check:  func(errs *scenario.Errors, p *bench.Part) { read(errs, p) },
		open: func(p *bench.Part, b *bench.Bench) (bench.Tap, error) {
			var errs scenario.Errors // none: the inventory was checked
			return open(p.Name, read(&errs, p), b)
		},
	}
}

func checkTap(errs *scenario.Errors, p *bench.Part) {
	driver, known := taps[p.Driver]
	switch {
	case p.Driver == "": // a mistake that has been told
	case !known:
		errs.Addf(p.DriverPos, "tap %q: no driver %q: %s", p.Name, p.Driver, scenario.Suggest(p.Driver, names(taps)))
	default:
		driver.check(errs, p)
	}
}

type pipeOptions struct {
	path    string
	command []string
	stdin   bool
}

func pipeObject() *scenario.Object[pipeOptions] {
	return &scenario.Object[pipeOptions]{Name: "a tap", Keys: []scenario.Key[pipeOptions]{
		scenario.Field("path", "A named pipe that a capture is written into, by one writer after the other; for a capture file there is the driver file.", scenario.Text("a path"), func(o *pipeOptions) *string { return &o.path }),
		scenario.Field("command", "A command that writes a capture to its standard output, word by word.", scenario.ListOf(1, scenario.Text("a word")), func(o *pipeOptions) *[]string { return &o.command }),
		scenario.Field("stdin", "true: the capture comes on tollgate's own standard input.", scenario.Truth(), func(o *pipeOptions) *bool { return &o.stdin }),
	}, Check: func(errs *scenario.Errors, o *pipeOptions, v scenario.Value, _ bool) {
		given := 0
		for _, yes := range []bool{o.path != "", len(o.command) > 0, o.stdin} {
			if yes {
				given++
			}
		}
		if given != 1 {
			errs.Addf(v.Pos, "a tap with driver pipe needs exactly one of path, command and stdin")
		}
	}}
}

func openPipe(name string, o pipeOptions, b *bench.Bench) (bench.Tap, error) {
	p := pipe.Options{Name: name, Path: o.path, Command: o.command}
	if b != nil {
		p.Clock = b.Clock
	}
	if o.stdin {
		p.Path = "-"
	}
	return pipe.New(p)
}

func vxlanObject() *scenario.Object[socket.Options] {
	vni := scenario.Form[uint32]{Schema: scenario.Count(0, 1<<24-1).Schema, Read: func(errs *scenario.Errors, name string, v scenario.Value) uint32 {
		return uint32(scenario.Count(0, 1<<24-1).Read(errs, name, v))
	}}
	listen := checked("a place to listen such as 10.0.0.2:4789", func(text string) (string, error) {
		_, err := socket.ParseListen(text)
		return text, err
	})
	return &scenario.Object[socket.Options]{Name: "a tap", Keys: append([]scenario.Key[socket.Options]{
		scenario.Field("listen", "Where the mirror sends to: ADDRESS:PORT, or ADDRESS for port 4789; 0.0.0.0 for every address of this host. 127.0.0.1 where not given.", listen, func(o *socket.Options) *string { return &o.Listen }),
		scenario.Field("vni", "The VXLAN network identifier that is wanted, or a list; all where not given.", scenario.OneOrMany(vni), func(o *socket.Options) *[]uint32 { return &o.IDs }),
	}, socketKeys()...)}
}

func greObject() *scenario.Object[socket.Options] {
	key := checked("a GRE key", func(text string) (uint32, error) {
		n, err := strconv.ParseUint(text, 0, 32)
		if err != nil {
			return 0, fmt.Errorf("%q is not a GRE key: write a number of 32 bits such as 7 or 0x1f", text)
		}
		return uint32(n), nil
	})
	listen := checked("an address such as 10.0.0.2", func(text string) (string, error) {
		_, err := netip.ParseAddr(text)
		if err != nil {
			return "", fmt.Errorf("%q is not an address of this host such as 10.0.0.2, or 0.0.0.0 for all of them; GRE has no ports", text)
		}
		return text, nil
	})
	return &scenario.Object[socket.Options]{Name: "a tap", Keys: append([]scenario.Key[socket.Options]{
		scenario.Field("listen", "The address that the mirror sends to; 0.0.0.0 for every address of this host. 127.0.0.1 where not given.", listen, func(o *socket.Options) *string { return &o.Listen }),
		scenario.Field("key", "The GRE key that is wanted, or a list; all, and packets without one, where not given.", scenario.OneOrMany(key), func(o *socket.Options) *[]uint32 { return &o.IDs }),
	}, socketKeys()...)}
}

// socketKeys are the options that the taps on sockets share.
func socketKeys() []scenario.Key[socket.Options] {
	return []scenario.Key[socket.Options]{
		scenario.Field("from", "Where the mirror sends from: an address or a network (10.0.0.0/8), or a list; from anywhere where not given.", scenario.OneOrMany(network()), func(o *socket.Options) *[]netip.Prefix { return &o.From }),
		scenario.Field("buffer", "The receive buffer to ask the system for, such as 64MiB; 32MiB where not given.", checked("a size such as 64MiB", parseSize), func(o *socket.Options) *int { return &o.Buffer }),
	}
}

func openVXLAN(name string, o socket.Options, _ *bench.Bench) (bench.Tap, error) {
	o.Name = name
	return socket.NewVXLAN(o)
}

func openGRE(name string, o socket.Options, _ *bench.Bench) (bench.Tap, error) {
	o.Name = name
	return socket.NewGRE(o)
}

// checked is a text that parse makes something of.
func checked[T any](what string, parse func(text string) (T, error)) scenario.Form[T] {
	text := scenario.Text(what)
	return scenario.Form[T]{Schema: text.Schema, Read: func(errs *scenario.Errors, name string, v scenario.Value) (out T) {
		given := text.Read(errs, name, v)
		if v.Scalar == nil { // a mistake that has been told
			return out
		}
		out, err := parse(given)
		if err != nil {
			errs.Addf(v.Pos, "%s: %s", name, err)
		}
		return out
	}}
}

// network is an address or a network.
func network() scenario.Form[netip.Prefix] {
	return checked("an address or a network such as 10.0.0.0/8", func(text string) (netip.Prefix, error) {
		if a, err := netip.ParseAddr(text); err == nil {
			return netip.PrefixFrom(a, a.BitLen()), nil
		}
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return p, fmt.Errorf("%q is not an address or a network such as 10.0.0.0/8", text)
		}
		return p.Masked(), nil
	})
}

// parseSize reads a number of bytes with its unit, from 4 KiB to 1 GiB.
func parseSize(text string) (int, error) {
	for unit, factor := range map[string]int{"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30} {
		number, ok := strings.CutSuffix(text, unit)
		if !ok {
			continue
		}
		if n, err := strconv.Atoi(strings.TrimSpace(number)); err == nil && n > 0 && n <= 1<<30/factor && n*factor >= 4<<10 {
			return n * factor, nil
		}
	}
	return 0, fmt.Errorf("%q is not a size from 4KiB to 1GiB, such as 512KiB or 64MiB", text)
}
