package trace

import (
	"fmt"
	"regexp"
	"strconv"
)

// accountForm is a custom account: a name, "wire", and bytes added to each packet of a direction.
var accountForm = regexp.MustCompile(`^(?:([a-z][a-z0-9_-]*)=)?wire((?:[+-]\d{1,4}(?:up|down))*)$`)

var accountTerm = regexp.MustCompile(`([+-]\d+)(up|down)`)

// ParseAccount reads the name of a built-in account ("wire", "soracom") or a custom one in the form
//
//	[NAME=]wire[+Nup][+Ndown]
//
// such as "mno=wire+36up+4down": the inner Ethernet frame without padding, N bytes more (or, with "-", fewer) for each
// packet of that direction. Without NAME the text itself is the name.
func ParseAccount(text string) (Account, error) {
	for _, a := range []Account{Wire, Soracom} {
		if text == a.Name {
			return a, nil
		}
	}
	m := accountForm.FindStringSubmatch(text)
	if m == nil {
		return Account{}, fmt.Errorf(`account %q: write "wire", "soracom", or your own as "name=wire+36up+4down"`, text)
	}
	a := Account{Name: m[1]}
	if a.Name == "" {
		a.Name = text
	}
	if a.Name == Soracom.Name || m[1] == Wire.Name {
		return Account{}, fmt.Errorf("account %q: the name %q is taken by a built-in account: choose another", text, a.Name)
	}
	for _, term := range accountTerm.FindAllStringSubmatch(m[2], -1) {
		n, _ := strconv.Atoi(term[1]) // at most four digits, by the form
		if n < -minFrame {
			return Account{}, fmt.Errorf("account %q: %d would make a packet's bytes negative: at most %d can be taken off", text, n, minFrame)
		}
		if term[2] == "up" {
			a.PerPacketUp += n
		} else {
			a.PerPacketDown += n
		}
	}
	if a.PerPacketUp < -minFrame || a.PerPacketDown < -minFrame {
		return Account{}, fmt.Errorf("account %q: its terms together take more than %d bytes off a packet", text, minFrame)
	}
	return a, nil
}

// minFrame is the least that a packet's wire bytes can be: an Ethernet header.
const minFrame = 14
