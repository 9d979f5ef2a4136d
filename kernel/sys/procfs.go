package sys

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"grim/arch"
	"grim/kernel/fs"
	"grim/mm/charge"
	"grim/mm/vm"
	"grim/proc"
	"grim/proc/cred"
	"grim/proc/exit"
)

// procSource provides the kernel's processes for /proc.
type procSource struct{ s *System }

// ProcSource is for fs.Config.Proc. Before Attach there are no processes.
func (s *System) ProcSource() fs.ProcSource { return procSource{s} }

// Jobs is for fs.Config.Jobs. Before Attach there are no processes.
func (s *System) Jobs() fs.Jobs { return procSource{s} }

// SessionOf implements fs.Jobs.
func (ps procSource) SessionOf(pid int) int {
	if ps.s.k == nil {
		return 0
	}
	if p := ps.s.k.Process(pid); p != nil && !p.Exited() {
		return p.SessionID()
	}
	return 0
}

// GroupSession implements fs.Jobs.
func (ps procSource) GroupSession(pgid int) int {
	if ps.s.k == nil {
		return 0
	}
	return ps.s.k.GroupSession(pgid)
}

// GroupOf implements fs.Jobs.
func (ps procSource) GroupOf(pid int) int {
	if ps.s.k == nil {
		return 0
	}
	if p := ps.s.k.Process(pid); p != nil && !p.Exited() {
		return p.GroupID()
	}
	return 0
}

// Background implements fs.Jobs.
func (ps procSource) Background(t fs.Task, sig syscall.Signal) error {
	if t, ok := t.(task); ok {
		return t.Background(sig)
	}
	return nil
}

// NextPID implements fs.ProcSource.
func (ps procSource) NextPID(after int) int {
	if ps.s.k == nil {
		return 0
	}
	return ps.s.k.NextPID(after)
}

// Process implements fs.ProcSource.
func (ps procSource) Process(pid int) (fs.ProcInfo, bool) { return ps.describe(pid, pid) }

// Thread implements fs.ProcSource.
func (ps procSource) Thread(pid, tid int) (fs.ProcInfo, bool) {
	i, ok := ps.describe(pid, tid)
	return i, ok && slices.Contains(i.Threads, tid)
}

// describe describes thread tid of process pid. If tid is the leader's number, it describes
// the process.
func (ps procSource) describe(pid, tid int) (fs.ProcInfo, bool) {
	if ps.s.k == nil {
		return fs.ProcInfo{}, false
	}
	p := ps.s.k.Process(pid)
	if p == nil {
		return fs.ProcInfo{}, false
	}
	u := p.Usage()
	i := fs.ProcInfo{
		TID: tid, PID: pid, PPID: p.PPID(), PGID: p.GroupID(), SID: p.SessionID(),
		Threads: p.TIDs(), Name: p.Name(), State: p.StateLetter(tid),
		MinFlt: uint64(u.Faults), UTime: u.UserTime, STime: u.SystemTime, Start: p.StartTime(),
		Status: int(p.Status()), Switches: [2]int64{u.Voluntary, u.Involuntary},
		ExitSignal: int(syscall.SIGCHLD), Personality: p.Personality(), NoNewPrivs: p.NoNewPrivs(tid),
	}
	if tid != pid {
		i.Name = p.ThreadName(tid)
	}
	for n := range i.Limits {
		l, _ := p.Limit(n)
		i.Limits[n] = [2]uint64{l.Cur, l.Max}
	}
	if i.Cred = p.CredOf(tid); i.Cred != nil && p.Dumpable() {
		i.Owner, i.OwnerGroup = i.Cred.EUID, i.Cred.EGID
	}
	ps.s.cfg.Yield() // that was about half of the work
	i.Children = func() []int { return p.Children(tid) }
	i.TTY, i.TTYGroup = ps.s.fs.TerminalOf(i.SID)
	i.MayTrace = func(t fs.Task) (space uint64, err error) {
		vs, may := guarded(t, p)
		if vs != nil {
			space = vs.ID()
			vs.Release()
		}
		if !may {
			return 0, syscall.EACCES
		}
		return space, nil
	}
	sched := p.SchedOf(tid)
	i.Nice, i.CPUs = sched.Nice, sched.CPUs
	if i.CPUs == 0 {
		i.CPUs = 1<<ps.s.cfg.CPUs - 1
	}
	i.Charged = uint64(p.Account().Used(charge.Heap))
	pending, blocked, ignored, caught := p.SigMasks()
	i.Pending, i.Blocked = uint64(pending), uint64(blocked)
	i.Ignored, i.Caught = uint64(ignored), uint64(caught)
	if fl, ok := p.Files().(*files); ok {
		i.Files, i.Place = fl.fds, fl.place
		i.Charged += uint64(fl.fds.Charged())
		fl.mu.Lock()
		if prog := fl.program; prog != nil {
			i.Exe, i.Args, i.Env = prog.exe, prog.argv, prog.env
		}
		fl.mu.Unlock()
	}
	// After the program: execve(2) changes the space first, so what has been read of a new
	// program has the number of its space, and not that of the space before.
	if vs := p.VM(); vs != nil {
		id := vs.ID()
		i.Space = id
		i.Mem = vs.Stats()
		i.Charged += uint64(vs.Charged())
		i.Frame.StackStart = uint64(vs.Marks().StackTop)
		i.Auxv = func() []byte { return auxv(p, id) }
		vs.Release()
		i.Maps = func(from arch.VA, n int) []vm.EntryInfo { return maps(p, id, from, n) }
	}
	i.Settings = ps.s.settings(p, tid)
	i.Memory = func(t fs.Task) (fs.ProcMemory, error) { return ps.memory(p, t) }
	return i, true
}

