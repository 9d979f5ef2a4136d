package inet

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
	"grim/arch"
	"grim/kernel/fs"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// iface is what Linux tells of an interface.
type iface struct {
	index int
	name  string
	mac   []byte
	mtu   uint32
	flags uint32
	lo    bool
	addrs []tcpip.ProtocolAddress
	stats tcpip.NICStats
}

// ifaces lists them by number. It starts the stack.
func (n *Net) ifaces() (list []*iface) {
	for id, info := range n.run().NICInfo() {
		i := &iface{index: int(id), name: info.Name, mac: make([]byte, 6), mtu: info.MTU, lo: info.Flags.Loopback, addrs: slices.DeleteFunc(info.ProtocolAddresses, func(a tcpip.ProtocolAddress) bool { return a.AddressWithPrefix == noAddress }), stats: info.Stats}
		copy(i.mac, info.LinkAddress)
		i.flags = unix.IFF_UP | unix.IFF_RUNNING | unix.IFF_LOWER_UP
		if i.lo {
			i.flags |= unix.IFF_LOOPBACK
		} else {
			i.flags |= unix.IFF_BROADCAST | unix.IFF_MULTICAST
		}
		list = append(list, i)
	}
	slices.SortFunc(list, func(a, b *iface) int { return a.index - b.index })
	return list
}

func (n *Net) byName(name string) *iface {
	for _, i := range n.ifaces() {
		if i.name == name {
			return i
		}
	}
	return nil
}

// address is the interface's first IPv4 address.
func (i *iface) address() (a tcpip.AddressWithPrefix, ok bool) {
	for _, p := range i.addrs {
		if p.Protocol == ipv4.ProtocolNumber {
			return p.AddressWithPrefix, true
		}
	}
	return a, false
}

// hardware is the type of link: ARPHRD_.
func (i *iface) hardware() uint16 {
	if i.lo {
		return unix.ARPHRD_LOOPBACK
	}
	return unix.ARPHRD_ETHER
}

const (
	ifreqBytes = 40 // sizeof(struct ifreq)
	ifNameSize = unix.IFNAMSIZ
)

func sockaddr4(b []byte, a tcpip.Address) {
	clear(b[:16])
	binary.LittleEndian.PutUint16(b, unix.AF_INET)
	copy(b[4:8], a.AsSlice())
}

// Ioctl is the requests about interfaces, which sockets of all families have
// (netdevice(7)).
func (n *Net) Ioctl(_ fs.Task, mem fs.UserMemory, req uint32, arg uint64) (uint64, error) {
	switch req {
	case unix.SIOCGIFCONF:
		return 0, n.ifconf(mem, arch.VA(arg))
	case unix.SIOCGIFNAME, unix.SIOCGIFINDEX, unix.SIOCGIFFLAGS, unix.SIOCGIFADDR, unix.SIOCGIFNETMASK, unix.SIOCGIFBRDADDR,
		unix.SIOCGIFDSTADDR, unix.SIOCGIFHWADDR, unix.SIOCGIFMTU, unix.SIOCGIFMETRIC, unix.SIOCGIFTXQLEN, unix.SIOCGIFMAP:
	case unix.SIOCSIFFLAGS, unix.SIOCSIFADDR, unix.SIOCSIFNETMASK, unix.SIOCSIFMTU, unix.SIOCADDRT, unix.SIOCDELRT:
		return 0, syscall.EPERM // interfaces are set up by DHCP or the kernel command line
	default:
		return 0, syscall.ENOTTY
	}
	b := make([]byte, ifreqBytes)
	if err := mem.CopyIn(b, arch.VA(arg)); err != nil {
		return 0, err
	}
	value := b[ifNameSize:]
	if req == unix.SIOCGIFNAME {
		for _, i := range n.ifaces() {
			if i.index == int(binary.LittleEndian.Uint32(value)) {
				clear(b[:ifNameSize])
				copy(b, i.name)
				return 0, mem.CopyOut(arch.VA(arg), b)
			}
		}
		return 0, syscall.ENODEV
	}
	name, _, _ := bytes.Cut(b[:ifNameSize], []byte{0})
	i := n.byName(string(name))
	if i == nil {
		return 0, syscall.ENODEV
	}
	a, has := i.address()
	switch req {
	case unix.SIOCGIFADDR, unix.SIOCGIFNETMASK, unix.SIOCGIFBRDADDR, unix.SIOCGIFDSTADDR:
		if !has {
			return 0, syscall.EADDRNOTAVAIL
		}
	}
	clear(value)
	switch req {
	case unix.SIOCGIFINDEX:
		binary.LittleEndian.PutUint32(value, uint32(i.index))
	case unix.SIOCGIFFLAGS:
		binary.LittleEndian.PutUint16(value, uint16(i.flags))
	case unix.SIOCGIFADDR, unix.SIOCGIFDSTADDR:
		sockaddr4(value, a.Address)
	case unix.SIOCGIFNETMASK:
		net := a.Subnet()
		mask := net.Mask()
		sockaddr4(value, tcpip.AddrFromSlice(mask.AsSlice()))
	case unix.SIOCGIFBRDADDR:
		sockaddr4(value, broadcast(i, a))
	case unix.SIOCGIFHWADDR:
		binary.LittleEndian.PutUint16(value, i.hardware())
		copy(value[2:], i.mac)
	case unix.SIOCGIFMTU:
		binary.LittleEndian.PutUint32(value, i.mtu)
	case unix.SIOCGIFTXQLEN:
		binary.LittleEndian.PutUint32(value, 1000)
	}
	return 0, mem.CopyOut(arch.VA(arg), b)
}

