// Package scenarios holds the scenarios that come with Tollgate, as files: wio-lte/http, button/click. A scenario is
// the best document of its own language.
package scenarios

import (
	"embed"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/tollgate-iot/tollgate/harness/scenario"
)

//go:embed */*.yaml
var files embed.FS

// Names gives the names of all shipped scenarios, in order: "button/click", "wio-lte/http".
func Names() []string {
	found, err := fs.Glob(files, "*/*.yaml")
	if err != nil {
		panic("scenarios: " + err.Error()) // the pattern above is a good one
	}
	names := make([]string, len(found))
	for i, f := range found {
		names[i] = strings.TrimSuffix(f, ".yaml")
	}
	return names
}

// Read gives a shipped scenario by its name: the file's name as messages show it, and what it holds.
func Read(name string) (file string, data []byte, err error) {
	data, err = files.ReadFile(name + ".yaml")
	if err != nil || path.Clean(name) != name {
		return "", nil, fmt.Errorf("read scenario: none is called %q: %s", name, scenario.Suggest(name, Names()))
	}
	return "scenarios/" + name + ".yaml", data, nil
}
