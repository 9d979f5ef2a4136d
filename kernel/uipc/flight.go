package uipc

// Descriptors in flight are those that have been sent and not received. A socket is garbage
// if it is reachable only by descriptors in flight in queues of sockets that are garbage
// themselves: then no process can close it. Collect finds such sockets and empties their
// queues.

// takeOff records that the rights of m are in flight. Precondition: System.mu held.
func (sys *System) takeOff(m *message) {
	for _, f := range m.rights {
		f.Fly(1)
		if s := f.Unix(); s != nil {
			sys.flying[s]++
		}
	}
	sys.flights[m.by] += len(m.rights)
}

// land records that the rights of m are not in flight any more. Precondition: System.mu
// held.
func (sys *System) land(m *message) {
	if len(m.rights) == 0 {
		return
	}
	for _, f := range m.rights {
		f.Fly(-1)
		if s := f.Unix(); s != nil {
			if sys.flying[s]--; sys.flying[s] == 0 {
				delete(sys.flying, s)
			}
		}
	}
	if sys.flights[m.by] -= len(m.rights); sys.flights[m.by] == 0 {
		delete(sys.flights, m.by)
	}
}

// drain is a list of descriptors that one thread releases. If that closes a socket, the
// socket adds the descriptors of its queue to the list, and does not release them itself.
// Otherwise a socket in a socket in a socket would take a stack frame each.
type drain struct {
	files  []File
	active bool
}

// release releases descriptors. in is the list that the releasing socket was on.
func (sys *System) release(files []File, in *drain) {
	sys.mu.Lock()
	if in != nil && in.active {
		in.files = append(in.files, files...)
		sys.mu.Unlock()
		return
	}
	d := &drain{files: files, active: true}
	for n := 1; len(d.files) > 0; n++ {
		f := d.files[len(d.files)-1]
		d.files = d.files[:len(d.files)-1]
		if s := f.Unix(); s != nil {
			s.drain = d
		}
		sys.mu.Unlock()
		f.Release()
		if n%8 == 0 {
			sys.yield()
		}
		sys.mu.Lock()
	}
	d.active = false
	sys.mu.Unlock()
}

// Collect closes the sockets that are garbage. It is called when a description has lost its
// last reference that is not in flight.
//
// It holds System.mu while it searches. So no descriptor can be sent, received or peeked
// at. In no other way can a description get a reference, if all its references are in
// flight.
func (sys *System) Collect() {
	sys.mu.Lock()
	if sys.collecting {
		sys.again = true
		sys.mu.Unlock()
		return
	}
	sys.collecting = true
	for {
		sys.again = false
		d := sys.garbageLocked()
		sys.mu.Unlock()
		d.settle(sys, nil)
		sys.mu.Lock()
		if !sys.again {
			break
		}
	}
	sys.collecting = false
	sys.mu.Unlock()
}

// garbageLocked empties the queues of all garbage. Precondition: System.mu held.
func (sys *System) garbageLocked() (d dropped) {
	// A candidate has only references in queues. out counts how many of these are in queues
	// of sockets that are no candidates.
	out := map[*Socket]int{}
	steps := 0
	turn := func() {
		if steps++; steps%64 == 0 {
			sys.yield()
		}
	}
	for s, n := range sys.flying {
		turn()
		if s.file != nil && !s.file.Grounded() {
			out[s] = n
		}
	}
	if len(out) == 0 {
		return d
	}
	for s := range out {
		turn()
		s.eachFlying(func(t *Socket) {
			if _, ok := out[t]; ok {
				out[t]--
			}
		})
	}
	// Descriptors in other queues are alive, and so is everything that is reachable from
	// there.
	var live []*Socket
	for s, n := range out {
		if n > 0 {
			live = append(live, s)
		}
	}
	for _, s := range live {
		delete(out, s)
	}
	for len(live) > 0 {
		turn()
		s := live[len(live)-1]
		live = live[:len(live)-1]
		s.eachFlying(func(t *Socket) {
			if _, ok := out[t]; ok {
				delete(out, t)
				live = append(live, t)
			}
		})
	}
	for s := range out {
		turn()
		for _, q := range append([]*Socket{s}, s.backlog...) {
			x := q.purgeLocked()
			d.rights = append(d.rights, x.rights...)
			d.wake = append(d.wake, x.wake...)
		}
	}
	return d
}

// eachFlying calls do for each socket whose descriptor is in the queue of s, or in the
// queue of a connection that s has not accepted. Precondition: System.mu held.
func (s *Socket) eachFlying(do func(*Socket)) {
	for _, end := range s.backlog {
		end.eachFlying(do)
	}
	s.in.mu.Lock()
	defer s.in.mu.Unlock()
	for m := s.in.first; m != nil; m = m.next {
		for _, f := range m.rights {
			if t := f.Unix(); t != nil {
				do(t)
			}
		}
	}
}
