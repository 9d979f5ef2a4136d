package sys

import (
	"syscall"

	"grim/arch"
	"grim/kernel/fs"
	"grim/mm/vm"
	"grim/proc"
	"grim/proc/cred"
)

// procMemory is an open /proc/PID/mem. It refers to the address space that the process had
// at the open, as long as the process has it. It holds no reference, so that an open file
// keeps nothing of an ended process, and none of its pages.
type procMemory struct {
	k   *proc.Kernel
	pid int
	id  uint64 // of the address space, never used again; 0: there was none
}

// memory opens the memory of p for the process of t. EACCES: that process may not access
// it.
func (ps procSource) memory(p *proc.Process, t fs.Task) (fs.ProcMemory, error) {
	vs, may := guarded(t, p)
	if vs == nil {
		return &procMemory{k: ps.s.k, pid: p.PID()}, nil
	}
	defer vs.Release()
	if !may {
		return nil, syscall.EACCES
	}
	return &procMemory{ps.s.k, p.PID(), vs.ID()}, nil
}

// guarded returns the vmspace of p, with a reference, or nil, and whether the process of t
// may look into it. The kernel itself may.
func guarded(t fs.Task, p *proc.Process) (vs *vm.VMSpace, may bool) {
	vs, c, dumpable := p.Guard()
	caller, ok := t.(task)
	return vs, !ok || caller.Process() == p || mayTraceCred(caller.Cred(), c, dumpable)
}

// mayTrace reports whether a process may read and write the memory of another (ptrace(2),
// "Ptrace access mode checking", PTRACE_MODE_ATTACH_FSCREDS). It may access itself. It may
// access a dumpable process whose user and group numbers all equal the caller's file system
// numbers. With CAP_SYS_PTRACE it may access every process.
//
// The answer is true of the moment of the call: p may execute a set-user-ID program right
// after it. Whatever the caller then uses of p it must have got before the call, or with
// Guard.
func mayTrace(caller *proc.Thread, p *proc.Process) bool {
	vs, may := guarded(task{caller}, p)
	if vs != nil {
		vs.Release()
	}
	return may
}

// mayTraceCred is mayTrace for another process than the caller's, which has the credentials
// t and is dumpable or not.
func mayTraceCred(c, t *proc.Cred, dumpable bool) bool {
	if c.Has(cred.SysPtrace) {
		return true
	}
	if t.Permitted&^c.Permitted != 0 {
		return false
	}
	same := c.FSUID == t.UID && c.FSUID == t.EUID && c.FSUID == t.SUID &&
		c.FSGID == t.GID && c.FSGID == t.EGID && c.FSGID == t.SGID
	return same && dumpable
}

// with calls fn with the address space, if the process still has it. Otherwise it returns 0
// bytes.
func (m *procMemory) with(fn func(vs *vm.VMSpace) (int, error)) (int, error) {
	p := m.k.Process(m.pid)
	if p == nil {
		return 0, nil
	}
	vs := spaceOf(p, m.id)
	if vs == nil {
		return 0, nil
	}
	defer vs.Release()
	n, err := fn(vs)
	if err != nil && vs.Purged() {
		return 0, nil
	}
	return n, err
}

// ReadMemory implements fs.ProcMemory.
func (m *procMemory) ReadMemory(p []byte, addr int64) (int, error) {
	return m.with(func(vs *vm.VMSpace) (int, error) { return vs.Peek(p, arch.VA(addr)) })
}

// WriteMemory implements fs.ProcMemory.
func (m *procMemory) WriteMemory(p []byte, addr int64) (int, error) {
	return m.with(func(vs *vm.VMSpace) (int, error) { return vs.Poke(arch.VA(addr), p) })
}
