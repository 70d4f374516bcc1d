package flow

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/packet"
	"github.com/tollgate-iot/tollgate/harness/pcap"
)

// readCapture has a Tracker follow a capture file and gives the flows in the order of their first packets.
func readCapture(t testing.TB, path string, o Options) []*Flow {
	t.Helper()
	var flows []*Flow
	o.KeepFlows = true
	o.Done = func(f *Flow) { flows = append(flows, f) }
	tracker := NewTracker(o)
	decodeCapture(t, path, tracker.Add)
	tracker.Flush()
	sortFlows(flows)
	return flows
}

// decodeCapture gives a capture's packets to add. A file that is no capture has none.
func decodeCapture(t testing.TB, path string, add func(*packet.Packet)) {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	r, err := pcap.NewReader(f)
	if err != nil {
		return
	}
	d := packet.NewDecoder(packet.Options{})
	var p packet.Packet
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) || err != nil {
			return
		}
		frame := packet.Frame{Number: rec.Number, Time: rec.Time, Link: uint16(rec.Link), Data: rec.Data, Length: rec.Length}
		if d.Decode(&frame, &p) == packet.Decoded {
			add(&p)
		}
	}
}

// fixtureCaptures gives the bytes of the fixtures' captures.
func fixtureCaptures(t testing.TB) (captures [][]byte) {
	t.Helper()
	files, err := filepath.Glob(fixture("captures/*.pcap"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		captures = append(captures, data)
	}
	return captures
}

func fixture(name string) string { return filepath.Join("..", "..", "fixtures", name) }

func sortFlows(flows []*Flow) { slices.SortFunc(flows, func(a, b *Flow) int { return a.ID - b.ID }) }
