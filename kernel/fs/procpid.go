package fs

import (
	"fmt"
	"strconv"
	"sync"
	"syscall"

	"grim/arch"
	"grim/mm/vm"
	"grim/proc/cred"
)

// ProcSource provides the processes for /proc. Its methods must not wait for anything that
// may call this package.
type ProcSource interface {
	// NextPID returns the least number of a process, including zombies, that is greater
	// than after, or 0 if there is none.
	NextPID(after int) int
	// Process describes a process. It returns false if there is none.
	Process(pid int) (ProcInfo, bool)
	// Thread describes a thread of a process: some fields are the thread's own, the others
	// are the process's. It returns false if there is no such thread.
	Thread(pid, tid int) (ProcInfo, bool)
}

// ProcInfo is a snapshot of a process. The Files and tables in it may be closed while they
// are used: all code here copes with a closed File or table.
type ProcInfo struct {
	fs                   *FS // set by this package
	TID                  int // the thread described; PID for a process
	PID, PPID, PGID, SID int
	Threads              []int      // thread numbers
	Name                 string     // comm, up to 15 bytes
	State                byte       // R S D T Z X, of the thread; for a process, of its leader
	Cred                 *cred.Cred // nil if it has ended
	NoNewPrivs           bool
	Owner, OwnerGroup    uint32        // owner and group of the files in /proc/PID
	Args, Env            []byte        // as on the stack: strings end with NUL
	Auxv                 func() []byte // the auxiliary vector; nil: no memory
	Exe                  *File         // nil: none
	Place                *Place        // nil for a zombie
	Files                *FDTable      // nil for a zombie
	// Maps returns up to n entries of the map, starting with the entry at from. nil: the
	// process has no memory.
	Maps func(from arch.VA, n int) []vm.EntryInfo
	// Memory opens mem for the process of t. EACCES: that process may not access the
	// memory.
	Memory         func(t Task) (ProcMemory, error)
	Mem            vm.Stats
	Charged        uint64 // bytes of kernel memory
	Frame          FrameInfo
	MinFlt, MajFlt uint64
	UTime, STime   int64    // ns
	Switches       [2]int64 // voluntary and involuntary
	Limits         [16][2]uint64
	TTY, TTYGroup  int
	ExitSignal     int
	Nice           int
	CPUs           uint64       // where it may run, a set of numbers
	Children       func() []int // the thread's; nil: none
	Personality    uint32
	OOMScore       int
	Start          int64 // ns since boot
	// Signal sets, bit n-1 for signal n.
	Pending, Blocked, Ignored, Caught uint64
	Status                            int // wait status of a zombie
	// MayTrace returns EACCES if the process of t may not look into this process.
	MayTrace func(t Task) error
	// Settings are additional files that show a value and can set it, in order.
	Settings []ProcSetting
}

// ProcSetting is a file of /proc/PID that holds a line and can be written.
type ProcSetting struct {
	Name, Value string
	Set         func(t Task, value string) error // EINVAL: no such value
}

// FrameInfo has the main thread's stack address, for stat.
type FrameInfo struct{ StackStart uint64 }

// pidKid returns the entry /proc/PID.
func (p *procfs) pidKid(pid int) kid {
	return kid{name: strconv.Itoa(pid), typ: syscall.S_IFDIR, perm: 0o555, cookie: cookiePIDs + int64(pid),
		dir: func(Task) []kid { return p.pidKids(pid, 0) }}
}

// info describes the process. ESRCH: there is none.
func (p *procfs) info(pid int) (ProcInfo, error) { return p.infoOf(pid, 0) }

// infoOf describes thread tid of the process, or the process itself if tid is 0.
func (p *procfs) infoOf(pid, tid int) (i ProcInfo, err error) {
	ok := false
	p.fs.cfg.Yield() // a description takes some 10 000 instructions
	if tid != 0 {
		i, ok = p.src.Thread(pid, tid)
	} else {
		i, ok = p.src.Process(pid)
	}
	if !ok {
		return i, syscall.ESRCH
	}
	i.fs = p.fs
	return i, nil
}

// pidText is a file of /proc/PID. Private files are only for processes that may look into
// the process.
type pidText struct {
	name    string
	perm    uint32
	private bool
	gen     func(i *ProcInfo) []byte
	open    func(p *procfs, pid int) handle // used if gen is nil
}

