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
	// Space is the number of the address space that Args, Env, Auxv and Maps are of, or of an
	// earlier one. It is never used again. 0: none.
	Space uint64
	// MayTrace returns EACCES if the process of t may not look into this process, and
	// otherwise the number of the address space into which it may. nil: every process may.
	MayTrace func(t Task) (space uint64, err error)
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

// procID names a process, or with tid the thread of it. start tells the process from a later
// one with the same number: whoever has opened a file of /proc/PID must not read of another
// process.
type procID struct {
	pid, tid int
	start    int64
}

// pidKid returns the entry /proc/PID.
func (p *procfs) pidKid(id procID) kid {
	return kid{name: strconv.Itoa(id.pid), typ: syscall.S_IFDIR, perm: 0o555, cookie: cookiePIDs + int64(id.pid),
		dir: func(Task) []kid { return p.pidKids(id) }}
}

// info describes the process or the thread. ESRCH: there is none.
func (p *procfs) info(id procID) (i ProcInfo, err error) {
	ok := false
	p.fs.cfg.Yield() // a description takes some 10 000 instructions
	defer p.fs.cfg.Yield()
	if id.tid != 0 {
		i, ok = p.src.Thread(id.pid, id.tid)
	} else {
		i, ok = p.src.Process(id.pid)
	}
	if !ok || i.Start != id.start {
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
	private privacy
	gen     func(i *ProcInfo) []byte
	open    func(p *procfs, id procID, space uint64) handle // used if gen is nil
}

// privacy says which processes may read a file of /proc/PID.
type privacy uint8

const (
	public  privacy = iota
	guarded         // a process that may look into the process at each read
	bound           // a process that may look into the address space, which is that of the open
)

// pidTexts are the files of /proc/PID, in the order of the listing.
var pidTexts = []pidText{
	{"auxv", 0o400, bound, func(i *ProcInfo) []byte {
		if i.Auxv == nil {
			return nil
		}
		return i.Auxv()
	}, nil},
	{"cgroup", 0o444, public, func(*ProcInfo) []byte { return []byte("0::/\n") }, nil},
	{"cmdline", 0o444, public, func(i *ProcInfo) []byte { return i.Args }, nil},
	{"environ", 0o400, bound, func(i *ProcInfo) []byte { return i.Env }, nil},
	{"io", 0o400, guarded, func(*ProcInfo) []byte {
		return []byte("rchar: 0\nwchar: 0\nsyscr: 0\nsyscw: 0\nread_bytes: 0\nwrite_bytes: 0\ncancelled_write_bytes: 0\n")
	}, nil},
	{"limits", 0o444, public, limitsText, nil},
	{"maps", 0o444, bound, nil, func(p *procfs, id procID, space uint64) handle {
		return &mapsHandle{p: p, id: id, space: space}
	}},
	{"mountinfo", 0o444, public, mountinfo, nil},
	{"mounts", 0o444, public, mounts, nil},
	{"oom_score", 0o444, public, func(i *ProcInfo) []byte { return fmt.Appendln(nil, i.OOMScore) }, nil},
	{"personality", 0o400, guarded, func(i *ProcInfo) []byte { return fmt.Appendf(nil, "%08x\n", i.Personality) }, nil},
	{"schedstat", 0o444, public, func(i *ProcInfo) []byte {
		return fmt.Appendf(nil, "%d 0 %d\n", i.UTime+i.STime, i.Switches[0]+i.Switches[1])
	}, nil},
	{"sessionid", 0o444, public, func(*ProcInfo) []byte { return []byte("4294967295") }, nil},
	{"stat", 0o444, public, statText, nil},
	{"statm", 0o444, public, statmText, nil},
	{"status", 0o444, public, statusText, nil},
	{"wchan", 0o444, public, func(*ProcInfo) []byte { return []byte("0") }, nil},
}

// pidKids returns the entries of /proc/PID, or of /proc/PID/task/TID if tid is not 0.
func (p *procfs) pidKids(id procID) []kid {
	i, err := p.info(id)
	if err != nil {
		return nil
	}
	const others = 9 // entries that are not in a table
	kids := make([]kid, 0, len(pidTexts)+len(i.Settings)+others)
	add := func(k kid) {
		k.cookie = cookieDots + 1 + int64(len(kids))
		k.uid, k.gid = i.Owner, i.OwnerGroup
		kids = append(kids, k)
	}
	process := procID{id.pid, 0, id.start}
	guard := p.guard(process)
	for _, f := range pidTexts {
		k := kid{name: f.name, typ: syscall.S_IFREG, perm: f.perm}
		if f.private == bound {
			k.open = func(t Task) (handle, error) { return p.openBound(&f, id, t) }
			add(k)
			continue
		}
		if f.private == guarded {
			k.guard = guard
		}
		k.text = func() ([]byte, error) {
			i, err := p.info(id)
			if err != nil {
				return nil, err
			}
			return f.gen(&i), nil
		}
		add(k)
	}
	p.fs.cfg.Yield()
	for n := range i.Settings {
		add(p.setting(id, n, i.Settings[n].Name))
	}
	if id.tid != 0 {
		add(kid{name: "children", typ: syscall.S_IFREG, perm: 0o444, text: func() ([]byte, error) {
			i, err := p.info(id)
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
		i, err := p.info(process)
		if err != nil {
			return nil, err
		}
		return i.Memory(t)
	}})
	add(p.magic("cwd", process, func(i *ProcInfo) (node, place, error) {
		if i.Place == nil {
			return nil, place{}, syscall.ENOENT
		}
		d := i.Place.dir()
		return d, place{d, ""}, nil
	}))
	add(p.magic("exe", process, func(i *ProcInfo) (node, place, error) {
		if i.Exe == nil {
			return nil, place{}, syscall.ENOENT
		}
		return i.Exe.node, i.Exe.from, nil
	}))
	add(p.magic("root", process, func(i *ProcInfo) (node, place, error) {
		d := p.fs.rootOf(i.Place)
		return d, place{d, ""}, nil
	}))
	add(kid{name: "fd", typ: syscall.S_IFDIR, perm: 0o500, guard: guard, many: p.fdKids(process, p.fdKid)})
	add(kid{name: "fdinfo", typ: syscall.S_IFDIR, perm: 0o555, guard: guard, many: p.fdKids(process, p.fdInfoKid)})
	if id.tid == 0 {
		add(kid{name: "net", typ: syscall.S_IFDIR, perm: 0o555, dir: func(Task) []kid { return p.fs.netKids() }})
	}
	if id.tid == 0 {
		add(kid{name: "task", typ: syscall.S_IFDIR, perm: 0o555, dir: func(Task) []kid { return p.taskKids(id) }})
	}
	return kids
}

// openBound opens a bound file for the process of t. Once the process has another address
// space than at the open, or none, the file is empty, as on Linux: the new program may be one
// into which the process of t may not look.
func (p *procfs) openBound(f *pidText, id procID, t Task) (handle, error) {
	i, err := p.info(id)
	if err != nil {
		return nil, err
	}
	space := i.Space
	if i.MayTrace != nil && t != nil {
		if space, err = i.MayTrace(t); err != nil {
			return nil, err
		}
	}
	if f.gen == nil {
		return f.open(p, id, space), nil
	}
	return &textHandle{gen: func() ([]byte, error) {
		i, err := p.info(id)
		if err != nil || i.Space != space {
			return nil, err
		}
		return f.gen(&i), nil
	}}, nil
}

// setting returns the entry of the n-th setting of a process.
func (p *procfs) setting(id procID, n int, name string) kid {
	return kid{name: name, typ: syscall.S_IFREG, perm: 0o644,
		text: func() ([]byte, error) {
			i, err := p.info(id)
			if err != nil {
				return nil, err
			}
			return []byte(i.Settings[n].Value + "\n"), nil
		},
		set: func(t Task, value string) error {
			i, err := p.info(id)
			if err != nil {
				return err
			}
			return i.Settings[n].Set(t, value)
		}}
}

// magic returns the entry of a link that leads directly to a node.
func (p *procfs) magic(name string, id procID, to func(*ProcInfo) (node, place, error)) kid {
	guard := p.guard(id)
	return p.magicKid(name, func(t Task) (node, place, error) {
		i, err := p.info(id)
		if err == nil {
			err = guard(t) // after info: what i has is not a later program's
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
func (p *procfs) fdKids(id procID, make func(id procID, table *FDTable, fd int) kid) *manyKids {
	files := func() *FDTable {
		i, err := p.info(id)
		if err != nil {
			return nil
		}
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
				return make(id, table, fd), ok
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
			return make(id, table, fd), true
		},
	}
}

func (p *procfs) fdKid(id procID, table *FDTable, fd int) kid {
	guard := p.guard(id)
	k := p.magicKid(strconv.Itoa(fd), func(t Task) (node, place, error) {
		f, err := table.Get(fd)
		if err != nil {
			return nil, place{}, syscall.ENOENT
		}
		defer f.Release()
		// After Get, so that f is not a set-user-ID program's. The directory may have been
		// looked up before that program began.
		return f.node, f.from, guard(t)
	})
	k.cookie = cookieDots + 1 + int64(fd)
	return k
}

// fdInfoKid returns the entry /proc/PID/fdinfo/FD.
func (p *procfs) fdInfoKid(id procID, table *FDTable, fd int) kid {
	return kid{name: strconv.Itoa(fd), typ: syscall.S_IFREG, perm: 0o400, cookie: cookieDots + 1 + int64(fd),
		guard: p.guard(id),
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

// guard returns a function that returns an error if the process of t may not look into the
// process. The kernel itself, without a t, may.
func (p *procfs) guard(id procID) func(t Task) error {
	return func(t Task) error {
		i, err := p.info(id)
		if err == nil && i.MayTrace != nil && t != nil {
			_, err = i.MayTrace(t)
		}
		return err
	}
}

// taskKids returns the entries of /proc/PID/task.
func (p *procfs) taskKids(id procID) []kid {
	i, err := p.info(id)
	if err != nil {
		return nil
	}
	var kids []kid
	for _, tid := range i.Threads {
		kids = append(kids, kid{name: strconv.Itoa(tid), typ: syscall.S_IFDIR, perm: 0o555,
			cookie: cookieDots + 1 + int64(tid),
			dir:    func(Task) []kid { return p.pidKids(procID{id.pid, tid, id.start}) }})
	}
	return kids
}

// mapsHandle is an open /proc/PID/maps (proc_pid_maps(5)). The text is made in pieces as it
// is read, because a map may have tens of thousands of entries. So, as on Linux, each piece
// is consistent, but not the whole text.
type mapsHandle struct {
	unreadable
	p     *procfs
	id    procID
	space uint64 // whose map it is

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
	i, err := h.p.info(h.id)
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
	if i.Maps != nil && i.Space == h.space {
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
