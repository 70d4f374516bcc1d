package packet

import (
	"encoding/binary"
	"fmt"
)

// The link types that are decoded (https://www.tcpdump.org/linktypes.html).
const (
	linkNull     = 0
	linkEthernet = 1
	linkPPP      = 9
	linkFDDI     = 10
	linkRaw12    = 12
	linkRaw14    = 14
	linkPPPHDLC  = 50
	linkRaw      = 101
	linkCHDLC    = 104
	link80211    = 105
	linkLoop     = 108
	linkSLL      = 113
	linkRadiotap = 127
	linkARCNET   = 129
	linkJuniper  = 178
	linkIPv4     = 228
	linkIPv6     = 229
	linkNFLOG    = 239
	linkSLL2     = 276
)

// linkNames are the types that captures have been seen with, by the names of the registry.
var linkNames = map[uint16]string{
	linkNull: "NULL", linkEthernet: "ETHERNET", linkPPP: "PPP", linkRaw12: "RAW", linkRaw14: "RAW", linkPPPHDLC: "PPP_HDLC",
	linkRaw: "RAW", linkCHDLC: "C_HDLC", linkLoop: "LOOP", linkSLL: "LINUX_SLL", linkIPv4: "IPV4", linkIPv6: "IPV6", linkSLL2: "LINUX_SLL2",
	linkFDDI: "FDDI", link80211: "IEEE802_11", linkRadiotap: "IEEE802_11_RADIOTAP", linkARCNET: "ARCNET_LINUX", linkJuniper: "JUNIPER_ETHER", linkNFLOG: "NFLOG",
	3: "AX25", 6: "IEEE802_5", 7: "ARCNET_BSD", 8: "SLIP", 51: "PPP_ETHER", 100: "ATM_RFC1483",
	106: "ATM_CLIP", 107: "FRELAY", 114: "LTALK", 117: "PFLOG", 119: "IEEE802_11_PRISM", 122: "IP_OVER_FC", 123: "SUNATM",
	130: "JUNIPER_MLPPP", 131: "JUNIPER_MLFR", 132: "JUNIPER_ES",
	133: "JUNIPER_GGSN", 134: "JUNIPER_MFR", 135: "JUNIPER_ATM2", 137: "JUNIPER_ATM1", 138: "APPLE_IP_OVER_IEEE1394",
	143: "DOCSIS", 144: "LINUX_IRDA", 147: "USER0", 149: "USER2", 163: "IEEE802_11_AVS", 164: "JUNIPER_MONITOR",
	165: "BACNET_MS_TP", 166: "PPP_PPPD", 177: "LINUX_LAPD", 179: "JUNIPER_PPP", 180: "JUNIPER_FRELAY",
	181: "JUNIPER_CHDLC", 182: "JUNIPER_MFR", 187: "BLUETOOTH_HCI_H4", 189: "USB_LINUX", 192: "PPI", 195: "IEEE802_15_4_WITHFCS",
	197: "ERF", 201: "BLUETOOTH_HCI_H4_WITH_PHDR", 220: "USB_LINUX_MMAPPED", 226: "IPNET", 227: "CAN_SOCKETCAN",
	230: "IEEE802_15_4_NOFCS", 240: "NETANALYZER", 247: "INFINIBAND", 249: "USBPCAP", 251: "BLUETOOTH_LE_LL",
	253: "NETLINK", 255: "BLUETOOTH_BREDR_BB", 256: "BLUETOOTH_LE_LL_WITH_PHDR", 258: "PKTAP", 271: "VSOCK", 272: "NORDIC_BLE",
	281: "DSA_TAG_BRCM", 283: "IEEE802_15_4_TAP", 284: "DSA_TAG_DSA", 285: "DSA_TAG_EDSA",
}

