package fs

import (
	"bytes"
	"fmt"
	"hash/fnv"
	"io"
	"sort"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"grim/arch"
	"grim/mm/charge"
)

// procfs is /proc: a static tree of texts, which ProcFile registers, and a directory for
// each process. Nodes are made when they are looked up.
type procfs struct {
	fs   *FS
	src  ProcSource
	root *procDir

	mu    sync.RWMutex
	texts textDir
}

// textDir is a directory of the static part. Its files and directories are listed in the
// order of registration.
type textDir struct {
	order []string
	files map[string]textFile
	dirs  map[string]*textDir
}

// textFile is a text of the static part. With set it is a setting, which can be written.
type textFile struct {
	gen  func() []byte
	set  func(t Task, value string) error
	perm uint32 // 0: 0444, or 0644 with set
}

// ProcFile makes the file /proc/path and the missing directories above it. It replaces a
// file of that name. gen returns the text; it is called each time that a read starts at
// offset 0. gen must not call this package. The first name of path must not be a number.
func (s *FS) ProcFile(path string, gen func() []byte) { s.ProcSetting(path, gen, nil) }

// ProcSetting is ProcFile for a text that root can write. set gets the bytes of a write(2),
// without a newline at the end.
func (s *FS) ProcSetting(path string, gen func() []byte, set func(value string) error) {
	s.proc.add(path, gen, set)
}

func (p *procfs) add(path string, gen func() []byte, set func(value string) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	d := &p.texts
	names := strings.Split(path, "/")
	for _, name := range names[:len(names)-1] {
		d = d.sub(name)
	}
	f := textFile{gen: gen}
	if set != nil {
		f.set = func(_ Task, value string) error { return set(value) }
	}
	d.put(names[len(names)-1], f)
}

func (d *textDir) sub(name string) *textDir {
	if c := d.dirs[name]; c != nil {
		return c
	}
	if d.dirs == nil {
		d.dirs = map[string]*textDir{}
	}
	c := &textDir{}
	d.dirs[name] = c
	d.order = append(d.order, name)
	return c
}

func (d *textDir) put(name string, f textFile) {
	if d.files == nil {
		d.files = map[string]textFile{}
	}
	if d.files[name].gen == nil {
		d.order = append(d.order, name)
	}
	d.files[name] = f
}

// kid is an entry of a /proc directory before it becomes a node.
type kid struct {
	name   string
	typ    uint32 // S_IFDIR, S_IFREG, S_IFLNK
	cookie int64
	perm   uint32
	// One of dir, many, text, open, link and jump is set, by typ.
	dir  func(t Task) []kid
	many *manyKids // used if dir is nil
	text func() ([]byte, error)
	open func(t Task) (handle, error)     // it checks the access itself, without guard
	set  func(t Task, value string) error // with text; nil: read-only
	mem  func(t Task) (ProcMemory, error)
	// guard checks the access at an open and at each read of a text. In a directory it may
	// give access that the mode does not give. nil: the mode decides alone.
	guard    func(t Task) error
	uid, gid uint32
	link     func(t Task) (string, error)
	jump     func(t Task) (node, place, error) // nil: an ordinary link, which has a path
}

// procDir is a directory of /proc.
type procDir struct {
	inode
	up   directory
	name string
	kids func(t Task) []kid
	many *manyKids // nil: there are few, and kids returns them all
	// guard may give access that the mode does not give; nil: it does not.
	guard func(t Task) error
}

// manyKids has the entries of a directory that may be long.
type manyKids struct {
	// list begins a listing. next returns the first entry whose cookie is greater than
	// after, or false at the end.
	list func(t Task) (next func(after int64) (kid, bool))
	find func(t Task, name string) (kid, bool)
}

func (d *procDir) where() (directory, string)     { return d.up, d.name }
func (d *procDir) open(call, int) (handle, error) { return &dirHandle{dir: d}, nil }
func (d *procDir) size() int64                    { return 0 }

