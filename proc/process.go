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

// Files is what a process holds beside memory: its descriptors, and whatever
// else the system-call layer ties to a process (working directory, umask).
// Threads share it, but for those that clone(2) made without CLONE_FILES or
// CLONE_FS. Methods may block, but not on another process's Files.
type Files interface {
	// Fork makes the child's, which owner pays for. Flags CloneFiles and CloneFS
	// ask for sharing instead of a copy. ENOMEM.
	Fork(flags CloneFlags, owner *charge.User) (Files, error)
	// PayFor makes another user pay for what they take.
	PayFor(owner *charge.User)
	// CloseAll ends this process's use, at exit. User memory is still there.
	CloseAll()
	// Shared reports whether another process, or a thread that has its own, uses
	// the same descriptors. Only a user can make it so.
	Shared() bool
	// CloseOnExec closes what is marked. The table is not shared.
	CloseOnExec()
}

// Process is a user process: identity, threads, vmspace, files, signals.
//
// [I] never changes, [a] atomic, [k] Kernel.treeMu, [m] Process.mu,
// [n] Process.noteMu.
type Process struct {
	k   *Kernel // [I]
	pid int     // [I]
	// account is of the kernel memory that the process takes, its address space
	// excepted, which has its own.
	account charge.Account
	start   int64 // [I] Kernel.Now at creation

	// state is changed by advance alone. An unlocked reader may only conclude
	// that the process is at least that far.
	state atomic.Uint32

	parent     *Process              // [k] nil: the kernel, or nobody
	maker      *Thread               // [k] the parent's thread whose child it is (__WNOTHREAD); nil: none
	ofKernel   bool                  // [k] Spawn made it and Process.Wait will collect it
	onZombies  bool                  // [k] on its parent's list of zombies
	children   procTree              // [k]
	links      [numLinks]procLink    // [k]
	group      atomic.Pointer[Group] // [a] written under treeMu
	exitSignal int                   // [k] sent to the parent at the end; 0: none
	jobEvent   jobEvent              // [k] not yet waited for: stopped or continued
	execed     bool                  // [k] setpgid(2) by the parent is too late
	adopts     bool                  // [k] PR_SET_CHILD_SUBREAPER
	adopted    bool                  // [k] an ancestor adopts, or did when this process was made

	mu         sync.Mutex
	threads    *Thread                  // [m] list head
	live       int                      // [m] threads on the list, those in exit1 included
	running    int                      // [m] of them, those in state Live
	status     Status                   // [m] how it ends; final once Exiting
	execer     *Thread                  // [m] waits in Exec to be the only thread
	space      *space                   // [m] nil from uvmspace_free on
	files      Files                    // [m] of most threads; see Thread.files
	sharers    int                      // [m] if split: threads that use files
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
	usage      Usage                    // [m] of dead threads
	childUse   Usage                    // [m] of children waited for, and theirs
	timer      *realTimer               // [m] ITIMER_REAL
	timers     map[int]*Timer           // [m] POSIX timers
	atExit     map[string]func()        // [m] AtExit
	nextTimer  int                      // [m]
	cpuTimers  [2]cpuTimer              // [m]
	cpuWatch   atomic.Bool              // [a] there may be timers or limits of CPU time
	xcpuNext   uint64                   // [m] the second at which SIGXCPU comes next
	vfork      *vforkWait               // [m] a parent that sleeps until we exec or exit

	// How it ends; see package exit.
	design   *exit.Design // [m] fixed once Exiting
	unburied atomic.Int32 // [a] dead threads that are still to be buried; see bury
	kept     *Thread      // [m] dead threads that FreeThreads will free (exit.Kept)
	unpurged bool         // set by the last thread: nobody has purged the space yet, which is nobody else's
	debt     debt         // [k]

	noteMu sync.Mutex
	notes  *Knote       // [n]
	noted  atomic.Int32 // how many there are; changed with noteMu held
}

// PID is the process's number.
func (p *Process) PID() int { return p.pid }

// Kernel is the kernel it belongs to.
func (p *Process) Kernel() *Kernel { return p.k }

// State may be outdated on return, in one direction only.
func (p *Process) State() State { return State(p.state.Load()) }

// Exited reports whether wait(2) would find it ended: Zombie or Gone.
func (p *Process) Exited() bool { return p.State() >= Zombie }

// StartTime is Kernel.Now at its creation.
func (p *Process) StartTime() int64 { return p.start }

// PPID is the parent's number; 0 for a child of the kernel.
func (p *Process) PPID() int {
	p.k.treeMu.Lock()
	defer p.k.treeMu.Unlock()
	if p.parent == nil {
		return 0
	}
	return p.parent.pid
}

