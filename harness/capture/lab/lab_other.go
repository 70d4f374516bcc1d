//go:build !linux

package lab

import "testing"

// Require skips the test: only Linux has network namespaces.
func Require(t testing.TB, _ ...string) {
	t.Helper()
	t.Skip("needs Linux: it makes network namespaces")
}
