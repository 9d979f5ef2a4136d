package proc

import (
	"syscall"

	"grim/mm/charge"
	"grim/mm/vm"
)

// Unlimited is RLIM_INFINITY.
const Unlimited = ^uint64(0)

// NumLimits is Linux's RLIM_NLIMITS.
const NumLimits = 16

// Rlimit is a resource limit (getrlimit(2)).
type Rlimit struct{ Cur, Max uint64 }

// Limits are all limits of a process, indexed by RLIMIT_ number. They are inherited. The
// limits of memory and files are kept here and applied by other packages.
type Limits [NumLimits]Rlimit

// Limits that package syscall does not have.
const (
	rlimitMemlock  = 8
	rlimitMsgqueue = 12
	rlimitNice     = 13
	rlimitRTPrio   = 14
)

// DefaultLimits returns the limits of a process for which Spawn gets none, without those
// that depend on the machine.
func DefaultLimits() Limits {
	var l Limits
	for i := range l {
		l[i] = Rlimit{Unlimited, Unlimited}
	}
	l[syscall.RLIMIT_STACK] = Rlimit{8 << 20, Unlimited}
	l[syscall.RLIMIT_CORE] = Rlimit{0, Unlimited}
	l[syscall.RLIMIT_NOFILE] = Rlimit{1024, 4096}
	l[rlimitMsgqueue] = Rlimit{819200, 819200}
	l[rlimitNice], l[rlimitRTPrio] = Rlimit{}, Rlimit{}
	l[rlimitMemlock] = Rlimit{8 << 20, 8 << 20} // Linux's since 5.16
	return l
}

// defaultLimits returns DefaultLimits with those that depend on the machine. As on Linux, one
// user may have half as many threads as there can be in all, and as many queued signals.
// There can be as many threads as memory allows, or as there are numbers: on a machine with
// much memory, a user could otherwise take all numbers, so that no other user could fork.
func (k *Kernel) defaultLimits() Limits {
	l := DefaultLimits()
	all := min(uint64(k.charges.Limit(charge.Heap)/threadCost), uint64(k.cfg.PIDMax))
	threads := max(all/2, 16)
	l[rlimitNPROC] = Rlimit{threads, threads}
	l[rlimitSigpending] = Rlimit{threads, threads}
	return l
}

// Limit returns one limit. EINVAL for a number that does not exist.
func (p *Process) Limit(which int) (Rlimit, error) {
	if which < 0 || which >= NumLimits {
		return Rlimit{}, syscall.EINVAL
	}
	p.mu.Lock()
	l := p.limits[which]
	p.mu.Unlock()
	return l, nil
}

// MemoryLimits returns l with p's limits of memory, as they are at one moment.
func (p *Process) MemoryLimits(l vm.Limits) vm.Limits {
	p.mu.Lock()
	l.AS, l.Data = p.limits[syscall.RLIMIT_AS].Cur, p.limits[syscall.RLIMIT_DATA].Cur
	l.Stack, l.Memlock = p.limits[syscall.RLIMIT_STACK].Cur, p.limits[rlimitMemlock].Cur
	p.mu.Unlock()
	return l
}

// SetLimit sets one limit. EINVAL for a number that does not exist, or if Cur is above Max.
// EPERM to raise Max without being privileged.
func (p *Process) SetLimit(which int, l Rlimit, privileged bool) error {
	if which < 0 || which >= NumLimits || l.Cur > l.Max {
		return syscall.EINVAL
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if l.Max > p.limits[which].Max && !privileged {
		return syscall.EPERM
	}
	p.limits[which] = l
	if which == syscall.RLIMIT_CPU && p.cpuLimited() {
		p.xcpuNext = 0
		p.watchCPU()
	}
	return nil
}
