package flow

// What a sequence number was for. A side keeps the ends of its latest ranges of one phase each: range i holds the
// bytes from ends[i-1] (the first: from base) up to ends[i]. Ranges of the same phase are joined, so four are enough
// for everything that can still be acknowledged; a hole is held to be of the phase of what follows it, until it is
// filled. With them a pure ACK's phase is that of the last byte it acknowledges, whatever order the packets came in.
const maxRanges = 4

// after says whether sequence number a lies behind b (RFC 9293, 3.4).
func after(a, b uint32) bool { return int32(a-b) > 0 }

// note remembers that [from, to) was sent in a phase.
func (d *side) note(from, to uint32, phase Phase) {
	if int32(to-d.base) > 3*(maxWindow/2) {
		d.forget(to - maxWindow)
	}
	n := d.ranges
	if n == 0 {
		d.ends[0], d.phases[0], d.ranges = to, phase, 1
		return
	}
	last := n - 1
	if from == d.ends[last] || after(from, d.ends[last]) {
		if d.phases[last] == phase {
			d.ends[last] = to
			return
		}
		if n == maxRanges {
			d.dropFirst()
			n--
		}
		d.ends[n], d.phases[n], d.ranges = to, phase, n+1
		return
	}
	d.renote(from, to, phase)
}

// forget lets go of the numbers before one that is as far behind the newest as a window may be wide: half of all numbers
// further on they would seem to lie ahead.
func (d *side) forget(before uint32) {
	d.base = before
	for d.ranges > 1 && !after(d.ends[0], before) {
		d.dropFirst()
	}
}

// dropFirst forgets the oldest range.
func (d *side) dropFirst() {
	copy(d.ends[:], d.ends[1:])
	copy(d.phases[:], d.phases[1:])
	d.ranges--
}

// renote puts a range among others: it came late, and tells what part of a hole was for.
func (d *side) renote(from, to uint32, phase Phase) {
	var ends [2*maxRanges + 2]uint32
	var phases [2*maxRanges + 2]Phase
	n := 0
	add := func(end uint32, p Phase) {
		if n > 0 && phases[n-1] == p {
			ends[n-1] = end
			return
		}
		ends[n], phases[n] = end, p
		n++
	}
	placed := false
	for i := range d.ranges {
		end, p := d.ends[i], d.phases[i]
		if !placed && after(end, from) {
			if i > 0 && after(from, d.ends[i-1]) || i == 0 && after(from, d.base) {
				add(from, p)
			}
			add(to, phase)
			placed = true
		}
		if !placed || after(end, to) {
			add(end, p)
		}
	}
	if !placed {
		add(to, phase)
	}
	skip := max(0, n-maxRanges)
	copy(d.ends[:], ends[skip:n])
	copy(d.phases[:], phases[skip:n])
	d.ranges = uint8(n - skip)
}

// phaseAt gives the phase of the byte at a sequence number; false where it is not known.
func (d *side) phaseAt(seq uint32) (Phase, bool) {
	i := d.ranges // of the first range that ends behind it: mostly that is the last one
	for i > 0 && after(d.ends[i-1], seq) {
		i--
	}
	if i == d.ranges || d.flags&sideSeen == 0 || after(d.base, seq) {
		return Other, false
	}
	return d.phases[i], true
}

// phaseNear is phaseAt for a byte that will never be seen: the phase of the nearest byte before it.
func (d *side) phaseNear(seq uint32) (Phase, bool) {
	if p, ok := d.phaseAt(seq); ok || d.ranges == 0 || after(d.base, seq) {
		return p, ok
	}
	return d.phases[d.ranges-1], true
}
