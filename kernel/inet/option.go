package inet

import (
	"encoding/binary"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"grim/kernel/fs"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// Option implements fs.Sock.
func (k *sock) Option(level, name int) ([]byte, error) {
	switch level {
	case unix.SOL_SOCKET:
		return k.socketOption(name)
	case unix.IPPROTO_TCP:
		if k.stream() {
			return k.tcpOption(name)
		}
	case unix.IPPROTO_IP:
		return k.ipOption(name)
	case unix.IPPROTO_IPV6:
		if k.Domain() == unix.AF_INET6 {
			return k.ip6Option(name)
		}
	}
	return nil, syscall.ENOPROTOOPT
}

// SetOption implements fs.Sock.
func (k *sock) SetOption(t fs.Task, level, name int, value []byte) error {
	switch level {
	case unix.SOL_SOCKET:
		return k.setSocketOption(name, value)
	case unix.IPPROTO_TCP:
		if k.stream() {
			return k.setTCPOption(name, value)
		}
	case unix.IPPROTO_IP:
		return k.setIPOption(name, value)
	case unix.IPPROTO_IPV6:
		if k.Domain() == unix.AF_INET6 {
			return k.setIP6Option(name, value)
		}
	}
	return syscall.ENOPROTOOPT
}

func (k *sock) socketOption(name int) ([]byte, error) {
	o := k.ep.SocketOptions()
	switch name {
	case unix.SO_ERROR:
		e, _ := k.lastError().(syscall.Errno)
		return fs.IntOption(int(e)), nil
	case unix.SO_ACCEPTCONN:
		return fs.BoolOption(o.GetAcceptConn()), nil
	case unix.SO_REUSEADDR:
		return fs.BoolOption(o.GetReuseAddress()), nil
	case unix.SO_REUSEPORT:
		return fs.BoolOption(o.GetReusePort()), nil
	case unix.SO_KEEPALIVE:
		return fs.BoolOption(o.GetKeepAlive()), nil
	case unix.SO_BROADCAST:
		return fs.BoolOption(o.GetBroadcast()), nil
	case unix.SO_SNDBUF:
		return fs.IntOption(int(o.GetSendBufferSize())), nil
	case unix.SO_RCVBUF:
		if n := k.accepted.Load(); n != 0 {
			return fs.IntOption(int(n)), nil
		}
		return fs.IntOption(int(o.GetReceiveBufferSize())), nil
	}
	return k.CommonOption(name)
}

func (k *sock) setSocketOption(name int, value []byte) error {
	o := k.ep.SocketOptions()
	v, err := fs.OptionInt(value)
	if err != nil && name != unix.SO_BINDTODEVICE {
		return err
	}
	switch name {
	case unix.SO_REUSEADDR:
		o.SetReuseAddress(v != 0)
	case unix.SO_REUSEPORT:
		o.SetReusePort(v != 0)
	case unix.SO_KEEPALIVE:
		o.SetKeepAlive(v != 0)
	case unix.SO_BROADCAST:
		o.SetBroadcast(v != 0)
	case unix.SO_SNDBUF, unix.SO_SNDBUFFORCE:
		n := int64(min(max(2*v, 4096), maxBuffer))
		// Without a charge the buffer stays as it is: the call does not fail on Linux.
		if k.grow(n - o.GetSendBufferSize()) {
			o.SetSendBufferSize(n, true)
		}
	case unix.SO_RCVBUF, unix.SO_RCVBUFFORCE:
		n := int64(min(max(2*v, 4096), maxBuffer))
		if old := k.accepted.Load(); old != 0 {
			k.accepted.CompareAndSwap(old, n) // each connection is charged when it is accepted
		} else if k.grow(n - o.GetReceiveBufferSize()) {
			o.SetReceiveBufferSize(n, true)
		}
	case unix.SO_LINGER:
		if len(value) < 8 {
			return syscall.EINVAL
		}
		o.SetLinger(tcpip.LingerOption{Enabled: v != 0, Timeout: time.Duration(int32(binary.LittleEndian.Uint32(value[4:]))) * time.Second})
		return k.SetCommonOption(name, value)
	case unix.SO_BINDTODEVICE:
		dev := string(value)
		for i := range dev {
			if dev[i] == 0 {
				dev = dev[:i]
				break
			}
		}
		nic := int32(0)
		if dev != "" {
			i := k.n.byName(dev)
			if i == nil {
				return syscall.ENODEV
			}
			nic = int32(i.index)
		}
		return errnoOf(o.SetBindToDevice(nic))
	default:
		return k.SetCommonOption(name, value)
	}
	return nil
}

// A table of the options of IPPROTO_TCP that are times.
func seconds(d time.Duration) []byte { return fs.IntOption(int(d / time.Second)) }

func (k *sock) tcpOption(name int) ([]byte, error) {
	o := k.ep.SocketOptions()
	number := func(opt tcpip.SockOptInt) ([]byte, error) {
		v, err := k.ep.GetSockOptInt(opt)
		return fs.IntOption(v), errnoOf(err)
	}
	switch name {
	case unix.TCP_NODELAY:
		return fs.BoolOption(!o.GetDelayOption()), nil
	case unix.TCP_CORK:
		return fs.BoolOption(o.GetCorkOption()), nil
	case unix.TCP_QUICKACK:
		return fs.BoolOption(o.GetQuickAck()), nil
	case unix.TCP_MAXSEG:
		return number(tcpip.MaxSegOption)
	case unix.TCP_KEEPCNT:
		return number(tcpip.KeepaliveCountOption)
	case unix.TCP_SYNCNT:
		return number(tcpip.TCPSynCountOption)
	case unix.TCP_WINDOW_CLAMP:
		return number(tcpip.TCPWindowClampOption)
	case unix.TCP_KEEPIDLE:
		var v tcpip.KeepaliveIdleOption
		err := k.ep.GetSockOpt(&v)
		return seconds(time.Duration(v)), errnoOf(err)
	case unix.TCP_KEEPINTVL:
		var v tcpip.KeepaliveIntervalOption
		err := k.ep.GetSockOpt(&v)
		return seconds(time.Duration(v)), errnoOf(err)
	case unix.TCP_DEFER_ACCEPT:
		var v tcpip.TCPDeferAcceptOption
		err := k.ep.GetSockOpt(&v)
		return seconds(time.Duration(v)), errnoOf(err)
	case unix.TCP_LINGER2:
		var v tcpip.TCPLingerTimeoutOption
		err := k.ep.GetSockOpt(&v)
		return seconds(time.Duration(v)), errnoOf(err)
	case unix.TCP_USER_TIMEOUT:
		var v tcpip.TCPUserTimeoutOption
		err := k.ep.GetSockOpt(&v)
		return fs.IntOption(int(time.Duration(v) / time.Millisecond)), errnoOf(err)
	case unix.TCP_CONGESTION:
		var v tcpip.CongestionControlOption
		if err := k.ep.GetSockOpt(&v); err != nil {
			return nil, errnoOf(err)
		}
		b := make([]byte, 16)
		copy(b, v)
		return b, nil
	case unix.TCP_INFO:
		var v tcpip.TCPInfoOption
		if err := k.ep.GetSockOpt(&v); err != nil {
			return nil, errnoOf(err)
		}
		b := make([]byte, 104) // struct tcp_info as programs of 2.6 know it
		b[0] = byte(linuxState(tcp.EndpointState(k.ep.State())))
		binary.LittleEndian.PutUint32(b[8:], uint32(v.RTO/time.Microsecond))
		binary.LittleEndian.PutUint32(b[68:], uint32(v.RTT/time.Microsecond))
		binary.LittleEndian.PutUint32(b[72:], uint32(v.RTTVar/time.Microsecond))
		binary.LittleEndian.PutUint32(b[76:], uint32(v.SndSsthresh))
		binary.LittleEndian.PutUint32(b[80:], uint32(v.SndCwnd))
		return b, nil
	}
	return nil, syscall.ENOPROTOOPT
}

func (k *sock) setTCPOption(name int, value []byte) error {
	if name == unix.TCP_CONGESTION {
		v := tcpip.CongestionControlOption(value)
		if err := k.ep.SetSockOpt(&v); err != nil {
			return syscall.ENOENT
		}
		return nil
	}
	v, err := fs.OptionInt(value)
	if err != nil {
		return err
	}
	o := k.ep.SocketOptions()
	duration := time.Duration(v) * time.Second
	switch name {
	case unix.TCP_NODELAY:
		o.SetDelayOption(v == 0)
	case unix.TCP_CORK:
		o.SetCorkOption(v != 0)
	case unix.TCP_QUICKACK:
		o.SetQuickAck(v != 0)
	case unix.TCP_MAXSEG:
		return errnoOf(k.ep.SetSockOptInt(tcpip.MaxSegOption, v))
	case unix.TCP_KEEPCNT:
		if v < 1 || v > 127 {
			return syscall.EINVAL
		}
		return errnoOf(k.ep.SetSockOptInt(tcpip.KeepaliveCountOption, v))
	case unix.TCP_SYNCNT:
		return errnoOf(k.ep.SetSockOptInt(tcpip.TCPSynCountOption, v))
	case unix.TCP_WINDOW_CLAMP:
		return errnoOf(k.ep.SetSockOptInt(tcpip.TCPWindowClampOption, v))
	case unix.TCP_KEEPIDLE, unix.TCP_KEEPINTVL:
		if v < 1 || v > 32767 {
			return syscall.EINVAL
		}
		if name == unix.TCP_KEEPIDLE {
			x := tcpip.KeepaliveIdleOption(duration)
			return errnoOf(k.ep.SetSockOpt(&x))
		}
		x := tcpip.KeepaliveIntervalOption(duration)
		return errnoOf(k.ep.SetSockOpt(&x))
	case unix.TCP_DEFER_ACCEPT:
		x := tcpip.TCPDeferAcceptOption(max(duration, 0))
		return errnoOf(k.ep.SetSockOpt(&x))
	case unix.TCP_LINGER2:
		x := tcpip.TCPLingerTimeoutOption(duration)
		return errnoOf(k.ep.SetSockOpt(&x))
	case unix.TCP_USER_TIMEOUT:
		if v < 0 {
			return syscall.EINVAL
		}
		x := tcpip.TCPUserTimeoutOption(time.Duration(v) * time.Millisecond)
		return errnoOf(k.ep.SetSockOpt(&x))
	default:
		return syscall.ENOPROTOOPT
	}
	return nil
}

// byteOption is an int, or a single byte, that IPPROTO_IP takes.
func byteOption(value []byte) (int, error) {
	if len(value) >= 1 && len(value) < 4 {
		return int(value[0]), nil
	}
	return fs.OptionInt(value)
}

func (k *sock) ipOption(name int) ([]byte, error) {
	o := k.ep.SocketOptions()
	number := func(opt tcpip.SockOptInt) ([]byte, error) {
		v, err := k.ep.GetSockOptInt(opt)
		return fs.IntOption(v), errnoOf(err)
	}
	switch name {
	case unix.IP_TOS:
		return number(tcpip.IPv4TOSOption)
	case unix.IP_TTL:
		b, err := number(tcpip.IPv4TTLOption)
		if err == nil && binary.LittleEndian.Uint32(b) == 0 {
			b = fs.IntOption(64)
		}
		return b, err
	case unix.IP_MULTICAST_TTL:
		return number(tcpip.MulticastTTLOption)
	case unix.IP_MULTICAST_LOOP:
		return fs.BoolOption(o.GetMulticastLoop()), nil
	case unix.IP_MTU_DISCOVER:
		return number(tcpip.MTUDiscoverOption)
	case unix.IP_RECVERR:
		return fs.BoolOption(k.recvErr.Load()), nil
	case unix.IP_PKTINFO:
		return fs.BoolOption(o.GetReceivePacketInfo()), nil
	case unix.IP_RECVTOS:
		return fs.BoolOption(o.GetReceiveTOS()), nil
	case unix.IP_RECVTTL:
		return fs.BoolOption(o.GetReceiveTTL()), nil
	case unix.IP_HDRINCL:
		return fs.BoolOption(o.GetHeaderIncluded()), nil
	case unix.IP_OPTIONS:
		return nil, nil
	}
	return nil, syscall.ENOPROTOOPT
}

// setMembership joins or leaves a group. ENOBUFS: the socket is in too many.
func (k *sock) setMembership(join bool, value []byte) error {
	if len(value) < 8 {
		return syscall.EINVAL
	}
	m := tcpip.MembershipOption{MulticastAddr: tcpip.AddrFrom4([4]byte(value)), InterfaceAddr: tcpip.AddrFrom4([4]byte(value[4:8]))}
	if len(value) >= 12 {
		m.NIC = tcpip.NICID(binary.LittleEndian.Uint32(value[8:]))
	}
	leave := func() {
		k.grow(-groupCost)
		k.groups.Add(-1)
	}
	if !join {
		x := tcpip.RemoveMembershipOption(m)
		err := errnoOf(k.ep.SetSockOpt(&x))
		if err == nil {
			leave()
		}
		return err
	}
	if k.groups.Add(1) > maxGroups || !k.grow(groupCost) {
		k.groups.Add(-1)
		return syscall.ENOBUFS
	}
	x := tcpip.AddMembershipOption(m)
	err := errnoOf(k.ep.SetSockOpt(&x))
	if err != nil {
		leave()
	}
	return err
}

func (k *sock) setIPOption(name int, value []byte) error {
	o := k.ep.SocketOptions()
	switch name {
	case unix.IP_ADD_MEMBERSHIP, unix.IP_DROP_MEMBERSHIP:
		return k.setMembership(name == unix.IP_ADD_MEMBERSHIP, value)
	case unix.IP_OPTIONS:
		return nil
	}
	v, err := byteOption(value)
	if err != nil {
		return err
	}
	switch name {
	case unix.IP_TOS:
		return errnoOf(k.ep.SetSockOptInt(tcpip.IPv4TOSOption, v&0xff))
	case unix.IP_TTL:
		if v == -1 {
			v = 0 // the usual one
		} else if v < 1 || v > 255 {
			return syscall.EINVAL
		}
		return errnoOf(k.ep.SetSockOptInt(tcpip.IPv4TTLOption, v))
	case unix.IP_MULTICAST_TTL:
		if v == -1 {
			v = 1
		} else if v < 0 || v > 255 {
			return syscall.EINVAL
		}
		return errnoOf(k.ep.SetSockOptInt(tcpip.MulticastTTLOption, v))
	case unix.IP_MULTICAST_LOOP:
		o.SetMulticastLoop(v != 0)
	case unix.IP_MTU_DISCOVER:
		return errnoOf(k.ep.SetSockOptInt(tcpip.MTUDiscoverOption, v))
	case unix.IP_RECVERR:
		k.recvErr.Store(v != 0)
	case unix.IP_HDRINCL:
		o.SetHeaderIncluded(v != 0)
	case unix.IP_RECVTOS:
		o.SetReceiveTOS(v != 0)
	case unix.IP_RECVTTL:
		o.SetReceiveTTL(v != 0)
	case unix.IP_FREEBIND, unix.IP_BIND_ADDRESS_NO_PORT:
	default:
		return syscall.ENOPROTOOPT
	}
	return nil
}

func (k *sock) ip6Option(name int) ([]byte, error) {
	o := k.ep.SocketOptions()
	number := func(opt tcpip.SockOptInt) ([]byte, error) {
		v, err := k.ep.GetSockOptInt(opt)
		return fs.IntOption(v), errnoOf(err)
	}
	switch name {
	case unix.IPV6_V6ONLY:
		return fs.BoolOption(o.GetV6Only()), nil
	case unix.IPV6_TCLASS:
		return number(tcpip.IPv6TrafficClassOption)
	case unix.IPV6_UNICAST_HOPS:
		b, err := number(tcpip.IPv6HopLimitOption)
		if err == nil && int32(binary.LittleEndian.Uint32(b)) == -1 {
			b = fs.IntOption(64)
		}
		return b, err
	case unix.IPV6_MULTICAST_HOPS:
		return number(tcpip.MulticastTTLOption)
	case unix.IPV6_RECVERR:
		return fs.BoolOption(k.recvErr6.Load()), nil
	case unix.IPV6_MTU_DISCOVER:
		return number(tcpip.MTUDiscoverOption)
	}
	return nil, syscall.ENOPROTOOPT
}

func (k *sock) setIP6Option(name int, value []byte) error {
	o := k.ep.SocketOptions()
	v, err := fs.OptionInt(value)
	if err != nil {
		return err
	}
	switch name {
	case unix.IPV6_V6ONLY:
		if a, e := k.ep.GetLocalAddress(); e == nil && a.Port != 0 {
			return syscall.EINVAL
		}
		o.SetV6Only(v != 0)
	case unix.IPV6_TCLASS:
		return errnoOf(k.ep.SetSockOptInt(tcpip.IPv6TrafficClassOption, v))
	case unix.IPV6_UNICAST_HOPS:
		return errnoOf(k.ep.SetSockOptInt(tcpip.IPv6HopLimitOption, v))
	case unix.IPV6_MULTICAST_HOPS:
		return errnoOf(k.ep.SetSockOptInt(tcpip.MulticastTTLOption, v))
	case unix.IPV6_RECVERR:
		k.recvErr6.Store(v != 0)
	case unix.IPV6_MTU_DISCOVER:
		return errnoOf(k.ep.SetSockOptInt(tcpip.MTUDiscoverOption, v))
	default:
		return syscall.ENOPROTOOPT
	}
	return nil
}
