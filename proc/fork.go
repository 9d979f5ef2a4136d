package proc

import (
	"math/bits"
	"syscall"

	"grim/arch"
)

// CloneFlags are the CLONE_* flags of clone(2) that have a meaning here.
type CloneFlags uint64

const (
	CloneVM            CloneFlags = syscall.CLONE_VM
	CloneFS            CloneFlags = syscall.CLONE_FS
	CloneFiles         CloneFlags = syscall.CLONE_FILES
	CloneSighand       CloneFlags = syscall.CLONE_SIGHAND
	ClonePidfd         CloneFlags = 0x1000 // made by ForkArgs.OnChild
	CloneVfork         CloneFlags = syscall.CLONE_VFORK
	CloneParent        CloneFlags = syscall.CLONE_PARENT
	CloneThread        CloneFlags = syscall.CLONE_THREAD
	CloneSetTLS        CloneFlags = syscall.CLONE_SETTLS
	CloneParentSetTID  CloneFlags = syscall.CLONE_PARENT_SETTID
	CloneChildClearTID CloneFlags = syscall.CLONE_CHILD_CLEARTID
	CloneChildSetTID   CloneFlags = syscall.CLONE_CHILD_SETTID
	CloneClearSighand  CloneFlags = 0x100000000 // clone3(2)

	// cloneIgnored are flags that ask for what is the case anyway, or for what no program
	// can notice: System V semaphores, tracers, detached threads, I/O contexts.
	cloneIgnored CloneFlags = syscall.CLONE_SYSVSEM | syscall.CLONE_PTRACE |
		syscall.CLONE_UNTRACED | syscall.CLONE_DETACHED | 0x80000000
	cloneKnown = CloneVM | CloneFS | CloneFiles | CloneSighand | ClonePidfd | CloneVfork |
		CloneParent | CloneThread | CloneSetTLS | CloneParentSetTID | CloneChildClearTID |
		CloneChildSetTID | CloneClearSighand | cloneIgnored
)

// ForkArgs are the arguments of clone(2).
type ForkArgs struct {
	Flags      CloneFlags
	Stack      arch.VA // the child's stack pointer; 0: the caller's
	TLS        uint64  // with CloneSetTLS
	ParentTID  arch.VA
	ChildTID   arch.VA
	ExitSignal syscall.Signal // 0: none
	// OnChild is called before the child runs, when no other process can find it yet. An
	// error undoes the fork and is returned by Fork. OnChild may block. It may be nil.
	OnChild func(child *Thread) error
}

// check returns EINVAL for the combinations that clone(2) lists as invalid.
func (a *ForkArgs) check(p *Process) error {
	f := a.Flags
	switch {
	case f&^cloneKnown != 0, // including namespaces
		f&CloneSighand != 0 && f&CloneVM == 0,
		f&CloneThread != 0 && f&CloneSighand == 0,
		f&CloneThread != 0 && f&ClonePidfd != 0,
		f&CloneClearSighand != 0 && f&CloneSighand != 0,
		f&CloneParent != 0 && p.isInit(),
		a.ExitSignal < 0 || a.ExitSignal > NumSignals:
		return syscall.EINVAL
	}
	return nil
}

// Fork is fork(2), vfork(2) and clone(2). It makes a new process, or with CloneThread a new
// thread, that returns 0 from the same system call. It returns the child's number. With
// CloneVfork it sleeps until the child has exec'd or exited. EINVAL: invalid flags. ENOMEM:
// everything is undone. EAGAIN: no number is free, or the user has too many threads.
// ERESTARTNOINTR: the caller is about to end, or has to take a signal first.
func (t *Thread) Fork(a ForkArgs) (int, error) {
	if err := a.check(t.p); err != nil {
		return 0, err
	}
	if t.Interrupted() {
		t.Interrupt()
		return 0, ERESTARTNOINTR
	}
	begin := t.p.k.now()
	// Threads are made no faster than the reaper can free them (E5).
	if err := t.p.k.dead.waitRoom(t); err != nil {
		return 0, err
	}
	// They are also made no faster than they can run. A maker gets its turn after a number
	// of new threads, and would make more in each turn than have run, if ending is as quick
	// as making.
	for t.p.k.starting.Load() >= deadBound && !t.Dying() {
		t.Yield()
	}
	mem := t.p.k.mem
	short := mem.Shortages()
	if a.Flags&CloneThread != 0 {
		c, err := t.cloneThread(&a)
		for err == syscall.ENOMEM && t.outOfMemory(short) {
			short = mem.Shortages()
			c, err = t.cloneThread(&a)
		}
		if err != nil {
			return 0, err
		}
		tid, v := c.TID(), c.vfork // c may be dead as soon as it is started
		t.usage.system.Add(t.p.k.now() - begin)
		t.p.k.start(c)
		if v != nil {
			v.wait(t)
		}
		return tid, nil
	}
	c, err := t.cloneProcess(&a)
	for err == syscall.ENOMEM && t.outOfMemory(short) {
		short = mem.Shortages()
		c, err = t.cloneProcess(&a)
	}
	if err != nil {
		return 0, err
	}
	p := c.p
	v := p.vfork
	t.usage.system.Add(t.p.k.now() - begin)
	t.p.notify(NoteFork)
	t.p.k.start(c)
	if v != nil {
		v.wait(t)
	}
	return p.pid, nil
}

