package expectations

import (
	"time"

	"github.com/tollgate-iot/tollgate/harness/flow"
	"github.com/tollgate-iot/tollgate/harness/packet"
)

// What comes soon behind a moment may have passed before it: a mirror delivers packets as late as flow.LateTime, and the
// network itself lets some pass while it ends a session. Only the flow's own numbers show an order in less time.

// mayPrecede is the doubt that packets leave which came so soon.
var mayPrecede = "what came may have been sent before: a mirror may deliver a packet " + span(time.Duration(flow.LateTime)) + " late"

// fresh says whether nothing that was sent before the moment can come behind it: the record begins, or the device's session.
func (m *moment) fresh(v *view) bool {
	return (m == nil || m.begin) && v.from == always || m != nil && m.event == events["session"]
}

// surely says whether a packet that came after the moment was sent after it, too.
func (a found) surely(f *flow.Flow, p *flow.Packet) bool {
	return p.Time-a.at >= flow.LateTime || a.packet != nil && a.flow == f && f.Kind == packet.TCP && follows(a.packet, p)
}

// follows says whether a segment shows by its own numbers that it was sent after another of its flow: it goes on behind
// that, or acknowledges it. An ACK takes up no numbers, and nothing shows what followed it.
func follows(first, p *flow.Packet) bool {
	var end shown
	end.sent(first)
	switch {
	case end.next == first.Seq:
		return false
	case p.Dir == first.Dir:
		return int32(p.Seq-end.next) >= 0
	}
	return p.Flags&packet.ACK != 0 && int32(p.Ack-end.next) >= 0
}
