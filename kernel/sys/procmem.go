package sys

import (
	"syscall"

	"grim/arch"
	"grim/kernel/fs"
	"grim/mm/vm"
	"grim/proc"
	"grim/proc/cred"
)

// procMemory is /proc/PID/mem, opened: the address space that the process had then,
// as long as the process has it. It holds no reference, so that the file keeps nothing
// of a process that has ended, and none of its pages.
type procMemory struct {
	k   *proc.Kernel
	pid int
	id  uint64 // of the address space; no other ever has it. 0: there was none
}

// memory opens the memory of p for the process that t is of. EACCES: it may not look.
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

// mayTrace says whether a process may look into the memory of another and change it
// (ptrace(2), "Ptrace access mode checking", PTRACE_MODE_ATTACH_FSCREDS): its own; that of
// a dumpable process all of whose numbers are the caller's file system numbers; any with
// CAP_SYS_PTRACE.
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

// with runs fn with the address space, if the process has it still; else there is
// nothing to read or write.
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
