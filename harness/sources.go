package harness

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tollgate-iot/tollgate/expectations"
	"github.com/tollgate-iot/tollgate/harness/scenario"
	"github.com/tollgate-iot/tollgate/scenarios"
)

// sourcesFile keeps the expectations that a run was made with, so that it is judged by the same ones next month,
// whatever has become of the files.
const sourcesFile = "expectations.json"

// sources are the expectations of a scenario as written, with the variables that may stand in them.
type sources struct {
	Vars  map[string]string `json:"vars"`
	Files []source          `json:"files"`
}

type source struct {
	File string       `json:"file"`
	Line int          `json:"line"`          // of the file on which the text begins
	Key  string       `json:"key,omitempty"` // of the text's mapping that holds the claims; "" where the text is an expectations file
	Text string       `json:"text"`
	at   scenario.Pos // where a scenario names it; zero for the scenario's own claims
}

// sourcesOf finds what a scenario expects: its own claims, or the files that it names.
func sourcesOf(s *scenario.Scenario, vars map[string]string) (*sources, error) {
	out := &sources{Vars: vars}
	if s.Expect.Claims != nil {
		out.Files = append(out.Files, source{File: s.Pos.File, Line: 1, Key: "expect", Text: string(s.Source)})
	}
	var errs scenario.Errors
	for i, name := range s.Expect.Names {
		src, err := expectationSource(name, filepath.Dir(s.Pos.File))
		if err != nil {
			errs.Addf(s.Expect.NamesAt[i], "expect: %v", err)
			continue
		}
		src.at = s.Expect.NamesAt[i]
		out.Files = append(out.Files, src)
	}
	return out, errs.Err()
}

// checkWindows tells of claims about windows that a scenario never opens. What a file claims is the mistake of the
// scenario that names it: the file may be right for another.
func (s *sources) checkWindows(set *expectations.Set, opened []string, hidden func(string) bool) error {
	var errs scenario.Errors
	errors.As(set.CheckWindows(opened, hidden), &errs)
	for i, e := range errs {
		for _, f := range s.Files {
			if f.at.Line > 0 && f.File == e.Pos.File {
				errs[i] = &scenario.Error{Pos: f.at, Message: "expect: " + e.Error()}
			}
		}
	}
	return errs.Err()
}

// expectationSource finds an expectations file: a path, as it is or beside the scenario, or a built-in name.
func expectationSource(name, dir string) (source, error) {
	if !isFile(name) {
		file, data, err := expectations.Read(name)
		if err != nil {
			err = fmt.Errorf("%w; a file's name ends in .yaml", err)
		}
		return source{File: file, Line: 1, Text: string(data)}, err
	}
	path := name
	if _, err := os.Stat(path); err != nil && !filepath.IsAbs(name) {
		path = filepath.Join(dir, name)
	}
	data, err := os.ReadFile(path)
	return source{File: path, Line: 1, Text: string(data)}, readError("expectations", err)
}

// isFile tells a file from a built-in name, which has no ending.
func isFile(name string) bool {
	return slices.Contains([]string{".yaml", ".yml"}, strings.ToLower(filepath.Ext(name)))
}

// parse makes one set of all of them, with mistakes one of the claims that are right. Later is as in expectations.Vars.
func (s *sources) parse(later func(name string) bool) (*expectations.Set, error) {
	all := &expectations.Set{}
	var errs scenario.Errors
	for i, f := range s.Files {
		set, err := f.parse(expectations.Vars{Values: s.Vars, Later: later})
		var mistakes scenario.Errors
		switch {
		case errors.As(err, &mistakes):
			errs = append(errs, mistakes...)
		case err != nil:
			return nil, err
		}
		if set == nil {
			continue
		}
		if i == 0 {
			all.Pos, all.About, all.Account = set.Pos, set.About, set.Account
		}
		all.Claims = append(all.Claims, set.Claims...)
	}
	return all, errs.Err()
}

func (f *source) parse(vars expectations.Vars) (*expectations.Set, error) {
	if f.Key == "" {
		return expectations.ParseVars(f.File, f.Line, []byte(f.Text), vars)
	}
	v, err := scenario.Document(f.File, f.Line, []byte(f.Text))
	if v == nil {
		return nil, err
	}
	for _, e := range v.Map { // other mistakes of the file are not the claims'
		if e.Key == f.Key {
			return expectations.Claims(e.Value, vars)
		}
	}
	return nil, fmt.Errorf("%s: no %s in it", f.File, f.Key)
}

func (s *sources) save(dir string) error {
	b, err := json.MarshalIndent(s, "", "  ")
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, sourcesFile), append(b, '\n'), 0o644)
	}
	if err != nil {
		return fmt.Errorf("save expectations: %w", err)
	}
	return nil
}

func loadSources(dir string) (*sources, error) {
	path := filepath.Join(dir, sourcesFile)
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("find the run's expectations: %w (name others with --expect)", err)
	}
	var s sources
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, fmt.Errorf("read the run's expectations %s: %w", path, err)
	}
	return &s, nil
}

// Expectations reads an expectations file, or a built-in by its name.
func Expectations(name string, vars map[string]string) (*expectations.Set, error) {
	src, err := expectationSource(name, "")
	if err != nil {
		return nil, &UsageError{err}
	}
	set, err := (&sources{Vars: vars, Files: []source{src}}).parse(nil)
	if err != nil {
		return nil, err
	}
	return set, nil
}

func scenarioSource(name string) (string, []byte, error) {
	if isFile(name) {
		data, err := os.ReadFile(name)
		return name, data, readError("scenario", err)
	}
	file, data, err := scenarios.Read(name)
	if err == nil {
		return file, data, nil
	}
	return "", nil, fmt.Errorf("no scenario %q: %s", name, whichScenario(name))
}

// whichScenario says what may have been meant by a name that is no scenario's.
func whichScenario(name string) string {
	if info, err := os.Stat(name); err == nil {
		if info.IsDir() {
			return "that is a directory: name the files in it"
		}
		return "that is a file, and a scenario's name ends in .yaml"
	}
	var inside []string
	for _, known := range scenarios.Names() {
		if strings.HasPrefix(known, strings.TrimSuffix(name, "/")+"/") {
			inside = append(inside, known)
		}
	}
	if len(inside) > 0 {
		return "that is a folder of several: " + strings.Join(inside, ", ")
	}
	if near := scenario.Closest(name, scenarios.Names()); near != "" {
		return fmt.Sprintf("did you mean %s? A file's name ends in .yaml", near)
	}
	return "`tollgate run` alone lists the built-in ones; a file's name ends in .yaml"
}

func readError(what string, err error) error {
	if err == nil {
		return nil
	}
	var path *fs.PathError
	if errors.As(err, &path) {
		return fmt.Errorf("read %s %s: %w", what, path.Path, path.Err)
	}
	return fmt.Errorf("read %s: %w", what, err)
}
