package trace

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/tollgate-iot/tollgate/harness/flow"
	"github.com/tollgate-iot/tollgate/harness/packet"
)

// sums adds flows up as the tracker lets them go: to the total, and to each device where flows are kept.
type sums struct {
	keep       bool
	total      Total
	protos     [numProtos]uint64
	duplicates uint64
	devices    map[netip.Addr]*Device
	seen       addrSet // the devices, where they are not kept
	flows      []*flow.Flow
}

const numProtos = int(packet.ARP) + 1

// protoNames are the names of packet kinds in reports.
var protoNames = [numProtos]string{"other", "tcp", "udp", "icmp", "icmpv6", "arp"}

// Proto gives the name of a packet kind as reports write it: "tcp", "udp", "icmp", "icmpv6", "arp", "other".
func Proto(k packet.Kind) string { return protoNames[k] }

func (s *sums) add(f *flow.Flow) {
	s.protos[f.Kind]++
	for d := range f.Sides {
		s.total.Tally[d].Add(f.Sides[d].Tally)
		s.duplicates += uint64(f.Sides[d].Duplicates)
	}
	addPhases(&s.total.Phases, f)
	if f.Close != flow.NoClose {
		s.total.Closes[f.Close]++
	}
	if !s.keep {
		s.seen.add(f.Device.Addr().As16())
		return
	}
	s.flows = append(s.flows, f)
	s.device(f)
}

// device adds a flow to its device's sums.
func (s *sums) device(f *flow.Flow) {
	if s.devices == nil {
		s.devices = map[netip.Addr]*Device{}
	}
	d := s.devices[f.Device.Addr()]
	if d == nil {
		d = &Device{Address: f.Device.Addr()}
		s.devices[f.Device.Addr()] = d
	}
	for dir := range f.Sides {
		d.Tally[dir].Add(f.Sides[dir].Tally)
	}
	addPhases(&d.Phases, f)
	d.Flows = append(d.Flows, f.ID)
}

func addPhases(to *flow.Phases, f *flow.Flow) {
	for left := f.Had; left != 0; left &= left - 1 {
		p := left.First()
		for d := range f.Phases[p] {
			to[p][d].Add(f.Phases[p][d])
		}
	}
}

// into puts the sums into a capture: devices by address, flows in the order of their first packets.
func (s *sums) into(c *Capture) {
	s.total.Flows = make(map[string]uint64, numProtos)
	for k, n := range s.protos {
		if n > 0 {
			s.total.Flows[protoNames[k]] = n
		}
	}
	s.total.Devices = uint64(s.seen.size() + len(s.devices))
	slices.SortFunc(s.flows, func(a, b *flow.Flow) int { return cmp.Compare(a.ID, b.ID) })
	for _, d := range s.devices {
		slices.Sort(d.Flows)
		c.Devices = append(c.Devices, *d)
	}
	slices.SortFunc(c.Devices, func(a, b Device) int { return a.Address.Compare(b.Address) })
	c.Total, c.Flows, c.Duplicates = s.total, s.flows, s.duplicates
}
