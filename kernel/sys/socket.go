package sys

import (
	"syscall"

	"golang.org/x/sys/unix"

	"grim/arch"
	"grim/kernel/fs"
	"grim/kernel/uipc"
)

const (
	// maxAddr is sizeof(struct sockaddr_storage).
	maxAddr = 128
	// maxControl is net.core.optmem_max, the maximum size of the control messages.
	maxControl = 20480
	// maxMessages is the maximum number of messages of one sendmmsg(2) or recvmmsg(2).
	maxMessages = 1024
	// cmsgHeader is sizeof(struct cmsghdr).
	cmsgHeader = 16
)

// sock returns the socket of descriptor argument i, and its file, which the caller must
// release.
func (c ctx) sock(i int) (*fs.File, fs.Sock, error) {
	f, err := c.file(i)
	if err != nil {
		return nil, nil, err
	}
	k, err := f.Sock()
	if err != nil {
		f.Release()
		return nil, nil, err
	}
	return f, k, nil
}

func sysSocket(c ctx) (uint64, error) {
	typ := c.int(1)
	f, err := c.s.fs.Socket(c.task(), c.int(0), typ, c.int(2))
	if err != nil {
		return 0, err
	}
	return c.install(f, typ&unix.SOCK_CLOEXEC != 0)
}

func sysSocketpair(c ctx) (uint64, error) {
	typ := c.int(1)
	a, b, err := c.s.fs.Socketpair(c.task(), c.int(0), typ, c.int(2))
	if err != nil {
		return 0, err
	}
	return c.pair(a, b, typ&unix.SOCK_CLOEXEC != 0, 3)
}

// addr copies an address in. EINVAL: no address has length n.
func (c ctx) addr(va arch.VA, n int) ([]byte, error) {
	if n < 0 || n > maxAddr {
		return nil, syscall.EINVAL
	}
	b := make([]byte, n)
	if n == 0 {
		return b, nil
	}
	return b, c.mem().CopyIn(b, va)
}

// putAddr stores an address as accept(2) does: the part for which there is room, and the
// whole length at lenVA.
func (c ctx) putAddr(va, lenVA arch.VA, addr []byte) error {
	room, err := get[int32](c, lenVA)
	if err != nil {
		return err
	}
	if room < 0 {
		return syscall.EINVAL
	}
	if err := c.mem().CopyOut(va, addr[:min(len(addr), int(room))]); err != nil {
		return err
	}
	n := int32(len(addr))
	return put(c, lenVA, &n)
}

func sysBind(c ctx) (uint64, error) {
	f, k, err := c.sock(0)
	if err != nil {
		return 0, err
	}
	defer f.Release()
	addr, err := c.addr(c.va(1), c.int(2))
	if err != nil {
		return 0, err
	}
	return 0, k.Bind(c.cwd(), addr)
}

func sysConnect(c ctx) (uint64, error) {
	f, k, err := c.sock(0)
	if err != nil {
		return 0, err
	}
	defer f.Release()
	addr, err := c.addr(c.va(1), c.int(2))
	if err != nil {
		return 0, err
	}
	return 0, k.Connect(c.cwd(), addr, f.Nonblocking(0))
}

func sysListen(c ctx) (uint64, error) {
	f, k, err := c.sock(0)
	if err != nil {
		return 0, err
	}
	defer f.Release()
	return 0, k.Listen(c.task(), c.int(1))
}

func sysAccept(c ctx) (uint64, error)  { return c.accept(0) }
func sysAccept4(c ctx) (uint64, error) { return c.accept(c.int(3)) }

func (c ctx) accept(flags int) (uint64, error) {
	if err := onlyFlags(flags, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK); err != nil {
		return 0, err
	}
	f, _, err := c.sock(0)
	if err != nil {
		return 0, err
	}
	defer f.Release()
	end, err := f.Accept(c.task(), flags)
	if err != nil {
		return 0, err
	}
	if c.va(1) != 0 {
		k, _ := end.Sock()
		addr, err := k.Name(true)
		if err == nil {
			err = c.putAddr(c.va(1), c.va(2), addr)
		} else {
			err = syscall.ECONNABORTED
		}
		if err != nil {
			end.Release()
			return 0, err
		}
	}
	return c.install(end, flags&unix.SOCK_CLOEXEC != 0)
}

