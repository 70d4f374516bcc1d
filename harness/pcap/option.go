package pcap

// The codes of options (sections 3.5 and 4 of the pcapng draft). Codes from 2 on mean another thing in each block type.
const (
	optEnd     = 0
	optComment = 1

	optName       = 2 // interface description block
	optResolution = 9
	optOffset     = 14

	optDropCount = 4 // enhanced packet block

	optFrom   = 2 // interface statistics block
	optTo     = 3
	optIfRecv = 4
	optIfDrop = 5
	optOSDrop = 7

	optHardware    = 2 // section header block
	optOS          = 3
	optApplication = 4
)

// options calls see for each option, and stops silently where the list is damaged: no option is worth a packet.
func (n *sections) options(list []byte, see func(code uint16, value []byte)) {
	for len(list) >= 4 {
		code, length := n.uint16(list), int(n.uint16(list[2:]))
		list = list[4:]
		if code == optEnd || length > len(list) {
			return
		}
		see(code, list[:length])
		list = list[min((length+3)&^3, len(list)):]
	}
}

// comments gives the comments among the options of the record given last.
func (n *sections) comments() []string {
	var comments []string
	n.options(n.commentable, func(code uint16, value []byte) {
		if code == optComment {
			comments = append(comments, string(value))
		}
	})
	return comments
}
