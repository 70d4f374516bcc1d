package bench

import (
	"errors"
	"regexp"
	"slices"

	"github.com/tollgate-iot/tollgate/harness/scenario"
)

// Inventory is a bench file: what hardware there is, who operates it, where it is tapped. Drivers' names and their
// options are checked by package catalog, which knows the drivers.
type Inventory struct {
	Pos      scenario.Pos
	Name     string
	Carriers []Part
	Devices  []DevicePart
	Taps     []Part
}

// Part is something on a bench that a driver operates.
type Part struct {
	Pos       scenario.Pos // of its name
	Name      string
	Driver    string
	DriverPos scenario.Pos
	Options   []scenario.Entry // the driver's own, in the file's order

	// Of taps alone.
	Place  string // where on the way of the packets it is, "" where not told; see Bench.Places
	Shared bool   // it carries other devices' packets too, and serves the runs of all of them
}

// DevicePart is a device on a bench.
type DevicePart struct {
	Part
	Carrier    string // the carrier of its SIM, "" where it has none
	CarrierPos scenario.Pos
	IMSI       string // its subscription, "" where not told
	IMSIPos    scenario.Pos
	Labels     map[string]string
}

// Model is the device's label "model", or where it has none its driver's name.
func (d *DevicePart) Model() string {
	if m := d.Labels["model"]; m != "" {
		return m
	}
	return d.Driver
}

// Option gives one of the driver's options.
func (p *Part) Option(name string) (scenario.Value, bool) {
	for _, e := range p.Options {
		if e.Key == name {
			return e.Value, true
		}
	}
	return scenario.Value{}, false
}

// Carrier gives the carrier with a name, nil where there is none.
func (v *Inventory) Carrier(name string) *Part {
	i := slices.IndexFunc(v.Carriers, func(p Part) bool { return p.Name == name })
	if i < 0 {
		return nil
	}
	return &v.Carriers[i]
}

// ParseInventory reads a bench file. The error is of type scenario.Errors: every mistake, in the order of their places.
// Of a file with mistakes the inventory is given too, unless nothing of it can be read, so that the drivers' options in it
// can be checked all the same.
func ParseInventory(file string, data []byte) (*Inventory, error) {
	root, err := scenario.Document(file, 1, data)
	var errs scenario.Errors
	if err != nil && (root == nil || !errors.As(err, &errs)) {
		return nil, err
	}
	v := inventoryForm().Read(&errs, "the file", *root)
	return &v, errs.Err()
}

// Schema is the JSON Schema (draft 7) of bench files, for editors, written from the tables that ParseInventory reads by.
func Schema() []byte { return scenario.SchemaOf("Tollgate bench", inventoryForm()) }

var (
	partName   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)
	driverName = regexp.MustCompile(`^[a-z][a-z0-9-]*$`)
	imsiShape  = regexp.MustCompile(`^[0-9]{6,15}$`) // ITU-T E.212, 2.2: at most 15 digits
)

func inventoryForm() scenario.Form[Inventory] {
	bench := &scenario.Object[Inventory]{
		Name: "a bench", Doc: "What there is on a bench: devices, the carriers of their SIMs, the taps on their traffic.",
		Keys: []scenario.Key[Inventory]{
			scenario.Needed(scenario.Field("bench", "The bench's name.", name("a bench's name such as desk"), func(v *Inventory) *string { return &v.Name })),
			scenario.Field("carriers", "The carriers, each under a name of your choice.", parts(partObject("a carrier").Form(), asPart), func(v *Inventory) *[]Part { return &v.Carriers }),
			scenario.Needed(scenario.Field("devices", "The devices, each under a name of your choice.", parts(deviceObject().Form(), func(d *DevicePart) *Part { return &d.Part }), func(v *Inventory) *[]DevicePart { return &v.Devices })),
			scenario.Field("taps", "The places where the mirrored traffic is captured, each under a name of your choice.", parts(tapObject().Form(), asPart), func(v *Inventory) *[]Part { return &v.Taps }),
		},
		Check: checkInventory,
	}
	return bench.Form()
}

func name(what string) scenario.Form[string] { return scenario.Word(what, partName) }

func asPart(p *Part) *Part { return p }

// partObject is a part's mapping: its driver and the driver's options.
func partObject(what string) *scenario.Object[Part] {
	return &scenario.Object[Part]{
		Name: what,
		Keys: []scenario.Key[Part]{driverKey(asPart)},
		Rest: func(p *Part, e scenario.Entry) { p.Options = append(p.Options, e) },
	}
}