func sysGetsockname(c ctx) (uint64, error) { return c.sockName(false) }
func sysGetpeername(c ctx) (uint64, error) { return c.sockName(true) }

func (c ctx) sockName(peer bool) (uint64, error) {
	f, k, err := c.sock(0)
	if err != nil {
		return 0, err
	}
	defer f.Release()
	addr, err := k.Name(peer)
	if err != nil {
		return 0, err
	}
	return 0, c.putAddr(c.va(1), c.va(2), addr)
}

func sysShutdown(c ctx) (uint64, error) {
	f, k, err := c.sock(0)
	if err != nil {
		return 0, err
	}
	defer f.Release()
	return 0, k.Shutdown(c.int(1))
}

// maxOption bounds the size of the value of an option.
const maxOption = 4096

func sysSetsockopt(c ctx) (uint64, error) {
	f, k, err := c.sock(0)
	if err != nil {
		return 0, err
	}
	defer f.Release()
	n := c.int(4)
	if n < 0 {
		return 0, syscall.EINVAL
	}
	b := make([]byte, min(n, maxOption))
	if len(b) > 0 {
		if err := c.mem().CopyIn(b, c.va(3)); err != nil {
			return 0, err
		}
	}
	return 0, k.SetOption(c.task(), c.int(1), c.int(2), b)
}

func sysGetsockopt(c ctx) (uint64, error) {
	f, k, err := c.sock(0)
	if err != nil {
		return 0, err
	}
	defer f.Release()
	room, err := get[int32](c, c.va(4))
	if err != nil {
		return 0, err
	}
	if room < 0 {
		return 0, syscall.EINVAL
	}
	v, err := k.Option(c.int(1), c.int(2))
	if err != nil {
		return 0, err
	}
	n := min(room, int32(len(v)))
	if err := c.mem().CopyOut(c.va(3), v[:n]); err != nil {
		return 0, err
	}
	return 0, put(c, c.va(4), &n)
}

// userMsghdr is struct msghdr of a 64-bit machine.
type userMsghdr struct {
	Name       uint64
	Namelen    int32
	Pad        int32
	Iov        uint64
	Iovlen     uint64
	Control    uint64
	Controllen uint64
	Flags      int32
	Pad2       int32
}

const (
	msghdrBytes  = 56
	mmsghdrBytes = 64
	// Offsets in struct msghdr of the results of recvmsg(2).
	msghdrNamelen    = 8
	msghdrControllen = 40
	msghdrFlags      = 48
)

// spansOf returns pieces of user memory as a fs.Dest and fs.Source. put returns it to the
// pool.
func (c ctx) spansOf(pieces []span) *userSpans {
	u := userSpansPool.Get().(*userSpans)
	u.vs, u.n, u.spans = c.mem(), int(total(pieces)), pieces
	return u
}

func (u *userSpans) put() {
	*u = userSpans{}
	userSpansPool.Put(u)
}

// iovecAt is iovec for n elements at va. EMSGSIZE: there are too many.
func (c ctx) iovecAt(va arch.VA, n uint64) ([]span, error) {
	if n > maxIov {
		return nil, syscall.EMSGSIZE
	}
	return c.readIovec(va, int(n))
}

// sent returns the result of a send. EPIPE of a stream that has sent nothing also sends
// SIGPIPE.
func (c ctx) sent(k fs.Sock, n int, err error, flags int) (uint64, error) {
	if err == syscall.EPIPE && flags&unix.MSG_NOSIGNAL == 0 {
		if typ, _ := k.Option(unix.SOL_SOCKET, unix.SO_TYPE); len(typ) > 0 && typ[0] == unix.SOCK_STREAM {
			c.raise(syscall.SIGPIPE)
		}
	}
	return partial(uint64(n), err)
}

