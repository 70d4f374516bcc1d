package scenario

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestComparisonsNeedNoQuotes(t *testing.T) {
	v, err := Document("f.yaml", 1, []byte("about: \"so: >= 1\"\nup: >= 3\nlist: [>= 4, > 5]\nmap: {a: >=6, b: x}\nfolded: >\n  one\n  two\n"))
	require.NoError(t, err)
	got := map[string]string{}
	for _, e := range v.Map {
		got[e.Key] = e.Value.Text()
	}
	require.Equal(t, map[string]string{"about": `"so: >= 1"`, "up": ">= 3", "list": "[>= 4, > 5]", "map": "{a: >=6, b: x}", "folded": `"one two\n"`}, got)
	require.Equal(t, 10, v.Map[3].Value.Map[0].Value.Pos.Column, "columns are those of the file")
}
