package inet

import (
	"encoding/binary"
	"io"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
	"grim/arch"
	"grim/kernel/fs"
	"grim/mm/charge"
	"grim/proc/cred"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// sock is a socket of AF_INET or AF_INET6.
type sock struct {
	fs.SockOptions
	n     *Net
	ep    tcpip.Endpoint
	wq    *waiter.Queue
	entry waiter.Entry
	payer *charge.User // [I]

	inode uint64 // [Net.mu]
	uid   uint32 // [I]

	// accepted is the receive buffer of accepted connections; 0: the socket does not
	// listen. Its endpoint has pendingBuffer then.
	accepted atomic.Int64

	closed atomic.Bool  // settle gives back what is charged
	groups atomic.Int32 // IP_ADD_MEMBERSHIP
	// recvErr and recvErr6 are IP_RECVERR and IPV6_RECVERR. They are only kept: the stack's
	// queue of errors has no limit, and MSG_ERRQUEUE finds none here.
	recvErr, recvErr6 atomic.Bool

	mu    sync.Mutex
	late  tcpip.Timer // [mu] ends a closed connection after lastBytes
	cost  int64       // [mu] charged
	waits bool        // [mu] counted in Net.timeWaits
	ended bool        // [mu] nothing is charged any more

	packets packets // of a socket that is not a stream
	pending pending // of a listener
}

// family makes sockets of a family.
func (n *Net) family(domain int) fs.Family {
	return func(t fs.Task, typ, protocol int) (fs.Sock, error) {
		net := tcpip.NetworkProtocolNumber(ipv4.ProtocolNumber)
		ping := icmp.ProtocolNumber4
		pingProto := unix.IPPROTO_ICMP
		if domain == unix.AF_INET6 {
			net, ping, pingProto = ipv6.ProtocolNumber, icmp.ProtocolNumber6, unix.IPPROTO_ICMPV6
		}
		var of tcpip.TransportProtocolNumber
		bytes := int64(2 * defaultBuffer)
		rawSocket := false
		switch {
		case typ == unix.SOCK_STREAM && (protocol == 0 || protocol == unix.IPPROTO_TCP):
			of, protocol = tcp.ProtocolNumber, unix.IPPROTO_TCP
		case typ == unix.SOCK_DGRAM && (protocol == 0 || protocol == unix.IPPROTO_UDP):
			of, protocol = udp.ProtocolNumber, unix.IPPROTO_UDP
		case typ == unix.SOCK_DGRAM && protocol == pingProto:
			of = ping
		case typ == unix.SOCK_RAW && protocol > 0 && protocol < 256:
			if t != nil && !t.Cred().Has(cred.NetRaw) {
				return nil, syscall.EPERM
			}
			of, rawSocket = tcpip.TransportProtocolNumber(protocol), true
		case typ == unix.SOCK_STREAM || typ == unix.SOCK_DGRAM || typ == unix.SOCK_RAW:
			return nil, syscall.EPROTONOSUPPORT
		default:
			return nil, syscall.ESOCKTNOSUPPORT
		}
		payer := n.payer(t)
		if !payer.Take(charge.IPC, bytes+sockCost) {
			return nil, syscall.ENOBUFS
		}
		wq := new(waiter.Queue)
		var ep tcpip.Endpoint
		var err tcpip.Error
		if rawSocket {
			ep, err = n.run().NewRawEndpoint(of, net, wq, true)
		} else {
			ep, err = n.run().NewEndpoint(of, net, wq)
		}
		if err != nil {
			payer.Give(charge.IPC, bytes+sockCost)
			return nil, errnoOf(err)
		}
		return n.newSock(t, domain, typ, protocol, ep, wq, payer, bytes+sockCost), nil
	}
}

func (n *Net) payer(t fs.Task) *charge.User {
	if t == nil {
		return n.cfg.Kernel
	}
	return t.Payer()
}

// newSock is the socket of an endpoint, for which payer has been charged.
func (n *Net) newSock(t fs.Task, domain, typ, protocol int, ep tcpip.Endpoint, wq *waiter.Queue, payer *charge.User, cost int64) *sock {
	k := &sock{n: n, ep: ep, wq: wq, payer: payer, cost: cost}
	if t != nil {
		k.uid = t.Cred().FSUID
	}
	k.InitOptions(domain, typ, protocol)
	k.entry = waiter.NewFunctionEntry(waiter.AllEvents, func(mask waiter.EventMask) {
		if k.closed.Load() {
			k.settle()
			return
		}
		if mask&waiter.ReadableEvents != 0 {
			switch {
			case !k.stream():
				k.take()
			case k.accepted.Load() != 0:
				go k.takeConnections() // locks of the connection are held here
				mask &^= waiter.ReadableEvents
			}
		}
		k.Waiters.Wake(mask.ToLinux())
	})
	wq.EventRegister(&k.entry)
	if k.stream() {
		// A buffer whose size has been set does not grow by itself.
		o := ep.SocketOptions()
		o.SetSendBufferSize(o.GetSendBufferSize(), true)
	}
	n.mu.Lock()
	n.socks[k] = struct{}{}
	n.mu.Unlock()
	return k
}

func (k *sock) stream() bool { return k.Type() == unix.SOCK_STREAM }

func (k *sock) Attach(_ *fs.File, ino uint64) {
	k.n.mu.Lock()
	k.inode = ino
	k.n.mu.Unlock()
}

func (k *sock) Close() {
	k.n.mu.Lock()
	delete(k.n.socks, k)
	k.n.mu.Unlock()
	if !k.stream() {
		k.wq.EventUnregister(&k.entry)
		k.ep.Close()
		k.payer.Give(charge.IPC, k.cost)
		return
	}
	// The entry stays with the endpoint, and tells what becomes of it.
	k.closed.Store(true)
	k.ep.Close()
	k.takeConnections() // none is left
	k.settle()
	k.mu.Lock()
	if !k.ended {
		k.late = k.n.stack.Clock().AfterFunc(lastBytes, k.ep.Abort)
	}
	k.mu.Unlock()
}

// settle gives back the charge for what a closed connection does not hold any more. It is
// called for each change of the connection's state, with locks of its endpoint held.
func (k *sock) settle() {
	send := k.ep.SocketOptions().GetSendBufferSize()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ended {
		return
	}
	keep, waits := sockCost+send, false
	switch tcp.EndpointState(k.ep.State()) {
	case tcp.StateClose, tcp.StateError:
		keep = 0
	case tcp.StateTimeWait: // all that was sent has been received
		keep, waits = sockCost, true
	}
	if back := k.cost - keep; back > 0 {
		k.payer.Give(charge.IPC, back)
		k.cost = keep
	}
	if waits != k.waits {
		k.waits = waits
		more := int64(1)
		if !waits {
			more = -1
		}
		k.n.countTimeWaits(more)
	}
	if k.ended = keep == 0; k.ended && k.late != nil {
		k.late.Stop()
	}
}

// grow makes the charge n bytes larger: false if that is refused.
func (k *sock) grow(n int64) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if n > 0 && !k.payer.Take(charge.IPC, n) {
		return false
	}
	if n < 0 {
		k.payer.Give(charge.IPC, -n)
	}
	k.cost += n
	return true
}

