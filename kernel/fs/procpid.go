package fs

import (
	"fmt"
	"strconv"
	"sync"
	"syscall"

	"grim/arch"
	"grim/mm/vm"
)

// ProcSource is what /proc shows of processes. Its methods must not block on
// anything that may call this package.
type ProcSource interface {
	// NextPID is the least number of a process, zombies included, that is greater
	// than after; 0 if there is none.
	NextPID(after int) int
	// Process describes one; false if there is none.
	Process(pid int) (ProcInfo, bool)
	// Thread describes one of its threads: what is the thread's own, and the rest
	// is the process's. False if there is none.
	Thread(pid, tid int) (ProcInfo, bool)
}

// ProcInfo is a snapshot of a process. Pointers in it may go out of use while
// they are looked at: everything here copes with a closed File or table.
type ProcInfo struct {
	TID                  int // the thread it is about; PID for a process
	PID, PPID, PGID, SID int
	Threads              []int  // thread numbers
	Name                 string // comm, up to 15 bytes
	State                byte   // R S D T Z X, of the thread; of a process its leader's
	UID, GID             int
	Args, Env, Auxv      []byte   // as on the stack: strings end with NUL
	Exe                  *File    // nil: none
	Place                *Place   // nil for a zombie
	Files                *FDTable // nil for a zombie
	// Maps gives up to n entries of the map, from the one at from on; nil: no memory.
	Maps func(from arch.VA, n int) []vm.EntryInfo
	// Memory is what an open of mem gets: the access of the process that t is of, or
	// EACCES.
	Memory         func(t Task) (ProcMemory, error)
	Mem            vm.Stats
	Charged        uint64 // bytes of kernel memory
	Frame          FrameInfo
	MinFlt, MajFlt uint64
	UTime, STime   int64 // ns
	Start          int64 // ns since boot
	// Signal sets, bit n-1 for signal n.
	Pending, Blocked, Ignored, Caught uint64
	Status                            int // wait status of a zombie
	// Settings are further files that show a value and can set it, in order.
	Settings []ProcSetting
}

// ProcSetting is a file of /proc/PID that holds one word, and can be written.
type ProcSetting struct {
	Name, Value string
	Set         func(value string) error // EINVAL: no such value
}

// FrameInfo is what stat shows of the main thread's registers and stack.
type FrameInfo struct{ StackStart uint64 }

// pidKid is /proc/PID.
func (p *procfs) pidKid(pid int) kid {
	return kid{name: strconv.Itoa(pid), typ: syscall.S_IFDIR, perm: 0o555, cookie: cookiePIDs + int64(pid),
		dir: func(Task) []kid { return p.pidKids(pid, 0) }}
}

// info is the process, or ESRCH.
func (p *procfs) info(pid int) (ProcInfo, error) { return p.infoOf(pid, 0) }

// infoOf is a thread of the process, or with 0 the process.
func (p *procfs) infoOf(pid, tid int) (i ProcInfo, err error) {
	ok := false
	if tid != 0 {
		i, ok = p.src.Thread(pid, tid)
	} else {
		i, ok = p.src.Process(pid)
	}
	if !ok {
		return i, syscall.ESRCH
	}
	return i, nil
}

// pidTexts are the files of /proc/PID, in the order they are listed. maps may be long:
// see mapsHandle.
var pidTexts = []struct {
	name string
	perm uint32
	gen  func(i *ProcInfo) []byte
}{
	{"auxv", 0o400, func(i *ProcInfo) []byte { return i.Auxv }},
	{"cmdline", 0o444, func(i *ProcInfo) []byte { return i.Args }},
	{"comm", 0o444, func(i *ProcInfo) []byte { return []byte(i.Name + "\n") }},
	{"environ", 0o400, func(i *ProcInfo) []byte { return i.Env }},
	{"maps", 0o444, nil},
	{"mounts", 0o444, func(*ProcInfo) []byte { return mounts() }},
	{"oom_score_adj", 0o444, func(*ProcInfo) []byte { return []byte("0\n") }},
	{"stat", 0o444, statText},
	{"statm", 0o444, statmText},
	{"status", 0o444, statusText},
}

