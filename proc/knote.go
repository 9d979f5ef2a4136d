package proc

import "sync"

// Note is a set of things that happen to a process, as of kqueue(2)'s
// EVFILT_PROC.
type Note uint8

const (
	// NoteExit: the process is dead; told by exit1, before it is a zombie.
	NoteExit Note = 1 << iota
	// NoteReap: it is a zombie, or gone; wait(2) would return it.
	NoteReap
	// NoteFork: it made a child process.
	NoteFork
	// NoteExec: it runs a new program.
	NoteExec
	// NoteChild: a child ended, stopped or went on; what wait(2) sleeps on.
	NoteChild
)

// Knote is somebody's interest in a process. It is the one way to be told: wait
// and pidfds use it. Told is called in the context of whoever does the thing,
// with locks of this package held: it must not block nor call back, but may
// wake somebody.
type Knote struct {
	Events     Note // which to be told; [I] while attached
	Told       func(ev Note)
	wakes      *Thread // instead of Told, of the thread's own wait: no closure to allocate
	next, prev *Knote
	p          *Process // attached to; Process.noteMu
}

// Attach puts n on p. It reports those of Events that have happened already and
// never will again (NoteExit, NoteReap): the caller acts on these itself.
func (p *Process) Attach(n *Knote) (missed Note) {
	p.noteMu.Lock()
	p.noted.Add(1) // before the state is read: see notify
	switch s := p.State(); {
	case s >= Zombie:
		missed = n.Events & (NoteExit | NoteReap)
	case s >= Dead:
		missed = n.Events & NoteExit
	}
	n.p, n.prev, n.next = p, nil, p.notes
	if p.notes != nil {
		p.notes.prev = n
	}
	p.notes = n
	p.noteMu.Unlock()
	return missed
}

// Detach takes it off; after that Told is not called any more. Not from Told.
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

// notify tells every knote that wants ev. Mostly there is none: whoever attaches
// one right now finds that it missed ev, or looks itself once attached.
func (p *Process) notify(ev Note) {
	if p.noted.Load() == 0 {
		return
	}
	p.noteMu.Lock()
	for n := p.notes; n != nil; n = n.next {
		if n.Events&ev != 0 {
			if n.wakes != nil {
				n.wakes.Wake()
			} else {
				n.Told(ev)
			}
		}
	}
	p.noteMu.Unlock()
}

// OnExit calls fn once p is a zombie, or at once if it is; cancel forgets it. fn
// is called as Knote.Told is.
func (p *Process) OnExit(fn func()) (cancel func()) {
	var once sync.Once // a process that ends just now may tell us as well
	n := &Knote{Events: NoteReap, Told: func(Note) { once.Do(fn) }}
	if p.Attach(n) != 0 {
		n.Detach()
		once.Do(fn)
	}
	return n.Detach
}
