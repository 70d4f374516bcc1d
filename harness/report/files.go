package report

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// The reports in a run directory.
const (
	ResultFile = "result.json"
	JUnitFile  = "junit.xml"
	HTMLFile   = "report.html"
)

// Write puts the reports into the run directory, and the findings into its capture.
func Write(r *Run, capture string) error {
	for _, f := range []struct {
		name string
		make func() ([]byte, error)
	}{
		{ResultFile, func() ([]byte, error) { return JSON(r) }},
		{JUnitFile, func() ([]byte, error) { return JUnit(r) }},
		{HTMLFile, func() ([]byte, error) { return HTML(r) }},
	} {
		b, err := f.make()
		if err != nil {
			return err
		}
		err = replace(filepath.Join(r.Dir, f.name), func(w io.Writer) error {
			_, err := w.Write(b)
			return err
		})
		if err != nil {
			return err
		}
	}
	if e := r.Trace.Evidence.Recording; e != nil && (len(e.Gaps) > 0 || e.Unended != "") {
		return nil // a disk that has no room for the packets has none for a second copy; what is there stays as it is
	}
	return Annotate(filepath.Join(r.Dir, capture), Comments(r.Findings))
}

// NewDir makes a new run directory under out: "2026-11-22T013833-wio-lte-http", numbered where that is taken.
func NewDir(out, scenario string, at time.Time) (string, error) {
	base := at.Format("2006-01-02T150405") + "-" + dirName(scenario)
	if err := os.MkdirAll(out, 0o755); err != nil {
		return "", fmt.Errorf("make the runs' directory: %w: choose another place with --out", err)
	}
	for n := 1; n < 1000; n++ {
		name := base
		if n > 1 {
			name += fmt.Sprintf("-%d", n)
		}
		dir := filepath.Join(out, name)
		err := os.Mkdir(dir, 0o755)
		if err == nil {
			return dir, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return "", fmt.Errorf("make the run directory: %w: choose another place with --out", err)
		}
	}
	return "", fmt.Errorf("make the run directory: %s is taken a thousand times", filepath.Join(out, base))
}

// dirName makes a scenario's name a file name on every system.
func dirName(scenario string) string {
	clean := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_', r == '.':
			return r
		}
		return '-'
	}, scenario)
	clean = strings.Trim(clean, ".-")
	if clean == "" {
		clean = "run"
	}
	return clean[:min(len(clean), 80)]
}

// LastName is the way to the latest run.
const LastName = "last"

// Last makes out/last lead to the run directory: a symbolic link, or a file with the directory's name where the system
// has no links for everybody (Windows).
func Last(out, dir string) error {
	target := filepath.Base(dir)
	last := filepath.Join(out, LastName)
	tmp := filepath.Join(out, "."+LastName+"-"+target)
	os.Remove(tmp) // of a run that was killed here
	var err error
	if runtime.GOOS == "windows" {
		err = os.WriteFile(tmp, []byte(target+"\n"), 0o644)
	} else {
		err = os.Symlink(target, tmp)
	}
	if err == nil {
		err = os.Rename(tmp, last)
	}
	if err != nil {
		os.Remove(tmp)
		return fmt.Errorf("mark the latest run: %w", err)
	}
	return nil
}

// ResolveLast gives the directory that a path leads to where it is a file written by Last; every other path as it is.
func ResolveLast(path string) string {
	if filepath.Base(path) != LastName {
		return path
	}
	info, err := os.Stat(path)
	if err != nil || info.IsDir() || info.Size() > 4096 {
		return path
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return path
	}
	return filepath.Join(filepath.Dir(path), filepath.Base(strings.TrimSpace(string(b))))
}