// ucred returns the caller's credentials for messages.
func (c ctx) ucred() fs.Ucred {
	cr := c.t.Cred()
	return fs.Ucred{PID: int32(c.t.Process().PID()), UID: cr.UID, GID: cr.GID}
}

func sysSendto(c ctx) (uint64, error) {
	f, k, err := c.sock(0)
	if err != nil {
		return 0, err
	}
	defer f.Release()
	b, err := c.buffer(1)
	if err != nil {
		return 0, err
	}
	m := fs.Message{Flags: c.int(3), Cred: c.ucred()}
	if c.va(4) != 0 {
		if m.Addr, err = c.addr(c.va(4), c.int(5)); err != nil {
			return 0, err
		}
	}
	u := c.spansOf(nil)
	defer u.put()
	u.one[0] = b
	u.spans, u.n = u.one[:], int(b.n)
	m.Out = userSource{u}
	n, err := k.Send(c.cwd(), &m, f.Nonblocking(m.Flags))
	return c.sent(k, n, err, m.Flags)
}

func sysRecvfrom(c ctx) (uint64, error) {
	f, k, err := c.sock(0)
	if err != nil {
		return 0, err
	}
	defer f.Release()
	b, err := c.buffer(1)
	if err != nil {
		return 0, err
	}
	u := c.spansOf(nil)
	defer u.put()
	u.one[0] = b
	u.spans, u.n = u.one[:], int(b.n)
	m := fs.Message{Flags: c.int(3), In: userDest{u}}
	n, err := k.Recv(c.task(), &m, f.Nonblocking(m.Flags))
	dropRights(m.Rights)
	if err != nil {
		return 0, err
	}
	if c.va(4) != 0 {
		if err := c.putAddr(c.va(4), c.va(5), m.Addr); err != nil {
			return 0, err
		}
	}
	return uint64(n), nil
}

func dropRights(files []*fs.File) {
	for _, f := range files {
		f.Release()
	}
}

func sysSendmsg(c ctx) (uint64, error) {
	f, k, err := c.sock(0)
	if err != nil {
		return 0, err
	}
	defer f.Release()
	return c.sendmsg(f, k, c.va(1), c.int(2))
}

// sendmsg sends the message that the struct msghdr at va describes.
func (c ctx) sendmsg(f *fs.File, k fs.Sock, va arch.VA, flags int) (uint64, error) {
	h, err := get[userMsghdr](c, va)
	if err != nil {
		return 0, err
	}
	m := fs.Message{Flags: flags, Cred: c.ucred()}
	if h.Namelen < 0 {
		return 0, syscall.EINVAL
	}
	if h.Name != 0 && h.Namelen > 0 {
		if m.Addr, err = c.addr(arch.VA(h.Name), min(int(h.Namelen), maxAddr)); err != nil {
			return 0, err
		}
	}
	cost := int(min(h.Iovlen, maxIov+1))*iovCost + int(min(h.Controllen, maxControl+1))
	if !c.take(cost) {
		return 0, syscall.ENOBUFS
	}
	defer c.give(cost)
	pieces, err := c.iovecAt(arch.VA(h.Iov), h.Iovlen)
	if err != nil {
		return 0, err
	}
	if h.Controllen > 0 {
		if h.Controllen > maxControl {
			return 0, syscall.ENOBUFS
		}
		b := make([]byte, h.Controllen)
		if err := c.mem().CopyIn(b, arch.VA(h.Control)); err != nil {
			return 0, err
		}
		if err := c.control(b, &m); err != nil {
			dropRights(m.Rights)
			return 0, err
		}
	}
	u := c.spansOf(pieces)
	defer u.put()
	m.Out = userSource{u}
	n, err := k.Send(c.cwd(), &m, f.Nonblocking(flags))
	if n == 0 && err != nil {
		dropRights(m.Rights)
	}
	return c.sent(k, n, err, flags)
}

