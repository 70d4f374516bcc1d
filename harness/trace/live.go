package trace

import "github.com/tollgate-iot/tollgate/harness/pcap"

// Live analyses frames while they are being captured, as Read does a capture. With Options.KeepFlows unset its memory grows
// with the flows that are open at a time only. It is not safe for concurrent use.
type Live struct{ a *analysis }

// formatLive is the Capture.Format of frames that come from no file.
const formatLive = "live"

// NewLive begins an analysis. End must be called, whatever becomes of the capture.
func NewLive(name string, o Options) *Live {
	l := &Live{newAnalysis(name, o)}
	l.a.out.Format = formatLive
	return l
}

// Add takes the next frame. Nothing of it is kept.
func (l *Live) Add(rec *pcap.Record) { l.a.record(rec) }

// Push hands over to the tracker what waits for a batch to be full: for somebody who looks while little comes.
func (l *Live) Push() {
	if l.a.follow.cur.count > 0 {
		l.a.follow.send()
	}
}

// End gives what the analysis made of all frames; dropped are those that the tap lost.
func (l *Live) End(dropped uint64) (*Capture, error) {
	l.a.reported = max(dropped, l.a.drops.total)
	l.a.end()
	return l.a.finish()
}
