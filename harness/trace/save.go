package trace

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"time"
)

// The names of a run directory's files that this package reads and writes.
const (
	TraceFile   = "trace.jsonl"
	CaptureFile = "capture.pcapng"
)

// saveVersion is the form of trace.jsonl. It is raised when an older Tollgate could misread a newer file.
const saveVersion = 1

// header is the first line of trace.jsonl: what a Trace says once.
type header struct {
	Version     int           `json:"tollgate_trace"`
	Scenario    string        `json:"scenario"`
	File        string        `json:"file,omitempty"`
	About       string        `json:"about,omitempty"`
	Device      string        `json:"device"`
	Model       string        `json:"model"`
	Bench       string        `json:"bench"`
	Account     accountText   `json:"account"`
	DeviceAddrs []netip.Addr  `json:"device_addresses"`
	Begin       time.Time     `json:"begin"`
	End         time.Time     `json:"end"`
	Wall        time.Duration `json:"wall_ns"`
	Trouble     string        `json:"trouble,omitempty"`
	Failed      string        `json:"failed,omitempty"`
	Unseen      bool          `json:"unseen,omitempty"`
	Interrupted bool          `json:"interrupted,omitempty"`
	Analysis    Options       `json:"analysis"`
	Capture     bool          `json:"capture"` // whether there is a capture beside the file
}

type accountText struct {
	Name          string `json:"name"`
	PerPacketUp   int    `json:"per_packet_up"`
	PerPacketDown int    `json:"per_packet_down"`
}

// line is any line of trace.jsonl after the first: one of its fields is set.
type line struct {
	Event    *Event      `json:"event,omitempty"`
	Window   *windowText `json:"window,omitempty"`
	Evidence *Evidence   `json:"evidence,omitempty"`
}

type windowText struct {
	Name  string    `json:"name"`
	Index int       `json:"index"`
	From  time.Time `json:"from"`
	To    time.Time `json:"to"`
}

// Save writes the record into dir as trace.jsonl: a header, then the timeline, the windows and the evidence, a line
// each. The packets are the run's own to write, as capture.pcapng in the same directory.
func (t *Trace) Save(dir string) (err error) {
	path := filepath.Join(dir, TraceFile)
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("save trace: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := bufio.NewWriter(f)
	if err := t.write(json.NewEncoder(w)); err != nil {
		return fmt.Errorf("save trace %s: %w", path, err)
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("save trace %s: %w", path, err)
	}
	return nil
}

func (t *Trace) write(enc *json.Encoder) error {
	enc.SetEscapeHTML(false)
	if err := enc.Encode(t.header()); err != nil {
		return err
	}
	for i := range t.Timeline {
		if err := enc.Encode(line{Event: &t.Timeline[i]}); err != nil {
			return err
		}
	}
	for _, w := range t.Windows {
		if err := enc.Encode(line{Window: &windowText{w.Name, w.Index, w.From, w.To}}); err != nil {
			return err
		}
	}
	return enc.Encode(line{Evidence: &t.Evidence})
}

func (t *Trace) header() header {
	return header{
		Version: saveVersion, Scenario: t.Scenario, File: t.File, About: t.About, Device: t.Device, Model: t.Model, Bench: t.Bench,
		Account:     accountText{t.Account.Name, t.Account.PerPacketUp, t.Account.PerPacketDown},
		DeviceAddrs: t.DeviceAddrs, Begin: t.Begin, End: t.End, Wall: t.Wall, Trouble: t.Trouble, Failed: t.Failed,
		Unseen: t.Unseen, Interrupted: t.Interrupted, Analysis: t.Analysis, Capture: t.Capture != nil,
	}
}

// Load reads a run directory: trace.jsonl, and capture.pcapng with the parts that follow it, which it analyses again as the
// run did. So a saved run is judged as the live one was.
func Load(dir string) (*Trace, error) {
	path := filepath.Join(dir, TraceFile)
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("load run: %w", err)
	}
	defer f.Close()
	t, capture, err := parse(f)
	if err != nil {
		return nil, fmt.Errorf("load run: %s: %w", path, err)
	}
	if capture {
		if err := t.loadCapture(filepath.Join(dir, CaptureFile)); err != nil {
			return nil, fmt.Errorf("load run: %w", err)
		}
	}
	return t, nil
}

func (t *Trace) loadCapture(path string) error {
	files, err := Parts(path)
	if err != nil {
		return err
	}
	o := t.Analysis
	o.KeepFlows, o.KeepPackets = true, true
	t.Capture, err = ReadFiles(files, CaptureFile, o)
	return err
}

// parse reads trace.jsonl. Lines may be long, a console line among them: no bound but the file's.
func parse(r io.Reader) (*Trace, bool, error) {
	in := bufio.NewReader(r)
	first, err := in.ReadBytes('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, false, err
	}
	var h header
	if err := json.Unmarshal(first, &h); err != nil {
		return nil, false, fmt.Errorf("line 1: %w", err)
	}
	if h.Version != saveVersion {
		return nil, false, fmt.Errorf("line 1: form %d of the file is not %d: it is no trace, or was written by another version of Tollgate", h.Version, saveVersion)
	}
	t := h.trace()
	for n := 2; ; n++ {
		text, err := in.ReadBytes('\n')
		if len(text) > 0 {
			if err := t.take(text); err != nil {
				return nil, false, fmt.Errorf("line %d: %w", n, err)
			}
		}
		if errors.Is(err, io.EOF) {
			return t, h.Capture, nil
		}
		if err != nil {
			return nil, false, err
		}
	}
}

func (t *Trace) take(text []byte) error {
	var l line
	if err := json.Unmarshal(text, &l); err != nil {
		return err
	}
	switch {
	case l.Event != nil:
		t.Timeline = append(t.Timeline, *l.Event)
	case l.Window != nil:
		t.Windows = append(t.Windows, Window{Name: l.Window.Name, Index: l.Window.Index, From: l.Window.From, To: l.Window.To})
	case l.Evidence != nil:
		t.Evidence = *l.Evidence
	}
	return nil
}

func (h header) trace() *Trace {
	return &Trace{
		Scenario: h.Scenario, File: h.File, About: h.About, Device: h.Device, Model: h.Model, Bench: h.Bench,
		Account:     Account{Name: h.Account.Name, PerPacketUp: h.Account.PerPacketUp, PerPacketDown: h.Account.PerPacketDown},
		DeviceAddrs: h.DeviceAddrs, Begin: h.Begin, End: h.End, Wall: h.Wall, Trouble: h.Trouble, Failed: h.Failed,
		Unseen: h.Unseen, Interrupted: h.Interrupted, Analysis: h.Analysis,
	}
}
