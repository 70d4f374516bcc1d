package sim

import (
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// names are the operator's services. They answer with one address and nothing else, so the answers are small.
var names = map[string]netip.Addr{
	"beam.soracom.io":     beamAddr,
	"button.soracom.io":   unifiedAddr,
	"unified.soracom.io":  unifiedAddr,
	"uni.soracom.io":      unifiedAddr,
	"metadata.soracom.io": metadataAddr,
	"harvest.soracom.io":  harvestAddr,
	"soracom.io":          publicAddr,
}

// The object store's names. Any bucket will do; their answers go through a CNAME and bring the zone's name servers
// with them, which makes them large.
const (
	websiteZone = "s3-website-ap-northeast-1.amazonaws.com"
	objectsZone = "s3-ap-northeast-1.amazonaws.com"
)

// nameServers are the object store's, and websiteServer and objectsServer each zone's fifth. They make the answers as
// large as the article's: 508 bytes for the website of a bucket whose name has 20 letters, 494 for its objects.
var nameServers = []string{"ns-901.awsdns-48.net.", "ns-1670.awsdns-16.co.uk.", "ns-1321.awsdns-37.org.", "ns-411.awsdns-51.com."}

const (
	websiteServer = "ns-05.website.objects.example."
	objectsServer = "ns5.objectstore.example."
)

const nameTTL = 60

// answerDNS answers a query, nil where it is none.
func answerDNS(query []byte) []byte {
	var q dnsmessage.Message
	if err := q.Unpack(query); err != nil || q.Response || len(q.Questions) != 1 {
		return nil
	}
	question := q.Questions[0]
	a := dnsmessage.Message{
		Header: dnsmessage.Header{
			ID: q.ID, Response: true, RecursionDesired: q.RecursionDesired, RecursionAvailable: true,
		},
		Questions: q.Questions,
	}
	name := strings.ToLower(strings.TrimSuffix(question.Name.String(), "."))
	switch {
	case question.Type != dnsmessage.TypeA && (names[name].IsValid() || inStore(name)):
		// the name is there, an address of that kind is not
	case names[name].IsValid():
		a.Answers = []dnsmessage.Resource{addressRecord(question.Name, names[name])}
	case inStore(name):
		storeAnswer(&a, question.Name, name)
	default:
		a.RCode = dnsmessage.RCodeNameError
	}
	b, err := a.Pack()
	if err != nil {
		return nil
	}
	return b
}

func inStore(name string) bool {
	return strings.HasSuffix(name, "."+websiteZone) || strings.HasSuffix(name, "."+objectsZone)
}

// storeAnswer fills in what the object store's name servers say of a bucket.
func storeAnswer(a *dnsmessage.Message, asked dnsmessage.Name, name string) {
	zone, addr, fifth := dnsmessage.MustNewName(websiteZone+"."), websiteAddr, websiteServer
	if strings.HasSuffix(name, "."+objectsZone) {
		zone, addr, fifth = dnsmessage.MustNewName(objectsZone+"."), objectsAddr, objectsServer
	}
	a.Answers = []dnsmessage.Resource{
		{Header: recordHeaderOf(asked, dnsmessage.TypeCNAME), Body: &dnsmessage.CNAMEResource{CNAME: zone}},
		addressRecord(zone, addr),
	}
	for i, ns := range append(slices.Clone(nameServers), fifth) {
		server := dnsmessage.MustNewName(ns)
		a.Authorities = append(a.Authorities, dnsmessage.Resource{
			Header: recordHeaderOf(zone, dnsmessage.TypeNS), Body: &dnsmessage.NSResource{NS: server},
		})
		a.Additionals = append(a.Additionals,
			addressRecord(server, netip.AddrFrom4([4]byte{205, 251, 192, byte(10 + i)})),
			dnsmessage.Resource{
				Header: recordHeaderOf(server, dnsmessage.TypeAAAA),
				Body:   &dnsmessage.AAAAResource{AAAA: [16]byte{0x26, 0, 0x90, 0, 0x53, byte(i), 15: 1}},
			})
	}
}

func addressRecord(name dnsmessage.Name, a netip.Addr) dnsmessage.Resource {
	return dnsmessage.Resource{Header: recordHeaderOf(name, dnsmessage.TypeA), Body: &dnsmessage.AResource{A: a.As4()}}
}

func recordHeaderOf(name dnsmessage.Name, t dnsmessage.Type) dnsmessage.ResourceHeader {
	return dnsmessage.ResourceHeader{Name: name, Type: t, Class: dnsmessage.ClassINET, TTL: nameTTL}
}