// pidTexts are the files of /proc/PID, in the order of the listing.
var pidTexts = []pidText{
	{"auxv", 0o400, true, func(i *ProcInfo) []byte {
		if i.Auxv == nil {
			return nil
		}
		return i.Auxv()
	}, nil},
	{"cgroup", 0o444, false, func(*ProcInfo) []byte { return []byte("0::/\n") }, nil},
	{"cmdline", 0o444, false, func(i *ProcInfo) []byte { return i.Args }, nil},
	{"environ", 0o400, true, func(i *ProcInfo) []byte { return i.Env }, nil},
	{"io", 0o400, true, func(*ProcInfo) []byte {
		return []byte("rchar: 0\nwchar: 0\nsyscr: 0\nsyscw: 0\nread_bytes: 0\nwrite_bytes: 0\ncancelled_write_bytes: 0\n")
	}, nil},
	{"limits", 0o444, false, limitsText, nil},
	{"maps", 0o444, true, nil, func(p *procfs, pid int) handle { return &mapsHandle{p: p, pid: pid} }},
	{"mountinfo", 0o444, false, mountinfo, nil},
	{"mounts", 0o444, false, mounts, nil},
	{"oom_score", 0o444, false, func(i *ProcInfo) []byte { return fmt.Appendln(nil, i.OOMScore) }, nil},
	{"personality", 0o400, true, func(i *ProcInfo) []byte { return fmt.Appendf(nil, "%08x\n", i.Personality) }, nil},
	{"schedstat", 0o444, false, func(i *ProcInfo) []byte {
		return fmt.Appendf(nil, "%d 0 %d\n", i.UTime+i.STime, i.Switches[0]+i.Switches[1])
	}, nil},
	{"sessionid", 0o444, false, func(*ProcInfo) []byte { return []byte("4294967295") }, nil},
	{"stat", 0o444, false, statText, nil},
	{"statm", 0o444, false, statmText, nil},
	{"status", 0o444, false, statusText, nil},
	{"wchan", 0o444, false, func(*ProcInfo) []byte { return []byte("0") }, nil},
}

// pidKids returns the entries of /proc/PID, or of /proc/PID/task/TID if tid is not 0.
func (p *procfs) pidKids(pid, tid int) []kid {
	i, err := p.infoOf(pid, tid)
	if err != nil {
		return nil
	}
	var kids []kid
	add := func(k kid) {
		k.cookie = cookieDots + 1 + int64(len(kids))
		k.uid, k.gid = i.Owner, i.OwnerGroup
		kids = append(kids, k)
	}
	guard := func(t Task) error { return p.mayTrace(pid, t) }
	for _, f := range pidTexts {
		k := kid{name: f.name, typ: syscall.S_IFREG, perm: f.perm}
		if f.private {
			k.guard = guard
		}
		if f.gen == nil {
			k.open = func() handle { return f.open(p, pid) }
		} else {
			k.text = func() ([]byte, error) {
				i, err := p.infoOf(pid, tid)
				if err != nil {
					return nil, err
				}
				return f.gen(&i), nil
			}
		}
		add(k)
	}
	for n := range i.Settings {
		add(p.setting(pid, tid, n, i.Settings[n].Name))
	}
	if tid != 0 {
		add(kid{name: "children", typ: syscall.S_IFREG, perm: 0o444, text: func() ([]byte, error) {
			i, err := p.infoOf(pid, tid)
			var b []byte
			if i.Children != nil {
				for _, c := range i.Children() {
					b = fmt.Appendf(b, "%d ", c)
				}
			}
			return b, err
		}})
	}
	add(kid{name: "mem", typ: syscall.S_IFREG, perm: 0o600, mem: func(t Task) (ProcMemory, error) {
		i, err := p.info(pid)
		if err != nil {
			return nil, err
		}
		return i.Memory(t)
	}})
	add(p.magic("cwd", pid, func(i *ProcInfo) (node, place, error) {
		if i.Place == nil {
			return nil, place{}, syscall.ENOENT
		}
		d := i.Place.dir()
		return d, place{d, ""}, nil
	}))
	add(p.magic("exe", pid, func(i *ProcInfo) (node, place, error) {
		if i.Exe == nil {
			return nil, place{}, syscall.ENOENT
		}
		return i.Exe.node, i.Exe.from, nil
	}))
	add(p.magic("root", pid, func(i *ProcInfo) (node, place, error) {
		d := p.fs.rootOf(i.Place)
		return d, place{d, ""}, nil
	}))
	add(kid{name: "fd", typ: syscall.S_IFDIR, perm: 0o500, guard: guard, many: p.fdKids(pid, p.fdKid)})
	add(kid{name: "fdinfo", typ: syscall.S_IFDIR, perm: 0o555, guard: guard, many: p.fdKids(pid, p.fdInfoKid)})
	if tid == 0 {
		add(kid{name: "net", typ: syscall.S_IFDIR, perm: 0o555, dir: func(Task) []kid { return p.fs.netKids() }})
	}
	if tid == 0 {
		add(kid{name: "task", typ: syscall.S_IFDIR, perm: 0o555, dir: func(Task) []kid { return p.taskKids(pid) }})
	}
	return kids
}

