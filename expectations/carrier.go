package expectations

import (
	"fmt"
	"math"
	"regexp"
	"strconv"

	"github.com/tollgate-iot/tollgate/harness/flow"
	"github.com/tollgate-iot/tollgate/harness/scenario"
	"github.com/tollgate-iot/tollgate/harness/verdict"
)

// carrier is a claim that the carrier's count of packets and bytes agrees with the tap's, as the air carried them.
//
// Fewer than the tap saw is a fail: those packets were there. More than the tap saw means that the tap missed some, or
// that the carrier counts what the device did not send: nobody can tell, so it is inconclusive.
type carrier struct{ packets, bytes *float64 } // tolerance as a share of the tap's count

var tolerance = regexp.MustCompile(`^(?:±|\+-|\+/-)?\s*(\d+(?:\.\d+)?)\s*%$`)

func carrierKind() kind {
	share := scenario.Form[*float64]{
		Schema: func(map[string]any) map[string]any {
			return map[string]any{"type": "string", "pattern": `^(exact|(±|\+-|\+/-)?\s*[0-9]+(\.[0-9]+)?\s*%)$`}
		},
		Read: func(errs *scenario.Errors, name string, v scenario.Value) *float64 {
			none := 0.0
			if v.Scalar == nil {
				errs.Addf(v.Pos, "%s: want exact or a tolerance such as ±2%%, got %s", name, v.Kind())
				return &none
			}
			if *v.Scalar == "exact" {
				return &none
			}
			m := tolerance.FindStringSubmatch(*v.Scalar)
			if m == nil {
				errs.Addf(v.Pos, "%s: %q is no tolerance: write exact or ±2%%", name, *v.Scalar)
				return &none
			}
			percent, _ := strconv.ParseFloat(m[1], 64) // digits
			percent /= 100
			return &percent
		},
	}
	object := &scenario.Object[carrier]{
		Name: "a reconciliation", Doc: "How far the carrier's count may be from the tap's.",
		Keys: []scenario.Key[carrier]{
			scenario.Field("packets", "Of packets, each direction: exact or ±2%.", share, func(c *carrier) **float64 { return &c.packets }),
			scenario.Field("bytes", "Of bytes by the run's account, each direction: exact or ±2%.", share, func(c *carrier) **float64 { return &c.bytes }),
		},
		Check: atLeastOneKey[carrier]("a reconciliation"),
	}
	both := adapt(share, func(f *float64) carrier { return carrier{f, f} })
	return kindOf("carrier", "The carrier's count agrees with the tap's, packets and bytes, each direction (exact, or within a tolerance).", either(both, object.Form()))
}

func (c carrier) check(v *view) outcome {
	v = v.shell()
	count := v.t.Evidence.Carrier
	if count == nil {
		return outcome{reason: "the carrier's count was not asked for"}
	}
	if !anyPacket(v.t) {
		return outcome{reason: "the record holds no packet of the device"}
	}
	var packets, bytes flow.Both[int64]
	for _, p := range v.parts {
		for i := range p.packets {
			q := &p.packets[i]
			packets[q.Dir] += v.packetsOf(q)
			bytes[q.Dir] += v.bytesOf(q)
		}
	}
	var outs []outcome
	for d := range packets {
		dir := flow.Direction(d)
		if c.packets != nil {
			outs = append(outs, agree(v, "packets "+dir.String(), packets[d], int64(count.Packets[d]), *c.packets))
		}
		if c.bytes != nil {
			outs = append(outs, agree(v, "bytes "+dir.String(), bytes[d], int64(count.Bytes[d]), *c.bytes))
		}
	}
	o := merge(outs...)
	if o.verdict == verdict.Pass {
		o.reason = "the carrier counted what the tap saw"
	}
	o.got = fmt.Sprintf("%s up, %s down", plural(int64(count.Packets[flow.Up]), "packet"), group(int64(count.Packets[flow.Down])))
	return o
}

// agree compares one number.
func agree(v *view, what string, tap, told int64, share float64) outcome {
	o := outcome{verdict: verdict.Pass, reason: fmt.Sprintf("%s: the carrier counted %s, the tap saw %s", what, group(told), group(tap))}
	if math.Abs(float64(told-tap)) <= float64(tap)*share {
		return o
	}
	o.verdict = verdict.Fail
	switch {
	case told > tap:
		o.verdict, o.doubt = verdict.Inconclusive, "the tap missed packets, or the carrier counted what the device did not send"
	case v.proof.wary():
		o.verdict, o.doubt = verdict.Inconclusive, v.proof.doubt
	}
	return o
}
