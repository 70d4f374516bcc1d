package report

import (
	"bytes"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/harness/pcap"
	"github.com/tollgate-iot/tollgate/harness/recording"
	"github.com/tollgate-iot/tollgate/harness/trace"
	"github.com/tollgate-iot/tollgate/harness/verdict"
)

// written is a capture as a run writes it, from a fixture: two interfaces, statistics, a comment of somebody's.
func written(t testing.TB) []byte {
	f, err := os.Open("../../fixtures/captures/wio-lte-http.pcap")
	require.NoError(t, err)
	defer f.Close()
	in, err := pcap.NewReader(f)
	require.NoError(t, err)
	var out bytes.Buffer
	w, err := pcap.NewWriter(&out, pcap.Section{Application: "test"}, pcap.Interface{Name: "a", Link: pcap.LinkEthernet})
	require.NoError(t, err)
	_, err = w.AddInterface(pcap.Interface{Name: "b", Link: pcap.LinkEthernet})
	require.NoError(t, err)
	for {
		rec, err := in.Next()
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		rec.Interface = int(rec.Number % 2)
		if rec.Number == 3 {
			require.NoError(t, w.Write(rec, "somebody's"))
			continue
		}
		require.NoError(t, w.Write(rec))
	}
	require.NoError(t, w.WriteStats(1, pcap.Stats{Received: 9, Dropped: 0}))
	require.NoError(t, w.Flush())
	return out.Bytes()
}

func analysed(t *testing.T, data []byte) string {
	c, err := trace.Read(bytes.NewReader(data), "x", trace.Options{KeepFlows: true, KeepPackets: true})
	require.NoError(t, err)
	var b bytes.Buffer
	require.NoError(t, InspectJSON(&b, c, InspectOptions{}))
	return b.String()
}

func comments(t *testing.T, data []byte) map[uint64][]string {
	in, err := pcap.NewReader(bytes.NewReader(data))
	require.NoError(t, err)
	out := map[uint64][]string{}
	for {
		rec, err := in.Next()
		if err == io.EOF {
			return out
		}
		require.NoError(t, err)
		if c := in.Comments(); len(c) > 0 {
			out[rec.Number] = append([]string(nil), c...)
		}
	}
}

func TestAnnotate(t *testing.T) {
	before := written(t)
	file := filepath.Join(t.TempDir(), "capture.pcapng")
	require.NoError(t, os.WriteFile(file, before, 0o644))
	notes := map[uint64][]string{2: {"✗ one", "two"}, 3: {"three"}, 999: {"no such frame"}}
	require.NoError(t, Annotate(file, notes))
	after, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, map[uint64][]string{2: {"✗ one", "two"}, 3: {"three", "somebody's"}}, comments(t, after))
	require.Equal(t, analysed(t, before), analysed(t, after), "the analysis does not see them")
	left, err := filepath.Glob(filepath.Join(filepath.Dir(file), ".*"))
	require.NoError(t, err)
	require.Empty(t, left, "nothing is left behind")
}

// Comments go by the frames' numbers over all parts of a recording, which is as complete afterwards as it was before.
func TestAnnotateParts(t *testing.T) {
	first := filepath.Join(t.TempDir(), "capture.pcapng")
	r, err := recording.Create(recording.Options{File: first, Rotate: 400})
	require.NoError(t, err)
	for n := range 10 {
		r.Write("tap", pcap.Record{Time: int64(n + 1), Link: pcap.LinkEthernet, Data: make([]byte, 60), Length: 60})
	}
	require.NoError(t, r.Close())
	files, err := trace.Parts(first)
	require.NoError(t, err)
	require.Len(t, files, 4, "of three, three, three frames and one")
	before := map[string]os.FileInfo{}
	for _, f := range files {
		info, err := os.Stat(f)
		require.NoError(t, err)
		before[f] = info
	}
	notes := map[uint64][]string{1: {"the first"}, 4: {"the fourth", "again"}, 10: {"the last"}}
	require.NoError(t, Annotate(first, notes))
	got, frame := map[uint64][]string{}, uint64(0)
	for i, f := range files {
		b, err := os.ReadFile(f)
		require.NoError(t, err)
		for number, c := range comments(t, b) {
			got[frame+number] = c
		}
		frame += 3
		in, err := pcap.NewReader(bytes.NewReader(b))
		require.NoError(t, err)
		for err == nil {
			_, err = in.Next()
		}
		require.False(t, in.Cut(), "it is still complete")
		length := binary.LittleEndian.Uint64(b[pcap.LengthAt:])
		require.EqualValues(t, uint32(len(b))-binary.LittleEndian.Uint32(b[4:]), length)
		info, err := os.Stat(f)
		require.NoError(t, err)
		require.Equal(t, i == 2, os.SameFile(before[f], info), "part %d", i+1)
	}
	require.Equal(t, notes, got)
}

