package uipc

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// Sending has the data that is sent with the bytes of a message.
type Sending struct {
	To     *Socket // a datagram's receiver; nil: the peer
	Cred   Cred    // the sender's
	Given  bool    // the receiver gets Cred even if it has not requested it
	Rights []File  // references, which the message takes over when it has been sent
	By     uint32  // number of the user for whom they are counted
	// Limit is how many descriptors of that user may be in flight; 0: no limit.
	Limit int
}

// chunk is how many bytes of a stream are sent at a time.
const chunk = 16 * page

// Send sends src from offset off on: in a stream as much as one turn moves, otherwise all
// of it. EAGAIN: there is no room; SetNotify's function is called when there is. Other
// errors are those of send(2). For EPIPE the caller must send SIGPIPE.
func (s *Socket) Send(src Source, off int, x *Sending) (int, error) {
	n := src.Len() - off
	to := x.To
	if s.connective() {
		switch {
		case s.state() != connected:
			return 0, syscall.ENOTCONN
		case s.shut.Load()&shutWrite != 0:
			return 0, syscall.EPIPE
		}
		to = s.peer.Load()
	} else {
		if s.shut.Load()&shutWrite != 0 {
			return 0, syscall.EPIPE
		}
		if to == nil {
			if to = s.peer.Load(); to == nil {
				return 0, syscall.ENOTCONN
			}
			if to.state() == closed {
				_ = s.Connect(nil, Cred{})
				return 0, syscall.ECONNREFUSED
			}
		}
	}
	if e := s.fault.Swap(0); e != 0 {
		return 0, syscall.Errno(e)
	}
	limit := s.sendBuf.Load()
	if s.stream() {
		if n == 0 {
			return 0, nil
		}
		n = min(n, chunk, max(int(limit/2)-64, 1))
	} else if int64(n) > limit-32 {
		return 0, syscall.EMSGSIZE
	}
	if !s.connective() && to.peer.Load() != s && to.in.full() {
		s.sys.mu.Lock()
		full := s.waitIfFullLocked(to)
		s.sys.mu.Unlock()
		if full {
			return 0, syscall.EAGAIN
		}
	}
	// Room is taken before the bytes are copied. Otherwise several threads that send at the
	// same time could all use the last room.
	cost := int64(n) + messageCost
	if s.sent.Add(cost)-cost >= limit {
		s.giveRoom(cost)
		return 0, syscall.EAGAIN
	}
	m, err := s.newMessage(src, off, n, len(x.Rights))
	if err != nil {
		s.giveRoom(cost)
		return 0, err
	}
	if m.cred = Nobody; x.Given || s.PassCred() || to.PassCred() || to.unaccepted() {
		m.cred = x.Cred
	}
	m.to = s.Name()
	if err := s.deliver(m, to, x); err != nil {
		s.drop(m)
		s.giveRoom(cost)
		return 0, err
	}
	to.notify(unix.EPOLLIN | unix.EPOLLRDNORM)
	return n, nil
}

// unaccepted reports that the socket has no description yet, so no process has set its
// options.
func (s *Socket) unaccepted() bool { return !s.attached.Load() }

// giveRoom returns the room that Send has taken in the send buffer. Another thread may have
// been refused because of it, so giveRoom wakes.
func (s *Socket) giveRoom(cost int64) {
	var d dropped
	d.returned(s, cost)
	d.settle()
}

// deliver puts m into the queue of to.
func (s *Socket) deliver(m *message, to *Socket, x *Sending) error {
	if len(x.Rights) > 0 {
		s.sys.mu.Lock()
		defer s.sys.mu.Unlock()
		if x.Limit > 0 && s.sys.flights[x.By] > x.Limit {
			return syscall.ETOOMANYREFS
		}
	}
	q := &to.in
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case s.connective() && (q.closed || s.shut.Load()&shutWrite != 0):
		return syscall.EPIPE
	case q.closed:
		return syscall.ECONNREFUSED
	case !s.connective() && to.shut.Load()&shutRead != 0:
		return syscall.EPIPE
	case !s.connective() && !to.hears(s):
		return syscall.EPERM
	case !s.connective() && to.peer.Load() != s && q.count > maxDatagrams:
		return syscall.EAGAIN // other threads were faster; the next try waits
	}
	if len(x.Rights) > 0 {
		m.rights, m.by = x.Rights, x.By
		s.sys.takeOff(m)
	}
	q.put(m, s.stream())
	return nil
}
