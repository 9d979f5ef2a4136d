package proc

import (
	"math"
	"syscall"
	"unsafe"

	"grim/mm/charge"
	"grim/proc/cred"
)

// The amounts that processes and threads are charged, in bytes of kernel heap.
const (
	// processCost is charged until the process is Gone. It covers the process, its number,
	// its group and its session.
	processCost = int64(unsafe.Sizeof(Process{}) + unsafe.Sizeof(pidEntry{}) + unsafe.Sizeof(Group{}))
	// threadCost is charged until the thread is freed. It covers the thread, its worker,
	// its number, a Files (as a thread may have its own), and the stack of the goroutine
	// that runs it. The stack starts at 8 KB (package runtime, osinit) and may grow. The
	// gate of package charge accounts for the growth.
	threadCost = int64(unsafe.Sizeof(Thread{})+unsafe.Sizeof(worker{})+unsafe.Sizeof(pidEntry{})) + filesCost + stackCost
	filesCost  = 1 << 10     // what Files.Fork allocates, without large descriptor tables
	stackCost  = 8<<10 + 512 // with the goroutine's own data
	// groupsCost is charged for a list of supplementary groups, besides the groups.
	groupsCost = int64(unsafe.Sizeof(cred.Groups{})) + 64
)

// Account returns the account of what the process has been charged. Its address space is
// charged separately.
func (p *Process) Account() *charge.Account { return &p.account }

// openAccount charges for a new process and its first thread. limit is the threadLimit of
// the thread that makes the process. EAGAIN, which is Linux's error for too many processes.
func (p *Process) openAccount(u *charge.User, limit uint64) error {
	if !p.account.Open(u, charge.Process, processCost, charge.Thread, threadCost, limit) {
		return syscall.EAGAIN
	}
	return nil
}

// endAccount gives back what is charged for the process itself. All threads must be gone.
func (p *Process) endAccount() { p.account.Close(charge.Process, processCost) }

// chargeThread charges for another thread of t's process. EAGAIN.
func (t *Thread) chargeThread() error {
	if !t.p.account.TakeOne(charge.Thread, threadCost, t.threadLimit()) {
		return syscall.EAGAIN
	}
	return nil
}

// endThread gives back what one thread was charged.
func (p *Process) endThread() { p.account.GiveOne(charge.Thread, threadCost) }

// threadLimit returns how many threads the user of t may have: RLIMIT_NPROC, which does not
// bind the superuser. Only the thread itself may call it.
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

// rlimitNPROC is RLIMIT_NPROC, which package syscall does not have.
const rlimitNPROC = 6

// payFor makes the process's present user pay for it. It is called after a change of the
// leader's credentials. Preconditions: the caller is a thread of the process.
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

// payForFiles makes the thread's present user pay for the thread's own descriptors, if it
// has any. Only the thread itself may call it.
func (t *Thread) payForFiles() {
	if t.ownsFiles && t.files != nil {
		u := t.user()
		t.files.PayFor(u)
		u.Release()
	}
}

// user returns the user that pays for what belongs to the thread alone, with a reference
// for the caller. Only the thread itself may call it.
func (t *Thread) user() *charge.User { return t.p.k.charges.User(t.cred.UID) }