// spaceOf returns the process's address space, with a reference, or nil if it is not the
// one with the number id any more.
func spaceOf(p *proc.Process, id uint64) *vm.VMSpace {
	vs := p.VM()
	if vs != nil && vs.ID() != id {
		vs.Release()
		return nil
	}
	return vs
}

// auxv returns the auxiliary vector from the address space with the number id, or nil if
// the process does not have it any more.
func auxv(p *proc.Process, id uint64) []byte {
	vs := spaceOf(p, id)
	if vs == nil {
		return nil
	}
	defer vs.Release()
	m := vs.Marks()
	b := make([]byte, m.AuxvSize)
	if vs.CopyIn(b, m.Auxv) != nil {
		return nil
	}
	return b
}

// settings returns the files of /proc/PID that can be written. Those that only Grim has are
// the exit design of a process and of its future children, and the page-table layout for
// the next execve(2).
func (s *System) settings(p *proc.Process, tid int) []fs.ProcSetting {
	layouts := []arch.Layout{arch.SharedUK, arch.Separate}
	if s.cfg.OnlySeparate {
		layouts = layouts[1:]
	}
	return []fs.ProcSetting{
		{Name: "comm", Value: commOf(p, tid), Set: setComm(p, tid)},
		{Name: "oom_score_adj", Value: strconv.Itoa(p.OOMAdjust()), Set: setOOM(p)},
		{Name: "exit_policy", Value: p.Design().String(), Set: oneOf(p.SetDesign, exit.Designs...)},
		{Name: "layout", Value: p.Layout().String(), Set: oneOf(p.SetLayout, layouts...)},
	}
}

// commOf returns the name of a thread.
func commOf(p *proc.Process, tid int) string {
	if tid == p.PID() {
		return p.Name()
	}
	return p.ThreadName(tid)
}

// setComm names a thread. Only threads of the same process may do that: EINVAL.
func setComm(p *proc.Process, tid int) func(fs.Task, string) error {
	return func(t fs.Task, name string) error {
		if caller, ok := t.(task); ok && caller.Process() != p {
			return syscall.EINVAL
		}
		if i := strings.IndexByte(name, 0); i >= 0 {
			name = name[:i]
		}
		return p.SetThreadName(tid, name)
	}
}

// setOOM sets oom_score_adj. EACCES: the value is lower, and the caller lacks
// CAP_SYS_RESOURCE.
func setOOM(p *proc.Process) func(fs.Task, string) error {
	return func(t fs.Task, value string) error {
		n, err := strconv.Atoi(strings.TrimSpace(value))
		if err != nil || n < -1000 || n > 1000 {
			return syscall.EINVAL
		}
		if n < p.OOMAdjust() && t != nil && !t.Cred().Has(cred.SysResource) {
			return syscall.EACCES
		}
		p.SetOOMAdjust(n)
		return nil
	}
}

// oneOf returns a function that sets one of values, by its name.
func oneOf[T fmt.Stringer](set func(T), values ...T) func(fs.Task, string) error {
	return func(_ fs.Task, name string) error {
		for _, v := range values {
			if v.String() == name {
				set(v)
				return nil
			}
		}
		return syscall.EINVAL
	}
}

// maps returns up to n entries of the map of the address space with the number id, from the
// entry at from on.
func maps(p *proc.Process, id uint64, from arch.VA, n int) []vm.EntryInfo {
	vs := spaceOf(p, id)
	if vs == nil {
		return nil
	}
	defer vs.Release()
	return vs.EntriesFrom(from, n)
}
