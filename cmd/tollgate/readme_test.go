package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness"
)

// readmeFile is seen from this package.
const readmeFile = "../../README.md"

// yamlBegins are the first keys of what the README shows of files: a scenario, a bench, a bench's taps, expectations.
var yamlBegins = []string{"name: ", "bench: ", "taps:", "expect:"}

// benchHead makes a bench of taps alone.
const benchHead = `bench: desk
carriers:
  soracom: {driver: soracom}
devices:
  wio-1: {driver: wio-lte, port: {path: /dev/ttyACM0}, carrier: soracom, imsi: "440103123456789"}
`

// readmeFiles gives the files that the README shows, by their first lines.
func readmeFiles() (map[string]string, error) {
	text, err := os.ReadFile(readmeFile)
	if err != nil {
		return nil, err
	}
	files := map[string]string{}
	block := ""
	for line := range strings.Lines(strings.ReplaceAll(string(text), "\r\n", "\n") + "end\n") {
		switch {
		case strings.HasPrefix(line, "    "):
			block += line[4:]
		case line == "\n" && block != "":
			block += line
		default:
			first, _, _ := strings.Cut(block, "\n")
			for _, begin := range yamlBegins {
				if strings.HasPrefix(first, begin) {
					files[first] += strings.TrimRight(block, "\n") + "\n"
				}
			}
			block = ""
		}
	}
	return files, nil
}

// Every file that the README shows is one that Tollgate takes.
func TestReadmeFiles(t *testing.T) {
	files, err := readmeFiles()
	require.NoError(t, err)
	for _, first := range []string{"name: mine/status", "name: mine/gateway", "bench: desk", "taps:"} {
		require.Contains(t, files, first)
	}
	for first, text := range files {
		t.Run(first, func(t *testing.T) {
			if strings.HasPrefix(first, "taps:") {
				text = benchHead + text
			}
			file := filepath.Join(t.TempDir(), "readme.yaml")
			require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
			require.NoError(t, harness.Lint(file))
		})
	}
}

// readme FIRST FILE writes the README's file that begins with a line.
func readme(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: readme FIRST-LINE FILE")
	}
	files, err := readmeFiles()
	ts.Check(err)
	text, ok := files[args[0]]
	if !ok {
		ts.Fatalf("the README has no file that begins with %q", args[0])
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(text), 0o644))
}
