package ssh

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// The test program plays ssh and tcpdump: what it is to do is in its environment.
const (
	asSSH     = "TOLLGATE_SSH_TEST_SSH"     // "fail STATUS TEXT": ends so; "run": has the host's shell run the command, on this machine
	asTcpdump = "TOLLGATE_SSH_TEST_TCPDUMP" // an address: copies what it is sent from there to its standard output
	asArgs    = "TOLLGATE_SSH_TEST_ARGS"    // a file that tcpdump writes its process number and its arguments into
)

func TestMain(m *testing.M) {
	switch {
	case os.Getenv("TOLLGATE_SSH_TEST_IS") == "tcpdump":
		os.Exit(tcpdump())
	case os.Getenv(asSSH) != "":
		os.Exit(fakeSSH())
	}
	goleak.VerifyTestMain(m)
}

const within = 20 * time.Second

func limited(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	t.Cleanup(cancel)
	return ctx
}

func fakeSSH() int {
	how := strings.SplitN(os.Getenv(asSSH), " ", 3)
	if how[0] == "fail" {
		fmt.Fprint(os.Stderr, how[2])
		status, _ := strconv.Atoi(how[1])
		return status
	}
	cmd := exec.Command("sh", "-c", os.Args[len(os.Args)-1])
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), "SSH_CONNECTION=192.0.2.7 50001 198.51.100.9 22", "TOLLGATE_SSH_TEST_IS=tcpdump")
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		fmt.Fprintln(os.Stderr, err)
		return 255
	}
	return cmd.ProcessState.ExitCode()
}

// tcpdump writes what it is sent over a socket.
func tcpdump() int {
	if file := os.Getenv(asArgs); file != "" {
		text := fmt.Sprintf("%d\x00%s", os.Getpid(), strings.Join(os.Args[1:], "\x00"))
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	quit := make(chan os.Signal, 1)
	signal.Notify(quit, syscall.SIGTERM)
	conn, err := net.Dial("tcp", os.Getenv(asTcpdump))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Fprintln(os.Stderr, "tcpdump: listening on eth0, link-type EN10MB (Ethernet), snapshot length 262144 bytes")
	go func() {
		<-quit
		fmt.Fprint(os.Stderr, "12 packets captured\n14 packets received by filter\n3 packets dropped by kernel\n")
		os.Exit(0)
	}()
	buf := make([]byte, 4096)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			fmt.Fprintln(os.Stderr, "tcpdump: pcap_loop: The interface disappeared")
			return 1
		}
		if _, err := os.Stdout.Write(buf[:n]); err != nil {
			return 1
		}
		if _, err := conn.Write(buf[:n]); err != nil { // so much is in the pipe now
			return 1
		}
	}
}

func requireKind(t *testing.T, want Kind, err error) {
	t.Helper()
	var e *Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, want, e.Kind, err.Error())
}
