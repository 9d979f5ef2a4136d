package proc

import (
	"sync"
	"sync/atomic"
	"syscall"

	"grim/arch"
	"grim/mm/charge"
	"grim/mm/vm"
	"grim/proc/exit"
)

// Files is what a process holds beside memory: its descriptors, and whatever else the
// system-call layer ties to a process (working directory, umask). Threads share it, except
// those that clone(2) made without CLONE_FILES or CLONE_FS. Methods may block, but not on
// another process's Files.
type Files interface {
	// Fork makes the child's Files, for which owner pays. Flags CloneFiles and CloneFS ask
	// for sharing instead of a copy. ENOMEM.
	Fork(flags CloneFlags, owner *charge.User) (Files, error)
	// PayFor makes owner pay for what they take.
	PayFor(owner *charge.User)
	// CloseAll ends this process's use, at exit. User memory is still there.
	CloseAll()
	// Shared reports whether another process, or a thread with its own Files, uses the same
	// descriptors. Only a user of them can begin to share them.
	Shared() bool
	// CloseOnExec closes the descriptors that are marked. The table is not shared.
	CloseOnExec()
}

// Process is a user process: identity, threads, vmspace, files, signals.
//
// [I] never changes, [a] atomic, [k] Kernel.treeMu, [m] Process.mu,
// [n] Process.noteMu.
type Process struct {
	k   *Kernel // [I]
	pid int     // [I]
	// account is for the kernel memory that the process takes, except its address space,
	// which is charged separately.
	account charge.Account
	start   int64 // [I] Kernel.Now at creation

	// state is changed by advance only. Code that reads it without a lock may only conclude
	// that the process has got at least that far.
	state atomic.Uint32

	parent     *Process              // [k] nil: the kernel, or none
	maker      *Thread               // [k] the parent's thread that made it (__WNOTHREAD); nil: none
	ofKernel   bool                  // [k] Spawn made it, and Process.Wait will collect it
	onZombies  bool                  // [k] on its parent's list of zombies
	children   procTree              // [k]
	links      [numLinks]procLink    // [k]
	group      atomic.Pointer[Group] // [a] written under treeMu
	exitSignal int                   // [k] sent to the parent when it ends; 0: none
	jobEvent   jobEvent              // [k] stop or continuation that has not been waited for yet
	execed     bool                  // [k] it has exec'd: too late for setpgid(2) by the parent
	adopts     bool                  // [k] PR_SET_CHILD_SUBREAPER
	adopted    bool                  // [k] an ancestor has adopts set, or had when this process was made

	mu         sync.Mutex
	threads    *Thread                  // [m] list head
	live       int                      // [m] threads on the list, including those in exit1
	running    int                      // [m] how many of these are in state Live
	status     Status                   // [m] how it ended; final once Exiting
	execer     *Thread                  // [m] thread that waits in Exec to be the only one
	space      *space                   // [m] nil after uvmspace_free
	files      Files                    // [m] used by most threads; see Thread.files
	sharers    int                      // [m] if split: number of threads that use files
	split      bool                     // [m] a thread has, or had, files of its own
	forks      *forking                 // [m] forks in progress
	acts       *sigActions              // [m]
	pending    sigQueue                 // [m] signals for any thread
	watchers   map[*sigWatcher]struct{} // [m] signalfds
	stop       stopState                // [m] job control
	name       string                   // [m] comm of the leader, up to 15 bytes
	undumpable atomic.Bool              // [a] PR_SET_DUMPABLE 0
	cred       *Cred                    // [m] of the leader
	oomAdj     atomic.Int32             // [a] oom_score_adj
	noHuge     atomic.Bool              // [a] PR_SET_THP_DISABLE
	limits     Limits                   // [m]
	layout     arch.Layout              // [m] of the vmspace that exec makes
	persona    uint32                   // [m] personality(2); exec keeps it
	usage      Usage                    // [m] of its dead threads
	childUse   Usage                    // [m] of children waited for, and of those that they waited for
	timer      *realTimer               // [m] ITIMER_REAL
	timers     map[int]*Timer           // [m] POSIX timers
	atExit     map[string]func()        // [m] AtExit
	nextTimer  int                      // [m]
	cpuTimers  [2]cpuTimer              // [m]
	cpuWatch   atomic.Bool              // [a] there may be timers or limits of CPU time
	xcpuNext   uint64                   // [m] second of CPU time at which the next SIGXCPU is sent
	vfork      *vforkWait               // [m] parent that sleeps until this process execs or exits

	// How the process ends; see package exit.
	design   *exit.Design // [m] fixed once Exiting
	unburied atomic.Int32 // [a] dead threads that are not buried yet; see bury
	kept     *Thread      // [m] dead threads that FreeThreads will free (exit.Kept)
	unpurged bool         // set by the last thread: the space must be purged, and no other process uses it
	debt     debt         // [k]

	noteMu sync.Mutex
	notes  *Knote       // [n]
	noted  atomic.Int32 // number of notes; changed with noteMu held
}