// cloneThread makes a thread of the same process, ready to run.
func (t *Thread) cloneThread(a *ForkArgs) (*Thread, error) {
	p, k := t.p, t.p.k
	if err := t.chargeThread(); err != nil {
		return nil, err
	}
	c, err := newThread(p)
	if err != nil {
		return nil, err
	}
	tid, err := k.pids.alloc(false)
	if err != nil {
		c.free()
		return nil, err
	}
	c.tid.Store(int32(tid))
	c.useSpace(t.space)
	t.copyTo(c, a)
	// A thread that does not share both descriptors and directory with the others has a
	// Files of its own, which may share one of the two.
	c.files = t.files
	const share = CloneFiles | CloneFS
	if t.files != nil && (t.ownsFiles || a.Flags&share != share) {
		c.ownsFiles = true
		u := t.user()
		c.files, err = t.files.Fork(a.Flags&share, u)
		u.Release()
	}
	if a.Flags&CloneVfork != 0 {
		c.vfork = &vforkWait{parent: t}
	}
	if err == nil && a.OnChild != nil {
		err = a.OnChild(c)
	}
	p.mu.Lock()
	if err == nil && (p.State() != Live || p.execer != nil) {
		// The process ends or becomes single-threaded. The caller must end too, and a new
		// thread would be missed.
		err = t.Interrupt()
	}
	if err != nil {
		p.mu.Unlock()
		if c.ownsFiles && c.files != nil {
			c.files.CloseAll()
		}
		k.pids.release(tid)
		c.free()
		return nil, err
	}
	k.pids.setThread(tid, c)
	if c.ownsFiles && !p.split {
		p.split, p.sharers = true, p.running
	} else if p.split && !c.ownsFiles {
		p.sharers++
	}
	p.linkThread(c)
	if p.stop.on {
		c.todo.Or(todoStop)
	}
	p.mu.Unlock()
	return c, nil
}

// cloneProcess makes a child process with one thread, ready to run.
func (t *Thread) cloneProcess(a *ForkArgs) (*Thread, error) {
	p, k := t.p, t.p.k
	pid, err := k.pids.alloc(false)
	if err != nil {
		return nil, err
	}
	c, err := k.newProcess(pid, t.name, t.cred, p.account.User(), t.threadLimit())
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	if t.Interrupted() { // signals that come from here on are recorded in f
		p.mu.Unlock()
		c.endThread()
		k.unmake(c)
		t.Interrupt()
		return nil, ERESTARTNOINTR
	}
	c.undumpable.Store(p.undumpable.Load())
	c.oomAdj.Store(p.oomAdj.Load())
	c.noHuge.Store(p.noHuge.Load())
	c.limits, c.design, c.layout, c.persona = p.limits, p.design, p.layout, p.persona
	if c.cpuLimited() {
		c.watchCPU()
	}
	f := &t.fork
	*f = forking{next: p.forks}
	p.forks = f
	p.mu.Unlock()
	ct, err := t.makeProcess(c, a, f)
	if err != nil {
		p.mu.Lock()
		p.endFork(f)
		p.mu.Unlock()
		k.unmake(c)
	}
	return ct, err
}

// forking is a fork in progress, that is a child that is not yet a member of the process
// group. It is a part of the Thread that forks.
type forking struct {
	next *forking // Process.mu
	// sigs are signals that the group has got meanwhile. The child gets them too once it
	// can be found, as on Linux since 4.19. Restarting the fork for each of them could go
	// on for ever, for example with a timer's signals.
	sigs Sigset
}

// endFork takes f off the list. Preconditions: p.mu held.
func (p *Process) endFork(f *forking) {
	at := &p.forks
	for *at != f {
		at = &(*at).next
	}
	*at, f.next = f.next, nil
}