func (d *procDir) lookup(t Task, name string) (node, error) {
	d.fs.cfg.Yield()
	if d.many != nil {
		if k, ok := d.many.find(t, name); ok {
			return d.make(k), nil
		}
		return nil, syscall.ENOENT
	}
	kids := d.kids(t)
	d.fs.cfg.Yield() // to list them takes some 10 000 instructions
	for _, k := range kids {
		if k.name == name {
			return d.make(k), nil
		}
	}
	return nil, syscall.ENOENT
}

func (d *procDir) entries(t Task, after int64, yield func(entry) bool) {
	if d.many != nil {
		next := d.many.list(t)
		for k, ok := next(after); ok && yield(entry{k.name, k.cookie, d.inoOf(k.name), k.typ}); {
			k, ok = next(k.cookie)
		}
		return
	}
	kids := d.kids(t)
	sort.Slice(kids, func(i, j int) bool { return kids[i].cookie < kids[j].cookie })
	first := sort.Search(len(kids), func(i int) bool { return kids[i].cookie > after })
	for _, k := range kids[first:] {
		if !yield(entry{k.name, k.cookie, d.inoOf(k.name), k.typ}) {
			return
		}
	}
}

// inoOf returns an inode number that stays the same each time the node is made.
func (d *procDir) inoOf(name string) uint64 {
	h := fnv.New64a()
	h.Write(strconv.AppendUint(nil, d.ino, 16))
	io.WriteString(h, "/"+name)
	return h.Sum64()>>1 | 1<<32 // positive, and different from the numbers of the tree
}

// make makes the node of an entry.
func (d *procDir) make(k kid) node {
	switch k.typ {
	case syscall.S_IFDIR:
		c := &procDir{up: d, name: k.name, kids: k.dir, many: k.many, guard: k.guard}
		c.initProc(d, k)
		c.nlink.Store(2)
		return c
	case syscall.S_IFLNK:
		l := &procLink{link: k.link}
		k.perm = 0o777
		l.initProc(d, k)
		if k.jump != nil {
			return &magicLink{procLink: l, to: k.jump}
		}
		return l
	}
	if k.mem != nil {
		m := &procMemory{of: k.mem}
		m.initProc(d, k)
		return m
	}
	f := &procFile{text: k.text, set: k.set, guard: k.guard, handle: k.open}
	f.initProc(d, k)
	return f
}

// initProc is inode.init for a node that is made anew at each look-up. Such a node is not
// counted, and its reference count never reaches 0.
func (i *inode) initProc(d *procDir, k kid) {
	i.initFixed(d.fs, d.dev, d.inoOf(k.name), k.typ, k.perm)
	i.uid.Store(k.uid)
	i.gid.Store(k.gid)
}

// initFixed is initProc for a node whose parent is not a procDir: the root of /proc or
// /sys.
func (i *inode) initFixed(s *FS, dev, ino uint64, typ, perm uint32) {
	i.fs, i.dev, i.ino, i.typ = s, dev, ino, typ
	i.perm.Store(perm)
	i.nlink.Store(1)
	i.refs.Store(1)
	now := s.cfg.Now()
	i.atime.Store(now)
	i.mtime.Store(now)
	i.ctime.Store(now)
}

// procLink is a symbolic link of /proc.
type procLink struct {
	inode
	link func(t Task) (string, error)
}

func (l *procLink) open(call, int) (handle, error)  { return nil, syscall.ELOOP }
func (l *procLink) readlink(t Task) (string, error) { return l.link(t) }
func (l *procLink) size() int64                     { return 0 }

// magicLink is a link to a node instead of a path.
type magicLink struct {
	*procLink
	to func(t Task) (node, place, error)
}

func (l *magicLink) jump(t Task) (node, place, error) { return l.to(t) }

// procFile is a text of /proc or a setting.
type procFile struct {
	inode
	text   func() ([]byte, error)
	set    func(t Task, value string) error // nil: read-only
	guard  func(t Task) error
	handle func(t Task) (handle, error) // nil: textHandle
}

func (f *procFile) size() int64 { return 0 }

