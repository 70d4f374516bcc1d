package report

import (
	"encoding/xml"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tollgate-iot/tollgate/harness/trace"
	"github.com/tollgate-iot/tollgate/harness/verdict"
)

// The elements of a JUnit report, as CI systems read them: a failure is the product's, an error is the bench's.
type (
	junitSuites struct {
		XMLName  xml.Name     `xml:"testsuites"`
		Name     string       `xml:"name,attr"`
		Tests    int          `xml:"tests,attr"`
		Failures int          `xml:"failures,attr"`
		Errors   int          `xml:"errors,attr"`
		Skipped  int          `xml:"skipped,attr"`
		Time     string       `xml:"time,attr"`
		Suites   []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name       string          `xml:"name,attr"`
		Tests      int             `xml:"tests,attr"`
		Failures   int             `xml:"failures,attr"`
		Errors     int             `xml:"errors,attr"`
		Skipped    int             `xml:"skipped,attr"`
		Time       string          `xml:"time,attr"`
		Timestamp  string          `xml:"timestamp,attr,omitempty"`
		File       string          `xml:"file,attr,omitempty"`
		Properties []junitProperty `xml:"properties>property"`
		Cases      []junitCase     `xml:"testcase"`
	}
	junitProperty struct {
		Name  string `xml:"name,attr"`
		Value string `xml:"value,attr"`
	}
	junitCase struct {
		Name      string        `xml:"name,attr"`
		ClassName string        `xml:"classname,attr"`
		File      string        `xml:"file,attr,omitempty"`
		Line      int           `xml:"line,attr,omitempty"`
		Time      string        `xml:"time,attr"`
		Failure   *junitOutcome `xml:"failure"`
		Error     *junitOutcome `xml:"error"`
		Skipped   *junitOutcome `xml:"skipped"`
		Output    string        `xml:"system-out,omitempty"`
	}
	junitOutcome struct {
		Message string `xml:"message,attr"`
		Type    string `xml:"type,attr,omitempty"`
		Text    string `xml:",chardata"`
	}
)

// JUnit gives junit.xml of one or several runs, a test suite each with a test case for each expectation.
func JUnit(runs ...*Run) ([]byte, error) {
	out := junitSuites{Name: "tollgate"}
	var wall time.Duration
	for _, r := range runs {
		s := suite(r)
		out.Tests += s.Tests
		out.Failures += s.Failures
		out.Errors += s.Errors
		out.Skipped += s.Skipped
		wall += r.Trace.Wall
		out.Suites = append(out.Suites, s)
	}
	out.Time = seconds(wall)
	b, err := xml.MarshalIndent(out, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write junit: %w", err)
	}
	return append([]byte(xml.Header), append(b, '\n')...), nil
}

func suite(r *Run) junitSuite {
	t := r.Trace
	s := junitSuite{Name: xmlText(t.Scenario), Time: seconds(t.Wall), File: xmlText(t.File), Properties: properties(r)}
	if !t.Begin.IsZero() {
		s.Timestamp = t.Begin.UTC().Format("2006-01-02T15:04:05")
	}
	for i := range r.Findings {
		s.Cases = append(s.Cases, findingCase(r, &r.Findings[i]))
	}
	if len(r.Findings) == 0 {
		s.Cases = append(s.Cases, junitCase{Name: "expectations", ClassName: xmlText(t.Scenario), File: xmlText(t.File), Time: seconds(t.Wall),
			Error: &junitOutcome{Message: "nothing was expected, so nothing was proved", Type: "inconclusive"}})
	}
	s.Cases = append(s.Cases, skippedCases(t)...)
	for _, c := range s.Cases {
		s.Tests++
		switch {
		case c.Failure != nil:
			s.Failures++
		case c.Error != nil:
			s.Errors++
		case c.Skipped != nil:
			s.Skipped++
		}
	}
	return s
}

func properties(r *Run) []junitProperty {
	t := r.Trace
	out := []junitProperty{
		{"tollgate", r.Version}, {"verdict", r.Verdict.String()}, {"bench", xmlText(t.Bench)}, {"device", xmlText(t.Device)},
		{"model", xmlText(t.Model)}, {"account", r.account().Name}, {"run", xmlText(r.Dir)},
	}
	if c := t.Capture; c != nil {
		out = append(out, junitProperty{"completeness", c.Completeness.State.String()},
			junitProperty{"frames", strconv.FormatUint(c.Frames, 10)})
	}
	for _, n := range severalTaps(t) {
		out = append(out, junitProperty{"tap " + xmlText(n.Tap), xmlText(fmt.Sprintf("at %s: packets %s, copies %s, missed %s, dropped %d, cut %d",
			placeName(n.Place), cell(n.Packets), cell(n.Copies), cell(n.Missed), n.Dropped, n.Cut))})
	}
	if t.Trouble != "" {
		out = append(out, junitProperty{"trouble", xmlText(t.Trouble)})
	}
	return out
}

func findingCase(r *Run, f *verdict.Finding) junitCase {
	c := junitCase{Name: xmlText(claimLine(f)), ClassName: xmlText(r.Trace.Scenario), Time: seconds(0)}
	c.File, c.Line = place(f.Where)
	if c.File == "" {
		c.File = xmlText(r.Trace.File)
	}
	text := f.Reason
	if f.Doubt != "" {
		text += "\n" + f.Doubt
	}
	switch f.Verdict {
	case verdict.Fail:
		c.Failure = &junitOutcome{Message: xmlText(f.Reason), Type: f.Kind, Text: xmlText(text + "\n" + listingText(r, f))}
	case verdict.Inconclusive:
		c.Error = &junitOutcome{Message: xmlText(f.Reason), Type: "inconclusive", Text: xmlText(text)}
	default:
		c.Output = xmlText(text)
	}
	return c
}

// skippedCases tells of steps whose condition did not hold.
func skippedCases(t *trace.Trace) []junitCase {
	var out []junitCase
	for _, e := range t.Timeline {
		if e.Kind == trace.EventStep && e.State == "skipped" {
			out = append(out, junitCase{Name: xmlText("step " + e.Name), ClassName: xmlText(t.Scenario), File: xmlText(t.File), Line: e.Line,
				Time: seconds(0), Skipped: &junitOutcome{Message: xmlText("its condition does not hold: " + e.Text)}})
		}
	}
	return out
}

// listingText is a finding's packet list as plain text.
func listingText(r *Run, f *verdict.Finding) string {
	p := &page{run: r}
	for _, l := range listing(r, f) {
		p.packet(l)
	}
	return p.out.String()
}

// place takes "file:line:column" apart; a Windows path's own colon is part of the file.
func place(where string) (file string, line int) {
	parts := strings.Split(where, ":")
	if len(parts) < 3 {
		return xmlText(where), 0
	}
	line, err := strconv.Atoi(parts[len(parts)-2])
	if err != nil {
		return xmlText(where), 0
	}
	return xmlText(strings.Join(parts[:len(parts)-2], ":")), line
}

func seconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', 3, 64) }

// xmlText leaves out what XML 1.0 can't hold (section 2.2), shown as Safe shows it.
func xmlText(s string) string { return SafeLines(s) }