// pidKids lists /proc/PID, or with a tid /proc/PID/task/TID.
func (p *procfs) pidKids(pid, tid int) []kid {
	var kids []kid
	add := func(k kid) {
		k.cookie = cookieDots + 1 + int64(len(kids))
		kids = append(kids, k)
	}
	for _, f := range pidTexts {
		if f.gen == nil {
			add(kid{name: f.name, typ: syscall.S_IFREG, perm: f.perm, open: func() handle { return &mapsHandle{p: p, pid: pid} }})
			continue
		}
		add(kid{name: f.name, typ: syscall.S_IFREG, perm: f.perm, text: func() ([]byte, error) {
			i, err := p.infoOf(pid, tid)
			if err != nil {
				return nil, err
			}
			return f.gen(&i), nil
		}})
	}
	if i, err := p.info(pid); err == nil {
		for n := range i.Settings {
			add(p.setting(pid, n, i.Settings[n].Name))
		}
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
	add(p.magic("root", pid, func(*ProcInfo) (node, place, error) {
		return p.fs.root, place{p.fs.root, ""}, nil
	}))
	add(kid{name: "fd", typ: syscall.S_IFDIR, perm: 0o500, many: p.fdKids(pid)})
	if tid == 0 {
		add(kid{name: "task", typ: syscall.S_IFDIR, perm: 0o555, dir: func(Task) []kid { return p.taskKids(pid) }})
	}
	return kids
}

// setting is the n-th setting of a process.
func (p *procfs) setting(pid, n int, name string) kid {
	return kid{name: name, typ: syscall.S_IFREG, perm: 0o644,
		text: func() ([]byte, error) {
			i, err := p.info(pid)
			if err != nil {
				return nil, err
			}
			return []byte(i.Settings[n].Value + "\n"), nil
		},
		set: func(value string) error {
			i, err := p.info(pid)
			if err != nil {
				return err
			}
			return i.Settings[n].Set(value)
		}}
}

// magic is a link straight to a node.
func (p *procfs) magic(name string, pid int, to func(*ProcInfo) (node, place, error)) kid {
	get := func() (node, place, error) {
		i, err := p.info(pid)
		if err != nil {
			return nil, place{}, err
		}
		return to(&i)
	}
	return p.magicKid(name, get)
}

func (p *procfs) magicKid(name string, get func() (node, place, error)) kid {
	return kid{name: name, typ: syscall.S_IFLNK,
		link: func(Task) (string, error) {
			n, at, err := get()
			if err != nil {
				return "", err
			}
			return p.fs.pathOf(n, at), nil
		},
		jump: func(Task) (node, place, error) {
			n, at, err := get()
			if err == nil && !hold(n) {
				err = syscall.ENOENT
			}
			return n, at, err
		}}
}

// fdKids are /proc/PID/fd.
func (p *procfs) fdKids(pid int) *manyKids {
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
				return p.fdKid(table, fd), ok
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
			return p.fdKid(table, fd), true
		},
	}
}

func (p *procfs) fdKid(table *FDTable, fd int) kid {
	k := p.magicKid(strconv.Itoa(fd), func() (node, place, error) {
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

// taskKids lists /proc/PID/task.
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

// mapsHandle is /proc/PID/maps (proc_pid_maps(5)), which is made in pieces as it is
// read: a map may have tens of thousands of entries. So it is, as on Linux, exact for
// each piece only.
type mapsHandle struct {
	unreadable
	p   *procfs
	pid int

	mu    sync.Mutex // Pread does not take File.posMu
	piece []byte     // of the text, from offset start on
	start int64
	next  arch.VA // where the piece after it begins
	end   bool    // there is none
}

// mapsPiece is how many entries are in a piece: some 20 000 instructions.
const mapsPiece = 8

func (h *mapsHandle) size() int64 { return 0 }

func (h *mapsHandle) read(c call, b []byte, off int64) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if off < h.start || off == 0 {
		h.piece, h.start, h.next, h.end = h.piece[:0], 0, 0, false
	}
	n := 0
	for n < len(b) {
		if at := off + int64(n) - h.start; at < int64(len(h.piece)) {
			n += copy(b[n:], h.piece[at:])
			continue
		}
		if h.end {
			break
		}
		i, err := h.p.info(h.pid)
		if err != nil {
			return partial(n, err)
		}
		h.start += int64(len(h.piece))
		h.advance(&i)
		if err := c.pause(); err != nil { // mu is this description's, and sleeps too
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

// appendMap adds a line to b.
func appendMap(b []byte, m *vm.EntryInfo) []byte {
	share := byte('p')
	if m.Shared {
		share = 's'
	}
	dev := "00:00"
	if m.Inode != 0 {
		dev = "00:01"
	}
	line := fmt.Sprintf("%08x-%08x %s%c %08x %s %d ", uint64(m.Start), uint64(m.End), m.Prot, share, m.Off, dev, m.Inode)
	if m.Name != "" {
		line = fmt.Sprintf("%-73s%s", line, m.Name)
	}
	return append(append(b, line...), '\n')
}