func broadcast(i *iface, a tcpip.AddressWithPrefix) tcpip.Address {
	if i.lo {
		return tcpip.AddrFrom4([4]byte{})
	}
	net := a.Subnet()
	return net.Broadcast()
}

// ifconf is SIOCGIFCONF: the interfaces that have an IPv4 address.
func (n *Net) ifconf(mem fs.UserMemory, va arch.VA) error {
	b := make([]byte, 16) // struct ifconf
	if err := mem.CopyIn(b, va); err != nil {
		return err
	}
	room, at := int(int32(binary.LittleEndian.Uint32(b))), binary.LittleEndian.Uint64(b[8:])
	var out []byte
	for _, i := range n.ifaces() {
		if a, ok := i.address(); ok {
			r := make([]byte, ifreqBytes)
			copy(r, i.name)
			sockaddr4(r[ifNameSize:], a.Address)
			out = append(out, r...)
		}
	}
	if at != 0 {
		out = out[:min(len(out), max(room, 0)/ifreqBytes*ifreqBytes)]
		if err := mem.CopyOut(arch.VA(at), out); err != nil {
			return err
		}
	}
	binary.LittleEndian.PutUint32(b, uint32(len(out)))
	return mem.CopyOut(va, b)
}

// linuxState is a connection's state as /proc/net/tcp has it.
func linuxState(s tcp.EndpointState) int {
	switch s {
	case tcp.StateEstablished:
		return 1
	case tcp.StateSynSent, tcp.StateConnecting:
		return 2
	case tcp.StateSynRecv:
		return 3
	case tcp.StateFinWait1:
		return 4
	case tcp.StateFinWait2:
		return 5
	case tcp.StateTimeWait:
		return 6
	case tcp.StateCloseWait:
		return 8
	case tcp.StateLastAck:
		return 9
	case tcp.StateListen:
		return 10
	case tcp.StateClosing:
		return 11
	}
	return 7 // TCP_CLOSE
}

// texts are the files of /proc/net. A look at interfaces starts the stack; one at sockets
// does not.
func (n *Net) texts(s *fs.FS) {
	s.NetText("dev", n.devText)
	s.NetText("route", n.routeText)
	s.NetText("if_inet6", n.inet6Text)
	s.NetText("arp", func() []byte {
		return []byte("IP address       HW type     Flags       HW address            Mask     Device\n")
	})
	for _, x := range []struct {
		name          string
		domain, proto int
	}{{"tcp", unix.AF_INET, unix.IPPROTO_TCP}, {"tcp6", unix.AF_INET6, unix.IPPROTO_TCP}, {"udp", unix.AF_INET, unix.IPPROTO_UDP},
		{"udp6", unix.AF_INET6, unix.IPPROTO_UDP}, {"icmp", unix.AF_INET, unix.IPPROTO_ICMP}} {
		s.NetText(x.name, func() []byte { return n.socketsText(x.domain, x.proto) })
	}
	s.NetText("sockstat", func() []byte {
		n.mu.Lock()
		defer n.mu.Unlock()
		return fmt.Appendf(nil, "sockets: used %d\n", len(n.socks))
	})
}

