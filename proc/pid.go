package proc

import (
	"math/bits"
	"sync"
	"syscall"
)

const (
	pidChunkShift = 9
	pidChunk      = 1 << pidChunkShift
	// maxPIDs is the largest value for Config.PIDMax: Linux's PID_MAX_LIMIT.
	maxPIDs = 1 << 22
	// firstReusedPID is where numbers start again after the highest: low numbers are left
	// to what was started first. Linux: RESERVED_PIDS.
	firstReusedPID = 300
)

// pidEntry is what a number stands for. The number is in use while uses > 0.
type pidEntry struct {
	// uses counts the process until it is Gone, a thread that is not its process's leader
	// until it is dead, and a group and a session until they are empty.
	uses  int8
	p     *Process
	t     *Thread
	group *Group
}

// pidTable hands out the numbers of processes and threads, and finds both by number. A
// number that still refers to a process, thread, group or session is never handed out
// again.
type pidTable struct {
	mu     sync.Mutex
	max    int
	next   int // where the search for a free number starts
	count  int
	busy   []uint64 // one bit for each number
	chunks []*[pidChunk]pidEntry
}

func (pt *pidTable) init(limit int) {
	pt.max = limit
	pt.next = 2 // 1 is init's
	pt.busy = make([]uint64, (limit+63)/64)
	pt.busy[0] = 1 // number 0 means "the caller" in every system call
	pt.chunks = make([]*[pidChunk]pidEntry, (limit+pidChunk-1)>>pidChunkShift)
}

// entry returns n's entry. Preconditions: pt.mu held, n was allocated before.
func (pt *pidTable) entry(n int) *pidEntry {
	return &pt.chunks[n>>pidChunkShift][n&(pidChunk-1)]
}

// find is entry for any n. It returns nil if n cannot be in use.
func (pt *pidTable) find(n int) *pidEntry {
	if n <= 0 || n >= pt.max || pt.chunks[n>>pidChunkShift] == nil {
		return nil
	}
	return pt.entry(n)
}

// alloc takes a free number, or number 1 for init. The number has not been used for as long
// as possible. Nothing can be found by it yet. EAGAIN if there is none, EEXIST if init has
// been made before.
func (pt *pidTable) alloc(init bool) (int, error) {
	pt.mu.Lock()
	n, err := pt.allocLocked(init)
	pt.mu.Unlock()
	return n, err
}

func (pt *pidTable) allocLocked(init bool) (int, error) {
	if init {
		if pt.chunks[0] != nil && pt.entry(1).uses > 0 {
			return 0, syscall.EEXIST
		}
		pt.take(1)
		return 1, nil
	}
	n := pt.search(pt.next, pt.max)
	if n < 0 {
		if n = pt.search(min(firstReusedPID, pt.max/2), pt.max); n < 0 {
			if n = pt.search(2, pt.max); n < 0 {
				return 0, syscall.EAGAIN
			}
		}
	}
	pt.take(n)
	pt.next = n + 1
	return n, nil
}

// take marks n as in use. Preconditions: pt.mu held, n is free.
func (pt *pidTable) take(n int) {
	pt.busy[n/64] |= 1 << (n % 64)
	pt.count++
	c := &pt.chunks[n>>pidChunkShift]
	if *c == nil {
		*c = new([pidChunk]pidEntry)
	}
	pt.entry(n).uses = 1
}

// search returns the lowest free number in [from, to), or -1 if there is none. It looks at
// a word of the bitmap at a time.
func (pt *pidTable) search(from, to int) int {
	for n := from; n < to; {
		if free := ^pt.busy[n/64] >> (n % 64); free != 0 {
			if n += bits.TrailingZeros64(free); n < to {
				return n
			}
			return -1
		}
		n = n/64*64 + 64
	}
	return -1
}

// last returns the number that was handed out last.
func (pt *pidTable) last() int {
	pt.mu.Lock()
	defer pt.mu.Unlock()
	return pt.next - 1
}

