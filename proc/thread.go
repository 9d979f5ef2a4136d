package proc

import (
	"sync/atomic"
	"syscall"
	"time"

	"grim/arch"
	"grim/mm/phys"
	"grim/mm/pmap"
	"grim/mm/vm"
)

// The tasks of a thread before it may enter user mode again, as bits of Thread.todo. The
// loop checks them once in each turn; sleeps check them before and after every wake-up. All
// but todoRestart, todoMask and todoRseq are set under the process's mu, so that no bit is
// lost when they are cleared under it.
const (
	todoExit    = 1 << iota // end this thread: exit1
	todoSignal              // a signal may be deliverable
	todoStop                // job control: the process is stopped
	todoRestart             // a sleep was cut short: its system call may have to start again
	todoMask                // the signal mask from before sigsuspend(2) must be restored
	todoRseq                // others may have run: see rseq.go
	todoSched               // sched has been changed: see sched.go

	// todoWake are the bits that end an interruptible sleep.
	todoWake = todoExit | todoSignal | todoStop
)

// Thread is a user thread.
//
// [I] never changes, [a] atomic, [m] the process's mu, [o] its own goroutine, [om] written
// by its own goroutine under mu: that goroutine may read without mu, others with it.
type Thread struct {
	p   *Process     // [I]
	tid atomic.Int32 // [a] changes in Exec when the leader is replaced

	// U holds the registers. [o], then bury's.
	U     *arch.UArea
	frame phys.Frame // frame of U

	todo   atomic.Uint32
	parker parker                   // where it sleeps; a thread that is woken checks its condition again
	note   atomic.Pointer[notifier] // the same as a channel; made when first needed
	timer  *time.Timer              // [o] for sleeps with a deadline; made when first needed

	// waits says how the thread waits, as a letter of proc_pid_stat(5); 0 if it does not
	// wait.
	waits atomic.Uint32

	space    *space     // [o] the process's space
	files    Files      // [o] the process's files or, with ownsFiles, the thread's own
	pm       *pmap.Pmap // [o] the page tables of space
	sliceEnd int64      // [o] Kernel.Now at which the thread must yield
	slice    int64      // [o] how long the thread may run while others wait, in nanoseconds
	turn     int64      // [o] Kernel.Now when it last got the CPU, plus what others have used since
	share    int64      // [o] how long it has the CPU at least, from turn on: see the constant
	computes bool       // [o] it has used up a slice since it last slept
	realTime bool       // [o] SCHED_FIFO or SCHED_RR

	// onCPU is the number of the CPU that runs user code of the thread, plus one; 0 if none
	// does. It is used with several CPUs only: see cpu.go.
	onCPU atomic.Int32

	ownsFiles bool // [o] see cloneThread

	state      State   // [m]
	next, prev *Thread // [m] Process.threads
	last       bool    // [o], then bury's: it has taken the process apart
	kept       bool    // [m] to be freed with its process (exit.Kept)
	nextDead   *Thread // deadQueue.mu; for kept threads [m]

	usage   threadUsage // [a]
	resumed int64       // [o] Kernel.Now when it last began to use the CPU

	cred  *Cred        // [om] replaced, never changed in place; the leader's are the process's
	name  string       // [m] comm, up to 15 bytes; the leader's is the process's
	noNew bool         // [om] PR_SET_NO_NEW_PRIVS
	kids  atomic.Int32 // number of children whose maker it is; changed with treeMu held
	sched Sched        // [m]
	place bool         // [o] its goroutine is not scheduled in the usual way
	// Timer slack minus the default: now, and when the thread was made.
	slack, bornSlack int64 // [o]

	pdeath syscall.Signal // [m] PR_SET_PDEATHSIG; 0: none

	vfork    *vforkWait // [o] the thread that made this one and sleeps until it ends
	clearTID arch.VA    // [o] set_tid_address(2): zeroed and woken at exit; 0: none
	robust   arch.VA    // [o] head of the robust futex list; 0: none
	exitCode Status     // [o] status of this thread's own exit(2)
	sysRet   uint64     // [o] the register that a system call's result overwrites, for starting the call again
	deadline int64      // [o] of a system call that is cut short and goes on later; see SaveDeadline
	resuming bool       // [o]

	shortages uint64 // [o] see MemoryBack

	mask     Sigset   // [om] blocked signals
	oldMask  Sigset   // [o] the mask that todoMask restores
	waitSet  Sigset   // [m] signals that sigtimedwait(2) waits for
	pending  sigQueue // [m] signals for this thread alone
	altStack AltStack // [o]

	// faultCode and faultAddr are those of the latest trap that became a signal of this
	// thread. [o]
	faultCode uint64
	faultAddr arch.VA

	// The process's space and acts point here if this is its first thread and nothing is
	// shared. So they are allocated together, and a zombie keeps neither.
	ownSpace space
	ownActs  sigActions

	rseq     rseqArea    // [o]
	waitNote Knote       // [o] while in wait(2)
	fork     forking     // [m] while in fork(2)
	futex    futexWaiter // see futex.go
}

