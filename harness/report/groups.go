package report

import (
	"strings"

	"github.com/tollgate-iot/tollgate/harness/verdict"
)

// undecided are the findings that one and the same cause leaves open.
type undecided struct {
	Cause string
	Items []undecidedItem
}

// undecidedItem is a claim with what was seen of it all the same.
type undecidedItem struct{ Claim, Seen string }

// undecidedBy gathers the inconclusive findings by their causes, in the order in which the causes come first: told once,
// a cause can be read; told with each claim it hides them.
func undecidedBy(findings []verdict.Finding) []undecided {
	var out []undecided
	at := map[string]int{}
	for i := range findings {
		f := &findings[i]
		if f.Verdict != verdict.Inconclusive {
			continue
		}
		cause, seen := f.Reason, ""
		if f.Doubt != "" {
			cause, seen = f.Doubt, withoutDoubt(f.Reason, f.Doubt)
		}
		n, ok := at[cause]
		if !ok {
			n = len(out)
			at[cause] = n
			out = append(out, undecided{Cause: cause})
		}
		out[n].Items = append(out[n].Items, undecidedItem{Claim: claimLine(f), Seen: seen})
	}
	return out
}

// withoutDoubt takes the doubt, which stands by itself already, out of a finding's sentence.
func withoutDoubt(reason, doubt string) string {
	for _, link := range []string{"; not decided, because ", ", because ", ": "} {
		reason = strings.ReplaceAll(reason, link+doubt, "")
	}
	return reason
}
