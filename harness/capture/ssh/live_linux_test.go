package ssh

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/filter"
	"github.com/tollgate-iot/tollgate/harness/pcap"
)

// server is a real sshd on a loopback port of its own, with keys that were made for it.
type server struct {
	dir, sshd string
	port      int
	cmd       *exec.Cmd
}

// newServer starts sshd. It needs root, who alone may capture, and openssh-server.
func newServer(t *testing.T) *server {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: tcpdump must be allowed to capture on lo")
	}
	s := &server{dir: t.TempDir()}
	for _, name := range []string{"ssh", "ssh-keygen", "tcpdump"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skip("needs openssh-client and tcpdump: ", err)
		}
	}
	for _, path := range []string{"/usr/sbin/sshd", "/usr/local/sbin/sshd"} {
		if _, err := os.Stat(path); err == nil {
			s.sshd = path
		}
	}
	if s.sshd == "" {
		t.Skip("needs openssh-server: there is no sshd in /usr/sbin")
	}
	require.NoError(t, os.MkdirAll("/run/sshd", 0o755)) // where sshd of Debian locks itself up
	for _, key := range []string{"host", "user"} {
		out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", s.path(key)).CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s.port = l.Addr().(*net.TCPAddr).Port
	require.NoError(t, l.Close())
	s.write(t, "sshd_config", fmt.Sprintf("ListenAddress 127.0.0.1:%d\nHostKey %s\nAuthorizedKeysFile %s\nStrictModes no\nUsePAM no\nUseDNS no\nPermitRootLogin yes\nPasswordAuthentication no\nPidFile none\n",
		s.port, s.path("host"), s.path("user.pub")))
	host, err := os.ReadFile(s.path("host.pub"))
	require.NoError(t, err)
	s.write(t, "known_hosts", fmt.Sprintf("[127.0.0.1]:%d %s", s.port, host))
	me, err := user.Current()
	require.NoError(t, err)
	s.write(t, "config", fmt.Sprintf("Host mirror-host\n HostName 127.0.0.1\n Port %d\n User %s\n IdentityFile %s\n IdentitiesOnly yes\n UserKnownHostsFile %s\n StrictHostKeyChecking yes\n",
		s.port, me.Username, s.path("user"), s.path("known_hosts")))
	s.start(t)
	t.Cleanup(func() { s.stop() })
	return s
}

func (s *server) path(name string) string { return filepath.Join(s.dir, name) }

func (s *server) write(t *testing.T, name, text string) {
	require.NoError(t, os.WriteFile(s.path(name), []byte(text), 0o600))
}

// start starts sshd, which then answers.
func (s *server) start(t *testing.T) {
	t.Helper()
	var said bytes.Buffer
	s.cmd = exec.Command(s.sshd, "-D", "-e", "-f", s.path("sshd_config"))
	s.cmd.Stderr = &said
	require.NoError(t, s.cmd.Start())
	require.Eventually(t, func() bool {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", s.port))
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	}, within, 10*time.Millisecond, "sshd does not answer")
}

// stop ends sshd; connections that it has go on.
func (s *server) stop() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

// children are the processes below one, itself too.
func children(t *testing.T, of int) []int {
	out, err := exec.Command("ps", "-A", "-o", "pid=", "-o", "ppid=").Output()
	require.NoError(t, err)
	below := map[int][]int{}
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		pid, _ := strconv.Atoi(f[0])
		parent, _ := strconv.Atoi(f[1])
		below[parent] = append(below[parent], pid)
	}
	all := []int{of}
	for i := 0; i < len(all); i++ {
		all = append(all, below[all[i]]...)
	}
	return all[1:]
}

// heard collects the payloads that a tap gives.
type heard struct {
	mu   sync.Mutex
	data bytes.Buffer
}

func (h *heard) take(rec pcap.Record) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.data.Write(rec.Data)
}

func (h *heard) has(text string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return bytes.Contains(h.data.Bytes(), []byte(text))
}