// SetLastPID makes n the number that was handed out last (/proc/sys/kernel/ns_last_pid). It
// returns false if n is out of range.
func (k *Kernel) SetLastPID(n int) bool {
	if n < 0 || n >= k.pids.max {
		return false
	}
	k.pids.mu.Lock()
	k.pids.next = max(n+1, 2)
	k.pids.mu.Unlock()
	return true
}

// setProcess publishes a process, with its first thread, under a number; setThread
// publishes a thread. nil hides it.
func (pt *pidTable) setProcess(n int, p *Process, t *Thread) {
	pt.mu.Lock()
	e := pt.entry(n)
	e.p, e.t = p, t
	pt.mu.Unlock()
}

func (pt *pidTable) setThread(n int, t *Thread) {
	pt.mu.Lock()
	pt.entry(n).t = t
	pt.mu.Unlock()
}

// use adds a use of a number by a group or a session. release drops a use; the last one
// frees the number.
func (pt *pidTable) use(n int) {
	pt.mu.Lock()
	pt.entry(n).uses++
	pt.mu.Unlock()
}

func (pt *pidTable) release(n int) {
	pt.mu.Lock()
	defer pt.mu.Unlock()
	pt.releaseLocked(n)
}

func (pt *pidTable) releaseLocked(n int) {
	e := pt.entry(n)
	if e.uses--; e.uses > 0 {
		return
	}
	if e.uses < 0 || e.p != nil || e.t != nil || e.group != nil {
		panic("proc: pidTable.release: a number that is free already, or still means something")
	}
	pt.busy[n/64] &^= 1 << (n % 64)
	pt.count--
}

// releaseProcess hides a process and drops its use of the number.
func (pt *pidTable) releaseProcess(n int) {
	pt.mu.Lock()
	pt.entry(n).p = nil
	pt.releaseLocked(n)
	pt.mu.Unlock()
}

// releaseThread hides a dead thread and, if own is true, drops its use of the number.
func (pt *pidTable) releaseThread(n int, own bool) {
	pt.mu.Lock()
	pt.entry(n).t = nil
	if own {
		pt.releaseLocked(n)
	}
	pt.mu.Unlock()
}

func (pt *pidTable) process(n int) *Process {
	pt.mu.Lock()
	var p *Process
	if e := pt.find(n); e != nil {
		p = e.p
	}
	pt.mu.Unlock()
	return p
}

// NextPID returns the smallest process number, zombies included, that is greater than
// after, or 0 if there is none.
func (k *Kernel) NextPID(after int) int {
	pt := &k.pids
	pt.mu.Lock()
	defer pt.mu.Unlock()
	for n := after + 1; n < pt.max; n++ {
		if w := pt.busy[n/64] >> (n % 64); w == 0 {
			n |= 63 // there is none up to the next word
		} else if e := pt.find(n); e != nil && e.p != nil {
			return n
		}
	}
	return 0
}

func (pt *pidTable) thread(n int) *Thread {
	pt.mu.Lock()
	defer pt.mu.Unlock()
	if e := pt.find(n); e != nil {
		return e.t
	}
	return nil
}

func (pt *pidTable) group(n int) *Group {
	pt.mu.Lock()
	defer pt.mu.Unlock()
	if e := pt.find(n); e != nil {
		return e.group
	}
	return nil
}

func (pt *pidTable) setGroup(n int, g *Group) {
	pt.mu.Lock()
	pt.entry(n).group = g
	pt.mu.Unlock()
}

func (pt *pidTable) used() int {
	pt.mu.Lock()
	defer pt.mu.Unlock()
	return pt.count
}

// Process returns the process numbered pid, zombies included, or nil if there is none.
func (k *Kernel) Process(pid int) *Process { return k.pids.process(pid) }

// Holder returns the process with a thread numbered tid, or the process with that number,
// zombies included, or nil if there is none.
func (k *Kernel) Holder(tid int) *Process {
	if p := k.pids.process(tid); p != nil {
		return p
	}
	if t := k.pids.thread(tid); t != nil {
		return t.p
	}
	return nil
}

// Thread returns the live thread numbered tid, or nil if there is none.
func (k *Kernel) Thread(tid int) *Thread { return k.pids.thread(tid) }
