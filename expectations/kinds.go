package expectations

import (
	"slices"
	"sync"

	"github.com/tollgate-iot/tollgate/harness/scenario"
)

// kind is a kind of claim: its key in a file, what it says, and what may stand beside it.
type kind struct {
	name   string
	doc    string
	beside []string
	key    scenario.Key[item]
}

// item is a claim while it is being read.
type item struct {
	kinds   []scenario.Entry
	checker checker
	scope   scope
}

// The keys that may stand beside a kind.
const (
	keyWindow  = "window"
	keyFlow    = "flow"
	keyPhase   = "phase"
	keyAccount = "account"
	keyCounted = "counted"
)

// kindOf makes a kind from the form of its value.
func kindOf[C checker](name, doc string, form scenario.Form[C], beside ...string) kind {
	return kind{name: name, doc: doc, beside: beside,
		key: scenario.Each(name, doc, form, func(t *item, e scenario.Entry, c C) {
			t.kinds, t.checker = append(t.kinds, e), c
		})}
}

// kinds is the table of all kinds, in the order in which the schema and messages name them.
var kinds = sync.OnceValue(func() []kind {
	return []kind{
		packetsKind(), bytesKind(), flowsKind(), phasesKind(),
		teardownKind(), resetsKind(), retransmissionsKind(),
		dnsKind(), destinationsKind(), tlsKind(), mqttKind(),
		quietKind(), durationKind(), gapKind(), timeKind(),
		reconnectKind(), carrierKind(), sameAtKind(),
	}
})

// kindNamed finds a kind in the table.
func kindNamed(name string) (kind, bool) {
	all := kinds()
	i := slices.IndexFunc(all, func(k kind) bool { return k.name == name })
	if i < 0 {
		return kind{}, false
	}
	return all[i], true
}