// address is a socket address of user memory as the stack has it. EINVAL: too short;
// EAFNOSUPPORT: of another family.
func (k *sock) address(addr []byte) (a tcpip.FullAddress, err error) {
	if len(addr) < 2 {
		return a, syscall.EINVAL
	}
	if int(binary.LittleEndian.Uint16(addr)) != k.Domain() {
		return a, syscall.EAFNOSUPPORT
	}
	if k.Domain() == unix.AF_INET {
		if len(addr) < unix.SizeofSockaddrInet4 {
			return a, syscall.EINVAL
		}
		a.Port = binary.BigEndian.Uint16(addr[2:])
		if ip := [4]byte(addr[4:8]); ip != ([4]byte{}) {
			a.Addr = tcpip.AddrFrom4(ip)
		}
		return a, nil
	}
	if len(addr) < unix.SizeofSockaddrInet6-4 {
		return a, syscall.EINVAL
	}
	a.Port = binary.BigEndian.Uint16(addr[2:])
	if ip := [16]byte(addr[8:24]); ip != ([16]byte{}) {
		a.Addr = tcpip.AddrFrom16(ip)
	}
	if len(addr) >= unix.SizeofSockaddrInet6 && header.IsV6LinkLocalUnicastAddress(a.Addr) {
		a.NIC = tcpip.NICID(binary.LittleEndian.Uint32(addr[24:]))
	}
	return a, nil
}

