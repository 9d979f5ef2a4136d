package fs

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
	"grim/kernel/uipc"
	"grim/proc/cred"
)

// unixSock is a socket of AF_UNIX: the socket of package uipc, and the node of the path to
// which it is bound.
type unixSock struct {
	SockOptions
	fs   *FS
	u    *uipc.Socket
	node atomic.Pointer[socketNode] // with a reference; nil: no path
}

// Hold and the methods below implement the interface of files that package uipc can send.
func (f *File) Hold() { f.Ref() }

// Fly adds n to the count of references that are in flight.
func (f *File) Fly(n int32) { f.flying.Add(n) }

// Grounded reports whether there is a reference that is not in flight.
func (f *File) Grounded() bool { return f.refs.Load() > f.flying.Load() }

// Unix returns the AF_UNIX socket of the description, or nil.
func (f *File) Unix() *uipc.Socket {
	if k, ok := f.h.(*socket); ok {
		if u, ok := k.Sock.(*unixSock); ok {
			return u.u
		}
	}
	return nil
}

// unixFamily is the Family of AF_UNIX.
func (s *FS) unixFamily(t Task, typ, protocol int) (Sock, error) {
	if protocol != 0 && protocol != unix.AF_UNIX {
		return nil, syscall.EPROTONOSUPPORT
	}
	return s.newUnix(t, typ)
}

func (s *FS) newUnix(t Task, typ int) (*unixSock, error) {
	u, err := s.unix.New(typ, s.payer(t))
	if err != nil {
		return nil, err
	}
	return s.unixOf(u), nil
}

// unixOf makes the Sock of a new socket of package uipc.
func (s *FS) unixOf(u *uipc.Socket) *unixSock {
	k := &unixSock{fs: s, u: u}
	k.InitOptions(unix.AF_UNIX, u.Type, 0)
	u.SetNotify(k.Waiters.Wake)
	return k
}

// Socketpair implements socketpair(2). typ is as in Socket.
func (s *FS) Socketpair(t Task, domain, typ, protocol int) (a, b *File, err error) {
	if typ&^(sockTypes|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC) != 0 {
		return nil, nil, syscall.EINVAL
	}
	if domain != unix.AF_UNIX {
		if s.families[domain] != nil {
			return nil, nil, syscall.EOPNOTSUPP
		}
		return nil, nil, syscall.EAFNOSUPPORT
	}
	if protocol != 0 && protocol != unix.AF_UNIX {
		return nil, nil, syscall.EPROTONOSUPPORT
	}
	x, err := s.newUnix(t, typ&sockTypes)
	if err != nil {
		return nil, nil, err
	}
	y, err := s.newUnix(t, typ&sockTypes)
	if err != nil {
		x.Close()
		return nil, nil, err
	}
	uipc.Pair(x.u, y.u, effective(t))
	if a, err = s.SocketFile(t, x, typ); err != nil {
		y.Close()
		return nil, nil, err
	}
	if b, err = s.SocketFile(t, y, typ); err != nil {
		a.Release()
		return nil, nil, err
	}
	return a, b, nil
}

// effective returns the credentials of t with the effective numbers, for SO_PEERCRED.
func effective(t Task) uipc.Cred {
	if t == nil {
		return uipc.Cred{}
	}
	pid, _ := t.IDs()
	c := t.Cred()
	return uipc.Cred{PID: int32(pid), UID: c.EUID, GID: c.EGID}
}

func (k *unixSock) Attach(f *File, ino uint64) { k.u.Attach(f, ino) }

func (k *unixSock) Close() {
	k.u.Close()
	if n := k.node.Load(); n != nil {
		n.bound.Store(nil)
		unhold(n)
	}
}

// sunPath is the size of the name in struct sockaddr_un.
const sunPath = 108

// unixName returns the name in an address. It is empty if the address has only a family.
// Error: EINVAL.
func unixName(addr []byte) (string, error) {
	if len(addr) < 2 || len(addr) > 2+sunPath || binary.LittleEndian.Uint16(addr) != unix.AF_UNIX {
		return "", syscall.EINVAL
	}
	name := addr[2:]
	if len(name) > 0 && name[0] != 0 {
		if i := bytes.IndexByte(name, 0); i >= 0 {
			name = name[:i]
		}
	}
	return string(name), nil
}