// datagrams sends text from and to loopback until it is heard: a packet says nothing of when tcpdump begins to hear.
func (h *heard) datagrams(t *testing.T, text string) {
	t.Helper()
	to, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, to.Close()) }()
	from, err := net.Dial("udp", to.LocalAddr().String())
	require.NoError(t, err)
	defer func() { require.NoError(t, from.Close()) }()
	require.Eventually(t, func() bool {
		_, err := from.Write([]byte(text))
		return err == nil && h.has(text)
	}, within, 20*time.Millisecond, "%s is not captured", text)
}

func (s *server) tap(t *testing.T, o Options) *Tap {
	t.Helper()
	o.Name, o.Program = "live", []string{"ssh", "-F", s.path("config")}
	if o.Host == "" {
		o.Host = "mirror-host"
	}
	tap, err := New(o)
	require.NoError(t, err)
	return tap
}

// TestLive captures on lo by a real ssh, sshd and tcpdump: through a connection that dies in the middle, and leaves nothing behind.
func TestLive(t *testing.T) {
	s := newServer(t)
	tap := s.tap(t, Options{Interface: "lo"})
	var h heard
	require.NoError(t, tap.Start(limited(t), h.take))
	h.datagrams(t, "before the connection dies")
	require.NoError(t, tap.Flush(limited(t)))
	for _, pid := range children(t, s.cmd.Process.Pid) { // sshd of the connection, with tcpdump below it
		p, err := os.FindProcess(pid)
		require.NoError(t, err)
		_ = p.Kill() // some end with others
	}
	require.Eventually(t, func() bool { all := tap.Outages(); return len(all) == 1 && !all[0].To.IsZero() }, within, 10*time.Millisecond)
	require.Contains(t, tap.Outages()[0].Cause, "capture on mirror-host, interface lo: ")
	require.NoError(t, tap.Err())
	h.datagrams(t, "after it is back")
	below := children(t, s.cmd.Process.Pid)
	require.NotEmpty(t, below)
	require.NoError(t, tap.Close())
	for _, pid := range below {
		require.Eventually(t, func() bool { return gone(pid) }, within, 10*time.Millisecond, "process %d is left behind", pid)
	}
	require.Empty(t, tap.Doubt(), "tcpdump told what it dropped")
	require.False(t, h.has("SSH-2.0"), "the connection's own packets are left out")
	require.Less(t, tap.Stats().Received, uint64(10_000), "it does not capture itself")
}

// TestLiveTrouble: what real programs say is told apart.
func TestLiveTrouble(t *testing.T) {
	s := newServer(t)
	gre, err := filter.New(filter.Options{Words: []string{filter.GRE, filter.VXLAN}})
	require.NoError(t, err)
	tap := s.tap(t, Options{Interface: "lo", Filter: gre})
	require.NoError(t, tap.Start(limited(t), func(pcap.Record) {}), "tcpdump there understands the filter")
	require.NoError(t, tap.Close())

	start := func(o Options) error { return s.tap(t, o).Start(limited(t), func(pcap.Record) {}) }
	requireKind(t, NoInterface, start(Options{Interface: "nosuch0"}))
	if _, err := exec.LookPath("sudo"); err != nil {
		requireKind(t, NoSudo, start(Options{Interface: "lo", Sudo: true}))
	}
	s.write(t, "known_hosts", "")
	requireKind(t, HostKey, start(Options{Interface: "lo"}))
	other, err := os.ReadFile(s.path("user.pub"))
	require.NoError(t, err)
	s.write(t, "known_hosts", fmt.Sprintf("[127.0.0.1]:%d %s", s.port, other))
	requireKind(t, HostKey, start(Options{Interface: "lo"}))
	host, err := os.ReadFile(s.path("host.pub"))
	require.NoError(t, err)
	s.write(t, "known_hosts", fmt.Sprintf("[127.0.0.1]:%d %s", s.port, host))
	s.write(t, "user.pub", "")
	requireKind(t, Login, start(Options{Interface: "lo"}))
	s.stop()
	requireKind(t, Refused, start(Options{Interface: "lo"}))
	s.start(t)
}