// setting returns the entry of the n-th setting of a process.
func (p *procfs) setting(pid, tid, n int, name string) kid {
	return kid{name: name, typ: syscall.S_IFREG, perm: 0o644,
		text: func() ([]byte, error) {
			i, err := p.infoOf(pid, tid)
			if err != nil {
				return nil, err
			}
			return []byte(i.Settings[n].Value + "\n"), nil
		},
		set: func(t Task, value string) error {
			i, err := p.infoOf(pid, tid)
			if err != nil {
				return err
			}
			return i.Settings[n].Set(t, value)
		}}
}

// magic returns the entry of a link that leads directly to a node.
func (p *procfs) magic(name string, pid int, to func(*ProcInfo) (node, place, error)) kid {
	return p.magicKid(name, func(t Task) (node, place, error) {
		i, err := p.info(pid)
		if err == nil && i.MayTrace != nil && t != nil {
			err = i.MayTrace(t)
		}
		if err != nil {
			return nil, place{}, err
		}
		return to(&i)
	})
}

func (p *procfs) magicKid(name string, get func(t Task) (node, place, error)) kid {
	return kid{name: name, typ: syscall.S_IFLNK,
		link: func(t Task) (string, error) {
			n, at, err := get(t)
			if err != nil {
				return "", err
			}
			return p.fs.pathOf(n, at), nil
		},
		jump: func(t Task) (node, place, error) {
			n, at, err := get(t)
			if err == nil && !hold(n) {
				err = syscall.ENOENT
			}
			return n, at, err
		}}
}

// fdKids returns the entries of /proc/PID/fd or fdinfo. make makes an entry.
func (p *procfs) fdKids(pid int, make func(table *FDTable, fd int) kid) *manyKids {
	files := func() *FDTable {
		i, _ := p.info(pid)
		return i.Files
	}
	return &manyKids{
		list: func(Task) func(after int64) (kid, bool) {
			table := files()
			return func(after int64) (kid, bool) {
				if table == nil {
					return kid{}, false
				}
				fd, ok := table.next(int(after - cookieDots))
				return make(table, fd), ok
			}
		},
		find: func(_ Task, name string) (kid, bool) {
			table := files()
			fd, ok := number(name)
			if !ok || table == nil {
				return kid{}, false
			}
			f, err := table.Get(fd)
			if err != nil {
				return kid{}, false
			}
			f.Release()
			return make(table, fd), true
		},
	}
}

func (p *procfs) fdKid(table *FDTable, fd int) kid {
	k := p.magicKid(strconv.Itoa(fd), func(Task) (node, place, error) {
		f, err := table.Get(fd)
		if err != nil {
			return nil, place{}, syscall.ENOENT
		}
		defer f.Release()
		return f.node, f.from, nil
	})
	k.cookie = cookieDots + 1 + int64(fd)
	return k
}

