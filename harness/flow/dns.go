package flow

import (
	"net/netip"
	"strings"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/tollgate-iot/tollgate/harness/packet"
)

// names holds the names that devices were told for addresses: bounded, the oldest forgotten first.
type names struct {
	byAddr map[nameKey][]string // latest first
	order  []nameKey
	oldest int
}

type nameKey struct{ device, addr packet.Addr }

const (
	maxNames     = 1 << 16
	namesOfOne   = 4
	maxQuestions = 16 // of one message
	maxAnswers   = 64
	maxDNS       = 64 << 10
	// recentQueries are those of a flow that an answer or a repetition is looked for among.
	recentQueries = 64
)

func (n *names) learn(device, addr packet.Addr, name string) {
	k := nameKey{device, addr}
	if n.byAddr == nil {
		n.byAddr = make(map[nameKey][]string)
	}
	have, known := n.byAddr[k]
	if !known {
		if len(n.order) < maxNames {
			n.order = append(n.order, k)
		} else {
			delete(n.byAddr, n.order[n.oldest])
			n.order[n.oldest] = k
			n.oldest = (n.oldest + 1) % maxNames
		}
	}
	latest := []string{name}
	for _, old := range have {
		if old != name && len(latest) < namesOfOne {
			latest = append(latest, old)
		}
	}
	n.byAddr[k] = latest
}

// of gives the names of an address, latest first.
func (n *names) of(device, addr packet.Addr) []string { return n.byAddr[nameKey{device, addr}] }

// dnsStream is what reading DNS needs beyond the Flow.
type dnsStream struct {
	ids   []uint16   // of Flow.Queries
	early []dnsReply // answers whose query did not come yet
	buf   [2][]byte  // over TCP
	lost  [2]bool
}

type dnsReply struct {
	id         uint16
	name, kind string
	time       int64
	rcode      string
}

// dnsFeed reads DNS over TCP: messages behind their length (RFC 1035, 4.2.2).
func (t *Tracker) dnsFeed(s *state, m *more, seg *segment) {
	x := m.dnsStream()
	if x.lost[seg.end] || len(seg.data) < seg.size {
		x.lost[seg.end] = true
		return
	}
	whole := append(x.buf[seg.end], seg.data...)
	b := whole
	for len(b) >= 2 {
		n := 2 + int(b[0])<<8 + int(b[1])
		if len(b) < n {
			break
		}
		t.dnsMessage(s, m, seg.end, b[2:n], seg.time, seg.number)
		b = b[n:]
	}
	if len(b) < len(whole) {
		copy(whole, b)
	}
	x.buf[seg.end] = whole[:len(b)]
	if len(b) > maxDNS+2 {
		x.lost[seg.end] = true
	}
}

func (m *more) dnsStream() *dnsStream {
	if m.dns == nil {
		m.dns = &dnsStream{}
	}
	return m.dns
}

// dnsMessage notes a query of the device, or an answer to it and the names that it gives.
func (t *Tracker) dnsMessage(s *state, m *more, end int, b []byte, at int64, number uint64) {
	var p dnsmessage.Parser
	h, err := p.Start(b)
	if err != nil {
		return
	}
	for range maxQuestions {
		q, err := p.Question()
		if err != nil {
			break
		}
		name, kind := dnsName(q.Name), strings.TrimPrefix(q.Type.String(), "Type")
		if h.Response {
			m.answered(dnsReply{h.ID, name, kind, at, rcode(h.RCode)})
			if h.RCode == dnsmessage.RCodeSuccess {
				t.learnAnswers(s, end, &p, name)
			}
			return // an answer repeats its one question
		}
		m.asked(h.ID, Query{Name: name, Type: kind, Time: at, Number: number})
	}
}

func dnsName(n dnsmessage.Name) string {
	return strings.ToLower(strings.TrimSuffix(clean(n.Data[:n.Length]), "."))
}