// unixAddr returns the address with a name.
func unixAddr(name string) []byte {
	b := binary.LittleEndian.AppendUint16(nil, unix.AF_UNIX)
	b = append(b, name...)
	if name != "" && name[0] != 0 {
		b = append(b, 0)
	}
	return b
}

func (k *unixSock) Bind(at At, addr []byte) error {
	name, err := unixName(addr)
	switch {
	case err != nil:
		return err
	case name == "":
		return k.u.Autobind()
	case name[0] == 0:
		return k.u.Bind(name)
	case k.u.Name() != "":
		return syscall.EINVAL
	}
	n := &socketNode{}
	if err := n.pay(k.fs.payer(at.Task), 0); err != nil {
		return err
	}
	n.init(k.fs, devRoot, syscall.S_IFSOCK|at.Place.mode(0o777))
	newborn(n)
	defer unhold(n)
	d, last, err := k.fs.vacant(at, name, false)
	var made node
	if err == nil {
		made, err = k.fs.link(at.Task, d, last, n)
	}
	if err == syscall.EEXIST {
		err = syscall.EADDRINUSE
	}
	if err != nil {
		return err
	}
	// A store makes another node.
	to, ok := made.(*socketNode)
	if !ok || !hold(to) {
		return syscall.EADDRINUSE // it has been unlinked in the meantime
	}
	if err := k.u.Bind(name); err != nil || !k.node.CompareAndSwap(nil, to) {
		k.fs.unlink(d, last, to)
		unhold(to)
		return syscall.EINVAL
	}
	to.bound.Store(k.u)
	return nil
}

// find returns the socket with an address.
func (k *unixSock) find(at At, addr []byte) (*uipc.Socket, error) {
	name, err := unixName(addr)
	switch {
	case err != nil:
		return nil, err
	case name == "":
		return nil, syscall.EINVAL
	case name[0] == 0:
		return k.fs.unix.Find(k.u.Type, name)
	}
	t, err := k.fs.walk(at, name, follow)
	if err != nil {
		return nil, err
	}
	defer t.done()
	if err := t.existing(); err != nil {
		return nil, err
	}
	if err := t.node.base().allows(at.cred(), mayWrite); err != nil {
		return nil, err
	}
	if n, ok := t.node.(*socketNode); ok {
		if u := n.bound.Load(); u != nil {
			return u, nil
		}
	}
	return nil, syscall.ECONNREFUSED
}

func (k *unixSock) Connect(at At, addr []byte, nonblock bool) error {
	var to *uipc.Socket
	if len(addr) < 2 {
		return syscall.EINVAL
	}
	if binary.LittleEndian.Uint16(addr) != unix.AF_UNSPEC || k.u.Type != unix.SOCK_DGRAM {
		var err error
		if to, err = k.find(at, addr); err != nil {
			return err
		}
		if k.u.PassCred() {
			if err := k.u.Autobind(); err != nil {
				return err
			}
		}
	}
	who := effective(at.Task)
	return WaitFor(at.Task, &k.Waiters, EPOLLOUT, k.Deadline(k.fs.cfg.Monotonic(), true), nonblock, func() error {
		return k.u.Connect(to, who)
	})
}

func (k *unixSock) Listen(t Task, backlog int) error { return k.u.Listen(backlog, effective(t)) }

func (k *unixSock) Accept(t Task, nonblock bool) (Sock, error) {
	var end *uipc.Socket
	err := WaitFor(t, &k.Waiters, EPOLLIN, k.Deadline(k.fs.cfg.Monotonic(), false), nonblock, func() (err error) {
		end, err = k.u.Accept()
		return err
	})
	if err != nil {
		return nil, err
	}
	return k.fs.unixOf(end), nil
}

// maySendAs returns EPERM if t may not send these credentials (unix(7), SCM_CREDENTIALS).
func maySendAs(t Task, u Ucred) error {
	if t == nil {
		return nil
	}
	pid, _ := t.IDs()
	c := t.Cred()
	switch {
	case int(u.PID) != pid && !c.Has(cred.SysAdmin),
		u.UID != c.UID && u.UID != c.EUID && u.UID != c.SUID && !c.Has(cred.SetUID),
		u.GID != c.GID && u.GID != c.EGID && u.GID != c.SGID && !c.Has(cred.SetGID):
		return syscall.EPERM
	}
	return nil
}

