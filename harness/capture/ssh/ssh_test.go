//go:build unix

package ssh

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/bench/benchtest"
	"github.com/tollgate-iot/tollgate/harness/filter"
	"github.com/tollgate-iot/tollgate/harness/pcap"
)

// far is the test's end of the socket.
type far struct {
	net.Conn
	owed int // bytes sent that tcpdump has not said it has written
}

func (f *far) push(t *testing.T, b []byte) {
	t.Helper()
	_, err := f.Write(b)
	require.NoError(t, err)
	f.owed += len(b)
	require.NoError(t, f.SetDeadline(time.Now().Add(within)))
	_, err = io.ReadFull(f, make([]byte, f.owed))
	require.NoError(t, err)
	f.owed = 0
}

// host is the far end of a tap: this machine's shell, with the test program as its tcpdump.
type host struct {
	listener net.Listener
	bin, arg string
	conns    chan *far
}

func newHost(t *testing.T) *host {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	h := &host{listener: l, bin: t.TempDir(), arg: filepath.Join(t.TempDir(), "args"), conns: make(chan *far, 1)}
	h.install(t, "tcpdump", "exec "+os.Args[0]+` "$@"`)
	t.Setenv("PATH", h.bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	t.Setenv(asSSH, "run")
	t.Setenv(asTcpdump, l.Addr().String())
	t.Setenv(asArgs, h.arg)
	t.Setenv("GORACE", "atexit_sleep_ms=0") // the race detector has programs wait a second before they end
	return h
}

// install puts a program of a few lines of shell before the others.
func (h *host) install(t *testing.T, name, text string) {
	require.NoError(t, os.WriteFile(filepath.Join(h.bin, name), []byte("#!/bin/sh\n"+text+"\n"), 0o700))
}

// accept waits for tcpdump to come up, and sends a capture's header.
func (h *host) accept(t *testing.T) {
	conn, err := h.listener.Accept()
	if err != nil {
		t.Error(err)
		return
	}
	t.Cleanup(func() { _ = conn.Close() })
	f := &far{Conn: conn}
	if _, err := f.Write(header()); err != nil {
		t.Error(err)
	}
	f.owed = len(header())
	h.conns <- f
}

// args gives tcpdump's process number and its arguments.
func (h *host) args(t *testing.T) (pid int, args []string) {
	text, err := os.ReadFile(h.arg)
	require.NoError(t, err)
	parts := strings.Split(string(text), "\x00")
	pid, err = strconv.Atoi(parts[0])
	require.NoError(t, err)
	return pid, parts[1:]
}

func (h *host) tap(t *testing.T, o Options) *Tap {
	t.Helper()
	o.Program = []string{os.Args[0]}
	if o.Host == "" {
		o.Host = "mirror-host"
	}
	tap, err := New(o)
	require.NoError(t, err)
	return tap
}

// started gives a tap that captures.
func (h *host) started(t *testing.T, o Options) *Tap {
	t.Helper()
	tap := h.tap(t, o)
	go h.accept(t)
	require.NoError(t, tap.Start(limited(t), func(pcap.Record) {}))
	<-h.conns
	return tap
}

func header() []byte {
	h := binary.LittleEndian.AppendUint32(nil, 0xa1b2c3d4)
	h = binary.LittleEndian.AppendUint16(h, 2)
	h = binary.LittleEndian.AppendUint16(h, 4)
	h = append(h, make([]byte, 8)...)
	h = binary.LittleEndian.AppendUint32(h, 262144)
	return binary.LittleEndian.AppendUint32(h, 1)
}

func textRecord(text string) []byte {
	r := make([]byte, 8) // time
	r = binary.LittleEndian.AppendUint32(r, uint32(len(text)+5))
	r = binary.LittleEndian.AppendUint32(r, uint32(len(text)+5))
	return append(append(r, "text "...), text...)
}

func textOf(data []byte) string {
	text, _ := bytes.CutPrefix(data, []byte("text "))
	return string(text)
}

func TestPromises(t *testing.T) {
	benchtest.Tap(t, func(t *testing.T) benchtest.TapFixture {
		h := newHost(t)
		return benchtest.TapFixture{
			Tap: h.tap(t, Options{Name: "junction"}), Text: textOf,
			Started: func() { h.accept(t) },
			Send: func(t *testing.T, texts ...string) {
				f := <-h.conns
				for _, text := range texts {
					f.push(t, textRecord(text))
				}
				h.conns <- f
			},
			Break: func(t *testing.T) { require.NoError(t, (<-h.conns).Close()) },
			Mend:  func(t *testing.T) { h.accept(t) },
		}
	})
}

// TestWhatRunsThere: tcpdump is given what was asked for, word by word, whatever characters are in it, and never sees the
// connection that the capture comes by.
func TestWhatRunsThere(t *testing.T) {
	own := "not (tcp and host 192.0.2.7 and port 50001 and host 198.51.100.9 and port 22)"
	gre, err := filter.New(filter.Options{Words: []string{filter.GRE}})
	require.NoError(t, err)
	for _, c := range []struct {
		filter *filter.Filter
		want   string
	}{
		{nil, own},
		{gre, "(" + gre.Expression() + ") and " + own},
	} {
		h := newHost(t)
		tap := h.started(t, Options{Filter: c.filter, Interface: "`br` $x \"it's\" \\ !0"})
		pid, args := h.args(t)
		require.Equal(t, []string{"-s", "0", "-U", "-n", "-w", "-", "-i", "`br` $x \"it's\" \\ !0", c.want}, args)
		require.NoError(t, tap.Close())
		require.Eventually(t, func() bool { return gone(pid) }, within, time.Millisecond, "tcpdump is left behind")
		require.NoError(t, tap.Err())
		require.EqualValues(t, 3, tap.Stats().Dropped, "told at its end")
		require.Empty(t, tap.Doubt())
	}
}

// TestLifeLine: tcpdump ends when ssh is killed, as by a machine that goes down.
func TestLifeLine(t *testing.T) {
	h := newHost(t)
	in, life, err := os.Pipe()
	require.NoError(t, err)
	line := command([]string{"ssh"}, place{host: "h", iface: "eth0"})
	cmd := exec.Command("sh", "-c", line[len(line)-1])
	cmd.Env = append(os.Environ(), "TOLLGATE_SSH_TEST_IS=tcpdump")
	cmd.Stdin = in
	require.NoError(t, cmd.Start())
	require.NoError(t, in.Close())
	h.accept(t)
	<-h.conns
	pid, args := h.args(t)
	require.Equal(t, "eth0", args[len(args)-1], "without a connection there is none to leave out")
	require.NoError(t, life.Close())
	require.NoError(t, cmd.Wait())
	require.Eventually(t, func() bool { return gone(pid) }, within, time.Millisecond, "tcpdump is left behind")
}

// TestSudo: tcpdump is ended by sudo too, for a user can't; where sudo does not allow that, Close says what is left.
func TestSudo(t *testing.T) {
	h := newHost(t)
	h.install(t, "sudo", `[ "$1" = -n ] || exit 1; shift; [ "$1" = kill ] && exec "$@"; "$@"`) // a line of children, as the true one's
	tap := h.started(t, Options{Sudo: true})
	pid, _ := h.args(t)
	require.NoError(t, tap.Close())
	require.Eventually(t, func() bool { return gone(pid) }, within, time.Millisecond, "tcpdump is left behind")
	require.Empty(t, tap.Doubt())

	h.install(t, "sudo", `shift; [ "$1" = kill ] && exit 1; exec "$@"`)
	tap = h.started(t, Options{Sudo: true})
	pid, _ = h.args(t)
	require.ErrorContains(t, tap.Close(), fmt.Sprintf("tcpdump (process %d on mirror-host) is left running until its next packet", pid))
	require.Contains(t, tap.Doubt(), "tcpdump on mirror-host ended without telling what it had dropped")
	require.False(t, gone(pid))
	require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
}

func TestNoTcpdumpThere(t *testing.T) {
	h := newHost(t)
	for _, name := range []string{"sh", "ps", "awk"} {
		path, err := exec.LookPath(name)
		require.NoError(t, err)
		require.NoError(t, os.Symlink(path, filepath.Join(h.bin, name)))
	}
	require.NoError(t, os.Remove(filepath.Join(h.bin, "tcpdump")))
	if _, err := os.Stat("/usr/sbin/tcpdump"); err == nil {
		t.Skip("tcpdump is where the script looks for it, whatever the PATH")
	}
	t.Setenv("PATH", h.bin)
	tap := h.tap(t, Options{})
	err := tap.Start(limited(t), func(pcap.Record) {})
	requireKind(t, NoTcpdump, err)
	require.ErrorContains(t, err, "start tap mirror-host: capture on mirror-host, interface eth0: no tcpdump: tollgate: tcpdump: not found (install it there: apt-get install tcpdump")
}

// gone says whether a process has ended; one that nobody has waited for yet has.
func gone(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return true
	}
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && bytes.Contains(stat, []byte(") Z "))
}