// PID returns the process's number.
func (p *Process) PID() int { return p.pid }

// Kernel returns the kernel that the process belongs to.
func (p *Process) Kernel() *Kernel { return p.k }

// State returns the process's state. The process may be further on by the time it returns.
func (p *Process) State() State { return State(p.state.Load()) }

// Exited reports whether the process has ended for wait(2): it is Zombie or Gone.
func (p *Process) Exited() bool { return p.State() >= Zombie }

// StartTime returns the time (Kernel.Now) at which the process was made.
func (p *Process) StartTime() int64 { return p.start }

// PPID returns the parent's number, or 0 for a child of the kernel.
func (p *Process) PPID() int {
	p.k.treeMu.Lock()
	defer p.k.treeMu.Unlock()
	if p.parent == nil {
		return 0
	}
	return p.parent.pid
}

// Adopts and SetAdopts are PR_GET_CHILD_SUBREAPER and PR_SET_CHILD_SUBREAPER: whether the
// process becomes the parent of its descendants' orphans, instead of init. Children do not
// inherit it, but record that there is such an ancestor.
func (p *Process) Adopts() bool {
	p.k.treeMu.Lock()
	defer p.k.treeMu.Unlock()
	return p.adopts
}

func (p *Process) SetAdopts(on bool) {
	p.k.treeMu.Lock()
	defer p.k.treeMu.Unlock()
	p.adopts = on
	if !on {
		return
	}
	steps := 0
	for todo := []*Process{p}; len(todo) > 0; {
		last := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		last.children.each(func(c *Process) bool {
			p.k.glance(&steps)
			if !c.adopted { // otherwise its descendants have it set already
				c.adopted = true
				todo = append(todo, c)
			}
			return true
		})
	}
}

// Name returns the command name, at most 15 bytes (PR_GET_NAME, /proc/PID/comm).
func (p *Process) Name() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.name
}

// Dumpable and SetDumpable are PR_GET_DUMPABLE and PR_SET_DUMPABLE. Children inherit the
// setting. exec makes a process dumpable again; a change of the effective user or group
// does not.
func (p *Process) Dumpable() bool      { return !p.undumpable.Load() }
func (p *Process) SetDumpable(on bool) { p.undumpable.Store(!on) }

// OOMAdjust and SetOOMAdjust are /proc/PID/oom_score_adj. It is a number of thousandths of
// the machine's memory that is added to what the process holds when a victim is chosen;
// -1000 spares the process. Children inherit it.
func (p *Process) OOMAdjust() int     { return int(p.oomAdj.Load()) }
func (p *Process) SetOOMAdjust(n int) { p.oomAdj.Store(int32(n)) }

// SetThreadName is SetName for the thread numbered tid, called by another thread. ESRCH.
func (p *Process) SetThreadName(tid int, s string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t := p.findLocked(tid); t != nil {
		t.setNameLocked(s)
		return nil
	}
	return syscall.ESRCH
}