// newThread makes a thread of p, not yet visible, with a u-area. The thread has been
// charged; on error (ENOMEM) the charge is given back.
func newThread(p *Process) (*Thread, error) {
	t := &Thread{p: p, slice: p.k.slice}
	t.parker.init()
	t.futex.t = t
	if err := p.k.allocUArea(t); err != nil {
		p.endThread()
		return nil, err
	}
	p.k.counts.threads.Add(1)
	return t, nil
}

// free undoes newThread: it frees the u-area and gives back the thread's charge.
func (t *Thread) free() {
	t.p.k.freeUArea(t)
	t.p.k.counts.threads.Add(-1)
	if t.cred != nil {
		t.cred.Groups.Drop()
	}
	t.p.endThread()
}

// linkThread puts t on p's list. Preconditions: p.mu held.
func (p *Process) linkThread(t *Thread) {
	t.next = p.threads
	if t.next != nil {
		t.next.prev = t
	}
	p.threads = t
	p.live++
	p.running++
}

// unlinkThread takes t off p's list. Preconditions: p.mu held.
func (p *Process) unlinkThread(t *Thread) {
	if t.prev != nil {
		t.prev.next = t.next
	} else {
		p.threads = t.next
	}
	if t.next != nil {
		t.next.prev = t.prev
	}
	t.next, t.prev = nil, nil
	p.live--
}

// useSpace makes s the space that the thread runs in.
func (t *Thread) useSpace(s *space) {
	t.space = s
	t.pm = s.vs.Pmap()
}

// Process returns the thread's process.
func (t *Thread) Process() *Process { return t.p }

// Kernel returns the kernel that the thread belongs to.
func (t *Thread) Kernel() *Kernel { return t.p.k }

// TID returns the thread's number. The leader's number is the process's.
func (t *Thread) TID() int { return int(t.tid.Load()) }

// IDs returns the numbers of process and thread.
func (t *Thread) IDs() (pid, tid int) { return t.p.pid, t.TID() }

// VM returns the vmspace that the thread runs in, without a reference: it is valid until
// the thread execs or exits. Only the thread itself may call it.
func (t *Thread) VM() *vm.VMSpace { return t.space.vs }

// Files returns the files that the thread uses. Only the thread itself may call it.
func (t *Thread) Files() Files { return t.files }

// Name returns the thread's command name, at most 15 bytes (PR_GET_NAME).
func (t *Thread) Name() string {
	t.p.mu.Lock()
	defer t.p.mu.Unlock()
	return t.name
}

// SetName sets the name, cut at 15 bytes (TASK_COMM_LEN - 1). The leader's name is the
// process's.
func (t *Thread) SetName(s string) {
	t.p.mu.Lock()
	t.setNameLocked(s)
	t.p.mu.Unlock()
}

// setNameLocked is SetName. Preconditions: t.p.mu held.
func (t *Thread) setNameLocked(s string) {
	t.name = s[:min(len(s), 15)]
	if t.TID() == t.p.pid {
		t.p.name = t.name
	}
}

// NoNewPrivs and SetNoNewPrivs are PR_GET_NO_NEW_PRIVS and PR_SET_NO_NEW_PRIVS. The setting
// is inherited and never removed. It changes nothing, because no executable gives
// privileges here. Only the thread itself may call them.
func (t *Thread) NoNewPrivs() bool { return t.noNew }
func (t *Thread) SetNoNewPrivs() {
	t.p.mu.Lock()
	t.noNew = true
	t.p.mu.Unlock()
}

// ParentDeath and SetParentDeath are PR_GET_PDEATHSIG and PR_SET_PDEATHSIG: the signal that
// the thread's process gets when its maker ends; 0: none. The maker is the thread that made
// the process, or to which the process was given since. EINVAL if there is no such signal.
// Only the thread itself may call them.
func (t *Thread) ParentDeath() syscall.Signal {
	t.p.mu.Lock()
	defer t.p.mu.Unlock()
	return t.pdeath
}

func (t *Thread) SetParentDeath(s syscall.Signal) error {
	if s < 0 || s > NumSignals {
		return syscall.EINVAL
	}
	if s != 0 {
		t.p.k.pdeaths.Store(true)
	}
	t.p.mu.Lock()
	t.pdeath = s
	t.p.mu.Unlock()
	return nil
}

// LastFault returns the code and the address of the latest trap that became a signal of
// this thread (arch.Trap). Signal frames show them. Only the thread itself may call it.
func (t *Thread) LastFault() (code uint64, addr arch.VA) { return t.faultCode, t.faultAddr }

// SetClearTID is set_tid_address(2).
func (t *Thread) SetClearTID(va arch.VA) { t.clearTID = va }

// SetRobustList is set_robust_list(2). The caller has checked the length.
func (t *Thread) SetRobustList(head arch.VA) { t.robust = head }

// RobustList returns the value of SetRobustList. Only the thread itself may call it.
func (t *Thread) RobustList() arch.VA { return t.robust }
