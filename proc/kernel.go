package proc

import (
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"grim/arch"
	"grim/mm/charge"
	"grim/mm/phys"
	"grim/mm/pmap"
	"grim/mm/vm"
	"grim/proc/exit"
)

// DefaultPIDMax is the highest process number plus 1, unless Config gives another: Linux's
// default of /proc/sys/kernel/pid_max.
const DefaultPIDMax = 32768

// DefaultSlice is how long a thread may stay in user mode while others are ready.
const DefaultSlice = 5 * time.Millisecond

// Config is the argument of New. Machine, VM, Pmaps, Memory and Syscalls are required.
type Config struct {
	Machine arch.Machine
	Memory  *phys.Memory
	Pmaps   *pmap.System
	VM      *vm.System

	Syscalls Syscalls
	// Signals builds signal frames. If it is nil, a caught signal kills.
	Signals SignalABI

	Design *exit.Design // of processes for which Spawn gets no other; nil: the first of exit.Designs
	Layout arch.Layout  // of processes for which there is no other
	PIDMax int          // 0: DefaultPIDMax; at most maxPIDs
	Slice  time.Duration

	// Clock is the monotonic clock in nanoseconds that SetTimer and all deadlines use. nil:
	// the Go runtime's, from New on.
	Clock func() int64
	// Timers returns two words that hold when the runtime's earliest timers on a CPU are
	// due, 0 for none, so that a thread in user mode is interrupted for them. nil: there
	// are none.
	Timers func(cpu int) *[2]int64
	// Waits returns what is ready on this CPU. nil: nothing.
	Waits func() Waiting
	// TimerWords is called with the words in which this package keeps the time to which a
	// CPU's timer is set. If a goroutine becomes ready on the CPU, math.MaxInt64 must be
	// stored in the first, and if a timer of the runtime is started there, in both. nil: that
	// never happens.
	TimerWords func(cpu int, timer *[2]int64)
	// Yield lets the ready goroutines run; nil: runtime.Gosched.
	Yield func()

	// Trace is called for every exit step when it happens, with locks of this package held,
	// so it must not call back. nil: events only go into the ring.
	Trace func(e *Event)
	// Log prints a line that a person should see, such as which process was killed because
	// there was no memory. It must not block or call back. It may be nil.
	Log func(line string)
	// SessionEnd is called when the leader of a session ends, in its context, with the
	// session's number and no lock held. It may be nil.
	SessionEnd func(sid int)
	// InitExited is called when process 1 has become a zombie, with its wait status. It may
	// stop the machine. It may be nil.
	InitExited func(status Status)
}

// Syscalls is the system-call layer.
type Syscalls interface {
	// Syscall handles the system call in t's registers and stores the result there. It runs
	// in t's goroutine and may block only in Thread.Sleep.
	Syscall(t *Thread)
}

// Kernel is the process side of one machine.
type Kernel struct {
	cfg   Config
	m     arch.Machine
	abi   *arch.ABI
	mem   *phys.Memory
	slice int64        // nanoseconds
	now   func() int64 // the monotonic clock, nanoseconds: Config.Clock

	syscalls Syscalls

	several bool // [I] there are several CPUs
	cpus    [maxCPUs]cpu

	charges *charge.System // [I]

	log func(line string) // Config.Log

	pids pidTable

	treeMu sync.Mutex
	// Guarded by treeMu:
	oom        oomState
	init       *Process // process 1 while it is live
	all        procList // every process that is not Gone
	parentless procTree // children of the kernel, and orphans while there is no init

	futexes [futexBuckets]futexBucket
	dead    deadQueue
	// starting is how many threads have been started and have not run yet.
	starting atomic.Int32
	apart    atomic.Int32 // address spaces being taken apart after their process's end
	workers  workerPool
	traces   *traceRing                     // [I]
	onTrace  atomic.Pointer[func(e *Event)] // SetTrace
	counts   counters
	stopped  atomic.Int64 // processes that job control has stopped
	pdeaths  atomic.Bool  // a thread has used PR_SET_PDEATHSIG
}

// counters are for statistics and leak checks. All but procs and threads only grow.
type counters struct {
	procs, threads       atomic.Int64 // objects that exist: not Gone, not freed
	forks, exits, reaped atomic.Int64
	oomKills             atomic.Int64
}

// Counts are the numbers of existing kernel objects of this package, for E4, and totals
// since start-up.
type Counts struct {
	Processes, Threads     int64 // now, including dead threads that are not buried yet
	DeadThreads            int   // now on deadproc
	IdleWorkers            int   // goroutines that wait for a thread to run
	PIDs                   int   // numbers in use
	Forks, Exits, Released int64 // since start: processes made, dead, gone
}

