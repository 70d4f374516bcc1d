// Package scenario reads scenario files: YAML in, a Scenario or every error at once out, each with file, line, column
// and what was meant. It knows the language's form, not what a bench can do (that is package plan).
//
// # The language
//
//	name: wio-lte/beam-http            # folder/name
//	about: HTTP through Beam ends cleanly.
//	device: {model: wio-lte}           # model, driver, labels: which device of the bench
//	vars: {url: "http://beam.soracom.io:8888/"}
//	secrets: {key: BOARD_KEY}          # ${key} is what the environment variable BOARD_KEY holds; never recorded
//	setup: [...]                       # steps that make the device ready
//	steps: [...]                       # what is judged
//	cleanup: [...]                     # steps that run in any case
//	expect: wio-lte/beam-http          # an expectations file, several, or the claims themselves
//
// A step is a mapping with exactly one verb:
//
//	device.VERB: argument              # of the device's driver; one value, a list, or {name: value}
//	carrier.VERB: argument             # of the carrier
//	wait: 10s
//	await: {quiet: 90s}                # or event, packet, mqtt, console: exactly one
//	steps: [...]                       # steps in a window, or repeated
//
// and what may stand beside it: window (the name of this stretch of the run), within (the deadline), expect and never
// (patterns of console lines that must and must not appear), as (keeps the verb's answer), when (a condition), retry,
// vars; beside steps also repeat and every. Lengths of time have a unit: 500ms, 90s, 2m, 1h30m, 2d. Patterns are RE2.
//
// ${name} stands for a variable. In a repeat ${cycle} counts from 1; after "as: reply" ${reply} is the verb's answer,
// and ${reply[1]} what the first group of its last expected pattern matched.
//
// The tables in language.go are the language: Parse reads by them, and Schema is written from them. Other files that
// people write (benches, expectations) are read by the same forms.
package scenario
