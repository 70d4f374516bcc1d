package privilege_test

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/tollgate-iot/tollgate/harness/privilege"
)

// inside, in the environment, says that this process is the one with the capability.
const inside = "TOLLGATE_PRIVILEGE_TEST"

// TestWithoutRoot runs the test again as nobody, with CAP_NET_RAW as a file capability would give it.
func TestWithoutRoot(t *testing.T) {
	if os.Getenv(inside) != "" {
		withoutRoot(t)
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root: only root can make a process that has one capability")
	}
	program := filepath.Join(open(t), "test")
	copyFile(t, os.Args[0], program)
	cmd := exec.Command(program, "-test.run", "^TestWithoutRoot$", "-test.v")
	cmd.Dir, cmd.Env = "/", []string{inside + "=1"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}, AmbientCaps: []uintptr{unix.CAP_NET_RAW}}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	require.Contains(t, string(out), "--- PASS: TestWithoutRoot")
}

// open gives a folder that everybody may enter.
func open(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "tollgate-privilege-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	require.NoError(t, os.Chmod(dir, 0o755))
	return dir
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	require.NoError(t, err)
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	require.NoError(t, err)
	_, err = io.Copy(out, in)
	require.NoError(t, err)
	require.NoError(t, out.Close())
}

func withoutRoot(t *testing.T) {
	require.NoError(t, rawSocket(), "the process has the capability to begin with")
	require.NoError(t, privilege.With(rawSocket))
	require.ErrorIs(t, rawSocket(), unix.EPERM, "it is in force no more")
	for thread, effective := range threads(t, "CapEff") {
		require.Zero(t, effective&(1<<unix.CAP_NET_RAW), "thread %s", thread)
	}
	require.NoError(t, privilege.With(rawSocket), "another socket can be opened")
	require.ErrorIs(t, rawSocket(), unix.EPERM)
	require.ErrorIs(t, privilege.With(func() error { return os.ErrClosed }), os.ErrClosed, "the caller's own error")

	require.NoError(t, privilege.Renounce())
	for thread, permitted := range threads(t, "CapPrm") {
		require.Zero(t, permitted&(1<<unix.CAP_NET_RAW), "thread %s", thread)
	}
	require.ErrorIs(t, privilege.With(rawSocket), unix.EPERM, "given up for good")
}

func rawSocket() error {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// threads gives a line of every thread's status that holds a set of capabilities.
func threads(t *testing.T, line string) map[string]uint64 {
	t.Helper()
	out := map[string]uint64{}
	files, err := filepath.Glob("/proc/self/task/*/status")
	require.NoError(t, err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		_, rest, ok := strings.Cut(string(text), line+":")
		require.True(t, ok)
		out[file], err = strconv.ParseUint(strings.Fields(rest)[0], 16, 64)
		require.NoError(t, err)
	}
	require.NotEmpty(t, out)
	return out
}

// TestRoot is left as it is.
func TestRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	before := threads(t, "CapEff")
	require.NoError(t, privilege.With(rawSocket))
	require.NoError(t, privilege.Renounce())
	for thread, effective := range threads(t, "CapEff") {
		if was, known := before[thread]; known {
			require.Equal(t, was, effective)
		}
	}
	require.NoError(t, rawSocket())
}

func TestGrant(t *testing.T) {
	exe, err := os.Executable()
	require.NoError(t, err)
	real, err := filepath.EvalSymlinks(exe)
	require.NoError(t, err)
	require.Equal(t, "sudo setcap cap_net_raw+ep "+real, privilege.Grant())
}
