package proc

import (
	"math"
	"syscall"

	"grim/arch"
	"grim/mm/charge"
	"grim/mm/vm"
	"grim/proc/exit"
)

// SpawnArgs describe a process that the kernel starts itself.
type SpawnArgs struct {
	Name   string
	VM     *vm.VMSpace // Spawn takes over the caller's reference, unless it fails; Cred's user pays for it
	PC     arch.VA
	SP     arch.VA
	Files  Files        // Spawn takes over the caller's use, unless it fails; nil: none
	Init   bool         // process 1: adopts orphans
	Cred   *Cred        // nil: the superuser
	Limits *Limits      // nil: DefaultLimits
	Design *exit.Design // nil: the kernel's
	// Setup is called with the thread before it runs, with its registers set. It may be
	// nil.
	Setup func(t *Thread)
}

// Spawn starts a process that is a child of the kernel, in a session of its own. In the end
// Wait must be called for it. ENOMEM; EAGAIN: no number is free; EEXIST: there is a process
// 1.
func (k *Kernel) Spawn(a SpawnArgs) (*Process, error) {
	pid, err := k.pids.alloc(a.Init)
	if err != nil {
		return nil, err
	}
	if a.Cred == nil {
		a.Cred = root
	}
	p, err := k.newProcess(pid, a.Name, a.Cred, nil, math.MaxUint64)
	if err != nil {
		return nil, err
	}
	t, err := newThread(p)
	if err != nil {
		k.unmake(p)
		return nil, err
	}
	p.ofKernel = true
	a.VM.PayFor(p.account.User())
	if a.Files != nil {
		a.Files.PayFor(p.account.User())
	}
	p.exitSignal = int(syscall.SIGCHLD)
	p.space = newSpace(a.VM)
	p.files = a.Files
	p.acts = newSigActions()
	p.limits = k.defaultLimits()
	if a.Limits != nil {
		p.limits = *a.Limits
	}
	p.space.setDomain(p.cred, pid, false)
	p.design, p.layout = k.cfg.Design, a.VM.Layout()
	if a.Design != nil {
		p.design = a.Design
	}
	t.useSpace(p.space)
	t.files, t.name, t.cred = p.files, p.name, p.cred
	t.cred.Groups.Hold()
	t.tid.Store(int32(pid))
	k.m.InitUser(t.U, a.PC, a.SP)
	if a.Setup != nil {
		a.Setup(t)
	}
	p.linkThread(t)

	k.treeMu.Lock()
	k.join(p, k.newGroup(pid, nil))
	if a.Init {
		k.init = p
	}
	k.publish(p, t)
	k.treeMu.Unlock()
	k.start(t)
	return p, nil
}

// newProcess makes the object. The user of cred pays for it, including its first thread.
// Nothing can find it yet. payer is that user, as far as the caller knows, or nil: looking
// it up takes a lock. limit is the limit of threads. On error the number is free again.
// EAGAIN.
func (k *Kernel) newProcess(pid int, name string, cred *Cred, payer *charge.User, limit uint64) (*Process, error) {
	p := &Process{k: k, pid: pid, start: k.now(), name: name[:min(len(name), 15)], cred: cred}
	var err error
	if payer != nil && payer.UID() == cred.UID {
		err = p.openAccount(payer, limit)
	} else {
		u := k.charges.User(cred.UID)
		err = p.openAccount(u, limit)
		u.Release()
	}
	if err != nil {
		k.pids.release(pid)
		return nil, err
	}
	p.cred.Groups.Hold()
	k.counts.procs.Add(1)
	return p, nil
}

// unmake undoes newProcess and the allocation of the number. The process has no thread any
// more.
func (k *Kernel) unmake(p *Process) {
	k.counts.procs.Add(-1)
	p.cred.Groups.Drop()
	p.endAccount()
	k.pids.release(p.pid)
}

// publish makes a new process visible with its first thread. Preconditions: k.treeMu held;
// parent and group are set.
func (k *Kernel) publish(p *Process, t *Thread) {
	k.linkChild(p)
	k.all.push(linkAll, p)
	k.pids.setProcess(p.pid, p, t)
	k.counts.forks.Add(1)
}