// New makes the kernel's process side and starts the reaper.
func New(cfg Config) (*Kernel, error) {
	if cfg.Machine == nil || cfg.VM == nil || cfg.Pmaps == nil || cfg.Memory == nil || cfg.Syscalls == nil {
		return nil, errors.New("proc: New: Config.Machine, Memory, Pmaps, VM and Syscalls are required")
	}
	if cfg.PIDMax == 0 {
		cfg.PIDMax = DefaultPIDMax
	}
	if cfg.PIDMax < 2 || cfg.PIDMax > maxPIDs {
		return nil, errors.New("proc: New: Config.PIDMax out of range")
	}
	if cfg.Design == nil {
		cfg.Design = exit.Designs[0]
	}
	if cfg.Slice == 0 {
		cfg.Slice = DefaultSlice
	}
	k := &Kernel{
		cfg: cfg, m: cfg.Machine, abi: cfg.Machine.ABI(), mem: cfg.Memory,
		slice: int64(cfg.Slice), now: cfg.Clock, syscalls: cfg.Syscalls, several: cfg.Machine.CPUs() > 1,
		traces: new(traceRing), charges: cfg.VM.Charges(),
	}
	if k.now == nil {
		epoch := time.Now()
		k.now = func() int64 { return int64(time.Since(epoch)) }
	}
	for i := range cfg.Machine.CPUs() {
		c := &k.cpus[i]
		c.skew = int64(i) * k.slice / maxCPUs
		if c.timerUnknown(); cfg.Timers != nil {
			c.timers = cfg.Timers(i)
		} else {
			c.timers = new([2]int64)
		}
		if cfg.TimerWords != nil {
			// Safety: armed and set, one behind the other, are two words aligned for atomic
			// access.
			cfg.TimerWords(i, (*[2]int64)(unsafe.Pointer(&c.armed)))
		}
	}
	if k.cfg.Waits == nil {
		k.cfg.Waits = func() Waiting { return 0 }
	}
	if k.cfg.Yield == nil {
		k.cfg.Yield = runtime.Gosched
	}
	if k.log = cfg.Log; k.log == nil {
		k.log = func(string) {}
	}
	k.SetTrace(cfg.Trace)
	k.pids.init(cfg.PIDMax)
	k.dead.init()
	cfg.VM.SetNoMemory(k.spaceMemory)
	go k.reaper()
	return k, nil
}

// Close stops the reaper once deadproc is empty. It is for tests: a machine's reaper and
// idle workers run for ever. No thread may be live.
func (k *Kernel) Close() {
	k.dead.close()
	k.workers.close()
}

// PIDMax returns the highest number of a process or thread, plus one.
func (k *Kernel) PIDMax() int { return k.cfg.PIDMax }

// Now returns the time of the clock that all deadlines of this package use, in nanoseconds.
func (k *Kernel) Now() int64 { return k.now() }

// DefaultLayout returns Config.Layout, for callers that make the vmspace for Spawn.
func (k *Kernel) DefaultLayout() arch.Layout { return k.cfg.Layout }

// Machine returns the machine that the kernel runs on.
func (k *Kernel) Machine() arch.Machine { return k.m }

// Counts returns the number of kernel objects.
func (k *Kernel) Counts() Counts {
	return Counts{
		Processes: k.counts.procs.Load(), Threads: k.counts.threads.Load(),
		DeadThreads: k.dead.len(), IdleWorkers: k.workers.len(), PIDs: k.pids.used(),
		Forks: k.counts.forks.Load(), Exits: k.counts.exits.Load(), Released: k.counts.reaped.Load(),
	}
}

// Totals are what the machine's processes have used since start-up, and how many there are
// (/proc/stat).
type Totals struct {
	UserTime, SystemTime       int64 // nanoseconds
	Switches, Faults, Forks    int64
	Threads, Running, OOMKills int64
	LastPID                    int
	Busy                       []int64 // CPU time of each CPU; none if there is one CPU
}

// Totals adds up the live processes. The accounts of their parents contain what processes
// have used that are gone.
func (k *Kernel) Totals() (t Totals) {
	t.Forks, t.Threads, t.OOMKills = k.counts.forks.Load(), k.counts.threads.Load(), k.counts.oomKills.Load()
	t.LastPID = k.pids.last()
	if k.several {
		for i := range k.m.CPUs() {
			t.Busy = append(t.Busy, k.cpus[i].busy.Load())
		}
	}
	for pid := k.NextPID(0); pid != 0; pid = k.NextPID(pid) {
		p := k.Process(pid)
		if p == nil {
			continue
		}
		p.mu.Lock()
		u := p.usage
		u.add(&p.childUse)
		p.eachLocked(func(t *Thread) bool {
			t.usage.addTo(&u)
			return true
		})
		running := p.threads != nil && p.threads.waits.Load() == 0
		p.mu.Unlock()
		t.UserTime += u.UserTime
		t.SystemTime += u.SystemTime
		t.Switches += u.Voluntary + u.Involuntary
		t.Faults += u.Faults
		if running {
			t.Running++
		}
		k.cfg.Yield()
	}
	return t
}
