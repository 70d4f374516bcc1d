package bench

import "errors"

// CloseParts closes the device, the taps and the carrier of a bench that no run has taken over. The bench itself stays
// open: its Close is for the rest.
func (b *Bench) CloseParts() error {
	var errs []error
	if b.Device != nil {
		errs = append(errs, b.Device.Close())
	}
	for _, t := range b.Taps {
		errs = append(errs, t.Close())
	}
	if b.Carrier != nil {
		errs = append(errs, b.Carrier.Close())
	}
	return errors.Join(errs...)
}
