package plan

import (
	"time"

	"github.com/tollgate-iot/tollgate/harness/scenario"
)

// await makes a condition ready, and refuses one that this bench could never see come true.
func (b *builder) await(out *Step, s *scenario.Step, in scope) {
	a := s.Await
	w := &Wanted{Event: a.Event, MQTT: a.MQTT, Quiet: b.span("quiet", a.Quiet, in)}
	out.Await = w
	switch {
	case a.Quiet.Text != "":
		b.needTap(a.Pos, "await quiet")
		if out.Within == 0 {
			// Something may come at the very end of the silence, and the silence must then begin again.
			out.Within = 2*w.Quiet + DefaultWithin
		}
		if out.Within <= w.Quiet {
			b.errs.Addf(s.At["within"], "within %s can't be: the silence alone takes %s", short(out.Within), short(w.Quiet))
		}
	case a.Event != "":
		b.event(a)
	case a.Packet != nil:
		b.needTap(a.Pos, "await packet")
		p := *a.Packet
		p.To, p.From = b.text(p.Pos, p.To, in, false), b.text(p.Pos, p.From, in, false)
		w.Packet = &p
	case a.MQTT != "":
		b.needTap(a.Pos, "await mqtt")
	case a.Console != nil:
		m := b.pattern(*a.Console, in)
		w.Console = &m
	}
	if out.Within == 0 {
		out.Within = DefaultWithin
	}
}

// needTap refuses what can't be seen: an await that nothing could end would end as the device's failure.
func (b *builder) needTap(at scenario.Pos, what string) {
	if b.can.Tap && b.can.Deferred {
		b.errs.Addf(at, "%s needs packets while the run goes on, and every tap that sees device %q gives its packets when the run ends (peek): add another tap to the bench file, or await an event or a console line", what, b.can.Device)
	}
	if !b.can.Tap && !b.can.Unknown {
		b.errs.Addf(at, "%s needs a tap, and the bench has none that sees device %q: add one to the bench file, or await an event or a console line", what, b.can.Device)
	}
}

func (b *builder) event(a *scenario.Await) {
	if b.can.Unknown {
		return
	}
	if len(b.can.Events) == 0 {
		b.errs.Addf(a.Pos, "await event needs a carrier that tells of events, and device %q of the bench has none: name one in the bench file", b.can.Device)
		return
	}
	for _, e := range b.can.Events {
		if e == a.Event {
			return
		}
	}
	b.errs.Addf(a.Pos, "the carrier tells of no event %q: %s", a.Event, known(a.Event, b.can.Events))
}

// short writes a duration without its zero parts: 1m30s, 90s stays 1m30s, 2m0s is 2m.
func short(d time.Duration) string {
	text := d.String()
	for _, zero := range []struct{ tail, keep string }{{"m0s", "m"}, {"h0m", "h"}} {
		if len(text) > len(zero.tail) && text[len(text)-len(zero.tail):] == zero.tail {
			text = text[:len(text)-len(zero.tail)] + zero.keep
		}
	}
	return text
}
