//go:build !linux

package afpacket

import (
	"fmt"
	"runtime"
)

// open gives an error that says what to do instead: only Linux has packet sockets.
func open(o Options) (source, error) {
	expression := o.Filter.Expression()
	if expression != "" {
		expression = ", \"" + expression + "\""
	}
	return nil, fmt.Errorf("a ring on an interface needs Linux, not %s: capture with driver pipe and command [sudo, -n, tcpdump, -i, %s, -s, \"0\", -U, -n, -w, \"-\"%s]", runtime.GOOS, o.Interface, expression)
}