// fdInfoKid returns the entry /proc/PID/fdinfo/FD.
func (p *procfs) fdInfoKid(table *FDTable, fd int) kid {
	return kid{name: strconv.Itoa(fd), typ: syscall.S_IFREG, perm: 0o400, cookie: cookieDots + 1 + int64(fd),
		text: func() ([]byte, error) {
			f, err := table.Get(fd)
			if err != nil {
				return nil, syscall.ENOENT
			}
			defer f.Release()
			cloexec, _ := table.Cloexec(fd)
			return f.info(cloexec), nil
		}}
}

// mayTrace returns an error if the process of t may not look into process pid. It guards
// private files.
func (p *procfs) mayTrace(pid int, t Task) error {
	i, err := p.info(pid)
	if err != nil || i.MayTrace == nil {
		return err
	}
	return i.MayTrace(t)
}

// taskKids returns the entries of /proc/PID/task.
func (p *procfs) taskKids(pid int) []kid {
	i, err := p.info(pid)
	if err != nil {
		return nil
	}
	var kids []kid
	for _, tid := range i.Threads {
		kids = append(kids, kid{name: strconv.Itoa(tid), typ: syscall.S_IFDIR, perm: 0o555,
			cookie: cookieDots + 1 + int64(tid),
			dir:    func(Task) []kid { return p.pidKids(pid, tid) }})
	}
	return kids
}

// mapsHandle is an open /proc/PID/maps (proc_pid_maps(5)). The text is made in pieces as it
// is read, because a map may have tens of thousands of entries. So, as on Linux, each piece
// is consistent, but not the whole text.
type mapsHandle struct {
	unreadable
	p   *procfs
	pid int

	mu    sync.Mutex // Pread does not take File.posMu
	piece []byte     // a part of the text, starting at offset start
	start int64
	next  arch.VA // the address at which the next piece begins
	end   bool    // there is no next piece
}

// mapsPiece is the number of entries in a piece: some 10 000 instructions.
const mapsPiece = 8

func (h *mapsHandle) size() int64 { return 0 }

func (h *mapsHandle) read(c call, b []byte, off int64) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if off < h.start || off == 0 {
		h.piece, h.start, h.next, h.end = h.piece[:0], 0, 0, false
	}
	n := 0
	i, err := h.p.info(h.pid)
	if err != nil {
		return 0, err
	}
	for n < len(b) {
		if at := off + int64(n) - h.start; at < int64(len(h.piece)) {
			n += copy(b[n:], h.piece[at:])
			continue
		}
		if h.end {
			break
		}
		h.start += int64(len(h.piece))
		h.advance(&i)
		if err := c.pause(); err != nil { // mu stays held: only this description uses it
			return partial(n, err)
		}
	}
	return n, nil
}

// advance makes the next piece. Precondition: mu held.
func (h *mapsHandle) advance(i *ProcInfo) {
	h.piece = h.piece[:0]
	var list []vm.EntryInfo
	if i.Maps != nil {
		list = i.Maps(h.next, mapsPiece)
	}
	for k := range list {
		h.piece = appendMap(h.piece, &list[k])
		h.next = list[k].End
	}
	h.end = len(list) < mapsPiece
}

// appendMap appends a line of maps to b. It does without fmt, which needs 2500 instructions
// for a line.
func appendMap(b []byte, m *vm.EntryInfo) []byte {
	start := len(b)
	b = append(appendHex(b, uint64(m.Start)), '-')
	b = append(appendHex(b, uint64(m.End)), ' ')
	b = append(b, m.Prot.String()...)
	share := byte('p')
	if m.Shared {
		share = 's'
	}
	b = append(appendHex(append(b, share, ' '), uint64(m.Off)), ' ')
	dev := "00:00 "
	if m.Inode != 0 {
		dev = "00:01 "
	}
	b = append(strconv.AppendUint(append(b, dev...), m.Inode, 10), ' ')
	if m.Name != "" {
		for len(b)-start < nameColumn {
			b = append(b, ' ')
		}
		b = append(b, m.Name...)
	}
	return append(b, '\n')
}

// nameColumn is where the names of maps begin.
const nameColumn = 73

// appendHex appends n in hexadecimal, with at least eight digits.
func appendHex(b []byte, n uint64) []byte {
	for digits := uint64(1 << 28); digits > n && digits > 1; digits >>= 4 {
		b = append(b, '0')
	}
	return strconv.AppendUint(b, n, 16)
}
