// Package ssh captures on another host with the tools that it has: the user's own ssh, with its configuration, agent and
// jump hosts, runs tcpdump there and brings back what it writes. Nothing is installed there, and nothing is left running.
//
// The tap is a pipe tap on ssh's standard output. It captures once tcpdump has said that it is listening. A connection
// that dies is noticed by ssh's own keep-alive messages; the tap then connects again, and tells the time between as an outage.
//
// Standard input is the remote tcpdump's life line: a few lines of shell there end it when that ends, whether the tap was
// closed, this program was killed, or the connection was lost for good. tcpdump then tells what its kernel dropped.
// With sudo that may run tcpdump alone it can't be ended so; it ends with the next packet that it finds nobody to give to,
// and Close says so.
package ssh

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/tollgate-iot/tollgate/harness/bench"
	"github.com/tollgate-iot/tollgate/harness/capture/pipe"
	"github.com/tollgate-iot/tollgate/harness/filter"
	"github.com/tollgate-iot/tollgate/harness/pcap"
)

// Options of a tap.
type Options struct {
	Name string
	// Host is whatever ssh takes for one: a name of the user's configuration, user@host, an address.
	Host string
	// Interface is the one to capture on there; eth0 where empty.
	Interface string
	// Filter says what to capture; nil: everything. The connection that the capture comes by is always left out.
	Filter *filter.Filter
	// Sudo has tcpdump run by sudo, which must not ask for a password.
	Sudo bool
	// Program is the ssh to run with its first arguments; ssh of the PATH where empty.
	Program []string
	// Wait is how long, on this machine's clock, Start waits until tcpdump listens; 0 means a minute.
	Wait time.Duration
	// Clock is the bench's, on which outages are told; this machine's where nil.
	Clock bench.Clock
}

// Tap captures on another host. It implements bench.Tap, bench.Restarting, bench.Doubtful and bench.Ported.
type Tap struct {
	pipe  *pipe.Tap
	where place
	ports []uint16 // of VXLAN, besides its own

	mu   sync.Mutex
	said string // by the last command that ended
}

// place is where a tap captures, for errors.
type place struct {
	host, iface, expression string
	sudo                    bool
}

func (p place) String() string { return fmt.Sprintf("capture on %s, interface %s", p.host, p.iface) }

// How often ssh asks a silent host whether it is there, and how often in vain. A connection has been dead for no longer than
// unheard when ssh gives it up: an interval of silence, the questions, and the second that tcpdump may hold packets for.
const (
	aliveEvery = 5 * time.Second
	aliveTries = 3
	unheard    = (aliveTries+1)*aliveEvery + time.Second
)

// New makes a tap. It connects to nothing.
func New(o Options) (*Tap, error) {
	o.Interface = cmp.Or(o.Interface, "eth0")
	t := &Tap{where: place{o.Host, o.Interface, "", o.Sudo}}
	if o.Filter != nil {
		t.where.expression, t.ports = o.Filter.Expression(), o.Filter.VXLANPorts()
	}
	if err := t.where.check(); err != nil {
		return nil, fmt.Errorf("make tap %s: %w", cmp.Or(o.Name, "ssh"), err)
	}
	var err error
	t.pipe, err = pipe.New(pipe.Options{
		Name: cmp.Or(o.Name, o.Host), Command: command(o.Program, t.where), HoldInput: true, Listening: "listening on ", Again: true,
		Unheard: unheard, Explain: t.explain, Wait: o.Wait, Clock: o.Clock,
	})
	return t, err
}

// check refuses what ssh or tcpdump would take for an option, or could not be given whole.
func (p place) check() error {
	for what, text := range map[string]string{"host": p.host, "interface": p.iface, "filter": p.expression} {
		if strings.HasPrefix(text, "-") || strings.ContainsAny(text, "\x00\r\n") {
			return fmt.Errorf("%s %q: it must not begin with a dash or hold line ends", what, text)
		}
	}
	if p.host == "" {
		return errors.New("no host was given")
	}
	return nil
}

// command is ssh with what it is to do. The user's configuration stands, but for what would spoil a capture: a terminal,
// forwardings, a command of its own, becoming the master of other connections.
func command(program []string, p place) []string {
	out := program
	if len(out) == 0 {
		out = []string{"ssh"}
	}
	out = append(out[:len(out):len(out)], "-T")
	for _, option := range []string{
		"BatchMode=yes", "ConnectTimeout=15", fmt.Sprintf("ServerAliveInterval=%d", aliveEvery/time.Second), fmt.Sprintf("ServerAliveCountMax=%d", aliveTries),
		"LogLevel=INFO", "EscapeChar=none", "RemoteCommand=none", "ControlMaster=no", "ClearAllForwardings=yes", "ForwardX11=no", "PermitLocalCommand=no",
	} {
		out = append(out, "-o", option)
	}
	sudo := ""
	if p.sudo {
		sudo = "sudo -n"
	}
	return append(out, "--", p.host, strings.Join([]string{"sh -c", quote(script), "tollgate", quote(p.iface), quote(p.expression), quote(sudo)}, " "))
}

