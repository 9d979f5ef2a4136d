package inet

import (
	"encoding/binary"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
	"grim/arch"
	"grim/kernel/fs"
	"grim/mm/charge"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
)

// netlink is a socket of NETLINK_ROUTE: it answers dumps of links, addresses and routes
// (rtnetlink(7)), and refuses what would change something.
type netlink struct {
	fs.SockOptions
	n     *Net
	payer *charge.User

	mu     sync.Mutex
	pid    uint32   // [mu] the socket's address; 0: not bound
	groups uint32   // [mu]
	out    [][]byte // [mu] answers to be received
	busy   bool     // [mu] a thread answers
}

// netlinkCost is what a socket is charged: its answers are a few KB, and it takes no
// request while there are some.
const netlinkCost = 16 << 10

// netlink is the Family of AF_NETLINK.
func (n *Net) netlink(t fs.Task, typ, protocol int) (fs.Sock, error) {
	if typ != unix.SOCK_RAW && typ != unix.SOCK_DGRAM {
		return nil, syscall.ESOCKTNOSUPPORT
	}
	if protocol != unix.NETLINK_ROUTE {
		return nil, syscall.EPROTONOSUPPORT
	}
	payer := n.payer(t)
	if !payer.Take(charge.IPC, netlinkCost) {
		return nil, syscall.ENOBUFS
	}
	k := &netlink{n: n, payer: payer}
	k.InitOptions(unix.AF_NETLINK, typ, protocol)
	return k, nil
}

func (k *netlink) Attach(*fs.File, uint64) {}
func (k *netlink) Close()                  { k.payer.Give(charge.IPC, netlinkCost) }