// control reads the control messages of a message. Errors: EINVAL, EBADF, EPERM.
func (c ctx) control(b []byte, m *fs.Message) error {
	for len(b) >= cmsgHeader {
		n := le.Uint64(b)
		if n < cmsgHeader || n > uint64(len(b)) {
			return syscall.EINVAL
		}
		level, typ, data := int(int32(le.Uint32(b[8:]))), int(int32(le.Uint32(b[12:]))), b[cmsgHeader:n]
		b = b[min((n+7)&^7, uint64(len(b))):]
		if level != unix.SOL_SOCKET {
			continue
		}
		switch typ {
		case unix.SCM_RIGHTS:
			if len(data)/4+len(m.Rights) > uipc.MaxRights {
				return syscall.EINVAL
			}
			for ; len(data) >= 4; data = data[4:] {
				f, err := c.files().fds.Get(int(int32(le.Uint32(data))))
				if err != nil {
					return err
				}
				m.Rights = append(m.Rights, f)
				if f.Flags()&unix.O_PATH != 0 {
					return syscall.EBADF
				}
			}
		case unix.SCM_CREDENTIALS:
			if len(data) != 12 {
				return syscall.EINVAL
			}
			m.Cred = fs.Ucred{PID: int32(le.Uint32(data)), UID: le.Uint32(data[4:]), GID: le.Uint32(data[8:])}
			m.HasCred = true
		default:
			return syscall.EINVAL
		}
	}
	return nil
}

func sysRecvmsg(c ctx) (uint64, error) {
	f, k, err := c.sock(0)
	if err != nil {
		return 0, err
	}
	defer f.Release()
	flags := c.int(2)
	return c.recvmsg(f, k, c.va(1), flags, f.Nonblocking(flags))
}

// recvmsg receives a message as the struct msghdr at va describes.
func (c ctx) recvmsg(f *fs.File, k fs.Sock, va arch.VA, flags int, nonblock bool) (uint64, error) {
	h, err := get[userMsghdr](c, va)
	if err != nil {
		return 0, err
	}
	if h.Namelen < 0 && h.Name != 0 {
		return 0, syscall.EINVAL
	}
	cost := int(min(h.Iovlen, maxIov+1)) * iovCost
	if !c.take(cost) {
		return 0, syscall.ENOBUFS
	}
	defer c.give(cost)
	pieces, err := c.iovecAt(arch.VA(h.Iov), h.Iovlen)
	if err != nil {
		return 0, err
	}
	u := c.spansOf(pieces)
	defer u.put()
	m := fs.Message{Flags: flags, In: userDest{u}}
	n, err := k.Recv(c.task(), &m, nonblock)
	if err != nil {
		dropRights(m.Rights)
		return 0, err
	}
	out := controlOut{c: c, va: arch.VA(h.Control), room: h.Controllen}
	if m.HasCred {
		b := le.AppendUint32(nil, uint32(m.Cred.PID))
		b = le.AppendUint32(b, m.Cred.UID)
		out.put(unix.SOL_SOCKET, unix.SCM_CREDENTIALS, le.AppendUint32(b, m.Cred.GID))
	}
	out.rights(m.Rights, flags&unix.MSG_CMSG_CLOEXEC != 0)
	if out.err != nil {
		return 0, out.err
	}
	result := int32(m.Result | out.flags | flags&unix.MSG_CMSG_CLOEXEC)
	used := uint64(out.used)
	if h.Name != 0 {
		if err := c.mem().CopyOut(arch.VA(h.Name), m.Addr[:min(len(m.Addr), int(h.Namelen))]); err != nil {
			return 0, err
		}
		size := int32(len(m.Addr))
		if err := put(c, va+msghdrNamelen, &size); err != nil {
			return 0, err
		}
	}
	if err := put(c, va+msghdrFlags, &result); err != nil {
		return 0, err
	}
	if err := put(c, va+msghdrControllen, &used); err != nil {
		return 0, err
	}
	return uint64(n), nil
}

