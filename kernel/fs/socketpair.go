package fs

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// socket is one end of a connected pair of stream sockets: two pipes.
type socket struct {
	in, out *pipe
	r, w    *pipeEnd
	q       WaitQueue // woken by both pipes through the relays
	relays  [2]waiter
}

// Socketpair is socketpair(2) for AF_UNIX; typ is SOCK_STREAM with SOCK_NONBLOCK
// and SOCK_CLOEXEC, all else EOPNOTSUPP. shutdown, names and passing of
// descriptors are not there.
func (s *FS) Socketpair(t Task, typ int) (a, b *File, err error) {
	if typ&^(unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC) != unix.SOCK_STREAM {
		return nil, nil, syscall.EOPNOTSUPP
	}
	p := new(pipe).init(s, t)
	if p == nil {
		return nil, nil, syscall.ENFILE
	}
	q := new(pipe).init(s, t)
	if q == nil {
		p.repay()
		return nil, nil, syscall.ENFILE
	}
	x, y := newSocket(p, q), newSocket(q, p)
	if a, err = s.socketFile(t, x, typ); err != nil {
		y.close()
		return nil, nil, err
	}
	if b, err = s.socketFile(t, y, typ); err != nil {
		a.Release()
		return nil, nil, err
	}
	return a, b, nil
}

func newSocket(in, out *pipe) *socket {
	k := &socket{in: in, out: out, r: in.end(true, false), w: out.end(false, true)}
	for i, p := range []*pipe{in, out} {
		k.relays[i].wake = k.relay
		p.q.add(&k.relays[i], ^uint32(0))
	}
	return k
}

func (k *socket) relay(events uint32) bool {
	k.q.Wake(events)
	return true
}

// socketFile takes over the socket, on error too.
func (s *FS) socketFile(t Task, k *socket, typ int) (*File, error) {
	n, err := s.newAnon(t, "", syscall.S_IFSOCK|0o777)
	if err != nil {
		k.close()
		return nil, err
	}
	flags := unix.O_RDWR
	if typ&unix.SOCK_NONBLOCK != 0 {
		flags |= unix.O_NONBLOCK
	}
	return s.newFile(t, n, k, place{nil, fmt.Sprintf("socket:[%d]", n.ino)}, flags)
}

func (k *socket) read(c call, p []byte, off int64) (int, error)  { return k.r.read(c, p, off) }
func (k *socket) write(c call, p []byte, off int64) (int, error) { return k.w.write(c, p, off) }
func (k *socket) readTo(c call, d Dest) (int, error)             { return k.r.readTo(c, d) }
func (k *socket) writeFrom(c call, s Source) (int, error)        { return k.w.writeFrom(c, s) }
func (k *socket) queue() *WaitQueue                              { return &k.q }

// ready: both ends; a peer that has closed is a hang-up of both directions, not
// an error (unix(7)).
func (k *socket) ready() uint32 {
	r := k.r.ready() | k.w.ready()
	if k.peerGone() {
		r = r&^EPOLLERR | EPOLLHUP | EPOLLRDHUP | EPOLLIN | EPOLLOUT
	}
	return r
}

func (k *socket) peerGone() bool {
	k.in.mu.Lock()
	defer k.in.mu.Unlock()
	return k.in.writers == 0
}

func (k *socket) ioctl(c call, mem UserMemory, req uint32, arg uint64) (uint64, error) {
	return k.r.ioctl(c, mem, req, arg)
}

func (k *socket) close() {
	for i := range k.relays {
		k.relays[i].remove()
	}
	k.r.close()
	k.w.close()
	k.in.repay() // if the other end has been closed too
	k.out.repay()
}
