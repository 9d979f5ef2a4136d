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
			sys.gc.touch(s)
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
			sys.gc.touch(s)
		}
	}
	if sys.flights[m.by] -= len(m.rights); sys.flights[m.by] == 0 {
		delete(sys.flights, m.by)
	}
}

// drain is a list of messages that one thread throws away. If that closes a socket, the
// messages of its queue join the list. Otherwise a socket in a socket in a socket would
// take a stack frame each.
type drain struct {
	first  *message
	active bool
}

// throwAway throws messages away, from first to last, with their descriptors. If in is the
// list of a thread that is at work, they join it. Preconditions: no lock held; the messages
// are in no queue.
func (sys *System) throwAway(first, last *message, in *drain) {
	if first == nil {
		return
	}
	sys.mu.Lock()
	if in != nil && in.active {
		last.next, in.first = in.first, first
		sys.mu.Unlock()
		return
	}
	d := &drain{first: first, active: true}
	n := 0
	turn := func() {
		if n++; n%8 == 0 {
			sys.yield()
		}
	}
	for d.first != nil {
		m := d.first
		d.first, m.next = m.next, nil
		sys.land(m)
		for _, f := range m.rights {
			if s := f.Unix(); s != nil {
				s.drain = d
			}
		}
		sys.mu.Unlock()
		rights := m.rights
		m.rights = nil
		var back dropped
		back.free(m)
		back.settle()
		for _, f := range rights {
			f.Release()
			turn()
		}
		turn()
		sys.mu.Lock()
	}
	d.active = false
	sys.mu.Unlock()
}

// collection is the state of Collect. All of it belongs to System.mu.
//
// A collection takes many steps and lets others run between them, without System.mu. So
// what it looks at changes meanwhile. It may miss garbage, which the next collection finds,
// but must not take a living socket for garbage:
//
//   - A socket is garbage for ever. No process can receive its descriptor any more.
//   - A candidate is a socket of which all references were in flight when the collection
//     looked. It is alive if one of them is in the queue of a socket that is no candidate,
//     or of a candidate that is alive.
//   - touch tells of each descriptor that comes into a queue or leaves it. A candidate that
//     is touched is alive. So the references in flight to the others are where they were. A
//     process can have got a reference to one only by MSG_PEEK, and then the peeked one is
//     still in the queue of a living socket.
//   - In the step in which no living candidate is left to look into, all others are
//     garbage.
//
// A collection ends, whatever others do meanwhile: it looks into each candidate twice, and
// there are no new candidates after the first phase.
type collection struct {
	running bool    // a thread collects
	again   bool    // another collection must follow
	marking bool    // touch matters
	number  uint32  // of the collection
	steps   int     // for pause
	found   *Socket // the candidates, by nextFound
	work    *Socket // candidates and parts that are alive and were not looked into, by nextWork
}

// mark is what a collection knows of a socket. [System.mu]
type mark struct {
	number    uint32 // the last collection that knows the socket; the rest is about it
	verdict   verdict
	out       int // references to a candidate that are not in queues of candidates
	nextFound *Socket
	nextWork  *Socket
}

// verdict is what a socket is taken for.
type verdict uint8

const (
	// alive: it is none of the others, or is not any more.
	alive verdict = iota
	// candidate: it is garbage, unless it turns out to be alive.
	candidate
	// part: a connection that a candidate has not accepted.
	part
)

// is reports whether s is taken for v. Precondition: System.mu held.
func (c *collection) is(s *Socket, v verdict) bool {
	return s.gc.number == c.number && s.gc.verdict == v
}

// touch tells of a socket whose descriptor comes into a queue or leaves it, or that is
// accepted. Precondition: System.mu held.
func (c *collection) touch(s *Socket) {
	if c.marking {
		c.revive(s)
	}
}

// revive says that a candidate or a part is alive. Precondition: System.mu held.
func (c *collection) revive(s *Socket) {
	if s.gc.number == c.number && s.gc.verdict != alive {
		s.gc.verdict = alive
		s.gc.nextWork, c.work = c.work, s
	}
}

// collectTurn is how many steps a collection takes between two pauses.
const collectTurn = 64

