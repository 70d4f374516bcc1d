package catalog

import (
	"github.com/tollgate-iot/tollgate/harness/scenario"
)

// CheckWant refuses a device that no bench can have: one with a driver that there is not. What models and labels there
// are only a bench can say. The error is scenario.Errors.
func CheckWant(want scenario.DeviceWant) error {
	var errs scenario.Errors
	if _, ok := devices[want.Driver]; want.Driver != "" && !ok {
		errs.Addf(want.Pos, "no driver %q: %s", want.Driver, scenario.Suggest(want.Driver, names(devices)))
	}
	return errs.Err()
}
