package proc

// Intrusive lists of processes. Linking and unlinking allocate nothing and cost a few
// stores, however long the list is. Kernel.treeMu guards all of them.

// The lists that a process can be on.
const (
	linkAll     = iota // Kernel.all
	linkSibling        // its parent's procTree: live or zombies
	linkGroup          // its process group's members
	numLinks
)

type procLink struct {
	next, prev *Process
	on         bool
}

type procList struct {
	head, tail *Process
	n          int
}

// push appends p. p must not be on a list of that kind.
func (l *procList) push(kind int, p *Process) {
	e := &p.links[kind]
	if e.on {
		panic("proc: procList.push: process is on a list of that kind already")
	}
	*e = procLink{prev: l.tail, on: true}
	if l.tail != nil {
		l.tail.links[kind].next = p
	} else {
		l.head = p
	}
	l.tail = p
	l.n++
}

// remove unlinks p, which must be on l.
func (l *procList) remove(kind int, p *Process) {
	e := &p.links[kind]
	if !e.on {
		panic("proc: procList.remove: process is not on a list of that kind")
	}
	if e.prev != nil {
		e.prev.links[kind].next = e.next
	} else {
		l.head = e.next
	}
	if e.next != nil {
		e.next.links[kind].prev = e.prev
	} else {
		l.tail = e.prev
	}
	*e = procLink{}
	l.n--
}

// procTree holds a process's children. Zombies are in a list of their own, in the order in
// which they became zombies: wait(2) for any child only looks at the first.
type procTree struct {
	live    procList // not yet a zombie
	zombies procList
}

// each calls f for every child until it returns false.
func (c *procTree) each(f func(*Process) bool) {
	for _, l := range [...]*procList{&c.zombies, &c.live} {
		for p := l.head; p != nil; {
			next := p.links[linkSibling].next
			if !f(p) {
				return
			}
			p = next
		}
	}
}
