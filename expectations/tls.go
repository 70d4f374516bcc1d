package expectations

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tollgate-iot/tollgate/harness/flow"
	"github.com/tollgate-iot/tollgate/harness/scenario"
	"github.com/tollgate-iot/tollgate/harness/trace"
	"github.com/tollgate-iot/tollgate/harness/verdict"
)

// tlsClaim is a claim on the TLS sessions: each of them has a version within the bound, and its handshake costs no more
// bytes than the bound. It wants at least one session (at least); that there is no other that breaks it is at most.
//
// A version 1.2 may be a 1.3 of which the extension that says so was lost (RFC 8446, 4.1.3); 1.1 and below can't.
// What belongs to a handshake is derived, and proves nothing in a broken record.
type tlsClaim struct {
	version, handshake *bound
}

func tlsKind() kind {
	object := &scenario.Object[tlsClaim]{
		Name: "a TLS claim", Doc: "What every TLS session must be like; there must be at least one.",
		Keys: []scenario.Key[tlsClaim]{
			scenario.Field("version", "The version negotiated, as a rule >= 1.2.", adapt(boundForm(versions), func(b bound) *bound { return &b }), func(c *tlsClaim) **bound { return &c.version }),
			scenario.Field("handshake", "Bytes of the handshake, both directions together, as the account counts them.", adapt(boundForm(octets), func(b bound) *bound { return &b }), func(c *tlsClaim) **bound { return &c.handshake }),
		},
		Check: atLeastOneKey[tlsClaim]("a TLS claim"),
	}
	return kindOf("tls", "The version of every TLS session (at least) and the bytes of its handshake (at most).", object.Form(), keyWindow, keyFlow, keyAccount, keyCounted)
}

func (c tlsClaim) check(v *view) outcome {
	v = v.deep()
	var outs []outcome
	var got []string
	for _, part := range v.parts {
		if part.TLS == nil {
			continue
		}
		if c.version != nil {
			o := c.checkVersion(v, part)
			outs, got = append(outs, o), appendNew(got, o.got)
		}
		if c.handshake != nil {
			o := c.checkHandshake(v, part)
			outs, got = append(outs, o), appendNew(got, o.got)
		}
	}
	if len(outs) == 0 {
		o := outcome{verdict: v.proof.unmet(), reason: "no TLS session" + v.where(), got: "no TLS session", doubt: v.proof.doubt}
		if !anyPacket(v.t) {
			o.verdict = verdict.Inconclusive
		}
		return o
	}
	if v.proof.wary() { // another session may be missing altogether
		outs = append(outs, outcome{doubt: v.proof.doubt, reason: "the sessions seen would do"})
	}
	o := merge(outs...)
	o.got = strings.Join(got, ", ")
	return o
}

func appendNew(words []string, w string) []string {
	if slices.Contains(words, w) {
		return words
	}
	return append(words, w)
}

func (c tlsClaim) checkVersion(v *view, p part) outcome {
	version := int64(p.TLS.Version)
	session := "TLS with " + peerOf(p.Flow)
	if version == 0 {
		return outcome{reason: session + ": the ServerHello that tells the version was not seen", doubt: v.proof.doubt, got: "version unknown"}
	}
	m := measure{got: version, least: version, most: version}
	if version == 0x0303 && v.proof.wary() {
		m.most = 0x0304
	}
	if !v.sure() {
		m.least, m.most = 0, unlimited
	}
	o := v.proof.judge(versions, m, *c.version, session+": "+versionName(version))
	o.got = versionName(version)
	if o.verdict != verdict.Pass {
		o.witnesses = firstOf(p, flow.TLSHandshake)
	} else if v.proof.state == trace.Unproven {
		o.verdict, o.doubt = v.proof.unseen(), v.proof.doubt // sessions that were not seen
	}
	return o
}

func (c tlsClaim) checkHandshake(v *view, p part) outcome {
	m := derived(handshakeBytes(v, p))
	if !v.proof.wary() {
		m.least = m.got
	}
	o := v.proof.judge(octets, m, *c.handshake, fmt.Sprintf("TLS with %s: a handshake of %s", peerOf(p.Flow), octets.format(m.got)))
	o.got = octets.format(m.got)
	if o.verdict != verdict.Pass {
		o.witnesses = firstOf(p, flow.TLSHandshake)
	}
	return o
}

// handshakeBytes counts a session's handshake.
func handshakeBytes(v *view, p part) (n int64) {
	for i := range p.packets {
		if q := &p.packets[i]; q.Phase == flow.TLSHandshake {
			n += v.bytesOf(q)
		}
	}
	return n
}

// firstOf points to the first packet of a phase.
func firstOf(p part, phase flow.Phase) []verdict.Witness {
	for i := range p.packets {
		if q := &p.packets[i]; q.Phase == phase {
			return []verdict.Witness{witness(p.Flow, q, phase.String()+" begins")}
		}
	}
	return nil
}