// userAddress is the opposite of address.
func (k *sock) userAddress(a tcpip.FullAddress) []byte {
	if k.Domain() == unix.AF_INET {
		b := make([]byte, unix.SizeofSockaddrInet4)
		binary.LittleEndian.PutUint16(b, unix.AF_INET)
		binary.BigEndian.PutUint16(b[2:], a.Port)
		copy(b[4:8], a.Addr.AsSlice())
		return b
	}
	b := make([]byte, unix.SizeofSockaddrInet6)
	binary.LittleEndian.PutUint16(b, unix.AF_INET6)
	binary.BigEndian.PutUint16(b[2:], a.Port)
	if a.Addr.Len() == 4 {
		b[18], b[19] = 0xff, 0xff
		copy(b[20:24], a.Addr.AsSlice())
	} else {
		copy(b[8:24], a.Addr.AsSlice())
		if header.IsV6LinkLocalUnicastAddress(a.Addr) {
			binary.LittleEndian.PutUint32(b[24:], uint32(a.NIC))
		}
	}
	return b
}

func family(addr []byte) int {
	if len(addr) < 2 {
		return -1
	}
	return int(binary.LittleEndian.Uint16(addr))
}

// firstFreePort is net.ipv4.ip_unprivileged_port_start.
const firstFreePort = 1024

func (k *sock) Bind(at fs.At, addr []byte) error {
	// An old mistake of programs that Linux allows: bind(2) to any address of no family.
	if k.Domain() == unix.AF_INET && len(addr) >= unix.SizeofSockaddrInet4 && family(addr) == unix.AF_UNSPEC && [4]byte(addr[4:8]) == ([4]byte{}) {
		addr = append([]byte{unix.AF_INET, 0}, addr[2:]...)
	}
	a, err := k.address(addr)
	if err != nil {
		return err
	}
	if a.Port != 0 && a.Port < firstFreePort && at.Task != nil && !at.Task.Cred().Has(cred.NetBind) {
		return syscall.EACCES
	}
	return errnoOf(k.ep.Bind(a))
}

func (k *sock) Connect(at fs.At, addr []byte, nonblock bool) error {
	if family(addr) == unix.AF_UNSPEC {
		return errnoOf(k.ep.Disconnect())
	}
	a, err := k.address(addr)
	if err != nil {
		return err
	}
	if a.Addr.Len() == 0 { // this machine
		if a.Addr = header.IPv6Loopback; k.Domain() == unix.AF_INET {
			a.Addr = tcpip.AddrFrom4([4]byte{127, 0, 0, 1})
		}
	}
	switch e := k.ep.Connect(a); e.(type) {
	case *tcpip.ErrConnectStarted, *tcpip.ErrAlreadyConnecting:
		if nonblock {
			return errnoOf(e)
		}
	default:
		return errnoOf(e)
	}
	err = fs.WaitFor(at.Task, &k.Waiters, fs.EPOLLOUT|fs.EPOLLERR|fs.EPOLLHUP, k.Deadline(k.n.cfg.Monotonic(), true), false, func() error {
		if k.ep.Readiness(waiter.WritableEvents|waiter.EventErr|waiter.EventHUp) == 0 {
			return syscall.EAGAIN
		}
		if e := k.ep.LastError(); e != nil {
			return errnoOf(e)
		}
		switch e := k.ep.Connect(a); e.(type) {
		case nil, *tcpip.ErrAlreadyConnected:
			return nil
		case *tcpip.ErrAlreadyConnecting, *tcpip.ErrConnectStarted:
			return syscall.EAGAIN
		default:
			return errnoOf(e)
		}
	})
	if err == syscall.EAGAIN { // the time limit
		err = syscall.EINPROGRESS
	}
	return err
}

