package sys

import (
	"bytes"
	"fmt"

	"grim/kernel/fs"
	"grim/proc"
)

// procSource shows the kernel's processes under /proc.
type procSource struct{ s *System }

// ProcSource is what fs.Config.Proc takes. It may be asked before Attach: then
// there are no processes.
func (s *System) ProcSource() fs.ProcSource { return procSource{s} }

// PIDs implements fs.ProcSource, as do the others.
func (ps procSource) PIDs() []int {
	if ps.s.k == nil {
		return nil
	}
	var out []int
	for _, p := range ps.s.k.Processes() {
		out = append(out, p.PID())
	}
	return out
}

// stateLetter is the state as ps(1) shows it.
func stateLetter(p *proc.Process) byte {
	switch {
	case p.State() == proc.Gone:
		return 'X'
	case p.State() == proc.Zombie:
		return 'Z'
	case p.Stopped():
		return 'T'
	}
	return 'R'
}

func (ps procSource) Process(pid int) (fs.ProcInfo, bool) {
	if ps.s.k == nil {
		return fs.ProcInfo{}, false
	}
	p := ps.s.k.Process(pid)
	if p == nil {
		return fs.ProcInfo{}, false
	}
	u := p.Usage()
	i := fs.ProcInfo{
		PID: pid, PPID: p.PPID(), PGID: p.GroupID(), SID: p.SessionID(),
		Threads: p.TIDs(), Name: p.Name(), State: stateLetter(p),
		MinFlt: uint64(u.Faults), UTime: u.UserTime, STime: u.SystemTime, Start: p.StartTime(),
		ExitStatus: int(p.Status()),
	}
	if cred := p.Cred(); cred != nil {
		i.UID, i.GID = int(cred.UID), int(cred.GID)
	}
	pending, blocked, ignored, caught := p.SigMasks()
	i.SigPending, i.SigBlocked = uint64(pending), uint64(blocked)
	i.SigIgnored, i.SigCaught = uint64(ignored), uint64(caught)
	if fl, ok := p.Files().(*files); ok {
		i.Files, i.Place = fl.fds, fl.place
		fl.mu.Lock()
		i.Exe = fl.program.exe
		i.Args, i.Env = joined(fl.program.argv), joined(fl.program.env)
		fl.mu.Unlock()
	}
	if vs := p.VM(); vs != nil {
		st := vs.Stats()
		i.VSize, i.RSS, i.Data, i.Tables = st.VSize, st.RSS, st.Data, st.Tables
		vs.Release()
		i.Maps = func() []fs.MapInfo { return maps(p) }
	}
	return i, true
}

// maps is the process's map, taken when it is read.
func maps(p *proc.Process) []fs.MapInfo {
	vs := p.VM()
	if vs == nil {
		return nil
	}
	defer vs.Release()
	var out []fs.MapInfo
	for _, e := range vs.Entries() {
		out = append(out, fs.MapInfo{
			Start: e.Start, End: e.End, Prot: e.Prot, Shared: e.Shared,
			Offset: e.Off, Ino: e.Inode, Name: e.Name,
		})
	}
	return out
}

// joined is strings with a NUL after each, as in /proc/PID/cmdline.
func joined(list []string) []byte {
	var b []byte
	for _, s := range list {
		b = append(append(b, s...), 0)
	}
	return b
}

func (ps procSource) Exits() []byte {
	if ps.s.cfg.Exits == nil {
		return nil
	}
	return ps.s.cfg.Exits()
}

func (ps procSource) MemInfo() []byte {
	total, free := ps.s.cfg.Memory()
	var b bytes.Buffer
	for _, l := range [...]struct {
		name string
		n    uint64
	}{{"MemTotal", total}, {"MemFree", free}, {"MemAvailable", free}, {"Buffers", 0}, {"Cached", 0}, {"SwapTotal", 0}, {"SwapFree", 0}} {
		fmt.Fprintf(&b, "%-15s %8d kB\n", l.name+":", l.n>>10)
	}
	return b.Bytes()
}

func (ps procSource) CPUInfo() []byte {
	if ps.s.cfg.CPUInfo == nil {
		return nil
	}
	return ps.s.cfg.CPUInfo()
}

func (ps procSource) Version() string {
	return "Linux version " + Release + " (grim) " + ps.s.cfg.Version + "\n"
}

func (ps procSource) Uptime() (up, idle int64) {
	if ps.s.k == nil {
		return 0, 0
	}
	return ps.s.now(), 0
}
