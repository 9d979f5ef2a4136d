package fs

import (
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
	"grim/proc/cred"
)

// Place is a process's position in the tree: working directory, umask and root. CLONE_FS
// shares it, fork copies it.
type Place struct {
	mu    sync.Mutex
	cwd   directory
	umask uint32

	root atomic.Pointer[top] // nil: the machine's root
}

// top is a root directory set by chroot(2).
type top struct{ dir directory }

// rootOf returns the directory at which a process's absolute paths begin. p may be nil.
func (s *FS) rootOf(p *Place) directory {
	if p != nil {
		if t := p.root.Load(); t != nil {
			return t.dir
		}
	}
	return s.root
}

// Chroot implements chroot(2). The caller passes the result of the permission check in may.
func (s *FS) Chroot(at At, path string, may error) error {
	t, err := s.node(at, path, 0)
	if err != nil {
		return err
	}
	defer t.done()
	d, ok := t.node.(directory)
	if !ok {
		return syscall.ENOTDIR
	}
	if err := d.base().allows(at.cred(), mayExec); err != nil {
		return err
	}
	if may != nil {
		return may
	}
	at.Place.root.Store(&top{d})
	return nil
}

// NewPlace returns the place of the first process: "/" and umask 022.
func (s *FS) NewPlace() *Place { return &Place{cwd: s.root, umask: 0o022} }

// Fork copies p to c, a new Place, and returns c.
func (p *Place) Fork(c *Place) *Place {
	p.mu.Lock()
	c.cwd, c.umask = p.cwd, p.umask
	c.root.Store(p.root.Load())
	p.mu.Unlock()
	return c
}

// Umask implements umask(2): it sets the mask and returns the one before.
func (p *Place) Umask(mask uint32) (old uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	old, p.umask = p.umask, mask&0o777
	return old
}

// mode returns mode without the bits of the umask.
func (p *Place) mode(mode uint32) uint32 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return mode & 0o7777 &^ p.umask
}

func (p *Place) dir() directory {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cwd
}

// Getcwd returns the path of the working directory. ENOENT: it was removed.
func (p *Place) Getcwd() (string, error) {
	path, ok := dirPath(p.dir())
	if !ok {
		return "", syscall.ENOENT
	}
	t := p.root.Load()
	if t == nil {
		return path, nil
	}
	switch root, _ := dirPath(t.dir); {
	case root == "/":
		return path, nil
	case path == root:
		return "/", nil
	case strings.HasPrefix(path, root+"/"):
		return path[len(root):], nil
	}
	return "(unreachable)" + path, nil
}

// At is the start of a relative path: Dir (the descriptor of a *at call), or the working
// directory if Dir is nil. Task may be nil, except for /proc/self.
type At struct {
	Task  Task
	Place *Place
	Dir   *File
	As    *cred.Cred // the credentials that are checked; nil: Task's
	// Resolve has RESOLVE_ flags of openat2(2), which restrict the walk.
	Resolve uint8
}

// cred returns the credentials that the walk is checked against.
func (a *At) cred() *cred.Cred {
	if a.As != nil {
		return a.As
	}
	return credOf(a.Task)
}

// start returns the directory at which a relative path begins. Error: ENOTDIR.
func (a At) start() (directory, error) {
	if a.Dir == nil {
		return a.Place.dir(), nil
	}
	d, ok := a.Dir.node.(directory)
	if !ok {
		return nil, syscall.ENOTDIR
	}
	return d, nil
}

// found is the end of a walk. node is nil if the last name does not exist in its directory.
// found has a reference on node only if held.
type found struct {
	place
	node  node
	slash bool // the path ended with a slash: it means a directory
	held  bool // found has a reference: the node is from a magic link, or kept by a store
}

// done releases the reference that the walk holds.
func (t found) done() {
	if t.held {
		unhold(t.node)
	}
}

// existing returns ENOENT if the name does not exist, and ENOTDIR for "file/".
func (t found) existing() error {
	if t.node == nil {
		return syscall.ENOENT
	}
	if _, ok := t.node.(directory); t.slash && !ok {
		return syscall.ENOTDIR
	}
	return nil
}

// walker resolves one path (path_resolution(7)). Each step takes volume.mu separately, so
// names may change between steps, as on any Unix.
type walker struct {
	task  Task
	cred  *cred.Cred
	root  directory
	dir   directory
	rest  string // the rest of the path
	links int    // number of symbolic links followed

	resolve uint8
}

// lastLink says how a walk treats a symbolic link as the last component.
type lastLink uint8

