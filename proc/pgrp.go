package proc

import "syscall"

// Session groups process groups (setsid(2)).
type Session struct {
	id     int
	groups int // Kernel.treeMu
}

// Group is a process group. Its number stays in use while it has a member.
type Group struct {
	id      int
	session *Session
	members procList // Kernel.treeMu
}

// ID returns the group's number.
func (g *Group) ID() int { return g.id }

// newGroup makes a group numbered id in session s or, if s is nil, in a new session of that
// number. Preconditions: k.treeMu held; id is the number of a live process.
func (k *Kernel) newGroup(id int, s *Session) *Group {
	if s == nil {
		s = &Session{id: id}
		k.pids.use(id)
	}
	s.groups++
	g := &Group{id: id, session: s}
	k.pids.use(id)
	k.pids.setGroup(id, g)
	return g
}

// join moves p to g. leaveGroup takes p off its group. A group ends with its last member, a
// session with its last group. Preconditions: k.treeMu held.
func (k *Kernel) join(p *Process, g *Group) {
	g.members.push(linkGroup, p)
	p.group.Store(g)
}

func (k *Kernel) leaveGroup(p *Process) {
	g := p.group.Load()
	p.group.Store(nil)
	g.members.remove(linkGroup, p)
	if g.members.n > 0 {
		return
	}
	k.pids.setGroup(g.id, nil)
	k.pids.release(g.id)
	if g.session.groups--; g.session.groups == 0 {
		k.pids.release(g.session.id)
	}
}

// GroupID and SessionID are getpgid(2) and getsid(2). They return 0 once p is gone.
func (p *Process) GroupID() int {
	if g := p.group.Load(); g != nil {
		return g.id
	}
	return 0
}

func (p *Process) SessionID() int {
	if g := p.group.Load(); g != nil {
		return g.session.id
	}
	return 0
}

// GroupSession returns the session of the group numbered pgid, or 0 if there is no such
// group.
func (k *Kernel) GroupSession(pgid int) int {
	if g := k.pids.group(pgid); g != nil {
		return g.session.id
	}
	return 0
}

// Setsid is setsid(2): it makes a new session and group, numbered like the caller. EPERM if
// the caller leads a group already.
func (t *Thread) Setsid() (int, error) {
	k, p := t.p.k, t.p
	k.treeMu.Lock()
	defer k.treeMu.Unlock()
	if k.pids.group(p.pid) != nil {
		return 0, syscall.EPERM
	}
	g := k.newGroup(p.pid, nil)
	k.leaveGroup(p)
	k.join(p, g)
	return p.pid, nil
}

// Setpgid is setpgid(2). A pid of 0 means the caller, a pgid of 0 the process's own number.
// A zombie is treated as any other process. EINVAL: pgid is negative, or pid is the number
// of a thread that does not lead its process. ESRCH: neither the caller nor its child.
// EACCES: a child that has exec'd. EPERM: a session leader, another session, or no such
// group in the session.
func (t *Thread) Setpgid(pid, pgid int) error {
	k, p := t.p.k, t.p
	if pid == 0 {
		pid = p.pid
	}
	if pgid == 0 {
		pgid = pid
	}
	if pgid < 0 {
		return syscall.EINVAL
	}
	k.treeMu.Lock()
	defer k.treeMu.Unlock()
	if pid != p.pid {
		if p = k.pids.process(pid); p == nil && k.pids.thread(pid) != nil {
			return syscall.EINVAL
		}
		if p == nil || p.parent != t.p {
			return syscall.ESRCH
		}
		if p.SessionID() != t.p.SessionID() {
			return syscall.EPERM
		}
		if p.execed {
			return syscall.EACCES
		}
	}
	old := p.group.Load()
	if old.session.id == p.pid {
		return syscall.EPERM
	}
	if pgid == old.id {
		return nil
	}
	g := k.pids.group(pgid)
	if g == nil && pgid != p.pid || g != nil && g.session != old.session {
		return syscall.EPERM
	}
	if g == nil {
		g = k.newGroup(pgid, old.session)
	}
	k.leaveGroup(p)
	k.join(p, g)
	return nil
}

// connects reports whether parent, a process in another group of g's session, keeps g from
// being orphaned: it could continue g's stopped members (POSIX 3.264). Init does not count,
// as on Linux. Preconditions: Kernel.treeMu held.
func (g *Group) connects(parent *Process) bool {
	if parent == nil || parent.isInit() {
		return false
	}
	pg := parent.group.Load()
	return pg != nil && pg != g && pg.session == g.session
}

// orphaned reports whether no member has a parent that connects g. The member gone, which
// is ending, is left out. Preconditions: Kernel.treeMu held.
func (g *Group) orphaned(gone *Process) bool {
	steps := 0
	for p := g.members.head; p != nil; p = p.links[linkGroup].next {
		p.k.glance(&steps)
		if p != gone && p.State() < Dead && g.connects(p.parent) {
			return false
		}
	}
	return true
}

// hangUp sends SIGHUP and SIGCONT to group g if it has a stopped member and an exit has
// just made it orphaned. That is the exit of parent, which connected g, or if gone is not
// nil the exit of its member gone, the child of parent. A group that was orphaned before
// gets nothing. Preconditions: k.treeMu held; gone is still on its lists.
func (k *Kernel) hangUp(g *Group, parent, gone *Process) {
	if !g.connects(parent) || !g.orphaned(gone) {
		return
	}
	stopped, steps := false, 0
	for p := g.members.head; p != nil; p = p.links[linkGroup].next {
		k.glance(&steps)
		stopped = stopped || p != gone && p.Stopped()
	}
	for p := g.members.head; stopped && p != nil; p = p.links[linkGroup].next {
		k.cfg.Yield()
		p.postGroup(&Siginfo{Signo: syscall.SIGHUP, Code: SI_KERNEL})
		p.postGroup(&Siginfo{Signo: syscall.SIGCONT, Code: SI_KERNEL})
	}
}
