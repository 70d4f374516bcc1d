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
	File string `json:"file"`
	Line int    `json:"line"` // of the file on which the text begins
	Text string `json:"text"`
}

// sourcesOf finds what a scenario expects: its own claims, or the files that it names.
func sourcesOf(file string, e scenario.Expect, vars map[string]string) (*sources, error) {
	out := &sources{Vars: vars}
	if e.Inline != nil {
		out.Files = append(out.Files, source{file, e.Line, string(e.Inline)})
	}
	var errs scenario.Errors
	for _, name := range e.Names {
		src, err := expectationSource(name, filepath.Dir(file))
		if err != nil {
			errs.Addf(e.Pos, "expect: %v", err)
			continue
		}
		out.Files = append(out.Files, src)
	}
	return out, errs.Err()
}

// expectationSource finds an expectations file: a path, as it is or beside the scenario, or a built-in name.
func expectationSource(name, dir string) (source, error) {
	if !isFile(name) {
		file, data, err := expectations.Read(name)
		return source{file, 1, string(data)}, err
	}
	path := name
	if _, err := os.Stat(path); err != nil && !filepath.IsAbs(name) {
		path = filepath.Join(dir, name)
	}
	data, err := os.ReadFile(path)
	return source{path, 1, string(data)}, readError("expectations", err)
}

// isFile tells a file from a built-in name, which has no ending.
func isFile(name string) bool {
	return slices.Contains([]string{".yaml", ".yml"}, strings.ToLower(filepath.Ext(name)))
}

// parse makes one set of all of them.
func (s *sources) parse() (*expectations.Set, error) {
	all := &expectations.Set{}
	var errs scenario.Errors
	for i, f := range s.Files {
		set, err := expectations.ParseVars(f.File, f.Line, []byte(f.Text), s.Vars)
		var mistakes scenario.Errors
		switch {
		case errors.As(err, &mistakes):
			errs = append(errs, mistakes...)
			continue
		case err != nil:
			return nil, err
		}
		if i == 0 {
			all.Pos, all.About = set.Pos, set.About
		}
		all.Claims = append(all.Claims, set.Claims...)
	}
	return all, errs.Err()
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
	return (&sources{Vars: vars, Files: []source{src}}).parse()
}

// Scenario reads a scenario file, or a built-in by its name.
func Scenario(name string) (*scenario.Scenario, error) {
	file, data, err := scenarioSource(name)
	if err != nil {
		return nil, &UsageError{err}
	}
	return parseScenario(file, data)
}

// parseScenario reads a scenario. Of one with mistakes the claims are read too, so that theirs are told with the others.
func parseScenario(file string, data []byte) (*scenario.Scenario, error) {
	s, err := scenario.Parse(file, data)
	var errs scenario.Errors
	if err == nil || s == nil || !errors.As(err, &errs) {
		return s, err
	}
	src, err := sourcesOf(file, s.Expect, s.Vars)
	if err == nil {
		_, err = src.parse()
	}
	return nil, join(errs, err)
}

// join adds mistakes to others, unless they stand where one has been told of already. Any other error is left out.
func join(errs scenario.Errors, err error) error {
	var more scenario.Errors
	errors.As(err, &more)
	for _, m := range more {
		if !slices.ContainsFunc(errs, func(e *scenario.Error) bool { return e.Pos == m.Pos }) {
			errs = append(errs, m)
		}
	}
	return errs.Err()
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
	hint := "`tollgate run` alone lists the built-in ones; a file's name ends in .yaml"
	if near := scenario.Closest(name, scenarios.Names()); near != "" {
		hint = fmt.Sprintf("did you mean %s? A file's name ends in .yaml", near)
	}
	return "", nil, fmt.Errorf("no scenario %q: %s", name, hint)
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