// quote makes one word of a text, for a shell of the Bourne family, and for fish and csh.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// script runs on the host: $1 is the interface, $2 the filter, $3 what runs tcpdump for us. It has no line ends and no
// single quotes, so that any login shell can be given it.
//
// A background job of such a shell ignores SIGINT, hence SIGTERM. sudo does not pass on a signal of its own process group, and
// a user may not signal it: the tcpdump at the end of its line of children is ended by sudo too. Where that is not allowed, the
// shell leaves, and so the connection: tcpdump ends with the next packet that it can't write.
const script = `export LC_ALL=C PATH="$PATH:/usr/sbin:/sbin:/usr/local/sbin"; i=$1; e=$2; s=$3; ` +
	`set -- $SSH_CONNECTION; [ $# = 4 ] && e="${e:+($e) and }not (tcp and host ${1%%[%]*} and port $2 and host ${3%%[%]*} and port $4)"; ` +
	`command -v tcpdump >/dev/null 2>&1 || { echo "tollgate: tcpdump: not found" >&2; exit 127; }; ` +
	`trap "exit 143" TERM; exec 3<&0; ` +
	`$s tcpdump -s 0 -U -n -w - -i "$i" ${e:+"$e"} </dev/null 3<&- & t=$!; ` +
	`{ read x; p=$t; [ -n "$s" ] && p=$(ps -A -o pid= -o ppid= | awk "{c[\$2]=\$1} END{p=$t; while(p in c)p=c[p]; print p}"); ` +
	`$s kill $p 2>/dev/null || { echo "` + leftWords + `$p" >&2; kill $$; }; } <&3 >/dev/null 3<&- & c=$!; ` +
	`exec 3<&-; wait $t; r=$?; kill $c 2>/dev/null; exit $r`

// leftWords are what the script says where it can't end tcpdump, before its number.
const leftWords = "tollgate: tcpdump is left running: "

var leftLine = regexp.MustCompile(leftWords + `(\d+)`)

// Name implements bench.Tap.
func (t *Tap) Name() string { return t.pipe.Name() }

// Start implements bench.Tap: it returns when tcpdump listens. An error of the host's or the connection's is an *Error.
func (t *Tap) Start(ctx context.Context, sink func(pcap.Record)) error {
	err := t.pipe.Start(ctx, sink)
	if errors.Is(err, exec.ErrNotFound) {
		return fmt.Errorf("start tap %s: %w", t.Name(), &Error{Kind: NoSSH, op: t.where.String(), said: "not in the PATH of this machine", hint: "install it: apt-get install openssh-client"})
	}
	return err
}

// Flush implements bench.Tap: of what has come to this machine. What tcpdump there and the network still hold it can't know.
func (t *Tap) Flush(ctx context.Context) error { return t.pipe.Flush(ctx) }

// Stats implements bench.Tap. What the host's kernel dropped is known once tcpdump has ended.
func (t *Tap) Stats() bench.TapStats { return t.pipe.Stats() }

// Err implements bench.Tap.
func (t *Tap) Err() error { return t.pipe.Err() }

// Outages implements bench.Restarting.
func (t *Tap) Outages() []bench.Outage { return t.pipe.Outages() }

// VXLANPorts implements bench.Ported.
func (t *Tap) VXLANPorts() []uint16 { return t.ports }

// Doubt implements bench.Doubtful: a tcpdump that could not tell what its kernel dropped may have lost something.
func (t *Tap) Doubt() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.said == "" || strings.Contains(t.said, "dropped by kernel") {
		return ""
	}
	return fmt.Sprintf("tcpdump on %s ended without telling what it had dropped", t.where.host)
}

// Close implements bench.Tap: tcpdump is ended, then the connection.
func (t *Tap) Close() error {
	err := t.pipe.Close()
	t.mu.Lock()
	defer t.mu.Unlock()
	if m := leftLine.FindStringSubmatch(t.said); m != nil {
		return errors.Join(err, fmt.Errorf("close tap %s: tcpdump (process %s on %s) is left running until its next packet: sudo there allows tcpdump, not kill; allow both, or give tcpdump the capability and leave sudo out: %s",
			t.Name(), m[1], t.where.host, setcap))
	}
	return err
}