func (n *Net) devText() []byte {
	b := []byte("Inter-|   Receive                                                |  Transmit\n" +
		" face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n")
	for _, i := range n.ifaces() {
		rx, tx := i.stats.Rx, i.stats.Tx
		b = fmt.Appendf(b, "%6s: %7d %7d    0    0    0     0          0         0 %8d %7d    0    0    0     0       0          0\n",
			i.name, rx.Bytes.Value(), rx.Packets.Value(), tx.Bytes.Value(), tx.Packets.Value())
	}
	return b
}

// hex4 is an IPv4 address as /proc has it: a number in this machine's byte order.
func hex4(a tcpip.Address) string {
	if a.Len() != 4 {
		return "00000000"
	}
	return fmt.Sprintf("%08X", binary.LittleEndian.Uint32(a.AsSlice()))
}

func hexAddr(a tcpip.Address, domain int) string {
	if domain == unix.AF_INET {
		return hex4(a)
	}
	ip := [16]byte{}
	if a.Len() == 4 {
		ip[10], ip[11] = 0xff, 0xff
		copy(ip[12:], a.AsSlice())
	} else {
		copy(ip[:], a.AsSlice())
	}
	out := ""
	for i := 0; i < 16; i += 4 {
		out += fmt.Sprintf("%08X", binary.LittleEndian.Uint32(ip[i:]))
	}
	return out
}

func (n *Net) routeText() []byte {
	b := fmt.Appendf(nil, "%-127s\n", "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT")
	for _, r := range n.run().GetRouteTable() {
		dst := r.Destination.ID()
		if dst.Len() != 4 || r.NIC == loNIC {
			continue
		}
		flags := 1
		if r.Gateway.Len() != 0 {
			flags |= 2
		}
		m := r.Destination.Mask()
		mask := tcpip.AddrFromSlice(m.AsSlice())
		b = fmt.Appendf(b, "%-127s\n", fmt.Sprintf("eth0\t%s\t%s\t%04X\t0\t0\t0\t%s\t0\t0\t0", hex4(dst), hex4(r.Gateway), flags, hex4(mask)))
	}
	return b
}

func (n *Net) inet6Text() (b []byte) {
	for _, i := range n.ifaces() {
		for _, p := range i.addrs {
			if p.Protocol == ipv6.ProtocolNumber {
				scope := 0
				switch {
				case p.AddressWithPrefix.Address == header.IPv6Loopback:
					scope = 0x10
				case header.IsV6LinkLocalUnicastAddress(p.AddressWithPrefix.Address):
					scope = 0x20
				}
				b = fmt.Appendf(b, "%032x %02x %02x %02x 80 %8s\n", p.AddressWithPrefix.Address.AsSlice(), i.index, p.AddressWithPrefix.PrefixLen, scope, i.name)
			}
		}
	}
	return b
}

// socketsText is /proc/net/tcp and its like.
func (n *Net) socketsText(domain, proto int) []byte {
	width := 8
	if domain == unix.AF_INET6 {
		width = 32
	}
	b := fmt.Appendf(nil, "  sl  %-*s %-*s st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n", width+5, "local_address", width+5, "rem_address")
	n.mu.Lock()
	var list []*sock
	for k := range n.socks {
		if k.Domain() == domain && k.Protocol() == proto {
			list = append(list, k)
		}
	}
	inodes := make(map[*sock]uint64, len(list))
	for _, k := range list {
		inodes[k] = k.inode
	}
	n.mu.Unlock()
	slices.SortFunc(list, func(a, b *sock) int { return int(int64(inodes[a]) - int64(inodes[b])) })
	for i, k := range list {
		local, _ := k.ep.GetLocalAddress()
		remote, _ := k.ep.GetRemoteAddress()
		state := 7
		if k.stream() {
			state = linuxState(tcp.EndpointState(k.ep.State()))
		} else if remote.Addr.Len() != 0 {
			state = 1
		}
		if k.stream() && local.Port == 0 {
			continue
		}
		b = fmt.Appendf(b, "%4d: %s:%04X %s:%04X %02X %08X:%08X %02X:%08X %08X %5d %8d %d 1 0000000000000000\n",
			i, hexAddr(local.Addr, domain), local.Port, hexAddr(remote.Addr, domain), remote.Port, state, 0, 0, 0, 0, 0, k.uid, 0, inodes[k])
	}
	return b
}
