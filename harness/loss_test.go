package harness

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-iot/tollgate/expectations"
	"github.com/tollgate-iot/tollgate/harness/flow"
	"github.com/tollgate-iot/tollgate/harness/packet"
	"github.com/tollgate-iot/tollgate/harness/trace"
	"github.com/tollgate-iot/tollgate/harness/verdict"
)

// The law of this file: whatever a mirror loses, doubles, swaps and cuts short of a recorded run, every finding is that of
// the untouched run or inconclusive, never its opposite. Where packets are gone and nothing tells, a finding may pass
// that truly fails, if it says what it rests on; those are counted apart, and a strict judgement has none.
//
//	go test ./harness -run LossNever -v -loss.cases=10000     prints the README's table

var (
	lossCases = flag.Int("loss.cases", 300, "how many runs a mirror is made to lose packets of")
	lossSeed  = flag.Uint64("loss.seed", 1, "makes other cases")
	lossCase  = flag.Int("loss.case", -1, "only the case of this number")
)

// lossRates are the shares that mirrors lose.
var lossRates = []float64{0, 0.01, 0.02, 0.05, 0.10, 0.20}

// knowledge is what there is beside the packets to tell a loss by.
type knowledge uint8

const (
	carrierCounts knowledge = iota // the carrier's count, the canaries that came through, the tap's counters
	canariesOnly                   // the same without the carrier's count: both canaries may come through, and nobody counts
	tapCounts                      // what is missing the tap lost itself, and counted
	packetsOnly                    // nothing
	numKnowledge
)

func (k knowledge) String() string {
	return [...]string{"the carrier's count", "canaries alone", "the tap's drop counters", "packets alone"}[k]
}

// lossRun is a run with claims about it, the shipped ones and many of every kind, and with the truth about them.
type lossRun struct {
	*recorded
	sets [numSets]claims
}

const (
	shippedClaims = iota
	allKinds
	numSets
)

// claims is a set with what became of each claim in the untouched run.
type claims struct {
	set   *expectations.Set
	truth []verdict.Finding
}

func (r *recorded) claims(set *expectations.Set) claims {
	findings := set.Judge(r.trace, expectations.Options{})
	return claims{set, findings[len(findings)-len(set.Claims):]}
}

// some draws a share of the claims: one in so many.
func (c claims) some(rng *rand.Rand, oneIn int) claims {
	out := claims{set: &expectations.Set{}}
	for i := range c.set.Claims {
		if rng.IntN(oneIn) == 0 {
			out.set.Claims, out.truth = append(out.set.Claims, c.set.Claims[i]), append(out.truth, c.truth[i])
		}
	}
	return out
}

func lossRuns(t *testing.T) []*lossRun {
	var out []*lossRun
	for _, rec := range recordings {
		r := rec.load(t)
		wide, err := expectations.Parse("wide.yaml", 1, []byte(wideClaims(r.trace)))
		require.NoError(t, err)
		out = append(out, &lossRun{r, [numSets]claims{r.claims(r.set), r.claims(wide)}})
	}
	return out
}

func TestLossNeverTurnsAFinding(t *testing.T) {
	runs := lossRuns(t)
	var mu sync.Mutex
	var all results
	var wrong []string
	cases := make(chan int)
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for n := range cases {
				c := drawCase(t, runs, n)
				c.judge(t)
				mu.Lock()
				all.add(c)
				wrong = append(wrong, c.wrong...)
				mu.Unlock()
			}
		})
	}
	for n := range *lossCases {
		if *lossCase < 0 || n == *lossCase {
			cases <- n
		}
	}
	close(cases)
	workers.Wait()
	t.Log("\n" + all.String())
	slices.Sort(wrong)
	for _, w := range wrong[:min(len(wrong), 20)] {
		t.Error(w)
	}
	require.Zero(t, len(wrong), "findings that are not the truth: -loss.case=N repeats one case")
	if *lossCases >= 300 && *lossCase < 0 {
		require.Positive(t, all.unnoticed, "the law must hold where nothing tells of a loss, too")
	}
}

// oneCase is one run as one mirror left it, and what is said of it.
type oneCase struct {
	number int
	run    *lossRun
	rate   int // index into lossRates
	know   knowledge
	mirror lossyMirror
	got    mirrored
	trace  *trace.Trace
	state  trace.State
	rng    *rand.Rand
	counts [numSets]count
	wrong  []string
}

func drawCase(t require.TestingT, runs []*lossRun, n int) *oneCase {
	c := &oneCase{number: n, rate: n % len(lossRates), rng: rand.New(rand.NewPCG(*lossSeed, uint64(n)))}
	c.run, c.know = runs[c.rng.IntN(len(runs))], knowledge(c.rng.IntN(int(numKnowledge)))
	c.mirror = drawMirror(c.rng, lossRates[c.rate])
	c.got = c.mirror.mirror(c.rng, c.run.recorded)
	c.trace = c.run.touched(t, c.got, c.know)
	c.state = c.trace.Completeness(trace.Scope{}).State
	return c
}

