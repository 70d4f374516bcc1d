package catalog

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tollgate-iot/tollgate/harness/bench"
	"github.com/tollgate-iot/tollgate/harness/capture/peek"
	"github.com/tollgate-iot/tollgate/harness/capture/pipe"
	"github.com/tollgate-iot/tollgate/harness/carrier/soracom"
	"github.com/tollgate-iot/tollgate/harness/scenario"
	"github.com/tollgate-iot/tollgate/harness/sim"
	"github.com/tollgate-iot/tollgate/harness/sim/api"
)

// statsEvery is how long the periods are in which the simulated carrier counts.
const statsEvery = time.Second

// The simulated bench's taps, and their places where there are two.
const (
	simTap  = "mirror"
	simGate = "gate"
)

// openSim puts the simulated bench together from the same parts as a real one: the device's driver at the port of a
// simulated board, the carrier's client before the simulated API, and a pipe tap on the mirror's stream.
func openSim(want scenario.DeviceWant, options string) (*bench.Bench, error) {
	config, err := parseSim(options)
	if err != nil {
		return nil, err
	}
	model, err := simModel(want)
	if err != nil {
		return nil, err
	}
	kind := simulated[model]
	config.world.Personality = kind.personality
	if known := sim.Firmwares(kind.personality); config.world.Firmware != "" && !slices.Contains(known, config.world.Firmware) {
		return nil, fmt.Errorf("--sim: firmware=%s: a %s has %s", config.world.Firmware, model, strings.Join(known, ", "))
	}
	world, err := sim.New(config.world)
	if err != nil {
		return nil, &BrokenError{SimName, err}
	}
	config.api.Hold = world.Hold
	config.api.StatsEvery = statsEvery // what the last second carried must be counted when the run ends
	server, err := api.Serve(world.Carrier(), config.api)
	if err != nil {
		return nil, &BrokenError{SimName, errors.Join(err, world.Close())}
	}
	b := &bench.Bench{Name: SimName, Clock: world.Clock(), Model: model, Driver: kind.driver,
		DevName: model + " " + world.Firmware(), Close: func() error { return errors.Join(server.Close(), world.Close()) }}
	if err := simParts(b, world, server, config); err != nil {
		return nil, &BrokenError{SimName, errors.Join(err, b.Close())}
	}
	return b, nil
}

func simParts(b *bench.Bench, world *sim.World, server *api.Server, config simConfig) error {
	keys := server.Credentials()
	carrier, err := soracom.New(soracom.Options{
		SIM: world.Carrier().SIMs()[0].Info().IMSI, Endpoint: server.URL(), Clock: b.Clock,
		Credentials: soracom.Credentials{AuthKeyID: keys.AuthKeyID, AuthKey: keys.AuthKey},
		StatsEvery:  statsEvery,
	})
	if err != nil {
		return err
	}
	if b.Taps, err = simTaps(b, world, carrier, config); err != nil {
		return errors.Join(err, carrier.Close())
	}
	b.Device, b.Carrier = devices[b.Driver].open(simPort(world), b.Clock), carrier
	return nil
}

// simTaps makes the bench's tap, at the mirror or in the carrier's network, and the one at the gate where there is one.
func simTaps(b *bench.Bench, world *sim.World, carrier *soracom.Carrier, config simConfig) (taps []bench.Tap, err error) {
	var tap bench.Tap
	if config.peek {
		tap, err = peek.New(peek.Options{Name: peekDriver, Carrier: carrier, Clock: b.Clock})
	} else {
		tap, err = pipe.New(pipe.Options{Name: simTap, Reader: world.Mirror()})
	}
	if err != nil {
		return nil, err
	}
	if !config.world.Gate.On {
		return []bench.Tap{tap}, nil
	}
	behind, err := pipe.New(pipe.Options{Name: simGate, Reader: world.Gate()})
	if err != nil {
		return nil, errors.Join(err, tap.Close())
	}
	b.Places = map[string]string{tap.Name(): simTap, simGate: simGate}
	return []bench.Tap{tap, behind}, nil
}

func simPort(w *sim.World) portFunc { return func() (string, error) { return w.Port(), nil } }

// simModel is the model that the simulated bench has of what a scenario wants.
func simModel(want scenario.DeviceWant) (string, error) {
	var fits []string
	for _, model := range names(simulated) {
		if (want.Model == "" || want.Model == model) && (want.Driver == "" || want.Driver == simulated[model].driver) && len(want.Labels) == 0 {
			fits = append(fits, model)
		}
	}
	if len(fits) > 0 {
		return fits[0], nil
	}
	var errs scenario.Errors
	errs.Addf(want.Pos, "the simulated bench has no device with %s: its models are %s (--bench FILE names a real bench)", wanted(want), strings.Join(names(simulated), ", "))
	return "", errs
}