const (
	follow lastLink = iota
	// noFollow stays at the link, unless the path ends with a slash.
	noFollow
	// nameOnly always stays at the link: for calls that make or remove a name.
	nameOnly
	// creating follows the link, unless the path ends with a slash: open(2) with O_CREAT
	// cannot make a directory, and fails before the look-up.
	creating
)

func (e lastLink) follows(slash bool) bool {
	return e == follow || e == noFollow && slash || e == creating && !slash
}

// walk resolves path. It returns ENOENT if a directory on the way does not exist.
func (s *FS) walk(at At, path string, end lastLink) (found, error) {
	if path == "" {
		return found{}, syscall.ENOENT
	}
	if len(path) >= pathMax {
		return found{}, syscall.ENAMETOOLONG
	}
	w := walker{task: at.Task, cred: at.cred(), root: s.rootOf(at.Place), rest: path, resolve: at.Resolve}
	const below = unix.RESOLVE_BENEATH | unix.RESOLVE_IN_ROOT
	if at.Resolve&below != 0 {
		d, err := at.start()
		if err != nil {
			return found{}, err
		}
		if path[0] == '/' && at.Resolve&unix.RESOLVE_BENEATH != 0 {
			return found{}, syscall.EXDEV
		}
		w.dir, w.root = d, d
	} else if path[0] == '/' {
		w.dir = w.root
	} else {
		d, err := at.start()
		if err != nil {
			return found{}, err
		}
		w.dir = d
	}
	return w.run(end)
}

func (w *walker) run(end lastLink) (found, error) {
	for steps := 1; ; steps++ {
		if steps%walkTurn == 0 {
			if err := (call{task: w.task}).pause(); err != nil {
				return found{}, err
			}
		}
		name, last := w.next()
		if name == "" { // "/", or the end of the path
			return found{place: place{w.dir, ""}, node: w.dir}, nil
		}
		slash := last && w.rest != ""
		if err := w.dir.base().allows(w.cred, mayExec); err != nil {
			if p, ok := w.dir.(*procDir); !ok || p.guard == nil || p.guard(w.task) != nil {
				return found{}, err
			}
		}
		n, err := w.step(name)
		switch {
		case err == syscall.ENOENT && last:
			return found{place: place{w.dir, name}, slash: slash}, nil
		case err != nil:
			return found{}, err
		}
		if w.resolve != 0 {
			if err := w.restrict(n); err != nil {
				return found{}, err
			}
		}
		if l, ok := n.(linker); ok && (!last || end.follows(slash)) {
			if j, ok := l.(jumper); ok {
				t, err := w.jump(j, last, slash)
				if err != nil || last {
					return t, err
				}
				continue
			}
			if err := w.follow(l); err != nil {
				return found{}, err
			}
			continue
		}
		if last {
			t := w.end(name, n, slash)
			if _, isDir := n.(directory); !isDir && n.base().stored() != nil {
				if !hold(n) { // forgotten or unlinked since the step
					w.rest = name + w.rest
					continue
				}
				t.held = true
			}
			return t, nil
		}
		d, ok := n.(directory)
		if !ok {
			return found{}, syscall.ENOTDIR
		}
		w.dir = d
	}
}

// walkTurn is how many components of a path are walked between two pauses. With links, a
// walk may be as long as 40 paths of the maximum length.
const walkTurn = 32

// next removes the next component from the path and returns it. last: only slashes follow
// it.
func (w *walker) next() (name string, last bool) {
	rest := strings.TrimLeft(w.rest, "/")
	i := strings.IndexByte(rest, '/')
	if i < 0 {
		i = len(rest)
	}
	name, w.rest = rest[:i], rest[i:]
	return name, strings.Trim(w.rest, "/") == ""
}

// step looks name up in the present directory.
func (w *walker) step(name string) (node, error) {
	switch {
	case len(name) > nameMax:
		return nil, syscall.ENAMETOOLONG
	case name == ".":
		return w.dir, nil
	case name == "..":
		if w.dir == w.root {
			if w.resolve&unix.RESOLVE_BENEATH != 0 {
				return nil, syscall.EXDEV
			}
			return w.dir, nil
		}
		up, _ := w.dir.where()
		if up == nil { // removed, so it has no parent any more
			return nil, syscall.ENOENT
		}
		return up, nil
	}
	return w.dir.lookup(w.task, name)
}

// end returns the result for the last component. "." and ".." give a directory without a
// name.
func (w *walker) end(name string, n node, slash bool) found {
	if name == "." || name == ".." {
		return found{place: place{n.(directory), ""}, node: n}
	}
	return found{place: place{w.dir, name}, node: n, slash: slash}
}