func (k *sock) Listen(t fs.Task, backlog int) error {
	if !k.stream() {
		return syscall.EOPNOTSUPP
	}
	if backlog < 0 || backlog > maxBacklog {
		backlog = maxBacklog
	}
	// Connections begin with the listener's receive buffer.
	o := k.ep.SocketOptions()
	first := k.accepted.CompareAndSwap(0, o.GetReceiveBufferSize())
	if first {
		o.SetReceiveBufferSize(min(k.accepted.Load(), pendingBuffer), true)
	}
	k.pending.open(backlog)
	err := k.ep.Listen(stackBacklog)
	if _, ok := err.(*tcpip.ErrInvalidEndpointState); ok && tcp.EndpointState(k.ep.State()) == tcp.StateInitial {
		if err = k.ep.Bind(tcpip.FullAddress{}); err == nil {
			err = k.ep.Listen(stackBacklog)
		}
	}
	if err != nil && first {
		o.SetReceiveBufferSize(k.accepted.Swap(0), true)
	}
	return errnoOf(err)
}

// from reads the bytes of a message out of user memory; a fault ends it.
type from struct {
	src fs.Source
	off int
	err error
}

func (f *from) Len() int { return f.src.Len() - f.off }

func (f *from) Read(p []byte) (n int, err error) {
	if f.Len() == 0 {
		return 0, io.EOF
	}
	p = p[:min(len(p), f.Len())] // the stack looks for the end with an empty p
	for n < len(p) {
		if n += f.src.CopyIn(p[n:], f.off+n); n < len(p) {
			if f.err = f.src.Fault(f.off + n); f.err != nil {
				return n, f.err
			}
		}
	}
	f.off += n
	return n, nil
}

// to writes to user memory, as much as there is room for.
type to struct {
	dst fs.Dest
	off int
	err error
}

func (w *to) Write(p []byte) (n int, err error) {
	fit := p[:min(len(p), w.dst.Len()-w.off)]
	for n < len(fit) {
		if n += w.dst.CopyOut(w.off+n, fit[n:]); n < len(fit) {
			if w.err = w.dst.Fault(w.off + n); w.err != nil {
				w.off += n
				return n, w.err
			}
		}
	}
	if w.off += n; n < len(p) {
		return n, io.ErrShortWrite
	}
	return n, nil
}

func (k *sock) Send(at fs.At, m *fs.Message, nonblock bool) (int, error) {
	if m.Flags&unix.MSG_OOB != 0 {
		return 0, syscall.EOPNOTSUPP
	}
	for _, f := range m.Rights { // they mean nothing here
		defer f.Release()
	}
	o := tcpip.WriteOptions{More: m.Flags&unix.MSG_MORE != 0, EndOfRecord: m.Flags&unix.MSG_EOR != 0}
	if m.Addr != nil && !k.stream() {
		a, err := k.address(m.Addr)
		if err != nil {
			return 0, err
		}
		if a.Addr.Len() == 0 {
			if a.Addr = header.IPv6Loopback; k.Domain() == unix.AF_INET {
				a.Addr = tcpip.AddrFrom4([4]byte{127, 0, 0, 1})
			}
		}
		o.To = &a
	}
	if !k.stream() {
		if err := k.lastError(); err != nil {
			return 0, err
		}
	}
	src := &from{src: m.Out}
	deadline := k.Deadline(k.n.cfg.Monotonic(), true)
	done := 0
	for {
		err := fs.WaitFor(at.Task, &k.Waiters, fs.EPOLLOUT|fs.EPOLLERR|fs.EPOLLHUP, deadline, nonblock, func() error {
			src.off = done
			n, e := k.ep.Write(src, o)
			done += int(n)
			if e != nil && src.err != nil {
				return src.err
			}
			if _, gone := e.(*tcpip.ErrNotConnected); gone && k.stream() {
				return syscall.EPIPE
			}
			return errnoOf(e)
		})
		if err != nil || !k.stream() || done >= m.Out.Len() {
			return partial(done, err)
		}
		if at.Task != nil {
			if err := at.Task.Pause(); err != nil {
				return partial(done, err)
			}
		}
	}
}

func partial(n int, err error) (int, error) {
	if n > 0 {
		return n, nil
	}
	return 0, err
}