// Adopts and SetAdopts are PR_GET_CHILD_SUBREAPER and PR_SET_CHILD_SUBREAPER: whether
// the process becomes the parent of its descendants' orphans, as init otherwise.
// Children do not inherit it, but know that there is such an ancestor.
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
	for todo := []*Process{p}; len(todo) > 0; {
		last := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		last.children.each(func(c *Process) bool {
			if !c.adopted { // else its descendants know too
				c.adopted = true
				todo = append(todo, c)
			}
			return true
		})
	}
}

// Name is the command name, at most 15 bytes (PR_GET_NAME, /proc/PID/comm).
func (p *Process) Name() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.name
}

// Dumpable and SetDumpable are PR_GET_DUMPABLE and PR_SET_DUMPABLE. Children inherit
// it, exec makes a process dumpable again, another effective user or group does not.
func (p *Process) Dumpable() bool      { return !p.undumpable.Load() }
func (p *Process) SetDumpable(on bool) { p.undumpable.Store(!on) }

// OOMAdjust and SetOOMAdjust are /proc/PID/oom_score_adj: thousandths of the machine's
// memory that the choice of a victim adds to what the process holds; -1000 spares it.
// Children inherit it.
func (p *Process) OOMAdjust() int     { return int(p.oomAdj.Load()) }
func (p *Process) SetOOMAdjust(n int) { p.oomAdj.Store(int32(n)) }

// SetThreadName is Thread.SetName for the thread numbered tid, by another thread. ESRCH.
func (p *Process) SetThreadName(tid int, s string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for t := p.threads; t != nil; t = t.next {
		if t.TID() == tid {
			t.setNameLocked(s)
			return nil
		}
	}
	return syscall.ESRCH
}

// ThreadName is the name of the thread numbered tid; empty if there is none.
func (p *Process) ThreadName(tid int) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	for t := p.threads; t != nil; t = t.next {
		if t.TID() == tid {
			return t.name
		}
	}
	return ""
}

// NoNewPrivs is PR_GET_NO_NEW_PRIVS of the thread numbered tid.
func (p *Process) NoNewPrivs(tid int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for t := p.threads; t != nil; t = t.next {
		if t.TID() == tid {
			return t.noNew
		}
	}
	return false
}

// Children are the numbers of the children that the thread numbered tid made.
func (p *Process) Children(tid int) (pids []int) {
	p.k.treeMu.Lock()
	defer p.k.treeMu.Unlock()
	p.children.each(func(c *Process) bool {
		if c.maker != nil && c.maker.TID() == tid {
			pids = append(pids, c.pid)
		}
		return true
	})
	return pids
}

// Personality is personality(2)'s word. Fork and exec inherit it.
func (p *Process) Personality() uint32 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.persona
}

// SetPersonality replaces it.
func (p *Process) SetPersonality(v uint32) {
	p.mu.Lock()
	p.persona = v
	p.mu.Unlock()
}

// VM is the vmspace with a reference for the caller, or nil when the process
// has none left. Release it soon: the root is held meanwhile.
func (p *Process) VM() *vm.VMSpace {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.space == nil {
		return nil
	}
	p.space.vs.Ref()
	return p.space.vs
}

// Files are the descriptors; nil once the process has closed them.
func (p *Process) Files() Files {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.files
}

// TIDs are the numbers of the threads that are not dead, the newest first.
func (p *Process) TIDs() []int {
	p.mu.Lock()
	defer p.mu.Unlock()
	ids := make([]int, 0, p.live)
	for t := p.threads; t != nil; t = t.next {
		ids = append(ids, t.TID())
	}
	return ids
}

// StateLetter is the state of the thread numbered tid as proc_pid_stat(5) has it; with
// the process's own number, that of its leader, which is Z if it has ended before
// the other threads.
func (p *Process) StateLetter(tid int) byte {
	switch p.State() {
	case Zombie:
		return 'Z'
	case Gone:
		return 'X'
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for t := p.threads; t != nil; t = t.next {
		if t.TID() != tid {
			continue
		}
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

// Design is how the process will end; SetDesign changes it and is inherited. Without
// effect once the process is exiting.
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

// Layout is what the next exec uses; inherited.
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

// Status is how the process ended; meaningful from Dead on.
func (p *Process) Status() Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.status
}

// Processes lists every process that is not Gone, oldest first.
func (k *Kernel) Processes() []*Process {
	k.treeMu.Lock()
	defer k.treeMu.Unlock()
	var out []*Process
	for p := k.all.head; p != nil; p = p.links[linkAll].next {
		out = append(out, p)
	}
	return out
}

// actions is the table of signal actions; nil from Dead on.
func (p *Process) actions() *sigActions {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.acts
}