func (f *procFile) open(c call, flags int) (handle, error) {
	if f.guard != nil && c.task != nil {
		if err := f.guard(c.task); err != nil {
			return nil, err
		}
	}
	if f.handle != nil {
		return f.handle(c.task)
	}
	return &textHandle{gen: f.text, set: f.set, guard: f.guard}, nil
}

// textHandle is an open text. The text is made each time that a read starts at offset 0.
type textHandle struct {
	unreadable
	gen   func() ([]byte, error)
	set   func(t Task, value string) error
	guard func(t Task) error // checks the access again when the text is made; nil: not needed

	mu   sync.Mutex // Pread does not take File.posMu
	text []byte
}

func (h *textHandle) size() int64 { return 0 }

func (h *textHandle) read(c call, p []byte, off int64) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if off == 0 || h.text == nil {
		if h.guard != nil && c.task != nil {
			if err := h.guard(c.task); err != nil {
				return 0, err
			}
		}
		if err := c.pause(); err != nil { // a text takes some 10 000 instructions; mu stays held
			return 0, err
		}
		text, err := h.gen()
		if err != nil {
			return 0, err
		}
		h.text = text
	}
	if off >= int64(len(h.text)) {
		return 0, nil
	}
	return copy(p, h.text[off:]), nil
}

// write sets a setting. Each call is a whole value, whatever the offset is.
func (h *textHandle) write(c call, p []byte, off int64) (int, error) {
	if h.set == nil { // root may open a read-only text for writing
		return 0, syscall.EIO
	}
	if err := h.set(c.task, strings.TrimSuffix(string(p), "\n")); err != nil {
		return 0, err
	}
	return len(p), nil
}

// mountProc makes /proc and its static part.
func (s *FS) mountProc() {
	p := &procfs{fs: s, src: s.cfg.Proc}
	s.proc = p
	p.root = &procDir{up: s.root, name: "proc", many: &manyKids{p.rootList, p.rootFind}}
	p.root.initFixed(s, devProc, 1, syscall.S_IFDIR, 0o555)
	s.root.give("proc", p.root)
	s.root.nlink.Add(1) // for its ".."
	s.ProcFile("meminfo", p.meminfo)
	s.ProcFile("sys/fs/file-nr", s.fileNr)
	s.ProcFile("sys/fs/inode-nr", s.inodeNr)
	s.machineTexts()
}

// fileMax is the number that Linux shows for no limit.
const fileMax = "9223372036854775807"

// fileNr returns /proc/sys/fs/file-nr: the number of open file descriptions, and the limit.
func (s *FS) fileNr() []byte { return fmt.Appendf(nil, "%d\t0\t%s\n", s.files.Load(), fileMax) }

// inodeNr returns /proc/sys/fs/inode-nr: the number of inodes, and of those not in use.
func (s *FS) inodeNr() []byte { return fmt.Appendf(nil, "%d\t0\n", s.inodes.Load()) }

// meminfo returns /proc/meminfo, made from the frame counts and the charges. Other systems
// do not have the lines that begin with Kernel and Buffer.
func (p *procfs) meminfo() []byte {
	total, free := p.fs.cfg.Memory()
	files := uint64(p.fs.size.Used()) * arch.PageSize // all of them are in memory
	var b bytes.Buffer
	for _, l := range []struct {
		name  string
		bytes uint64
	}{{"MemTotal", total}, {"MemFree", free}, {"MemAvailable", free}, {"Buffers", 0}, {"Cached", files},
		{"SwapTotal", 0}, {"SwapFree", 0}, {"Shmem", files}} {
		field(&b, l.name, l.bytes)
	}
	// The memory that the kernel holds for user programs, and the limits (package charge).
	c := p.fs.cfg.Charges
	field(&b, "KernelCharged", uint64(c.Used(charge.Heap)))
	field(&b, "KernelChargeLimit", uint64(c.Limit(charge.Heap)))
	field(&b, "BufferCharged", uint64(c.Used(charge.Frames)))
	field(&b, "BufferChargeLimit", uint64(c.Limit(charge.Frames)))
	for k, n := range c.Totals() {
		if charge.Kind(k) == charge.FileNodes {
			continue // its unit is not bytes; statfs(2) shows it
		}
		field(&b, "Kernel"+charge.Kind(k).String(), uint64(n))
	}
	return b.Bytes()
}