// LinkName names a link type for messages, and says whether it is decoded.
func LinkName(link uint16) (name string, supported bool) {
	switch link {
	case linkNull, linkEthernet, linkPPP, linkRaw12, linkRaw14, linkPPPHDLC, linkRaw, linkCHDLC, linkLoop, linkSLL, linkIPv4, linkIPv6, linkSLL2,
		linkFDDI, link80211, linkRadiotap, linkARCNET, linkJuniper, linkNFLOG:
		supported = true
	}
	name, known := linkNames[link]
	if !known {
		return fmt.Sprintf("link type %d", link), supported
	}
	return fmt.Sprintf("%s (%d)", name, link), supported
}

// link decodes a frame that is not Ethernet.
func (d *Decoder) link(p *Packet, link uint16, b []byte, room int) Result {
	switch link {
	case linkRaw12, linkRaw14, linkRaw, linkIPv4, linkIPv6:
		return d.ip(p, b, room)
	case linkNull, linkLoop:
		return d.loopback(p, b, room)
	case linkSLL:
		if len(b) < 16 {
			return d.shortFrame(p, b, room)
		}
		return d.cooked(p, binary.BigEndian.Uint16(b[14:]), b[16:], room-16)
	case linkSLL2:
		if len(b) < 20 {
			return d.shortFrame(p, b, room)
		}
		return d.cooked(p, binary.BigEndian.Uint16(b), b[20:], room-20)
	case linkPPP, linkPPPHDLC:
		return d.hdlc(p, b, room)
	case linkCHDLC:
		return d.ciscoHDLC(p, b, room)
	case linkRadiotap:
		return d.radiotap(p, b, room)
	case link80211:
		return d.wireless(p, b, room, false)
	case linkFDDI:
		return d.fddi(p, b, room)
	case linkARCNET:
		return d.arcnet(p, b, room)
	case linkJuniper:
		return d.juniper(p, b, room)
	case linkNFLOG:
		return d.nflog(p, b, room)
	}
	return Undecodable
}

// loopback decodes BSD's header: the address family in the byte order of the machine that captured, or of the network.
// IPv6 has another number on each system: 10 Linux, 24 NetBSD and OpenBSD, 28 FreeBSD, 30 Darwin.
func (d *Decoder) loopback(p *Packet, b []byte, room int) Result {
	if len(b) < 4 {
		return d.shortFrame(p, b, room)
	}
	family := binary.LittleEndian.Uint32(b)
	if family > 0xffff {
		family = binary.BigEndian.Uint32(b)
	}
	switch family {
	case 2, 10, 24, 28, 30:
		return d.ip(p, b[4:], room-4)
	}
	return d.noIP(p, b[4:], room-4)
}

// cooked decodes what follows the header of Linux' "any" device. Its protocols below 1536 are the kernel's own:
// 1 is 802.3, 4 is LLC.
func (d *Decoder) cooked(p *Packet, protocol uint16, b []byte, room int) Result {
	if protocol == 4 {
		return d.llc(p, b, room)
	}
	return d.etherType(p, protocol, b, room)
}

// hdlc decodes PPP with or without its address and control bytes (RFC 1662, 3.1), and Cisco's framing, which is
// recognised by its address byte.
func (d *Decoder) hdlc(p *Packet, b []byte, room int) Result {
	if len(b) >= 2 && b[0] == 0xff && b[1] == 0x03 {
		return d.ppp(p, b[2:], room-2)
	}
	if len(b) >= 2 && (b[0] == 0x0f || b[0] == 0x8f) && b[1] == 0 {
		return d.ciscoHDLC(p, b, room)
	}
	return d.ppp(p, b, room)
}

// ciscoHDLC decodes address, control and an Ethernet type (RFC 1547, 4.3.1).
func (d *Decoder) ciscoHDLC(p *Packet, b []byte, room int) Result {
	if len(b) < 4 {
		return d.shortFrame(p, b, room)
	}
	return d.etherType(p, binary.BigEndian.Uint16(b[2:]), b[4:], room-4)
}
