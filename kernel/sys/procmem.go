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
	vs := p.VM()
	if vs == nil {
		return &procMemory{k: ps.s.k, pid: p.PID()}, nil
	}
	defer vs.Release()
	if caller, ok := t.(task); ok && !mayTrace(caller.Thread, p) {
		return nil, syscall.EACCES
	}
	return &procMemory{ps.s.k, p.PID(), vs.ID()}, nil
}

// mayTrace reports whether a process may read and write the memory of another (ptrace(2),
// "Ptrace access mode checking", PTRACE_MODE_ATTACH_FSCREDS). It may access itself. It may
// access a dumpable process whose user and group numbers all equal the caller's file system
// numbers. With CAP_SYS_PTRACE it may access every process.
func mayTrace(caller *proc.Thread, p *proc.Process) bool {
	c, t := caller.Cred(), p.Cred()
	if caller.Process() == p || c.Has(cred.SysPtrace) {
		return true
	}
	if t.Permitted&^c.Permitted != 0 {
		return false
	}
	same := c.FSUID == t.UID && c.FSUID == t.EUID && c.FSUID == t.SUID &&
		c.FSGID == t.GID && c.FSGID == t.EGID && c.FSGID == t.SGID
	return same && p.Dumpable()
}

// with calls fn with the address space, if the process still has it. Otherwise it returns 0
// bytes.
func (m *procMemory) with(fn func(vs *vm.VMSpace) (int, error)) (int, error) {
	p := m.k.Process(m.pid)
	if p == nil {
		return 0, nil
	}
	vs := p.VM()
	if vs == nil {
		return 0, nil
	}
	defer vs.Release()
	if vs.ID() != m.id {
		return 0, nil
	}
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