// makeProcess gives the new process c its first thread and all else, and makes it visible.
// On error c has nothing.
func (t *Thread) makeProcess(c *Process, a *ForkArgs, f *forking) (*Thread, error) {
	c.exitSignal = int(a.ExitSignal)
	ct, err := newThread(c)
	if err != nil {
		return nil, err
	}
	ct.tid.Store(int32(c.pid))
	if err := t.shareWith(c, ct, a.Flags); err != nil {
		ct.free()
		return nil, err
	}
	ct.useSpace(c.space)
	ct.files = c.files
	t.copyTo(ct, a)
	if a.Flags&CloneVM == 0 || a.Flags&CloneVfork != 0 {
		ct.altStack = t.altStack // sigaltstack(2): the child keeps it unless the memory is shared
	}
	if a.Flags&CloneVfork != 0 {
		c.vfork = &vforkWait{parent: t}
	}
	c.linkThread(ct)
	if a.OnChild != nil {
		err = a.OnChild(ct)
	}
	if err == nil {
		err = t.adopt(c, ct, a.Flags, f)
	}
	if err != nil {
		t.unshare(c)
		ct.free()
		return nil, err
	}
	return ct, nil
}

// shareWith gives the child its space, files and signal actions, shared or copied. On error
// the child has none of them.
func (t *Thread) shareWith(c *Process, ct *Thread, f CloneFlags) error {
	p := t.p
	if f&CloneVM != 0 {
		c.space = t.space.borrow()
	} else {
		vs, err := t.space.vs.For(t).Fork(t.space.vs.Layout(), arch.VA(t.U.Frame[p.k.abi.SP]), c.account.User())
		if err != nil {
			return err
		}
		c.space = ct.ownSpace.init(vs)
	}
	if t.files != nil {
		var err error
		if c.files, err = t.files.Fork(f&(CloneFiles|CloneFS), c.account.User()); err != nil {
			c.space.discard()
			c.space = nil
			return err
		}
	}
	c.acts = p.acts.fork(f&CloneSighand != 0, &ct.ownActs)
	if f&CloneClearSighand != 0 {
		c.acts.reset()
	}
	return nil
}

// unshare undoes shareWith.
func (t *Thread) unshare(c *Process) {
	c.acts.drop()
	if c.files != nil {
		c.files.CloseAll()
	}
	c.space.discard()
}

// adopt puts the child into the tree, and gives it the signals that the group has got
// meanwhile. They are sent with treeMu held, so at that time the child is a member already
// or f records them. adopt fails if the caller is to end, because a kill of the whole group
// that was just done would miss the child.
func (t *Thread) adopt(c *Process, ct *Thread, flags CloneFlags, f *forking) error {
	p, k := t.p, t.p.k
	k.treeMu.Lock()
	defer k.treeMu.Unlock()
	if t.Dying() {
		t.Interrupt()
		return ERESTARTNOINTR
	}
	c.parent, c.adopted = p, p.adopts || p.adopted
	maker := t
	if flags&CloneParent != 0 {
		c.parent, maker, c.exitSignal = p.parent, p.maker, p.exitSignal
		c.adopted = p.adopted
		c.ofKernel = false
	}
	c.madeBy(maker)
	k.join(c, p.group.Load())
	k.publish(c, ct)
	p.mu.Lock()
	p.endFork(f)
	p.mu.Unlock()
	for m := f.sigs; m != 0; m &= m - 1 {
		s := syscall.Signal(bits.TrailingZeros64(uint64(m)) + 1)
		c.post(&Siginfo{Signo: s, Code: SI_USER}, nil)
	}
	return nil
}

// copyTo copies the user state that the caller has when it returns from the system call to
// c, except for result, stack and TLS. It stores the numbers where clone(2) says. A bad
// pointer is ignored, as on Linux: the child runs all the same.
func (t *Thread) copyTo(c *Thread, a *ForkArgs) {
	k, abi := t.p.k, t.p.k.abi
	k.m.CopyUser(c.U, t.U)
	c.U.Frame[arch.RetSlot] = 0
	if a.Stack != 0 {
		c.U.Frame[abi.SP] = uint64(a.Stack)
	}
	if a.Flags&CloneSetTLS != 0 {
		c.U.Frame[abi.TLS] = a.TLS
	}
	c.mask, c.name, c.cred, c.noNew = t.mask, t.name, t.cred, t.noNew
	c.cred.Groups.Hold()
	c.slack, c.bornSlack = t.slack, t.slack
	if t.sched != (Sched{}) { // [m], but at most a change by another thread just now could be missed
		c.sched = t.Sched().afterFork()
		c.todo.Or(todoSched)
	}
	if a.Flags&CloneVM == 0 && t.rseq.at != 0 { // the copied memory contains the area
		c.rseq = t.rseq
		c.todo.Or(todoRseq)
	}
	if a.Flags&CloneChildClearTID != 0 {
		c.clearTID = a.ChildTID
	}
	if a.Flags&CloneChildSetTID != 0 {
		c.space.vs.WriteUint32(a.ChildTID, uint32(c.TID()))
	}
	if a.Flags&CloneParentSetTID != 0 {
		t.space.vs.WriteUint32(a.ParentTID, uint32(c.TID()))
	}
}
