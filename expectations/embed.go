package expectations

import (
	"embed"
	"fmt"
	"io/fs"
	"strings"

	"github.com/tollgate-iot/tollgate/harness/scenario"
)

//go:embed */*.yaml
var files embed.FS

// Names lists the built-in expectation files, sorted: "wio-lte/http".
func Names() []string {
	paths, err := fs.Glob(files, "*/*.yaml")
	if err != nil {
		panic("expectations: " + err.Error()) // the pattern is a constant
	}
	for i, p := range paths {
		paths[i] = strings.TrimSuffix(p, ".yaml")
	}
	return paths
}

// Read gives a built-in file with the name under which messages speak of it.
func Read(name string) (file string, data []byte, err error) {
	data, err = files.ReadFile(name + ".yaml")
	if err != nil {
		return "", nil, fmt.Errorf("read expectations: none is called %q: %s", name, scenario.Suggest(name, Names()))
	}
	return "expectations/" + name + ".yaml", data, nil
}

// Builtin reads and parses a built-in file.
func Builtin(name string) (*Set, error) {
	file, data, err := Read(name)
	if err != nil {
		return nil, err
	}
	return Parse(file, 1, data)
}
