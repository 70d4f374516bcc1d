// Package trigger drives devices that have no console of their own, only a button or a switch: the LTE-M Button and the
// GPS Multiunit. Something with a serial port (a relay board, the simulated bench) presses or switches for the harness
// and answers in the line protocol of package line; what the device does then is seen on the wire alone.
package trigger

import (
	"time"

	"github.com/tollgate-iot/tollgate/harness/plan"
)

// Verbs gives what can be done to a device from outside. Which of them an actuator is wired for is its own matter:
// asked for another it answers with an error.
func Verbs() []plan.VerbSpec {
	return []plan.VerbSpec{
		{
			Name: "click",
			Doc:  "Press the device's button. The answer comes when it was pressed, not when the device is done: await its packets.",
			Main: "kind",
			Args: []plan.ArgSpec{
				{Name: "kind", Type: plan.String, Default: "single", Choices: []string{"single", "double", "long"}, Doc: "which kind of click"},
			},
			Timeout: 30 * time.Second,
		},
		{
			Name:    "power_on",
			Doc:     "Switch the device on. The answer comes when it has power: await its packets.",
			Timeout: 30 * time.Second,
		},
		{
			Name:    "power_off",
			Doc:     "Take the device's power away, without letting it say goodbye.",
			Timeout: 30 * time.Second,
		},
	}
}