// rcode gives a response code its name (RFC 1035, 4.1.1; RFC 2136, 2.2).
func rcode(c dnsmessage.RCode) string {
	known := [...]string{"NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET", "NXRRSET", "NOTAUTH", "NOTZONE"}
	if int(c) < len(known) {
		return known[c]
	}
	return "RCODE" + c.GoString()
}

// find gives the query with an id and a question, among the latest of the flow.
func (x *dnsStream) find(f *Flow, id uint16, name, kind string) *Query {
	for i := len(f.Queries) - 1; i >= max(0, len(f.Queries)-recentQueries); i-- {
		if q := &f.Queries[i]; x.ids[i] == id && q.Name == name && q.Type == kind {
			return q
		}
	}
	return nil
}

// asked notes a question, or that it was asked again.
func (m *more) asked(id uint16, q Query) {
	x, f := m.dnsStream(), m.flow
	if o := x.find(f, id, q.Name, q.Type); o != nil {
		o.Repeats++
		return
	}
	if len(f.Queries) >= MaxDetail {
		return
	}
	f.Queries = append(f.Queries, q)
	x.ids = append(x.ids, id)
	for i, r := range x.early {
		if r.id == id && r.name == q.Name && r.kind == q.Type {
			x.early = append(x.early[:i], x.early[i+1:]...)
			m.answered(r)
			return
		}
	}
}

// answered notes an answer. One that came before its question waits for it.
func (m *more) answered(r dnsReply) {
	x, f := m.dnsStream(), m.flow
	if q := x.find(f, r.id, r.name, r.kind); q != nil {
		if !q.Answered {
			q.Answered, q.AnswerAt, q.RCode = true, r.time, r.rcode
		}
		return
	}
	if len(x.early) < maxQuestions {
		x.early = append(x.early, r)
	}
}

// learnAnswers takes the addresses out of an answer: all of them are the address of the name that was asked for,
// whatever names it stands for.
func (t *Tracker) learnAnswers(s *state, end int, p *dnsmessage.Parser, name string) {
	if p.SkipAllQuestions() != nil {
		return
	}
	device := s.key.a.addr()
	if end == 0 {
		device = s.key.b.addr()
	}
	for range maxAnswers {
		h, err := p.AnswerHeader()
		if err != nil {
			return
		}
		var addr netip.Addr
		switch h.Type {
		case dnsmessage.TypeA:
			r, err := p.AResource()
			if err != nil {
				return
			}
			addr = netip.AddrFrom4(r.A)
		case dnsmessage.TypeAAAA:
			r, err := p.AAAAResource()
			if err != nil {
				return
			}
			addr = netip.AddrFrom16(r.AAAA)
		default:
			if p.SkipAnswer() != nil {
				return
			}
			continue
		}
		t.names.learn(device, packet.AddrFrom(addr), name)
	}
}

// nameFlow gives a flow its peer's name: a name that the device asked for, preferring the one that the device then
// named to the peer; else that one (TLS server name, HTTP Host).
func (t *Tracker) nameFlow(s *state, f *Flow) {
	said := ""
	if f.TLS != nil {
		said = f.TLS.ServerName
	}
	if said == "" && len(f.Exchanges) > 0 {
		said = hostName(f.Exchanges[0].Host)
	}
	asked := t.names.of(packet.AddrFrom(f.Device.Addr()), packet.AddrFrom(f.Peer.Addr()))
	for _, name := range asked {
		if strings.EqualFold(name, said) {
			f.Name = name
			return
		}
	}
	switch {
	case f.Name != "":
	case len(asked) > 0:
		f.Name = asked[0]
	default:
		f.Name = said
	}
}

// Name gives a name by which the answers to a device's lookups know a peer, "" where none seen so far does. A mirror can
// deliver the answer behind the packets that follow it.
func (t *Tracker) Name(device, peer netip.Addr) string {
	if asked := t.names.of(packet.AddrFrom(device), packet.AddrFrom(peer)); len(asked) > 0 {
		return asked[0]
	}
	return ""
}

// hostName takes the port off a Host field (RFC 9110, 7.2).
func hostName(host string) string {
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		host = host[:i]
	}
	return strings.ToLower(host)
}
