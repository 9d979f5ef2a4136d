package proc

import (
	"math"
	"syscall"
	"unsafe"

	"grim/mm/charge"
	"grim/proc/cred"
)

// What a process and a thread are charged, in bytes of kernel heap.
const (
	// processCost is of a process until it is gone: the process itself, its
	// number, its group and session.
	processCost = int64(unsafe.Sizeof(Process{}) + unsafe.Sizeof(pidEntry{}) + unsafe.Sizeof(Group{}))
	// threadCost is of a thread until the reaper has freed it: the thread, its
	// worker, its number, a Files, as a thread may have one of its own, and the stack
	// of the goroutine that runs it, which starts at 8 KB (package runtime, osinit)
	// and may grow. The gate of package charge sees to what has grown.
	threadCost = int64(unsafe.Sizeof(Thread{})+unsafe.Sizeof(worker{})+unsafe.Sizeof(pidEntry{})) + filesCost + stackCost
	filesCost  = 1 << 10     // what Files.Fork allocates, large descriptor tables excepted
	stackCost  = 8<<10 + 512 // with the goroutine's own record
)

// Account is what the process has been charged, its address space excepted.
func (p *Process) Account() *charge.Account { return &p.account }

// openAccount pays for a new process and for its first thread; limit is what its
// maker's threadLimit was. EAGAIN, as Linux has it for too many processes.
func (p *Process) openAccount(u *charge.User, limit uint64) error {
	if !p.account.Open(u, charge.Process, processCost, charge.Thread, threadCost, limit) {
		return syscall.EAGAIN
	}
	return nil
}

// endAccount gives back what is left of that once all threads are gone: the process.
func (p *Process) endAccount() { p.account.Close(charge.Process, processCost) }

// chargeThread pays for another thread of t's process. EAGAIN.
func (t *Thread) chargeThread() error {
	if !t.p.account.TakeOne(charge.Thread, threadCost, t.threadLimit()) {
		return syscall.EAGAIN
	}
	return nil
}

// endThread gives back what a thread has been charged.
func (p *Process) endThread() { p.account.GiveOne(charge.Thread, threadCost) }

// threadLimit is how many threads the user of t may have: RLIMIT_NPROC, which does not
// bind the superuser. For the thread itself only.
func (t *Thread) threadLimit() uint64 {
	if c := t.cred; c.UID == 0 || c.Has(cred.SysResource) || c.Has(cred.SysAdmin) {
		return math.MaxUint64
	}
	p := t.p
	p.mu.Lock()
	limit := p.limits[rlimitNPROC].Cur
	p.mu.Unlock()
	return limit
}

// rlimitNPROC is RLIMIT_NPROC, which package syscall lacks.
const rlimitNPROC = 6

// payFor makes the process's present user pay for it, after a change of credentials of
// its leader. Preconditions: the caller is one of its threads.
func (p *Process) payFor(uid uint32) {
	if p.account.User().UID() == uid {
		return
	}
	u := p.k.charges.User(uid)
	p.account.Move(u)
	if vs := p.VM(); vs != nil {
		vs.PayFor(u)
		vs.Release()
	}
	if files := p.Files(); files != nil {
		files.PayFor(u)
	}
	u.Release()
}

// payForFiles makes the thread's present user pay for the descriptors that are the
// thread's own. For the thread itself only.
func (t *Thread) payForFiles() {
	if t.ownsFiles && t.files != nil {
		u := t.user()
		t.files.PayFor(u)
		u.Release()
	}
}

// user is who pays for what is the thread's alone, with a reference for the caller. For
// the thread itself only.
func (t *Thread) user() *charge.User { return t.p.k.charges.User(t.cred.UID) }