func (k *sock) Recv(t fs.Task, m *fs.Message, nonblock bool) (int, error) {
	if m.Flags&unix.MSG_OOB != 0 {
		return 0, syscall.EINVAL
	}
	if m.Flags&unix.MSG_ERRQUEUE != 0 {
		return 0, syscall.EAGAIN
	}
	if !k.stream() {
		return k.receive(t, m, nonblock)
	}
	o := tcpip.ReadOptions{Peek: m.Flags&unix.MSG_PEEK != 0}
	deadline := k.Deadline(k.n.cfg.Monotonic(), false)
	target := k.Target(m.In.Len(), m.Flags)
	w := &to{dst: m.In}
	for end := false; ; {
		err := fs.WaitFor(t, &k.Waiters, fs.EPOLLIN|fs.EPOLLERR|fs.EPOLLHUP, deadline, nonblock, func() error {
			if o.Peek {
				w.off = 0 // each look begins at the start
			}
			before := w.off
			_, e := k.ep.Read(w, o)
			_, closed := e.(*tcpip.ErrClosedForReceive)
			switch {
			case w.err != nil && w.off == before:
				return w.err
			case closed:
				end = true
				return nil
			case e != nil:
				if err := errnoOf(e); err != syscall.EAGAIN || w.off < target {
					return err
				}
				end = true
				return nil
			}
			k.ep.ModerateRecvBuf(w.off - before)
			if w.off >= target || w.off == m.In.Len() || w.err != nil {
				end = true
			} else if o.Peek {
				return syscall.EAGAIN // until there is enough
			}
			return nil
		})
		if end || err != nil {
			return partial(w.off, err)
		}
		if t != nil {
			if err := t.Pause(); err != nil {
				return partial(w.off, err)
			}
		}
	}
}

func (k *sock) Shutdown(how int) error {
	var flags tcpip.ShutdownFlags
	switch how {
	case unix.SHUT_RD:
		flags = tcpip.ShutdownRead
	case unix.SHUT_WR:
		flags = tcpip.ShutdownWrite
	case unix.SHUT_RDWR:
		flags = tcpip.ShutdownRead | tcpip.ShutdownWrite
	default:
		return syscall.EINVAL
	}
	if k.stream() && tcp.EndpointState(k.ep.State()) == tcp.StateInitial {
		return syscall.ENOTCONN
	}
	if flags&tcpip.ShutdownRead != 0 {
		k.pending.close() // the end of reading calls takeConnections
	}
	return errnoOf(k.ep.Shutdown(flags))
}

func (k *sock) Name(peer bool) ([]byte, error) {
	if !peer {
		a, err := k.ep.GetLocalAddress()
		if err != nil {
			return nil, errnoOf(err)
		}
		return k.userAddress(a), nil
	}
	a, err := k.ep.GetRemoteAddress()
	if err != nil {
		return nil, errnoOf(err)
	}
	return k.userAddress(a), nil
}

func (k *sock) Ready() uint32 {
	mask := waiter.WritableEvents | waiter.EventHUp | waiter.EventRdHUp
	listens := k.accepted.Load() != 0
	if k.stream() && !listens {
		mask |= waiter.ReadableEvents
	}
	r := k.ep.Readiness(mask).ToLinux()
	if listens && k.pending.some() {
		r |= fs.EPOLLIN | fs.EPOLLRDNORM
	}
	if !k.stream() {
		if _, ok := k.waiting(); ok {
			r |= fs.EPOLLIN | fs.EPOLLRDNORM
		}
		if k.packets.fault.Load() != nil {
			r |= fs.EPOLLERR
		}
	} else {
		switch tcp.EndpointState(k.ep.State()) {
		case tcp.StateInitial, tcp.StateBound:
			r |= fs.EPOLLOUT | fs.EPOLLWRNORM
		case tcp.StateError:
			r |= fs.EPOLLERR
		}
	}
	return r
}

func (k *sock) Ioctl(t fs.Task, mem fs.UserMemory, req uint32, arg uint64) (uint64, error) {
	var o tcpip.SockOptInt
	switch req {
	case unix.TIOCINQ:
		if !k.stream() {
			n, _ := k.waiting()
			return 0, mem.CopyOut(arch.VA(arg), fs.IntOption(n))
		}
		o = tcpip.ReceiveQueueSizeOption
	case unix.TIOCOUTQ:
		o = tcpip.SendQueueSizeOption
	default:
		return k.n.Ioctl(t, mem, req, arg)
	}
	v, err := k.ep.GetSockOptInt(o)
	if err != nil {
		return 0, errnoOf(err)
	}
	return 0, mem.CopyOut(arch.VA(arg), binary.LittleEndian.AppendUint32(nil, uint32(v)))
}
