package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tollgate-iot/tollgate/harness/sim/api"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"tollgate": main})
}

// TestScripts runs the end-to-end tests: testdata/*.txt, in the tool's own language.
func TestScripts(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the simulated bench needs a pseudo terminal, which Windows has not")
	}
	fixtures, err := filepath.Abs("../../fixtures")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"called":     called,
			"carrier":    carrier,
			"exits":      exits,
			"interrupts": interrupts,
			"left":       left,
			"mirrors":    mirrors,
			"readme":     readme,
			"same":       same,
		},
		Setup: func(env *testscript.Env) error {
			env.Setenv("FIXTURES", fixtures)
			env.Setenv("NO_COLOR", "1")
			env.Values[carrierKey{}] = new(*api.API)
			return nil
		},
	})
}

// exits CODE PROGRAM ARGS… runs a program and wants its exit code. stdout and stderr are then looked at as usual.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARGS…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, not %d", got, want)
	}
}

// interrupts CODE GLOB TEXT PROGRAM ARGS… runs a program, interrupts it once a file that the glob finds holds the text, or
// for the glob - what the program printed, and wants its exit code.
func interrupts(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 4 {
		ts.Fatalf("usage: interrupts CODE GLOB TEXT PROGRAM ARGS…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	program, err := exec.LookPath(filepath.Join(filepath.SplitList(ts.Getenv("PATH"))[0], args[3]))
	ts.Check(err)
	cmd := exec.Command(program, args[4:]...)
	cmd.Dir = ts.MkAbs(".")
	cmd.Env = append(os.Environ(), "NO_COLOR=1", "SORACOM_PROFILE_DIR="+ts.Getenv("SORACOM_PROFILE_DIR"), "SORACOM_ENDPOINT="+ts.Getenv("SORACOM_ENDPOINT"))
	out := &printed{}
	cmd.Stdout, cmd.Stderr = out, out
	ts.Check(cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	limit := time.After(2 * time.Minute)
	for !(args[1] == "-" && strings.Contains(out.String(), args[2])) && !holds(ts.MkAbs(args[1]), args[2]) {
		select {
		case <-limit:
			_ = cmd.Process.Kill()
			<-ended
			ts.Fatalf("no file %s holds %q\n%s", args[1], args[2], out)
		case err := <-ended:
			ts.Fatalf("it ended before it could be interrupted: %v\n%s", err, out)
		case <-time.After(5 * time.Millisecond):
		}
	}
	ts.Check(cmd.Process.Signal(os.Interrupt))
	<-ended
	ts.Logf("%s", out)
	if got := cmd.ProcessState.ExitCode(); got != want {
		ts.Fatalf("exit code %d, not %d", got, want)
	}
}

// printed is what a program printed so far.
type printed struct {
	mu   sync.Mutex
	text strings.Builder
}

func (p *printed) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.Write(b)
}

func (p *printed) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.String()
}

func holds(glob, text string) bool {
	files, _ := filepath.Glob(glob)
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil && strings.Contains(string(b), text) {
			return true
		}
	}
	return false
}

// same A B wants two files to be the same, byte for byte; stdout is a file, too.
func same(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: same A B")
	}
	if a, b := ts.ReadFile(args[0]), ts.ReadFile(args[1]); a != b {
		ts.Fatalf("%s and %s differ:\n%s\n---\n%s", args[0], args[1], a, b)
	}
}