// tapObject is a tap's: what every tap may say stands beside its driver's options.
func tapObject() *scenario.Object[Part] {
	o := partObject("a tap")
	o.Keys = append(o.Keys,
		scenario.Field("place", "Where on the way of the packets it is, such as before-gateway. Taps at one place see the same packets and are merged, those at different places are compared; the first tap's place is the one that is judged.",
			name("a place's name such as before-gateway"), func(p *Part) *string { return &p.Place }),
		scenario.Each("shared", "true: it carries a whole network. Each run is given the packets of its device's addresses, which the carrier tells.",
			scenario.Truth(), func(p *Part, _ scenario.Entry, v bool) { p.Shared = v }))
	return o
}

func driverKey[T any](part func(*T) *Part) scenario.Key[T] {
	return scenario.Needed(scenario.Each("driver", "What operates it.", scenario.Word("a driver's name such as wio-lte", driverName),
		func(t *T, e scenario.Entry, v string) { part(t).Driver, part(t).DriverPos = v, e.Value.Pos }))
}

func deviceObject() *scenario.Object[DevicePart] {
	return &scenario.Object[DevicePart]{
		Name: "a device",
		Keys: []scenario.Key[DevicePart]{
			driverKey(func(d *DevicePart) *Part { return &d.Part }),
			scenario.Each("carrier", "The carrier of its SIM: one of the names under carriers.", name("a carrier's name"),
				func(d *DevicePart, e scenario.Entry, v string) { d.Carrier, d.CarrierPos = v, e.Value.Pos }),
			scenario.Each("imsi", "Its subscription: up to 15 digits.", imsi(),
				func(d *DevicePart, e scenario.Entry, v string) { d.IMSI, d.IMSIPos = v, e.Value.Pos }),
			scenario.Field("labels", "What scenarios can ask for: model, firmware, …", scenario.MapOf("a label's name", regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/-]*$`), scenario.Text("a label's value")),
				func(d *DevicePart) *map[string]string { return &d.Labels }),
		},
		Rest: func(d *DevicePart, e scenario.Entry) { d.Options = append(d.Options, e) },
	}
}

// imsi is a row of digits, which YAML may take for a number.
func imsi() scenario.Form[string] {
	f := scenario.Word("an IMSI, up to 15 digits", imsiShape)
	f.Schema = scenario.Text("").Schema
	return f
}

// parts is a mapping from names to parts, kept in the file's order.
func parts[T any](member scenario.Form[T], part func(*T) *Part) scenario.Form[[]T] {
	named := scenario.MapOf("a name such as wio-1", partName, member)
	return scenario.Form[[]T]{
		Schema: named.Schema,
		Read: func(errs *scenario.Errors, key string, v scenario.Value) []T {
			read := named.Read(errs, key, v)
			out := make([]T, 0, len(read))
			for _, e := range v.Map {
				if t, ok := read[e.Key]; ok {
					p := part(&t)
					p.Name, p.Pos = e.Key, e.Pos
					out = append(out, t)
				}
			}
			return out
		},
	}
}

// checkInventory judges what no single part can tell: who is there for whom.
func checkInventory(errs *scenario.Errors, v *Inventory, at scenario.Value, known bool) {
	v.Pos = at.Pos
	carriers := make([]string, len(v.Carriers))
	for i, c := range v.Carriers {
		carriers[i] = c.Name
	}
	for _, e := range at.Map {
		if e.Key == "devices" && e.Value.Map != nil && len(e.Value.Map) == 0 {
			errs.Addf(e.Value.Pos, "devices: a bench needs at least one")
		}
	}
	subscriptions := map[string]string{}
	for _, d := range v.Devices {
		hidden := !known && len(carriers) == 0 // by the mistake in the key
		if d.Carrier != "" && !hidden && !slices.Contains(carriers, d.Carrier) {
			errs.Addf(d.CarrierPos, "device %q: the bench has no carrier %q: %s", d.Name, d.Carrier, scenario.Suggest(d.Carrier, carriers))
		}
		if other, taken := subscriptions[d.IMSI]; taken && d.IMSI != "" {
			errs.Addf(d.Pos, "device %q has the IMSI of device %q: a SIM is in one device", d.Name, other)
		}
		subscriptions[d.IMSI] = d.Name
	}
}