// judge judges all shipped claims, and some of the others, open and strictly.
func (c *oneCase) judge(t require.TestingT) {
	for i, share := range [numSets]int{shippedClaims: 1, allKinds: 8} {
		some := c.run.sets[i].some(c.rng, share)
		if len(some.truth) == 0 {
			continue
		}
		open, strict := some.set.Judge(c.trace, expectations.Options{}), some.set.Judge(c.trace, expectations.Options{Strict: true})
		require.Len(t, strict, len(open))
		steps := len(open) - len(some.truth)
		for _, f := range open[:steps] {
			if f.Verdict == verdict.Fail && c.run.trace.Failed == "" {
				c.compare(i, f, verdict.Finding{Verdict: verdict.Pass, Reason: "no step failed"}, f)
			}
		}
		for j, truth := range some.truth {
			if truth.Verdict != verdict.Inconclusive {
				c.compare(i, open[steps+j], truth, strict[steps+j])
			}
		}
	}
}

// compare holds a finding against the truth.
func (c *oneCase) compare(set int, open, truth, strict verdict.Finding) {
	n := &c.counts[set]
	switch {
	case open.Verdict == truth.Verdict:
		n.right++
	case open.Verdict == verdict.Inconclusive:
		n.open++
	case open.Verdict == verdict.Pass && open.Doubt != "" && c.know != carrierCounts:
		n.untold++
	default:
		n.wrong++
		c.tell("", open, truth)
	}
	if strict.Verdict != truth.Verdict && strict.Verdict != verdict.Inconclusive {
		c.tell("strictly ", strict, truth)
	}
}

// unnoticed says whether packets are gone and nothing tells: both canaries came through, nobody counted, and what is missing
// leaves no trace in the others.
func (c *oneCase) unnoticed() bool {
	tap := c.trace.Evidence.Taps
	return c.know == canariesOnly && c.got.losses > 0 && c.state == trace.Unproven && tap[0].CanaryBefore && tap[0].CanaryAfter
}

func (c *oneCase) tell(how string, now, truth verdict.Finding) {
	c.wrong = append(c.wrong, fmt.Sprintf("-loss.case=%d: %s; mirror: %s; %d frames lost, %d cut; known by %s: %s\n  %s %s: %s%s, truly %s\n  now:  %s\n  then: %s",
		c.number, c.run.name, c.mirror, c.got.losses, c.got.cut, c.know, c.state, now.Claim, now.Scope, how, now.Verdict, truth.Verdict, now.Reason, truth.Reason))
}

// touched is a run as a lossy mirror left it.
func (r *recorded) touched(t require.TestingT, m mirrored, k knowledge) *trace.Trace {
	o := r.trace.Analysis
	o.KeepFlows, o.KeepPackets = true, true
	c, err := trace.Read(bytes.NewReader(packed(t, m.frames)), trace.CaptureFile, o)
	require.NoError(t, err)
	tr := *r.trace
	tr.Capture = c
	spans := canaries(tr.Timeline)
	tr.Evidence = trace.Evidence{Taps: []trace.TapEvidence{r.tap(m, c, spans)}}
	switch k {
	case carrierCounts:
		tr.Evidence.Carrier = r.trace.Evidence.Carrier
	case tapCounts:
		tr.Evidence.Taps[0].Dropped = uint64(m.losses)
	case packetsOnly:
		tr.Evidence.Taps = nil
	}
	c.Flows = withoutCanaries(c.Flows, spans)
	r.await(&tr, m)
	return &tr
}

// tap is what the tap tells of itself: it knows of no loss, and a canary can be among what was lost.
func (r *recorded) tap(m mirrored, c *trace.Capture, spans []span) trace.TapEvidence {
	tap := r.trace.Evidence.Taps[0]
	tap.Received, tap.Truncated = c.Frames, uint64(m.cut)
	tap.CanaryBefore = tap.CanaryBefore && pinged(c.Flows, spans[0])
	tap.CanaryAfter = tap.CanaryAfter && pinged(c.Flows, spans[len(spans)-1])
	return tap
}

// pinged says whether a canary is among the packets.
func pinged(flows []*flow.Flow, s span) bool {
	return slices.ContainsFunc(flows, func(f *flow.Flow) bool {
		return f.Kind == packet.ICMP && slices.ContainsFunc(f.Packets, func(p flow.Packet) bool {
			return p.Dir == flow.Down && p.Time >= s.from && p.Time <= s.to
		})
	})
}

// await fails the step that waited for a packet which is lost.
func (r *recorded) await(tr *trace.Trace, m mirrored) {
	for _, e := range tr.Timeline {
		for i, rec := range r.frames {
			if e.Kind == trace.EventPacket && m.lost[i] && rec.Time == e.Time.UnixNano() && tr.Failed == "" {
				tr.Failed, tr.Unseen = "await: no such packet was seen", true
			}
		}
	}
}