// controlOut writes control messages to user memory.
type controlOut struct {
	c     ctx
	va    arch.VA
	room  uint64 // remaining bytes
	used  uint64
	flags int // MSG_CTRUNC
	err   error
}

// put adds a control message, or the part of it for which there is room.
func (o *controlOut) put(level, typ int, data []byte) {
	if o.err != nil {
		return
	}
	if o.room < cmsgHeader {
		o.flags |= unix.MSG_CTRUNC
		return
	}
	n := uint64(cmsgHeader + len(data))
	if n > o.room {
		o.flags |= unix.MSG_CTRUNC
		n = o.room
	}
	b := le.AppendUint64(nil, n)
	b = le.AppendUint32(b, uint32(level))
	b = le.AppendUint32(b, uint32(typ))
	b = append(b, data...)
	o.err = o.c.mem().CopyOut(o.va, b[:n])
	n = min((n+7)&^7, o.room)
	o.va += arch.VA(n)
	o.room -= n
	o.used += n
}

// rights installs descriptors for files, as many as there is room for in the message and in
// the table. The others are dropped. It takes over the references.
func (o *controlOut) rights(files []*fs.File, cloexec bool) {
	if len(files) == 0 {
		return
	}
	fit := 0
	if o.room >= cmsgHeader && o.err == nil {
		fit = int(min((o.room-cmsgHeader)/4, uint64(len(files))))
	}
	var data []byte
	var fds []int
	table := o.c.files().fds
	for i, f := range files {
		if i < fit {
			fd, err := table.Install(f, 0, cloexec)
			if err == nil {
				data = le.AppendUint32(data, uint32(fd))
				fds = append(fds, fd)
				continue
			}
			fit = i
			continue // Install has released the file
		}
		f.Release()
	}
	if len(fds) > 0 {
		o.put(unix.SOL_SOCKET, unix.SCM_RIGHTS, data)
	}
	if len(fds) < len(files) {
		o.flags |= unix.MSG_CTRUNC
	}
	if o.err != nil {
		for i, fd := range fds {
			table.Remove(fd, files[i])
		}
	}
}

func sysSendmmsg(c ctx) (uint64, error) {
	f, k, err := c.sock(0)
	if err != nil {
		return 0, err
	}
	defer f.Release()
	n := min(int(c.uint32(2)), maxMessages)
	for i := range n {
		va := c.va(1) + arch.VA(i*mmsghdrBytes)
		sent, err := c.sendmsg(f, k, va, c.int(3))
		if err == nil {
			size := uint32(sent)
			err = put(c, va+msghdrBytes, &size)
		}
		if err == nil && i < n-1 {
			err = c.t.Pause()
			if err != nil {
				return uint64(i + 1), nil
			}
		}
		if err != nil {
			return partial(uint64(i), err)
		}
	}
	return uint64(n), nil
}

// msgWaitForOne is MSG_WAITFORONE, which x/sys/unix has under this name too.
const msgWaitForOne = unix.MSG_WAITFORONE

func sysRecvmmsg(c ctx) (uint64, error) {
	f, k, err := c.sock(0)
	if err != nil {
		return 0, err
	}
	defer f.Release()
	deadline, err := c.deadline(c.va(4))
	if err != nil {
		return 0, err
	}
	flags := c.int(3)
	n := min(int(c.uint32(2)), maxMessages)
	for i := range n {
		va := c.va(1) + arch.VA(i*mmsghdrBytes)
		nonblock := f.Nonblocking(flags) || i > 0 && flags&msgWaitForOne != 0
		got, err := c.recvmsg(f, k, va, flags&^msgWaitForOne, nonblock)
		if err == nil {
			size := uint32(got)
			err = put(c, va+msghdrBytes, &size)
		}
		if err != nil {
			return partial(uint64(i), err)
		}
		if c.s.now() >= deadline || i < n-1 && c.t.Pause() != nil {
			return uint64(i + 1), nil
		}
	}
	return uint64(n), nil
}
