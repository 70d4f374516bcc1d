package trace_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/fixtures/synth"
	"github.com/tollgate-iot/tollgate/harness/trace"
)

func TestPartName(t *testing.T) {
	require.Equal(t, "runs/x/capture.pcapng", trace.PartName("runs/x/capture.pcapng", 1))
	require.Equal(t, "runs/x/capture-0002.pcapng", trace.PartName("runs/x/capture.pcapng", 2))
	require.Equal(t, "capture-12345.pcapng", trace.PartName("capture.pcapng", 12345))
	require.Equal(t, "night-0003", trace.PartName("night", 3))
}

func TestParts(t *testing.T) {
	for name, c := range map[string]struct {
		files, want []string
		wrong       string
	}{
		"one":            {files: []string{"c.pcapng"}, want: []string{"c.pcapng"}},
		"none":           {want: []string{"c.pcapng"}},
		"several":        {files: []string{"c-0002.pcapng", "c-0003.pcapng", "c.pcapng"}, want: []string{"c.pcapng", "c-0002.pcapng", "c-0003.pcapng"}},
		"others beside":  {files: []string{"c.pcapng", "c-2.pcapng", "c-02.pcapng", "c-0001.pcapng", "c-0002.pcap", "c-x.pcapng", "cc-0002.pcapng", "c--0002.pcapng", "c-+002.pcapng"}, want: []string{"c.pcapng"}},
		"a gap":          {files: []string{"c.pcapng", "c-0003.pcapng"}, wrong: "c-0002.pcapng is missing, and c-0003.pcapng is there"},
		"no first":       {files: []string{"c-0002.pcapng"}, wrong: "c.pcapng is missing, and c-0002.pcapng is there"},
		"ten thousandth": {files: []string{"c-10000.pcapng", "c.pcapng"}, wrong: "c-0002.pcapng is missing, and c-10000.pcapng is there"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for _, f := range c.files {
				require.NoError(t, os.WriteFile(filepath.Join(dir, f), nil, 0o644))
			}
			got, err := trace.Parts(filepath.Join(dir, "c.pcapng"))
			if c.wrong != "" {
				require.ErrorContains(t, err, c.wrong)
				return
			}
			require.NoError(t, err)
			for i := range got {
				got[i] = filepath.Base(got[i])
			}
			require.Equal(t, c.want, got)
		})
	}
	got, err := trace.Parts("c.pcapng") // in the working directory
	require.NoError(t, err)
	require.Equal(t, []string{"c.pcapng"}, got)
}

// A capture that is split anywhere is the capture that it was before.
func TestPartsAreOneCapture(t *testing.T) {
	frames := synth.WioLTEHTTP(synth.Options{Mirror: synth.GRESeq})
	o := trace.Options{KeepFlows: true, KeepPackets: true}
	read := func(splits ...int) *trace.Capture {
		first, from := filepath.Join(t.TempDir(), "c.pcapng"), 0
		for n, to := range append(splits, len(frames)) {
			writeCapture(t, trace.PartName(first, n+1), frames[from:to])
			from = to
		}
		files, err := trace.Parts(first)
		require.NoError(t, err)
		require.Len(t, files, len(splits)+1)
		c, err := trace.ReadFiles(files, "c.pcapng", o)
		require.NoError(t, err)
		return c
	}
	whole := read()
	require.Equal(t, trace.Whole, whole.Completeness.State)
	for at := range frames {
		require.Equal(t, whole, read(at), "split before frame %d", at+1)
	}
	require.Equal(t, whole, read(3, 3, 7, 11))
}

// What is wrong with one part does not hide those behind it.
func TestPartsThatEndEarly(t *testing.T) {
	frames := synth.WioLTEHTTP(synth.Options{Mirror: synth.GRE})
	for name, c := range map[string]struct {
		spoil  func([]byte) []byte
		cut    bool
		damage string
		frames int
	}{
		"cut":         {func(b []byte) []byte { return b[:len(b)-5] }, true, "", len(frames) - 1},
		"empty":       {func(b []byte) []byte { return nil }, true, "", len(frames) - 5},
		"header only": {func(b []byte) []byte { return b[:20] }, true, "", len(frames) - 5},
		"damaged":     {func(b []byte) []byte { b[len(b)-4]++; return b }, false, "c-0002.pcapng: damaged capture after record 4", len(frames) - 1},
	} {
		t.Run(name, func(t *testing.T) {
			first := filepath.Join(t.TempDir(), "c.pcapng")
			for n, part := range [][]synth.Frame{frames[:5], frames[5:10], frames[10:]} {
				writeCapture(t, trace.PartName(first, n+1), part)
			}
			second := trace.PartName(first, 2)
			b, err := os.ReadFile(second)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(second, c.spoil(b), 0o644))
			files, err := trace.Parts(first)
			require.NoError(t, err)
			got, err := trace.ReadFiles(files, "c.pcapng", trace.Options{})
			require.NoError(t, err)
			require.Equal(t, c.cut, got.Cut)
			require.Contains(t, got.Damage, c.damage)
			require.EqualValues(t, c.frames, got.Frames)
			require.Equal(t, trace.Broken, got.Completeness.State)
		})
	}
	_, err := trace.ReadFiles([]string{filepath.Join(t.TempDir(), "c.pcapng")}, "c.pcapng", trace.Options{})
	require.ErrorIs(t, err, fs.ErrNotExist)
}

// What a recording says of itself breaks the record where it was missed, and nowhere else.
func TestRecordingEvidence(t *testing.T) {
	at := synth.Epoch
	tr := &trace.Trace{Capture: &trace.Capture{Frames: 40}}
	tr.Evidence.Recording = &trace.RecordingEvidence{Parts: 1, Frames: 40}
	require.Equal(t, trace.Unproven, tr.Completeness(trace.Scope{}).State)

	tr.Evidence.Recording.Gaps = []trace.RecordingGap{{From: at, To: at.Add(time.Second), Frames: 1200, Cause: "write /runs/x: no space left on device"}}
	got := tr.Completeness(trace.Scope{})
	require.Equal(t, trace.Broken, got.State)
	require.Equal(t, []string{"1,200 packets captured and not recorded, 11:58:52.000 to 11:58:53.000: write /runs/x: no space left on device"}, got.Reasons)
	later := tr.Completeness(trace.Scope{From: at.Add(2 * time.Second), To: at.Add(time.Minute)})
	require.Equal(t, trace.Unproven, later.State, "it can't be missing there, and nothing is proved there either")

	tr.Evidence.Recording = &trace.RecordingEvidence{Parts: 2, Frames: 41, Unended: "no space left on device"}
	require.Equal(t, []string{
		"the record holds 40 frames, and 41 were written: it was changed, or a part is missing",
		"the record could not be completed: no space left on device",
	}, tr.Completeness(trace.Scope{}).Reasons)
}
