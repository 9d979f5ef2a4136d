package uipc

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// Received has the data that comes with the bytes of a message.
type Received struct {
	Cred   Cred
	From   string // name of a datagram's sender
	Named  bool   // From is set
	Rights []File // references, which the caller gets
	Flags  int    // MSG_TRUNC, MSG_EOR
	// Done says that no more bytes of a stream may be added: the next bytes have another
	// sender, or descriptors.
	Done  bool
	begun bool
}

// Recv receives into d, from offset off on. In a stream it moves as many bytes as there are
// and as one turn allows; r is the same for all turns of a call. Otherwise it takes one
// record or datagram. It returns how many bytes have arrived; if flags has MSG_TRUNC, it
// returns the whole length of the datagram. EAGAIN: there is nothing; SetNotify's function
// is called when there is. It returns 0 without an error at the end.
//
// flags: MSG_PEEK leaves all messages in the queue.
func (s *Socket) Recv(d Dest, off int, flags int, r *Received) (int, error) {
	if s.connective() && s.state() != connected {
		if s.stream() {
			return 0, syscall.EINVAL
		}
		return 0, syscall.ENOTCONN
	}
	if s.stream() {
		return s.read(d, off, flags, r)
	}
	return s.receive(d, flags, r)
}

// first locks the queue and returns its first message. If the message has descriptors it
// locks System.mu too, so that they cannot be collected while they are taken. unlock
// releases both. If there is no message it returns nil, and nothing is locked.
func (s *Socket) first() (m *message, unlock func()) {
	q := &s.in
	q.mu.Lock()
	if q.first == nil {
		q.mu.Unlock()
		return nil, nil
	}
	if q.first.rights == nil {
		return q.first, q.mu.Unlock
	}
	q.mu.Unlock()
	s.sys.mu.Lock()
	q.mu.Lock()
	if q.first == nil {
		q.mu.Unlock()
		s.sys.mu.Unlock()
		return nil, nil
	}
	return q.first, func() { q.mu.Unlock(); s.sys.mu.Unlock() }
}

// empty returns the result of a call that finds no message.
func (s *Socket) empty() error {
	if e := s.fault.Swap(0); e != 0 {
		return syscall.Errno(e)
	}
	if s.shut.Load()&shutRead != 0 && !s.in.pending() {
		return nil
	}
	return syscall.EAGAIN
}

// takeRights gives the descriptors of m to r. If the message stays, r gets references of
// its own. Preconditions: System.mu and in.mu held.
func (s *Socket) takeRights(m *message, peek bool, r *Received) {
	if m.rights == nil {
		return
	}
	if peek {
		for _, f := range m.rights {
			f.Hold()
		}
		r.Rights = append(r.Rights, m.rights...)
		return
	}
	s.sys.land(m)
	r.Rights = append(r.Rights, m.rights...)
	m.rights = nil
}

// release gives up descriptors of one message that could not be received. Precondition: no
// lock held.
func release(rights []File) {
	for _, f := range rights {
		f.Release()
	}
}

// read is Recv of a stream.
func (s *Socket) read(d Dest, off, flags int, r *Received) (int, error) {
	peek := flags&unix.MSG_PEEK != 0
	var back dropped
	defer func() { back.settle() }()
	for done, turns := 0, 0; ; {
		m, unlock := s.first()
		skip := 0 // bytes that this call has peeked at already
		if peek {
			skip = off + done
			for ; m != nil && skip >= m.n; m = m.next {
				skip -= m.n
			}
			if m == nil && unlock != nil {
				unlock()
			}
		}
		if m == nil {
			if done > 0 {
				return done, nil
			}
			return 0, s.empty()
		}
		if r.begun && (m.rights != nil || s.PassCred() && m.cred != r.Cred) {
			unlock()
			r.Done = true
			return done, nil
		}
		want := min(d.Len()-off-done, m.n-skip)
		n := m.copyOut(skip, want, d, off+done)
		if n > 0 || want == 0 {
			if !r.begun {
				r.begun, r.Cred = true, m.cred
			}
			if m.rights != nil && (!peek || skip == 0) {
				s.takeRights(m, peek, r)
				r.Done = true
			}
		}
		if !peek {
			s.in.total -= n
			back.returned(m.from, int64(n))
			if m.skip(n); m.n == 0 {
				s.in.pop()
				back.free(m)
			}
		}
		unlock()
		done += n
		if n < want { // memory is absent
			if err := d.Fault(off + done); err != nil {
				if done > 0 {
					err = nil
					r.Done = true
				}
				return done, err
			}
			continue
		}
		if turns++; r.Done || off+done == d.Len() || turns == 16 || peek {
			return done, nil
		}
	}
}

// receive is Recv of a record or a datagram.
func (s *Socket) receive(d Dest, flags int, r *Received) (int, error) {
	m, unlock := s.first()
	if m == nil {
		err := s.empty()
		if err == nil && !s.connective() {
			err = syscall.EAGAIN // shut down: the caller finds out with ShutForReading
		}
		return 0, err
	}
	peek := flags&unix.MSG_PEEK != 0
	r.Cred, r.From, r.Named = m.cred, m.to, true
	s.takeRights(m, peek, r)
	size := m.n
	n := min(size, d.Len())
	if n < size {
		r.Flags |= unix.MSG_TRUNC
	}
	if s.Type == unix.SOCK_SEQPACKET {
		r.Flags |= unix.MSG_EOR
	}
	if peek {
		// The message stays in the queue, where another thread may take it. So it is copied
		// while the queue is locked.
		for done := 0; ; {
			if done += m.copyOut(done, n-done, d, done); done == n {
				unlock()
				break
			}
			unlock()
			if err := d.Fault(done); err != nil {
				return 0, err
			}
			again, un := s.first()
			if un == nil {
				return 0, syscall.EAGAIN
			}
			if unlock = un; again != m { // it was taken: begin again with the first message
				unlock()
				release(r.Rights)
				*r = Received{}
				return s.receive(d, flags, r)
			}
		}
	} else {
		s.in.pop()
		crowded := s.in.count == maxDatagrams // it was full before
		unlock()
		var err error
		for done := 0; done < n && err == nil; {
			if done += m.copyOut(done, n-done, d, done); done < n {
				err = d.Fault(done)
			}
		}
		var back dropped
		back.free(m)
		back.settle()
		if crowded && !s.connective() {
			s.sys.mu.Lock()
			wake := s.roomLocked()
			s.sys.mu.Unlock()
			notify(wake, unix.EPOLLOUT|unix.EPOLLWRNORM)
		}
		if err != nil {
			release(r.Rights)
			r.Rights = nil
			return 0, err
		}
	}
	if flags&unix.MSG_TRUNC != 0 {
		return size, nil
	}
	return n, nil
}

// ShutForReading reports whether nothing will be received any more.
func (s *Socket) ShutForReading() bool { return s.shut.Load()&shutRead != 0 }
