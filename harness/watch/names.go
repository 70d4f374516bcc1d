package watch

import (
	"strings"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/tollgate-iot/tollgate/harness/packet"
)

// maxNames bounds the names that are remembered; all are forgotten where more are learnt.
const maxNames = 1 << 14

// names are what addresses were last called by an answer to anybody.
type names map[packet.Addr]string

// learn takes the addresses of a DNS answer (RFC 1035, 4.1). What is no answer teaches nothing.
func (n names) learn(message []byte) {
	var p dnsmessage.Parser
	h, err := p.Start(message)
	if err != nil || !h.Response {
		return
	}
	asked, err := p.Question()
	if err != nil || p.SkipAllQuestions() != nil {
		return
	}
	name := strings.TrimSuffix(asked.Name.String(), ".")
	for {
		rr, err := p.AnswerHeader()
		if err != nil {
			return
		}
		switch rr.Type {
		case dnsmessage.TypeA:
			a, err := p.AResource()
			if err != nil {
				return
			}
			n.put(packet.Addr{10: 0xff, 11: 0xff, 12: a.A[0], 13: a.A[1], 14: a.A[2], 15: a.A[3]}, name)
		case dnsmessage.TypeAAAA:
			a, err := p.AAAAResource()
			if err != nil {
				return
			}
			n.put(a.AAAA, name)
		default:
			if p.SkipAnswer() != nil {
				return
			}
		}
	}
}

func (n names) put(a packet.Addr, name string) {
	if len(n) >= maxNames {
		clear(n)
	}
	n[a] = name
}