func (k *netlink) Bind(at fs.At, addr []byte) error {
	if len(addr) < unix.SizeofSockaddrNetlink || family(addr) != unix.AF_NETLINK {
		return syscall.EINVAL
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	pid := binary.LittleEndian.Uint32(addr[4:])
	if k.pid != 0 && pid != 0 && pid != k.pid {
		return syscall.EINVAL
	}
	if k.pid = pid; pid == 0 {
		k.bindLocked(at.Task)
	}
	k.groups = binary.LittleEndian.Uint32(addr[8:])
	return nil
}

// bindLocked gives the socket the number of its process. Precondition: mu held.
func (k *netlink) bindLocked(t fs.Task) {
	if k.pid == 0 && t != nil {
		pid, _ := t.IDs()
		k.pid = uint32(pid)
	}
}

func (k *netlink) Connect(at fs.At, addr []byte, _ bool) error {
	if len(addr) < unix.SizeofSockaddrNetlink || family(addr) != unix.AF_NETLINK {
		return syscall.EINVAL
	}
	if binary.LittleEndian.Uint32(addr[4:]) != 0 {
		return syscall.ECONNREFUSED
	}
	k.mu.Lock()
	k.bindLocked(at.Task)
	k.mu.Unlock()
	return nil
}

func (k *netlink) Listen(fs.Task, int) error             { return syscall.EOPNOTSUPP }
func (k *netlink) Accept(fs.Task, bool) (fs.Sock, error) { return nil, syscall.EOPNOTSUPP }
func (k *netlink) Shutdown(int) error                    { return syscall.EOPNOTSUPP }

func netlinkAddr(pid, groups uint32) []byte {
	b := make([]byte, unix.SizeofSockaddrNetlink)
	binary.LittleEndian.PutUint16(b, unix.AF_NETLINK)
	binary.LittleEndian.PutUint32(b[4:], pid)
	binary.LittleEndian.PutUint32(b[8:], groups)
	return b
}

func (k *netlink) Name(peer bool) ([]byte, error) {
	if peer {
		return netlinkAddr(0, 0), nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return netlinkAddr(k.pid, k.groups), nil
}

func (k *netlink) Option(level, name int) ([]byte, error) {
	switch {
	case level == unix.SOL_NETLINK:
		return fs.IntOption(0), nil
	case level != unix.SOL_SOCKET:
		return nil, syscall.ENOPROTOOPT
	}
	switch name {
	case unix.SO_ERROR:
		return fs.IntOption(0), nil
	case unix.SO_SNDBUF, unix.SO_RCVBUF:
		return fs.IntOption(defaultBuffer), nil
	}
	return k.CommonOption(name)
}

func (k *netlink) SetOption(_ fs.Task, level, name int, value []byte) error {
	switch {
	case level == unix.SOL_NETLINK:
		return nil // what they ask for is more detail in errors, and strict checks
	case level != unix.SOL_SOCKET:
		return syscall.ENOPROTOOPT
	}
	switch name {
	case unix.SO_SNDBUF, unix.SO_RCVBUF, unix.SO_RCVBUFFORCE, unix.SO_SNDBUFFORCE, unix.SO_PASSCRED, unix.SO_ATTACH_FILTER:
		return nil
	}
	return k.SetCommonOption(name, value)
}

func (k *netlink) Ioctl(t fs.Task, mem fs.UserMemory, req uint32, arg uint64) (uint64, error) {
	if req == unix.TIOCINQ {
		k.mu.Lock()
		n := 0
		if len(k.out) > 0 {
			n = len(k.out[0])
		}
		k.mu.Unlock()
		return 0, mem.CopyOut(arch.VA(arg), fs.IntOption(n))
	}
	return k.n.Ioctl(t, mem, req, arg)
}

func (k *netlink) Ready() uint32 {
	k.mu.Lock()
	defer k.mu.Unlock()
	r := uint32(fs.EPOLLOUT | fs.EPOLLWRNORM)
	if len(k.out) > 0 {
		r |= fs.EPOLLIN | fs.EPOLLRDNORM
	}
	return r
}

// maxRequest bounds what one send may hold.
const maxRequest = 4096

func (k *netlink) Send(at fs.At, m *fs.Message, _ bool) (int, error) {
	n := m.Out.Len()
	if n > maxRequest {
		return 0, syscall.EMSGSIZE
	}
	b := make([]byte, n)
	src := &from{src: m.Out}
	for done := 0; done < n; {
		r, err := src.Read(b[done:])
		if err != nil {
			return 0, err
		}
		done += r
	}
	for _, f := range m.Rights {
		f.Release()
	}
	k.mu.Lock()
	k.bindLocked(at.Task)
	if k.busy || len(k.out) > 0 {
		k.mu.Unlock()
		return 0, syscall.EBUSY
	}
	k.busy = true
	k.mu.Unlock()
	for len(b) >= unix.SizeofNlMsghdr {
		size := binary.LittleEndian.Uint32(b)
		if size < unix.SizeofNlMsghdr || int(size) > len(b) {
			break
		}
		k.request(b[:size])
		b = b[min(len(b), int(size+3)&^3):]
	}
	k.mu.Lock()
	k.busy = false
	k.mu.Unlock()
	k.Waiters.Wake(fs.EPOLLIN | fs.EPOLLRDNORM)
	return n, nil
}

func (k *netlink) Recv(t fs.Task, m *fs.Message, nonblock bool) (int, error) {
	var n int
	deadline := k.Deadline(k.n.cfg.Monotonic(), false)
	err := fs.WaitFor(t, &k.Waiters, fs.EPOLLIN, deadline, nonblock, func() error {
		k.mu.Lock()
		defer k.mu.Unlock()
		if len(k.out) == 0 {
			return syscall.EAGAIN
		}
		b := k.out[0]
		w := &to{dst: m.In}
		for w.off < min(len(b), m.In.Len()) {
			if _, err := w.Write(b[w.off:]); w.err != nil {
				return w.err
			} else if err != nil {
				break
			}
		}
		if m.Flags&unix.MSG_PEEK == 0 {
			k.out = k.out[1:]
		}
		if n = w.off; n < len(b) {
			m.Result |= unix.MSG_TRUNC
			if m.Flags&unix.MSG_TRUNC != 0 {
				n = len(b)
			}
		}
		m.Addr = netlinkAddr(0, 0)
		return nil
	})
	return n, err
}

// answer is netlink messages in the making.
type answer struct {
	b        []byte
	start    int
	seq, pid uint32
	flags    uint16
}

func (a *answer) begin(typ uint16, body []byte) {
	a.start = len(a.b)
	a.b = append(a.b, make([]byte, unix.SizeofNlMsghdr)...)
	h := a.b[a.start:]
	binary.LittleEndian.PutUint16(h[4:], typ)
	binary.LittleEndian.PutUint16(h[6:], a.flags)
	binary.LittleEndian.PutUint32(h[8:], a.seq)
	binary.LittleEndian.PutUint32(h[12:], a.pid)
	a.b = append(a.b, body...)
}

func (a *answer) pad() {
	for len(a.b)%4 != 0 {
		a.b = append(a.b, 0)
	}
}

func (a *answer) attr(typ uint16, data []byte) {
	a.pad()
	a.b = binary.LittleEndian.AppendUint16(a.b, uint16(4+len(data)))
	a.b = binary.LittleEndian.AppendUint16(a.b, typ)
	a.b = append(a.b, data...)
}

func (a *answer) uint32(typ uint16, v uint32) {
	a.attr(typ, binary.LittleEndian.AppendUint32(nil, v))
}

func (a *answer) end() {
	a.pad()
	binary.LittleEndian.PutUint32(a.b[a.start:], uint32(len(a.b)-a.start))
}

// request answers one message.
func (k *netlink) request(b []byte) {
	typ, flags := binary.LittleEndian.Uint16(b[4:]), binary.LittleEndian.Uint16(b[6:])
	k.mu.Lock()
	a := &answer{seq: binary.LittleEndian.Uint32(b[8:]), pid: k.pid}
	k.mu.Unlock()
	dump := flags&unix.NLM_F_DUMP == unix.NLM_F_DUMP
	body := b[unix.SizeofNlMsghdr:]
	fam, index := 0, 0
	if len(body) > 0 {
		fam = int(body[0])
	}
	var err error
	if dump {
		a.flags = unix.NLM_F_MULTI
	}
	switch {
	case typ < unix.RTM_BASE: // NLMSG_NOOP and such
		return
	case typ == unix.RTM_GETLINK:
		if !dump && len(body) >= 8 {
			index = int(binary.LittleEndian.Uint32(body[4:]))
		}
		name := ""
		if !dump && index == 0 && len(body) >= unix.SizeofIfInfomsg {
			name = attrString(body[unix.SizeofIfInfomsg:], unix.IFLA_IFNAME)
		}
		found := false
		for _, i := range k.n.ifaces() {
			if dump || index == i.index || index == 0 && name == i.name {
				found = true
				a.link(i)
			}
		}
		if !found {
			err = syscall.ENODEV
		}
	case typ == unix.RTM_GETADDR && dump:
		for _, i := range k.n.ifaces() {
			for _, p := range i.addrs {
				a.address(i, p, fam)
			}
		}
	case typ == unix.RTM_GETROUTE:
		if dump {
			for _, r := range k.n.run().GetRouteTable() {
				a.route(r, fam)
			}
		} else {
			err = k.n.routeTo(a, body)
		}
	case dump && (typ-unix.RTM_BASE)%4 == 2: // nothing of that kind
	case (typ-unix.RTM_BASE)%4 != 2: // makes, removes or sets something
		err = syscall.EPERM
	default:
		err = syscall.EOPNOTSUPP
	}
	switch {
	case err != nil || !dump && flags&unix.NLM_F_ACK != 0:
		e, _ := err.(syscall.Errno)
		a.flags = 0
		a.begin(unix.NLMSG_ERROR, append(binary.LittleEndian.AppendUint32(nil, uint32(-int32(e))), b...))
		a.end()
	case dump:
		a.begin(unix.NLMSG_DONE, make([]byte, 4))
		a.end()
	}
	k.mu.Lock()
	k.out = append(k.out, a.b)
	k.mu.Unlock()
}

// attrString is an attribute that is a string.
func attrString(b []byte, typ uint16) string {
	for len(b) >= 4 {
		n := int(binary.LittleEndian.Uint16(b))
		if n < 4 || n > len(b) {
			break
		}
		if binary.LittleEndian.Uint16(b[2:]) == typ {
			s := b[4:n]
			for len(s) > 0 && s[len(s)-1] == 0 {
				s = s[:len(s)-1]
			}
			return string(s)
		}
		b = b[min(len(b), (n+3)&^3):]
	}
	return ""
}

func (a *answer) link(i *iface) {
	h := make([]byte, unix.SizeofIfInfomsg)
	binary.LittleEndian.PutUint16(h[2:], i.hardware())
	binary.LittleEndian.PutUint32(h[4:], uint32(i.index))
	binary.LittleEndian.PutUint32(h[8:], i.flags)
	a.begin(unix.RTM_NEWLINK, h)
	a.attr(unix.IFLA_IFNAME, append([]byte(i.name), 0))
	a.uint32(unix.IFLA_TXQLEN, 1000)
	a.attr(unix.IFLA_OPERSTATE, []byte{6}) // IF_OPER_UP
	a.attr(unix.IFLA_LINKMODE, []byte{0})
	a.uint32(unix.IFLA_MTU, i.mtu)
	a.uint32(unix.IFLA_GROUP, 0)
	a.attr(unix.IFLA_QDISC, []byte("noqueue\x00"))
	a.attr(unix.IFLA_ADDRESS, i.mac)
	all := []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	if i.lo {
		clear(all)
	}
	a.attr(unix.IFLA_BROADCAST, all)
	rx, tx := i.stats.Rx, i.stats.Tx
	var stats []byte // struct rtnl_link_stats64
	for _, v := range []uint64{rx.Packets.Value(), tx.Packets.Value(), rx.Bytes.Value(), tx.Bytes.Value()} {
		stats = binary.LittleEndian.AppendUint64(stats, v)
	}
	a.attr(unix.IFLA_STATS64, append(stats, make([]byte, 20*8)...))
	a.end()
}

// familyOf is the AF_ of an address.
func familyOf(n int) byte {
	if n == 4 {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

func scopeOf(x tcpip.Address) byte {
	switch {
	case x == header.IPv6Loopback || x.Len() == 4 && header.IsV4LoopbackAddress(x):
		return unix.RT_SCOPE_HOST
	case header.IsV6LinkLocalUnicastAddress(x):
		return unix.RT_SCOPE_LINK
	}
	return unix.RT_SCOPE_UNIVERSE
}

func (a *answer) address(i *iface, p tcpip.ProtocolAddress, fam int) {
	x := p.AddressWithPrefix
	f := familyOf(x.Address.Len())
	if fam != 0 && fam != int(f) {
		return
	}
	h := make([]byte, unix.SizeofIfAddrmsg)
	h[0], h[1], h[2], h[3] = f, byte(x.PrefixLen), unix.IFA_F_PERMANENT, scopeOf(x.Address)
	binary.LittleEndian.PutUint32(h[4:], uint32(i.index))
	a.begin(unix.RTM_NEWADDR, h)
	a.attr(unix.IFA_ADDRESS, x.Address.AsSlice())
	if p.Protocol == ipv4.ProtocolNumber {
		a.attr(unix.IFA_LOCAL, x.Address.AsSlice())
		if !i.lo {
			b := broadcast(i, x)
			a.attr(unix.IFA_BROADCAST, b.AsSlice())
		}
		a.attr(unix.IFA_LABEL, append([]byte(i.name), 0))
	}
	a.uint32(unix.IFA_FLAGS, unix.IFA_F_PERMANENT)
	a.end()
}

func (a *answer) route(r tcpip.Route, fam int) {
	dst := r.Destination.ID()
	f := familyOf(dst.Len())
	if fam != 0 && fam != int(f) || r.NIC == loNIC && f == unix.AF_INET {
		return
	}
	h := make([]byte, unix.SizeofRtMsg)
	h[0], h[1] = f, byte(r.Destination.Prefix())
	h[4], h[5], h[7] = unix.RT_TABLE_MAIN, unix.RTPROT_BOOT, unix.RTN_UNICAST
	if r.Gateway.Len() == 0 {
		h[6] = unix.RT_SCOPE_LINK
	}
	a.begin(unix.RTM_NEWROUTE, h)
	a.uint32(unix.RTA_TABLE, unix.RT_TABLE_MAIN)
	if r.Destination.Prefix() > 0 {
		a.attr(unix.RTA_DST, dst.AsSlice())
	}
	if r.Gateway.Len() != 0 {
		a.attr(unix.RTA_GATEWAY, r.Gateway.AsSlice())
	}
	a.uint32(unix.RTA_OIF, uint32(r.NIC))
	a.end()
}

// routeTo is RTM_GETROUTE for one destination.
func (n *Net) routeTo(a *answer, body []byte) error {
	if len(body) < unix.SizeofRtMsg {
		return syscall.EINVAL
	}
	dst := tcpip.AddrFromSlice(nil)
	for b := body[unix.SizeofRtMsg:]; len(b) >= 4; {
		size := int(binary.LittleEndian.Uint16(b))
		if size < 4 || size > len(b) {
			return syscall.EINVAL
		}
		if binary.LittleEndian.Uint16(b[2:]) == unix.RTA_DST && (size == 8 || size == 20) {
			dst = tcpip.AddrFromSlice(b[4:size])
		}
		b = b[min(len(b), (size+3)&^3):]
	}
	if dst.Len() == 0 {
		return syscall.EINVAL
	}
	for _, r := range n.run().GetRouteTable() {
		if r.Destination.Contains(dst) {
			h := make([]byte, unix.SizeofRtMsg)
			h[0], h[1] = familyOf(dst.Len()), byte(dst.BitLen())
			h[4], h[7] = unix.RT_TABLE_MAIN, unix.RTN_UNICAST
			a.begin(unix.RTM_NEWROUTE, h)
			a.attr(unix.RTA_DST, dst.AsSlice())
			if r.Gateway.Len() != 0 {
				a.attr(unix.RTA_GATEWAY, r.Gateway.AsSlice())
			}
			a.uint32(unix.RTA_OIF, uint32(r.NIC))
			a.end()
			return nil
		}
	}
	return syscall.ENETUNREACH
}