func (k *unixSock) Send(at At, m *Message, nonblock bool) (n int, err error) {
	t := at.Task
	if m.Flags&unix.MSG_OOB != 0 {
		return 0, syscall.EOPNOTSUPP
	}
	x := uipc.Sending{Cred: uipc.Cred(m.Cred), Given: m.HasCred}
	if m.HasCred {
		if err := maySendAs(t, m.Cred); err != nil {
			return 0, err
		}
	}
	if m.Addr != nil {
		switch k.u.Type {
		case unix.SOCK_STREAM:
			if k.u.Connected() {
				return 0, syscall.EISCONN
			}
			return 0, syscall.EOPNOTSUPP
		case unix.SOCK_DGRAM:
			if x.To, err = k.find(at, m.Addr); err != nil {
				return 0, err
			}
			if x.To.Type != unix.SOCK_DGRAM {
				return 0, syscall.EPROTOTYPE
			}
		}
	}
	if k.u.PassCred() && k.u.Type == unix.SOCK_DGRAM {
		if err := k.u.Autobind(); err != nil {
			return 0, err
		}
	}
	for _, f := range m.Rights {
		x.Rights = append(x.Rights, f)
	}
	if len(x.Rights) > 0 && t != nil {
		c := t.Cred()
		if x.By = c.UID; !c.Has(cred.SysResource) && !c.Has(cred.SysAdmin) {
			x.Limit = t.OpenLimit()
		}
	}
	if k.u.Type == unix.SOCK_STREAM && m.Out.Len() == 0 { // no bytes, so no message for the rights
		defer func() {
			if err == nil {
				for _, f := range m.Rights {
					f.Release()
				}
			}
		}()
	}
	done := 0
	deadline := k.Deadline(k.fs.cfg.Monotonic(), true)
	for {
		err = WaitFor(t, &k.Waiters, EPOLLOUT, deadline, nonblock, func() error {
			n, err := k.u.Send(m.Out, done, &x)
			done += n
			return err
		})
		x.Rights = nil // they have been sent with the first part
		if err == nil && k.u.Type == unix.SOCK_STREAM && done < m.Out.Len() {
			if err = (call{task: t}).pause(); err == nil {
				continue
			}
		}
		return partial(done, err)
	}
}

func (k *unixSock) Recv(t Task, m *Message, nonblock bool) (int, error) {
	if m.Flags&unix.MSG_OOB != 0 {
		return 0, syscall.EOPNOTSUPP
	}
	if m.Flags&unix.MSG_ERRQUEUE != 0 {
		return 0, syscall.EAGAIN
	}
	var r uipc.Received
	done, end := 0, false
	target := k.Target(m.In.Len(), m.Flags)
	deadline := k.Deadline(k.fs.cfg.Monotonic(), false)
	var err error
	for !end && err == nil {
		err = WaitFor(t, &k.Waiters, EPOLLIN, deadline, nonblock, func() error {
			n, err := k.u.Recv(m.In, done, m.Flags, &r)
			done += n
			switch {
			case err == syscall.EAGAIN && k.u.Type == unix.SOCK_STREAM && done >= target:
				end, err = true, nil
			case err == syscall.EAGAIN && !nonblock && k.u.Type == unix.SOCK_DGRAM && k.u.ShutForReading():
				end, err = true, nil
			case err == nil:
				end = k.u.Type != unix.SOCK_STREAM || n == 0 || r.Done || done == m.In.Len()
			}
			return err
		})
		if err == nil && !end {
			err = (call{task: t}).pause()
		}
	}
	for _, f := range r.Rights {
		m.Rights = append(m.Rights, f.(*File))
	}
	m.Result |= r.Flags
	m.Cred, m.HasCred = Ucred(r.Cred), k.u.PassCred() && (done > 0 || r.Named)
	if r.Named && r.From != "" && k.u.Type == unix.SOCK_DGRAM {
		m.Addr = unixAddr(r.From)
	}
	return partial(done, err)
}

func (k *unixSock) Shutdown(how int) error { return k.u.Shutdown(how) }

func (k *unixSock) Name(peer bool) ([]byte, error) {
	if !peer {
		return unixAddr(k.u.Name()), nil
	}
	name, err := k.u.PeerName()
	if err != nil {
		return nil, err
	}
	return unixAddr(name), nil
}