// field writes a line of meminfo: right-aligned, in kB, as Linux does.
func field(b *bytes.Buffer, name string, bytes uint64) {
	kb := strconv.FormatUint(bytes/1024, 10)
	b.WriteString(name + ":")
	b.WriteString(strings.Repeat(" ", max(1, 24-len(name)-len(kb))))
	b.WriteString(kb + " kB\n")
}

// cookiePIDs is the base of the processes' cookies in the root: static names come first,
// then the processes by number.
const cookiePIDs = 1 << 20

func (p *procfs) rootList(t Task) func(after int64) (kid, bool) {
	fixed := append(p.textKids(&p.texts), p.selfLinks()...)
	return func(after int64) (kid, bool) {
		for len(fixed) > 0 && fixed[0].cookie <= after {
			fixed = fixed[1:]
		}
		if len(fixed) > 0 {
			return fixed[0], true
		}
		if p.src == nil {
			return kid{}, false
		}
		pid := p.src.NextPID(int(max(after-cookiePIDs, 0)))
		return p.pidKid(procID{pid: pid}), pid != 0 // only its name is used
	}
}

func (p *procfs) rootFind(t Task, name string) (kid, bool) {
	if pid, ok := number(name); ok {
		if p.src == nil {
			return kid{}, false
		}
		i, ok := p.src.Process(pid)
		return p.pidKid(procID{pid: pid, start: i.Start}), ok
	}
	for _, k := range append(p.textKids(&p.texts), p.selfLinks()...) {
		if k.name == name {
			return k, true
		}
	}
	return kid{}, false
}

// number parses a name that is a canonical decimal number.
func number(name string) (int, bool) {
	n, err := strconv.Atoi(name)
	return n, err == nil && n >= 0 && strconv.Itoa(n) == name
}

// textKids returns the entries of a static directory.
func (p *procfs) textKids(d *textDir) []kid {
	p.mu.RLock()
	defer p.mu.RUnlock()
	kids := make([]kid, 0, len(d.order)+8)
	for i, name := range d.order {
		k := kid{name: name, cookie: cookieDots + 1 + int64(i)}
		if sub := d.dirs[name]; sub != nil {
			k.typ, k.perm = syscall.S_IFDIR, 0o555
			k.dir = func(Task) []kid { return p.textKids(sub) }
		} else {
			f := d.files[name]
			k.typ, k.perm = syscall.S_IFREG, 0o444
			k.text = func() ([]byte, error) { return f.gen(), nil }
			if f.set != nil {
				k.perm, k.set = 0o644, f.set
			}
		}
		kids = append(kids, k)
	}
	return kids
}

// selfLinks returns the entries self and thread-self.
func (p *procfs) selfLinks() []kid {
	if p.src == nil {
		return nil
	}
	ids := func(format func(pid, tid string) string) func(Task) (string, error) {
		return func(t Task) (string, error) {
			if t == nil {
				return "", syscall.ENOENT
			}
			pid, tid := t.IDs()
			return format(strconv.Itoa(pid), strconv.Itoa(tid)), nil
		}
	}
	return []kid{
		{name: "self", typ: syscall.S_IFLNK, cookie: cookiePIDs - 2,
			link: ids(func(pid, tid string) string { return pid })},
		{name: "thread-self", typ: syscall.S_IFLNK, cookie: cookiePIDs - 1,
			link: ids(func(pid, tid string) string { return pid + "/task/" + tid })},
		{name: "mounts", typ: syscall.S_IFLNK, cookie: cookiePIDs - 3,
			link: func(Task) (string, error) { return "self/mounts", nil }},
		{name: "net", typ: syscall.S_IFLNK, cookie: cookiePIDs - 4,
			link: func(Task) (string, error) { return "self/net", nil }},
	}
}
