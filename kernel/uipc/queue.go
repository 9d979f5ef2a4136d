package uipc

import (
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
	"grim/arch"
	"grim/mm/charge"
	"grim/mm/phys"
)

// Source and Dest are user memory, as in package fs.
type Source interface {
	Len() int
	CopyIn(p []byte, off int) int
	Fault(off int) error
}

type Dest interface {
	Len() int
	CopyOut(off int, p []byte) int
	Fault(off int) error
}

const page = arch.PageSize

// message is what was sent by one call, or, in a stream, by several calls of one sender
// that sent nothing but bytes.
type message struct {
	next   *message
	from   *Socket // whose send buffer it is in
	to     string  // name of the sender when it was sent
	cred   Cred
	rights []File
	by     uint32 // user number that the rights are counted for

	frames []phys.Frame // of the bytes
	start  int          // first byte, in the first frame
	n      int          // bytes left
	cost   int64        // of the send buffer, beside n
	heap   int64        // charged

	few [2]phys.Frame // frames, if they are few
}

// queue is the messages that a socket has not received.
type queue struct {
	mu          sync.Mutex
	first, last *message // [mu]
	count       int      // [mu] messages
	total       int      // [mu] bytes
	closed      bool     // [mu] nothing may come in any more
}

func (q *queue) pending() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.first != nil
}

// full is whether a datagram socket takes no more.
func (q *queue) full() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.count > maxDatagrams
}

func (q *queue) bytes(all bool) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case all:
		return q.total
	case q.first != nil:
		return q.first.n
	}
	return 0
}

// newMessage makes a message of n bytes of src from off on, with nothing locked: ENOBUFS,
// EFAULT.
func (s *Socket) newMessage(src Source, off, n, rights int) (*message, error) {
	m := &message{from: s, heap: int64(unsafe.Sizeof(message{})) + 16*int64(rights)}
	pages := (n + page - 1) / page
	if pages > len(m.few) {
		m.heap += 4 * int64(pages)
	}
	if !s.payer.Take(charge.IPC, m.heap) {
		return nil, syscall.ENOBUFS
	}
	m.frames = m.few[:0]
	if pages > len(m.few) {
		m.frames = make([]phys.Frame, 0, pages)
	}
	for m.n < n {
		if !s.payer.Take(charge.PipePages, page) {
			s.drop(m)
			return nil, syscall.ENOBUFS
		}
		f, err := s.sys.mem.Alloc(phys.Pipe)
		if err != nil {
			s.payer.Give(charge.PipePages, page)
			s.drop(m)
			return nil, syscall.ENOBUFS
		}
		m.frames = append(m.frames, f)
		b := s.sys.mem.Bytes(f)[:min(page, n-m.n)]
		for k := 0; k < len(b); {
			if k += src.CopyIn(b[k:], off+m.n+k); k < len(b) {
				if err := src.Fault(off + m.n + k); err != nil {
					s.drop(m)
					return nil, err
				}
			}
		}
		m.n += len(b)
	}
	m.cost = messageCost
	return m, nil
}

// drop gives back what a message of s holds, but its rights and its part of the send
// buffer.
func (s *Socket) drop(m *message) {
	for _, f := range m.frames {
		s.sys.mem.Unref(f)
	}
	s.payer.Give(charge.PipePages, int64(len(m.frames))*page)
	s.payer.Give(charge.IPC, m.heap)
	m.frames = nil
}

// put adds a message at the end. In a stream it becomes part of the last message, if that
// is of the same sender, has no descriptors, and its last frame has room for all of it.
// False: nothing may come in. Precondition: mu held.
func (q *queue) put(m *message, stream bool) bool {
	if q.closed {
		return false
	}
	q.total += m.n
	if l := q.last; stream && l != nil && l.from == m.from && l.rights == nil && m.rights == nil && l.cred == m.cred && l.join(m) {
		return true
	}
	if q.last != nil {
		q.last.next = m
	} else {
		q.first = m
	}
	q.last = m
	q.count++
	return true
}

// join moves the bytes of m, which fit into l's last frame, to the end of l.
func (l *message) join(m *message) bool {
	end := (l.start + l.n) % page
	if l.n == 0 || end == 0 || m.n > page-end {
		return false
	}
	mem := l.from.sys.mem
	copy(mem.Bytes(l.frames[len(l.frames)-1])[end:], mem.Bytes(m.frames[0])[:m.n])
	l.n += m.n
	l.from.sent.Add(-m.cost)
	m.n = 0
	l.from.drop(m)
	return true
}

// pop takes the first message off. Precondition: mu held.
func (q *queue) pop() *message {
	m := q.first
	if q.first = m.next; q.first == nil {
		q.last = nil
	}
	m.next = nil
	q.count--
	q.total -= m.n
	return m
}

// skip takes the first k bytes out of m and frees the frames that are empty then.
func (m *message) skip(k int) {
	m.n -= k
	m.start += k
	for m.start >= page || m.n == 0 && len(m.frames) > 0 {
		m.from.sys.mem.Unref(m.frames[0])
		m.frames = m.frames[1:]
		m.from.payer.Give(charge.PipePages, page)
		m.start = max(m.start-page, 0)
	}
}

// copyOut copies n bytes of m from byte at on to offset off of d, as far as memory is
// present.
func (m *message) copyOut(at, n int, d Dest, off int) (done int) {
	for done < n {
		i := m.start + at + done
		b := m.from.sys.mem.Bytes(m.frames[i/page])[i%page:]
		b = b[:min(len(b), n-done)]
		k := d.CopyOut(off+done, b)
		if done += k; k < len(b) {
			break
		}
	}
	return done
}

// dropped is what has been taken out of a socket's queue, to be given back when no lock
// is held.
type dropped struct {
	any    bool // there was something
	rights []File
	wake   []*Socket // senders whose buffers have room again
}

// free notes that the rest of a message has been received or thrown away. Rights that it
// still has must not be in flight any more.
func (d *dropped) free(m *message) {
	d.any = true
	d.rights = append(d.rights, m.rights...)
	s := m.from
	m.rights = nil
	s.drop(m)
	d.returned(s, int64(m.n)+m.cost)
}

// returned notes that the send buffer of s has so many bytes again.
func (d *dropped) returned(s *Socket, n int64) {
	if n == 0 {
		return
	}
	before := s.sent.Add(-n) + n
	if limit := s.sendBuf.Load(); before*4 > limit && (before-n)*4 <= limit && (len(d.wake) == 0 || d.wake[len(d.wake)-1] != s) {
		d.wake = append(d.wake, s)
	}
}

// settle releases the descriptors, by the list in if that is not nil, and tells the
// senders. No lock is held.
func (d *dropped) settle(sys *System, in *drain) {
	notify(d.wake, unix.EPOLLOUT|unix.EPOLLWRNORM)
	if len(d.rights) > 0 {
		sys.release(d.rights, in)
	}
}

// purgeLocked empties the queue; for a socket that is closed, for ever. Precondition:
// System.mu held.
func (s *Socket) purgeLocked() (d dropped) {
	q := &s.in
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = s.state() == closed
	for q.first != nil {
		m := q.pop()
		s.sys.land(m)
		d.free(m)
	}
	return d
}
