package lab_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/capture/lab"
)

// town is the servers, all on the switch.
type town struct {
	mute net.Listener // accepts, reads, never closes
	rude net.Listener // its clients reset
	held []net.Conn
	mu   sync.Mutex
}

const (
	httpPort, mqttPort, mutePort, rudePort = "8000", "1883", "9001", "9002"
	large                                  = 1 << 20
)

// settle starts the servers and waits until all of them accept.
func settle(t *testing.T, m *lab.Mirror) *town {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "small"), []byte("hello"), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "large"), make([]byte, large), 0o644))
	conf := filepath.Join(dir, "mosquitto.conf")
	require.NoError(t, os.WriteFile(conf, []byte("user root\npersistence false\nallow_anonymous true\nlistener "+mqttPort+" "+lab.Server.String()+"\n"), 0o644))
	background(t, m.Switch, "python3", "-m", "http.server", httpPort, "--bind", lab.Server.String(), "--directory", dir)
	background(t, m.Switch, "mosquitto", "-c", conf)
	v := &town{}
	require.NoError(t, m.Switch.Do(func() (err error) {
		if v.mute, err = net.Listen("tcp4", net.JoinHostPort(lab.Server.String(), mutePort)); err == nil {
			v.rude, err = net.Listen("tcp4", net.JoinHostPort(lab.Server.String(), rudePort))
		}
		return err
	}))
	go v.keep(v.mute)
	go v.keep(v.rude)
	t.Cleanup(v.close)
	for _, port := range []string{httpPort, mqttPort} {
		require.Eventually(t, func() bool {
			return m.Switch.Do(func() error {
				conn, err := net.Dial("tcp4", net.JoinHostPort(lab.Server.String(), port))
				if err == nil {
					err = conn.Close()
				}
				return err
			}) == nil
		}, within, 20*time.Millisecond, "the server on port %s", port)
	}
	return v
}

func background(t *testing.T, in *lab.Namespace, command string, args ...string) {
	t.Helper()
	cmd := in.Command(command, args...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // gone already: so it said why
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s said: %s", command, said.String())
		}
	})
}

// keep accepts and reads whatever comes, and closes nothing.
func (v *town) keep(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		v.mu.Lock()
		v.held = append(v.held, conn)
		v.mu.Unlock()
		go func() { _, _ = io.Copy(io.Discard, conn) }()
	}
}

func (v *town) close() {
	_ = v.mute.Close()
	_ = v.rude.Close()
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, c := range v.held {
		_ = c.Close()
	}
}

// talk has the device talk to all of them.
func (v *town) talk(t *testing.T, m *lab.Mirror) {
	base := "http://" + net.JoinHostPort(lab.Server.String(), httpPort)
	for path, size := range map[string]int{"/small": 5, "/large": large} {
		out, err := m.Device.Command("curl", "-sS", "-o", os.DevNull, "-w", "%{http_code} %{size_download}", base+path).CombinedOutput()
		require.NoError(t, err, string(out))
		require.Equal(t, fmt.Sprintf("%d %d", http.StatusOK, size), string(out))
	}
	out, err := m.Device.Command("mosquitto_pub", "-h", lab.Server.String(), "-p", mqttPort, "-t", "tollgate", "-m", "hello", "-q", "1").CombinedOutput()
	require.NoError(t, err, string(out))
	require.NoError(t, m.Device.Do(func() error { return rude() }))
	require.NoError(t, m.Device.Do(func() error { return unanswered() }))
}

// quiet returns when no end waits for an answer to its FIN, not even for one that is delayed. What remains are the FIN
// that is never answered by another, and the ends that only wait for the time to pass.
func (v *town) quiet(t *testing.T, m *lab.Mirror) {
	waiting := regexp.MustCompile(`(?m)^ *\d+: \S+ \S+ (04|09|0B) `) // FIN_WAIT1, LAST_ACK, CLOSING of include/net/tcp_states.h
	for _, in := range []*lab.Namespace{m.Device, m.Switch} {
		require.Eventually(t, func() bool {
			var table []byte
			err := in.Do(func() (err error) {
				table, err = os.ReadFile("/proc/thread-self/net/tcp")
				return err
			})
			return err == nil && !waiting.Match(table)
		}, within, 5*time.Millisecond)
	}
}

func dial(port string) (*net.TCPConn, error) {
	conn, err := net.Dial("tcp4", net.JoinHostPort(lab.Server.String(), port))
	if err != nil {
		return nil, err
	}
	_, err = conn.Write([]byte("a few bytes"))
	return conn.(*net.TCPConn), err
}

// rude is a client that resets.
func rude() error {
	conn, err := dial(rudePort)
	if err != nil {
		return err
	}
	if err := conn.SetLinger(0); err != nil {
		return err
	}
	return conn.Close()
}

// unanswered is a client that closes, and whose server never does.
func unanswered() error {
	conn, err := dial(mutePort)
	if err != nil {
		return err
	}
	return conn.Close()
}
