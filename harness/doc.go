// Package harness is Tollgate's front door for Go programs: Run drives a device through a scenario and judges what the
// network carried, Judge judges a saved run or a capture, RunT does both inside `go test`. Everything that the command
// tollgate does, it does through this package and the reports.
//
// # The two acts
//
// Running drives a bench and writes a record. Judging is a pure function from the record and expectations to findings:
// no clock, no network. Run never judges what it holds in memory: it saves the record, loads it again and judges that,
// so that a run judged next month gives the same findings to the byte.
//
//	scenario.yaml ─► Scenario ─► Plan (+ what the bench can do) ─► runner ─► Device · Carrier · Taps
//	                                                                 │
//	        frames ─► decapsulate ─► packets ─► flows ─► phases ─► Trace ─► run directory
//	                                                                 │
//	                          expectations ─► findings ─► verdict ─► terminal · JSON · JUnit · HTML · pcapng
//
// # The map of the house
//
// A package imports only floors below its own; floorplan_test.go holds every rule with its reason.
//
//	7  cmd/tollgate              flags, environment, exit codes
//	6  harness                   this package
//	5  harness/catalog           one table: name → constructor of drivers, carriers, taps and benches
//	4  harness/device/…          wiolte: a Wio LTE at its console; trigger: a button or a switch that something presses
//	   harness/carrier/soracom   the client of the carrier's API
//	   harness/capture/afpacket  a tap: a ring on an interface of this host; lab: real kernels for its tests
//	   harness/capture/hub       one tap of a whole network, shared: each run gets the packets of its device
//	   harness/capture/pipe      a tap: a capture stream from a named pipe, standard input or a command
//	   harness/capture/file      a tap: a capture file, replayed at once or at its own pace
//	   harness/capture/peek      a tap: the carrier's own packet capture sessions, read when they end
//	   harness/capture/ssh       a tap: tcpdump on another host, by the user's own ssh
//	   harness/capture/socket    a tap: VXLAN on a UDP socket, GRE on a raw one, sent to this host
//	   harness/sim               the simulated bench; sim/api answers the carrier's HTTP API for it
//	   harness/runner            carries out a plan, owns every goroutine of a run, gives a trace; never judges
//	   harness/report            traces and findings for people and machines
//	3  harness/bench             the contracts Device, Carrier, Tap, and the inventory file; benchtest: their conformance suites
//	   harness/line              the protocol on a device's serial console
//	   harness/recording         a run's packets on the disk, whatever becomes of process and disk
//	   harness/watch             what passes a tap at present: devices, flows, rates
//	   expectations              the kinds of claims, and the numbers of each device in YAML
//	2  harness/trace             a run's record: accounts, completeness, save and load
//	1  harness/flow              packets → flows: handshake, loss, close, phases
//	   harness/merge             what several taps saw of the same packets → one stream
//	   harness/plan              scenario × abilities of a bench → steps, deadlines, windows
//	0  harness/packet            bytes → a device's packet, every tunnel taken off
//	   harness/pcap              capture files
//	   harness/privilege         the capability that capturing needs, held no longer than opening a socket takes
//	   harness/filter            which frames a tap takes, for a socket here and for tcpdump elsewhere
//	   harness/scenario          YAML → scenario, every mistake at its place
//	   harness/verdict           pass, fail, inconclusive, and how they join
//
// Three rooms are not obvious. pcap is a room of its own at the bottom because taps, analyser and a run's record all
// need file formats and must not need each other. line stands under the drivers because a Wio LTE and a trigger speak
// the same protocol, and drivers never import each other. sim/api is apart from sim because it is the carrier's API and
// nothing else: it can be held against the official definition without a network behind it.
//
// scenarios/ and expectations/ hold the shipped YAML, fixtures/ the captures and saved runs that tests use.
//
// # Adding to it
//
// A new device, tap or carrier is a new folder on floor 4 that passes bench/benchtest, and a line in catalog. A new kind of
// expectation is a file in expectations/ and a saved run that fails it.
package harness