// restrict returns the error of a step to n that the flags of openat2(2) forbid. A link as
// the last component counts only if it is followed; open(2) checks that.
func (w *walker) restrict(n node) error {
	if w.resolve&unix.RESOLVE_NO_XDEV != 0 && n.base().dev != w.dir.base().dev {
		return syscall.EXDEV
	}
	l, ok := n.(linker)
	if !ok {
		return nil
	}
	_, magic := l.(jumper)
	switch {
	case w.resolve&unix.RESOLVE_NO_SYMLINKS != 0, magic && w.resolve&unix.RESOLVE_NO_MAGICLINKS != 0:
		return syscall.ELOOP
	case magic && w.resolve&(unix.RESOLVE_BENEATH|unix.RESOLVE_IN_ROOT) != 0:
		return syscall.EXDEV
	}
	return nil
}

// follow puts a symbolic link's target in front of the rest of the path.
func (w *walker) follow(l linker) error {
	if w.links++; w.links > maxSymlink {
		return syscall.ELOOP
	}
	target, err := l.readlink(w.task)
	switch {
	case err != nil:
		return err
	case target == "":
		return syscall.ENOENT
	case len(target)+len(w.rest) >= 2*pathMax:
		return syscall.ENAMETOOLONG
	}
	if target[0] == '/' {
		if w.resolve&unix.RESOLVE_BENEATH != 0 {
			return syscall.EXDEV
		}
		w.dir = w.root
	}
	w.rest = target + w.rest
	return nil
}

// jump follows a magic link. If it is the last component, the link's node is the result.
// Else the walk continues in the directory to which the link leads.
func (w *walker) jump(j jumper, last, slash bool) (found, error) {
	if w.links++; w.links > maxSymlink {
		return found{}, syscall.ELOOP
	}
	n, from, err := j.jump(w.task)
	if err != nil {
		return found{}, err
	}
	if last {
		return found{place: from, node: n, slash: slash, held: true}, nil
	}
	unhold(n) // a walk needs no reference on the directory
	d, ok := n.(directory)
	if !ok {
		return found{}, syscall.ENOTDIR
	}
	w.dir = d
	return found{}, nil
}

// dirPath returns the path from the root. It returns false if d or a directory above it was
// removed, or if the path is too long for any program to use. The path is then only the end
// of it.
func dirPath(d directory) (string, bool) {
	buf := NewBuffer(smallBytes)
	defer buf.Put()
	room := buf.B[:pathMax]
	at := len(room)
	for steps := 1; ; steps++ {
		if steps%walkTurn == 0 {
			d.base().fs.cfg.Yield()
		}
		up, name := d.where()
		switch {
		case up == nil, len(name)+1 > at:
			return string(room[at:]), false
		case up == d && at == len(room):
			return "/", true
		case up == d:
			return string(room[at:]), true
		}
		at -= copy(room[at-len(name):], name)
		at--
		room[at] = '/'
		d = up
	}
}

// pathOf returns the path of n, which was found at p, as /proc/self/fd shows it.
func (s *FS) pathOf(n node, p place) string {
	if d, ok := n.(directory); ok {
		path, ok := dirPath(d)
		if !ok {
			path += " (deleted)"
		}
		return path
	}
	if p.dir == nil {
		if l, ok := n.(interface{ label() string }); ok {
			return l.label()
		}
		if n.base().dev == devAnon && n.base().typ == syscall.S_IFREG {
			return p.name + " (deleted)"
		}
		return p.name
	}
	path, ok := dirPath(p.dir)
	if path == "/" {
		path = ""
	}
	path += "/" + p.name
	if ok {
		now, err := p.dir.lookup(nil, p.name)
		ok = err == nil && (now == n || n.base().dev == devProc || now.base().ino == n.base().ino)
	}
	if !ok {
		path += " (deleted)"
	}
	return path
}

// node resolves path for a call that acts on an existing file of any kind. flags:
// AT_SYMLINK_NOFOLLOW, and AT_EMPTY_PATH: "" then names at.Dir itself. The caller must call
// done on the result.
func (s *FS) node(at At, path string, flags int) (found, error) {
	if path == "" && flags&unix.AT_EMPTY_PATH != 0 {
		if at.Dir != nil {
			return found{place: at.Dir.from, node: at.Dir.node}, nil
		}
		d := at.Place.dir()
		return found{place: place{d, ""}, node: d}, nil
	}
	end := follow
	if flags&unix.AT_SYMLINK_NOFOLLOW != 0 {
		end = noFollow
	}
	t, err := s.walk(at, path, end)
	if err != nil {
		return t, err
	}
	if err := t.existing(); err != nil {
		t.done()
		return found{}, err
	}
	return t, nil
}