// pause is called after n steps of a collection. If it is time it lets others run, without
// System.mu, and returns true. Precondition: System.mu held.
func (sys *System) pause(n int) bool {
	if sys.gc.steps += n; sys.gc.steps < sys.turn {
		return false
	}
	sys.gc.steps = 0
	sys.mu.Unlock()
	sys.yield()
	sys.mu.Lock()
	return true
}

// Collect closes the sockets that are garbage. It is called when a description has lost its
// last reference that is not in flight. If others call it meanwhile, another goroutine
// collects for them.
func (sys *System) Collect() {
	c := &sys.gc
	sys.mu.Lock()
	if c.running {
		c.again = true
		sys.mu.Unlock()
		return
	}
	c.running, c.again = true, false
	sys.findGarbage()
	for s := c.found; s != nil; {
		next := s.gc.nextFound
		s.gc.nextFound = nil
		if c.is(s, candidate) {
			sys.discard(s)
			for i := 0; i < len(s.backlog); i++ { // by its name, it may still get connections
				sys.discard(s.backlog[i])
			}
		}
		sys.pause(1)
		s = next
	}
	c.found, c.running = nil, false
	again := c.again
	sys.mu.Unlock()
	if again {
		sys.later(sys.Collect)
	}
}

// discard empties the queue of a socket. Precondition: System.mu held; it is released
// meanwhile.
func (sys *System) discard(s *Socket) {
	first, last := s.in.detach()
	sys.mu.Unlock()
	sys.throwAway(first, last, nil)
	sys.mu.Lock()
}

// findGarbage makes the list of candidates. Those that are still candidates when it returns
// are garbage. Precondition: System.mu held; it is released meanwhile.
func (sys *System) findGarbage() {
	c := &sys.gc
	c.number++
	c.marking = true
	for s := range sys.flying {
		// A socket comes twice if its descriptor is received and sent again during this loop.
		if s.gc.number != c.number && s.file != nil && !s.file.Grounded() {
			s.gc = mark{number: c.number, verdict: candidate, out: sys.flying[s], nextFound: c.found}
			c.found = s
		}
		sys.pause(1)
	}
	for s := c.found; s != nil; s = s.gc.nextFound {
		sys.eachFlying(s, func(holder, t *Socket) {
			if holder.gc.number != c.number {
				holder.gc = mark{number: c.number, verdict: part}
			}
			if c.is(t, candidate) {
				t.gc.out--
			}
		})
	}
	for s := c.found; s != nil; s = s.gc.nextFound {
		if s.gc.out > 0 {
			c.revive(s)
		}
		sys.pause(1)
	}
	for c.work != nil {
		s := c.work
		c.work, s.gc.nextWork = s.gc.nextWork, nil
		sys.eachFlying(s, func(_, t *Socket) { c.revive(t) })
	}
	c.marking = false
}

// eachFlying calls do for each socket whose descriptor is in the queue of s, or in the
// queue of a connection that s has not accepted, with the holder of the queue. Descriptors
// and connections that leave or come meanwhile may be missing. Precondition: System.mu held;
// it is released meanwhile.
func (sys *System) eachFlying(s *Socket, do func(holder, t *Socket)) {
	sys.eachQueued(s, do)
	// Connections leave the backlog in its order, so the place of each follows from how many
	// have left.
	for next, end := s.accepted, s.accepted+len(s.backlog); next < end; next++ {
		if i := next - s.accepted; i >= 0 && i < len(s.backlog) {
			sys.eachQueued(s.backlog[i], do)
		}
	}
}

// eachQueued is eachFlying for the socket's own queue.
func (sys *System) eachQueued(s *Socket, do func(holder, t *Socket)) {
	q := &s.in
	q.mu.Lock()
	next, end := q.left, q.left+q.count // messages leave the queue in its order, too
	m := q.first
	for steps := 0; ; {
		for ; next < end && m.rights == nil; next++ {
			m = m.next
			steps++
		}
		if next >= end {
			break
		}
		rights := m.rights
		q.mu.Unlock()
		for _, f := range rights {
			if t := f.Unix(); t != nil {
				do(s, t)
			}
		}
		moved := sys.pause(1 + len(rights) + steps/16)
		steps = 0
		q.mu.Lock()
		// A message with rights does not leave while System.mu is held.
		if moved {
			next = max(next+1, q.left)
			m = q.first
			for range next - q.left {
				m = m.next
			}
		} else {
			next, m = next+1, m.next
		}
	}
	q.mu.Unlock()
	sys.pause(1)
}
