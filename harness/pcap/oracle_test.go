package pcap

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/fixtures/oracle"
)

// TestRealCaptures reads all real captures and holds the number of records against tshark's number of frames.
// testdata/frames.json says why where they differ; an entry that agrees again must go.
func TestRealCaptures(t *testing.T) {
	type difference struct {
		Oracle int    `json:"oracle"`
		Read   int    `json:"read"`
		Why    string `json:"why"`
	}
	entries := oracle.Load(t)
	table, err := os.ReadFile("testdata/frames.json")
	require.NoError(t, err)
	var known map[string]difference
	require.NoError(t, json.Unmarshal(table, &known))
	for _, e := range entries {
		n, err := count(t, oracle.Path(t, e.File))
		d, listed := known[e.File]
		delete(known, e.File)
		switch {
		case n == e.Frames && listed:
			t.Errorf("%s agrees again: take it off the table", e.File)
		case n != e.Frames && !listed:
			t.Errorf("%s: %d records, tshark %d (%v): rc %d %s", e.File, n, e.Frames, err, e.Tshark.RC, e.Tshark.Stderr)
		case listed && (n != d.Read || e.Frames != d.Oracle):
			t.Errorf("%s: %d records and tshark %d, not as the table says", e.File, n, e.Frames)
		}
	}
	require.Empty(t, known, "the table names captures that are not there")
}

func count(t *testing.T, path string) (int, error) {
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	r, err := NewReader(f)
	if err != nil {
		return 0, err
	}
	for n := 0; ; n++ {
		if _, err := r.Next(); errors.Is(err, io.EOF) {
			return n, nil
		} else if err != nil {
			return n, err
		}
	}
}