func (k *unixSock) Option(level, name int) ([]byte, error) {
	if level != unix.SOL_SOCKET {
		return nil, syscall.EOPNOTSUPP
	}
	switch name {
	case unix.SO_ERROR:
		return IntOption(int(k.u.TakeError())), nil
	case unix.SO_ACCEPTCONN:
		return BoolOption(k.u.Listening()), nil
	case unix.SO_PASSCRED:
		return BoolOption(k.u.PassCred()), nil
	case unix.SO_SNDBUF:
		n, _ := k.u.Buffers()
		return IntOption(n), nil
	case unix.SO_RCVBUF:
		_, n := k.u.Buffers()
		return IntOption(n), nil
	case unix.SO_PEERCRED:
		c := k.u.PeerCred()
		b := binary.LittleEndian.AppendUint32(nil, uint32(c.PID))
		b = binary.LittleEndian.AppendUint32(b, c.UID)
		return binary.LittleEndian.AppendUint32(b, c.GID), nil
	}
	return k.CommonOption(name)
}

func (k *unixSock) SetOption(t Task, level, name int, value []byte) error {
	if level != unix.SOL_SOCKET {
		return syscall.EOPNOTSUPP
	}
	switch name {
	case unix.SO_PASSCRED, unix.SO_SNDBUF, unix.SO_RCVBUF, unix.SO_SNDBUFFORCE, unix.SO_RCVBUFFORCE:
	default:
		return k.SetCommonOption(name, value)
	}
	v, err := OptionInt(value)
	if err != nil {
		return err
	}
	switch name {
	case unix.SO_PASSCRED:
		k.u.SetPassCred(v != 0)
	case unix.SO_SNDBUF:
		k.u.SetSendBuffer(v)
	case unix.SO_RCVBUF:
		k.u.SetRecvBuffer(v)
	default:
		if t != nil && !t.Cred().Has(cred.NetAdmin) {
			return syscall.EPERM
		}
		if name == unix.SO_SNDBUFFORCE {
			k.u.SetSendBuffer(v)
		} else {
			k.u.SetRecvBuffer(v)
		}
	}
	return nil
}

func (k *unixSock) Ready() uint32 { return k.u.Ready() }

func (k *unixSock) Ioctl(t Task, mem UserMemory, req uint32, arg uint64) (uint64, error) {
	switch req {
	case fionread:
		if k.u.Listening() {
			return 0, syscall.EINVAL
		}
		return putInt(mem, arg, k.u.Unread())
	case unix.TIOCOUTQ:
		return putInt(mem, arg, k.u.Unsent())
	}
	return k.fs.socketIoctl(t, mem, req, arg)
}

// socketIoctl handles the requests that sockets of every family have.
func (s *FS) socketIoctl(t Task, mem UserMemory, req uint32, arg uint64) (uint64, error) {
	switch req {
	case unix.SIOCGIFADDR, unix.SIOCGIFNETMASK, unix.SIOCGIFBRDADDR, unix.SIOCGIFDSTADDR, unix.SIOCSIFADDR:
		return 0, syscall.ENOTTY // of AF_INET alone
	}
	if s.netIoctl != nil {
		return s.netIoctl(t, mem, req, arg)
	}
	return 0, syscall.ENOTTY
}

// SetNetIoctl makes f answer the requests about interfaces, which sockets of every family
// have; at start-up.
func (s *FS) SetNetIoctl(f func(t Task, mem UserMemory, req uint32, arg uint64) (uint64, error)) {
	s.netIoctl = f
}

// unixText returns /proc/net/unix.
func (s *FS) unixText() []byte {
	var b bytes.Buffer
	b.WriteString("Num       RefCount Protocol Flags    Type St Inode Path\n")
	for _, i := range s.unix.Sockets() {
		flags, state := 0, 1
		switch {
		case i.Listening:
			flags = 1 << 16
		case i.Connected:
			state = 3
		}
		name := i.Name
		if name != "" && name[0] == 0 {
			name = strings.ReplaceAll(name, "\x00", "@")
		}
		if name != "" {
			name = " " + name
		}
		fmt.Fprintf(&b, "%016x: %08X %08X %08X %04X %02X %5d%s\n", 0, 2, 0, flags, i.Type, state, i.Inode, name)
	}
	return b.Bytes()
}