// ThreadName returns the name of the thread numbered tid, or "" if there is none.
func (p *Process) ThreadName(tid int) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t := p.findLocked(tid); t != nil {
		return t.name
	}
	return ""
}

// NoNewPrivs is PR_GET_NO_NEW_PRIVS for the thread numbered tid.
func (p *Process) NoNewPrivs(tid int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.findLocked(tid)
	return t != nil && t.noNew
}

// Children returns the numbers of the children that the thread numbered tid made.
func (p *Process) Children(tid int) (pids []int) {
	p.k.treeMu.Lock()
	defer p.k.treeMu.Unlock()
	steps := 0
	p.children.each(func(c *Process) bool {
		p.k.glance(&steps)
		if c.maker != nil && c.maker.TID() == tid {
			pids = append(pids, c.pid)
		}
		return true
	})
	return pids
}

// Personality returns the value set by personality(2). Fork and exec inherit it.
func (p *Process) Personality() uint32 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.persona
}

// SetPersonality sets the value of personality(2).
func (p *Process) SetPersonality(v uint32) {
	p.mu.Lock()
	p.persona = v
	p.mu.Unlock()
}

// VM returns the vmspace with a reference for the caller, or nil if the process has none
// any more. The caller should release it soon, because the root is kept meanwhile.
func (p *Process) VM() *vm.VMSpace {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.space == nil {
		return nil
	}
	p.space.vs.Ref()
	return p.space.vs
}

// Files returns the process's files, or nil once the process has closed them.
func (p *Process) Files() Files {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.files
}

// TIDs returns the numbers of the threads that are not dead, the newest first.
func (p *Process) TIDs() []int {
	p.mu.Lock()
	defer p.mu.Unlock()
	ids := make([]int, 0, p.live)
	p.eachLocked(func(t *Thread) bool {
		ids = append(ids, t.TID())
		return true
	})
	return ids
}

// StateLetter returns the state of the thread numbered tid as a letter of proc_pid_stat(5).
// With the process's own number it is the state of the leader, which is Z if the leader has
// ended before the other threads.
func (p *Process) StateLetter(tid int) byte {
	switch p.State() {
	case Zombie:
		return 'Z'
	case Gone:
		return 'X'
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if t := p.findLocked(tid); t != nil {
		if how := t.waits.Load(); how != 0 {
			return byte(how)
		}
		return 'R'
	}
	switch {
	case p.live == 0: // the last thread is dead, and not buried yet
		return 'R'
	case tid == p.pid:
		return 'Z'
	}
	return 'X'
}

// Design returns how the process will end. SetDesign changes it; children inherit it. It
// has no effect once the process is exiting.
func (p *Process) Design() *exit.Design {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.design
}

func (p *Process) SetDesign(d *exit.Design) {
	p.mu.Lock()
	if p.State() == Live {
		p.design = d
	}
	p.mu.Unlock()
}

// Layout returns the layout that the next exec uses. Children inherit it.
func (p *Process) Layout() arch.Layout {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.layout
}

// SetLayout sets the layout that the next exec uses.
func (p *Process) SetLayout(l arch.Layout) {
	p.mu.Lock()
	p.layout = l
	p.mu.Unlock()
}

// Status returns how the process ended. It has a meaning from Dead on.
func (p *Process) Status() Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.status
}

// Processes returns every process that is not Gone, oldest first.
func (k *Kernel) Processes() []*Process {
	k.treeMu.Lock()
	defer k.treeMu.Unlock()
	var out []*Process
	steps := 0
	for p := k.all.head; p != nil; p = p.links[linkAll].next {
		k.glance(&steps)
		out = append(out, p)
	}
	return out
}

// actions returns the table of signal actions, or nil from Dead on.
func (p *Process) actions() *sigActions {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.acts
}