// A file that no run wrote stays as it is.
func TestAnnotateRefuses(t *testing.T) {
	whole := written(t)
	for name, data := range map[string][]byte{
		"classic pcap":              {0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0},
		"cut":                       whole[:len(whole)-3],
		"big-endian":                {0x0a, 0x0d, 0x0d, 0x0a, 28, 0, 0, 0, 0x1a, 0x2b, 0x3c, 0x4d, 0, 1, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255, 28, 0, 0, 0},
		"packet too long":           {6, 0, 0, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 127, 0, 0, 0, 0, 32, 0, 0, 0},
		"packet too long by a byte": {6, 0, 0, 0, 36, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 5, 0, 0, 0, 1, 2, 3, 4, 36, 0, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "capture.pcapng")
			require.NoError(t, os.WriteFile(file, data, 0o644))
			require.Error(t, Annotate(file, map[uint64][]string{1: {"x"}}))
			after, err := os.ReadFile(file)
			require.NoError(t, err)
			require.Equal(t, data, after)
		})
	}
}

func FuzzAnnotate(f *testing.F) {
	f.Add(written(f))
	f.Fuzz(func(t *testing.T, data []byte) {
		var out bytes.Buffer
		a := annotation{comments: map[uint64][]string{1: {"x"}}}
		if a.copy(bytes.NewReader(data), &out) == nil && int64(out.Len()) != int64(len(data))+a.grown {
			t.Fatal("blocks were lost")
		}
	})
}

func TestComments(t *testing.T) {
	got := Comments([]verdict.Finding{
		{Claim: "resets: none", Verdict: verdict.Fail, Reason: "1 RST", Witnesses: []verdict.Witness{{Number: 7, Note: "late\x1b"}, {Number: 0}}},
		{Claim: "packets: 1", Verdict: verdict.Pass, Witnesses: []verdict.Witness{{Number: 7}}},
	})
	require.Equal(t, map[uint64][]string{7: {`✗ resets: none: 1 RST; late\x1b`}}, got)
}

func TestRunDirectories(t *testing.T) {
	out := filepath.Join(t.TempDir(), "deep", "runs")
	at := time.Date(2026, 11, 22, 1, 38, 33, 0, time.UTC)
	first, err := NewDir(out, "wio-lte/http", at)
	require.NoError(t, err)
	require.Equal(t, filepath.Join(out, "2026-11-22T013833-wio-lte-http"), first)
	second, err := NewDir(out, "wio-lte/http", at)
	require.NoError(t, err)
	require.Equal(t, first+"-2", second)
	odd, err := NewDir(out, "../\x1b[31m/ümlaut", at)
	require.NoError(t, err)
	require.Equal(t, filepath.Join(out, "2026-11-22T013833-31m--mlaut"), odd)

	require.NoError(t, Last(out, first))
	require.NoError(t, Last(out, second), "the second takes the first one's place")
	require.NoError(t, os.WriteFile(filepath.Join(second, "x"), nil, 0o644))
	_, err = os.Stat(filepath.Join(ResolveLast(filepath.Join(out, "last")), "x"))
	require.NoError(t, err)
}

// Where a system has no links for everybody, last is a file that holds the directory's name.
func TestLastAsFile(t *testing.T) {
	out := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(out, "last"), []byte("2026-x\n"), 0o644))
	require.Equal(t, filepath.Join(out, "2026-x"), ResolveLast(filepath.Join(out, "last")))
	require.NoError(t, os.WriteFile(filepath.Join(out, "last"), []byte("../../etc\n"), 0o644))
	require.Equal(t, filepath.Join(out, "etc"), ResolveLast(filepath.Join(out, "last")), "never out of the runs' directory")
	require.Equal(t, "runs/other", ResolveLast("runs/other"))
}

func TestWriteErrors(t *testing.T) {
	if runtime.GOOS == "windows" || os.Geteuid() == 0 {
		t.Skip("nothing is forbidden here")
	}
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o500))
	r := httpRun(t)
	r.Dir = dir
	require.ErrorContains(t, Write(r, "capture.pcapng"), ResultFile)
}
