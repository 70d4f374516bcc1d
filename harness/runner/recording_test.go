package runner

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/plan"
	"github.com/tollgate-iot/tollgate/harness/recording"
	"github.com/tollgate-iot/tollgate/harness/scenario"
	"github.com/tollgate-iot/tollgate/harness/trace"
)

// fullable is a file on a disk that a test fills and empties.
type fullable struct {
	*os.File
	mu   *sync.Mutex
	full *bool
}

func (f fullable) WriteAt(p []byte, off int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if *f.full {
		return 0, &os.PathError{Op: "write", Path: f.Name(), Err: syscall.ENOSPC}
	}
	return f.File.WriteAt(p, off)
}

// A disk that is full in the middle of a run ends neither the run nor its awaits; what was recorded stays, and the record
// says from when on it is not complete, and why.
func TestFullDiskInARun(t *testing.T) {
	r := newRig(t)
	var mu sync.Mutex
	full := false
	r.opts.Create = func(name string) (recording.File, error) {
		f, err := os.Create(name)
		return fullable{f, &mu, &full}, err
	}
	r.device.script = func(d *fakeDevice, _ context.Context, verb string, _ map[string]string) (string, error) {
		mu.Lock()
		full = verb == "get"
		mu.Unlock()
		r.tap.push(r.clock.Now(), datagram("of "+verb))
		return "", nil
	}
	seen := awaiting(plan.Wanted{Packet: &scenario.PacketWant{Direction: "up", Proto: "udp"}})
	tr := r.run(t.Context(), makePlan([]plan.Step{do("activate"), seen}, []plan.Step{do("get"), seen}, []plan.Step{do("deactivate")}))

	require.Empty(t, tr.Trouble+tr.Failed, "awaits see packets that can't be recorded")
	require.Len(t, states(tr, trace.EventPacket), 2)
	e := tr.Evidence.Recording
	require.EqualValues(t, 5, tr.Evidence.Taps[0].Received)
	require.EqualValues(t, 5, e.Frames+e.Gaps[0].Frames)
	require.Contains(t, e.Gaps[0].Cause, "no space left on device: make room on the disk that holds "+r.dir)
	require.Equal(t, []string{CaptureFile + " not recorded"}, states(tr, trace.EventRecord))

	require.NoError(t, tr.Save(r.dir))
	loaded, err := trace.Load(r.dir)
	require.NoError(t, err)
	require.EqualValues(t, e.Frames, loaded.Capture.Frames)
	got := loaded.Completeness(trace.Scope{})
	require.Equal(t, trace.Broken, got.State)
	require.Contains(t, strings.Join(got.Reasons, "\n"), "captured and not recorded")
}

// childDisk names, in the environment of a process that has its own mounts, the directory on which to mount a small disk.
const childDisk = "TOLLGATE_TEST_DISK"

// The same on a disk that really is full, of everything that a run writes.
func TestFullDiskForReal(t *testing.T) {
	if dir := os.Getenv(childDisk); dir != "" {
		runOnSmallDisk(t, dir)
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestFullDiskForReal$", "-test.v")
	cmd.Env = append(os.Environ(), childDisk+"="+t.TempDir())
	if !ownMounts(cmd) {
		t.Skip("a small disk can be mounted by root on Linux only")
	}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "--- PASS: TestFullDiskForReal")
}

func runOnSmallDisk(t *testing.T, dir string) {
	require.NoError(t, mountSmall(dir, "8m"))
	r := newRig(t)
	r.dir, r.opts.Dir = dir, dir
	filler := filepath.Join(dir, "somebody-elses")
	r.device.script = func(d *fakeDevice, _ context.Context, verb string, _ map[string]string) (string, error) {
		for range 50 {
			r.tap.push(r.clock.Now(), datagram(strings.Repeat(verb, 100)))
		}
		if verb == "activate" {
			recorded(t, dir, 50) // what was recorded before the disk is full is kept
			fill(t, filler)
		}
		d.print("a line of " + verb)
		return "", nil
	}
	tr := r.run(t.Context(), makePlan(nil, []plan.Step{do("activate"), do("get")}, nil))
	require.Empty(t, tr.Trouble+tr.Failed)
	require.NoError(t, tr.Save(dir), "the run has kept room for what it has to say")

	loaded, err := trace.Load(dir)
	require.NoError(t, err)
	require.Empty(t, loaded.Capture.Damage)
	require.False(t, loaded.Capture.Cut, "it ends in good order all the same")
	require.GreaterOrEqual(t, loaded.Capture.Frames, uint64(50))
	got := loaded.Completeness(trace.Scope{})
	require.Equal(t, trace.Broken, got.State)
	require.Contains(t, strings.Join(got.Reasons, "\n"), "no space left on device: make room on the disk that holds "+dir)
	require.Contains(t, states(tr, trace.EventRecord), ConsoleFile+" not recorded")
	require.Contains(t, states(tr, trace.EventConsole), "", "the timeline has the lines all the same")
}

// recorded waits until so many frames are in the file.
func recorded(t *testing.T, dir string, frames uint64) {
	require.Eventually(t, func() bool {
		c, err := trace.ReadFiles([]string{filepath.Join(dir, CaptureFile)}, CaptureFile, trace.Options{})
		return err == nil && c.Frames >= frames
	}, time.Minute, time.Millisecond)
}

// fill takes all the room that a disk has left.
func fill(t *testing.T, file string) {
	f, err := os.Create(file)
	require.NoError(t, err)
	defer f.Close()
	for size := 1 << 16; size > 0; {
		if _, err := f.Write(make([]byte, size)); err != nil {
			require.ErrorIs(t, err, syscall.ENOSPC)
			size /= 2
		}
	}
}
