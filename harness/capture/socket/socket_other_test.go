//go:build !linux

package socket

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// onOneProcessor can't be had here; loopback interfaces here have one queue.
func onOneProcessor(testing.TB) func() { return func() {} }

// kill ends a tap's socket behind its back.
func kill(t testing.TB, tap *Tap) { require.NoError(t, tap.rx.(*plain).conn.Close()) }
