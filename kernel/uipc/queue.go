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

// Source and Dest are user memory. They are the same as in package fs.
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

// message has the data sent by one call, or, in a stream, by several calls of one sender
// that sent only bytes.
type message struct {
	next   *message
	from   *Socket // the socket whose send buffer it is in
	to     string  // name of the sender at the time of sending
	cred   Cred
	rights []File
	by     uint32 // number of the user for whom the rights are counted

	frames []phys.Frame // frames of the bytes
	start  int          // offset of the first byte in the first frame
	n      int          // remaining bytes
	cost   int64        // its cost in the send buffer, without n
	heap   int64        // charged kernel heap

	few [2]phys.Frame // frames, if there are few
}

// queue has the messages that a socket has not received.
type queue struct {
	mu          sync.Mutex
	first, last *message // [mu]
	count       int      // [mu] number of messages
	left        int      // [mu] number of messages that have left it
	total       int      // [mu] number of bytes
	closed      bool     // [mu] no message may be added any more
}

func (q *queue) pending() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.first != nil
}

// full reports whether a datagram socket takes no more messages.
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

// newMessage makes a message of n bytes of src, from off on. No lock may be held. Errors:
// ENOBUFS, EFAULT.
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

// drop releases the memory of a message of s, but not its rights or its part of the send
// buffer.
func (s *Socket) drop(m *message) {
	for _, f := range m.frames {
		s.sys.mem.Unref(f)
	}
	s.payer.Give(charge.PipePages, int64(len(m.frames))*page)
	s.payer.Give(charge.IPC, m.heap)
	m.frames = nil
}

// put adds a message at the end. In a stream it joins the last message, if that is of the
// same sender, has no descriptors, and has room in its last frame. It returns false if no
// message may be added. Precondition: mu held.
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

// join moves the bytes of m to the end of l. It returns false if l's last frame has no
// room.
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

// pop removes the first message. Precondition: mu held.
func (q *queue) pop() *message {
	m := q.first
	if q.first = m.next; q.first == nil {
		q.last = nil
	}
	m.next = nil
	q.count--
	q.left++
	q.total -= m.n
	return m
}

// detach empties the queue, and returns its messages as a list. They remain in flight.
func (q *queue) detach() (first, last *message) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.detachLocked()
}

func (q *queue) detachLocked() (first, last *message) {
	first, last = q.first, q.last
	q.first, q.last = nil, nil
	q.left += q.count
	q.count, q.total = 0, 0
	return first, last
}

// skip removes the first k bytes of m and frees the frames that become empty.
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

// copyOut copies n bytes of m, from at on, to offset off of d. It stops at absent memory
// and returns how many it copied.
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

// dropped collects the senders whose buffers have room again, to be told when no lock is
// held.
type dropped struct{ wake []*Socket }

// free releases what has been received or is thrown away: a message without rights.
func (d *dropped) free(m *message) {
	s := m.from
	s.drop(m)
	d.returned(s, int64(m.n)+m.cost)
}

// returned records that n bytes of the send buffer of s are free again.
func (d *dropped) returned(s *Socket, n int64) {
	if n == 0 {
		return
	}
	before := s.sent.Add(-n) + n
	if limit := s.sendBuf.Load(); before*4 > limit && (before-n)*4 <= limit && (len(d.wake) == 0 || d.wake[len(d.wake)-1] != s) {
		d.wake = append(d.wake, s)
	}
}

// settle wakes the senders. Precondition: no lock held.
func (d *dropped) settle() { notify(d.wake, unix.EPOLLOUT|unix.EPOLLWRNORM) }
