package proc

// Note is a set of events of a process, as in EVFILT_PROC of kqueue(2).
type Note uint8

const (
	// NoteExit: the process is dead. exit1 sends it, before the process is a zombie.
	NoteExit Note = 1 << iota
	// NoteReap: the process is a zombie, or gone. wait(2) would return it.
	NoteReap
	// NoteFork: the process made a child process.
	NoteFork
	// NoteExec: the process runs a new program.
	NoteExec
	// NoteChild: a child has ended, stopped or continued. wait(2) sleeps on it.
	NoteChild
)

// Knote is a request to be told of events of a process. It is the only way to be told; wait
// and pidfds use it. Told is called in the context of the thread that causes the event,
// with locks of this package held. It must not block or call back, but may wake threads.
type Knote struct {
	Events     Note // events to tell; [I] while attached
	Told       func(ev Note)
	wakes      *Thread // thread to wake, instead of Told: a wait then needs no closure
	missed     Note    // what Attach has returned, and is not told; [I] while attached
	next, prev *Knote
	p          *Process // attached to; Process.noteMu
}

// Attach puts n on p. It returns those of Events that have happened already and will not
// happen again (NoteExit, NoteReap). The caller must act on these itself: they are not
// told, also if the process is on its way to tell them on another CPU.
func (p *Process) Attach(n *Knote) (missed Note) {
	p.noteMu.Lock()
	p.noted.Add(1) // before the state is read: see notify
	switch s := p.State(); {
	case s >= Zombie:
		missed = n.Events & (NoteExit | NoteReap)
	case s >= Dead:
		missed = n.Events & NoteExit
	}
	n.missed = missed
	n.p, n.prev, n.next = p, nil, p.notes
	if p.notes != nil {
		p.notes.prev = n
	}
	p.notes = n
	p.noteMu.Unlock()
	return missed
}

// Detach takes n off its process. After it returns, Told is not called any more. It must
// not be called from Told.
func (n *Knote) Detach() {
	p := n.p
	if p == nil {
		return
	}
	p.noteMu.Lock()
	p.noted.Add(-1)
	if n.prev != nil {
		n.prev.next = n.next
	} else {
		p.notes = n.next
	}
	if n.next != nil {
		n.next.prev = n.prev
	}
	n.p, n.next, n.prev = nil, nil, nil
	p.noteMu.Unlock()
}

// notify tells every knote that wants ev. Mostly there is none. A thread that attaches a
// knote just now is not told, but Attach reports that it missed ev, or it looks itself
// after attaching.
func (p *Process) notify(ev Note) {
	if p.noted.Load() == 0 {
		return
	}
	p.noteMu.Lock()
	steps := 0
	for n := p.notes; n != nil; n = n.next {
		p.k.turn(&steps)
		if n.Events&^n.missed&ev != 0 {
			if n.wakes != nil {
				n.wakes.Wake()
			} else {
				n.Told(ev)
			}
		}
	}
	p.noteMu.Unlock()
}

// OnExit calls fn when p becomes a zombie, or at once if it is one. cancel undoes it. fn is
// called in the way of Knote.Told.
func (p *Process) OnExit(fn func()) (cancel func()) {
	n := &Knote{Events: NoteReap, Told: func(Note) { fn() }}
	if p.Attach(n) != 0 {
		n.Detach()
		fn()
	}
	return n.Detach
}
