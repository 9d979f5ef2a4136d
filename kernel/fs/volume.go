package fs

import (
	"maps"
	"slices"
	"sync"
	"syscall"
	"time"

	"grim/mm/vm"
)

// volume is a mounted file system: a tree of names under one lock. If the volume has a
// store, the lock is held while the store works. So a slow disk delays only the threads
// that look up names on it.
//
// The nodes of a volume with a store are made when they are looked up. A volume remembers
// its directories with their names, and the inodes of files that have been used. When there
// are too many, it forgets those that are not in use. If too many directories, names or
// files are in use, looking up another one fails with ENFILE. Package vm caches the data of
// the files, and frees it when memory is needed.
type volume struct {
	fs     *FS
	dev    uint64
	name   string     // of the device, for /proc/mounts
	store  Store      // [I] nil: in memory only
	root   *dir       // [I]
	over   directory  // [mu of over's volume] the directory that root covers; nil: root is the root of all
	kind   string     // [I] the kind of file system
	work   sync.Mutex // held by flushAttrs and bury: the number of a forgotten inode may get another file's
	wake   chan struct{}
	stop   chan struct{} // closed to end run
	ended  chan struct{} // closed when run has ended
	closed bool          // [mu and nodesMu]
	names  int           // [mu] number of names in all directories

	maxNodes, maxNames int // [I]

	mu sync.RWMutex // names; see the package comment

	nodesMu sync.Mutex
	nodes   map[uint64]node      // [nodesMu] by number; the volume has a reference on each that has a name
	dirty   map[*storedFile]bool // [nodesMu] files with dirty pages
	attrs   map[*inode]bool      // [nodesMu] inodes with times that the store does not have yet
	dead    []uint64             // [nodesMu] inodes that bury must forget
}

// The nodes and names of a volume take a part of the kernel's heap: Config.VolumeBytes.
const (
	nodeBytes = 1 << 10 // an inode with its page cache's index
	slotBytes = 160     // a name
)

// defaultVolumeBytes is the value for a VolumeBytes of 0.
const defaultVolumeBytes = 4 << 20

// writebackDelay is how long a change may wait before it is written to the disk.
const writebackDelay = 5 * time.Second

// newVolume makes a volume of a store. Its root covers no directory yet.
func (s *FS) newVolume(name, kind string, st Store) (*volume, error) {
	v := &volume{
		fs: s, dev: s.lastDev.Add(1), name: name, kind: kind, store: st,
		wake: make(chan struct{}, 1), stop: make(chan struct{}), ended: make(chan struct{}),
		nodes: map[uint64]node{}, dirty: map[*storedFile]bool{}, attrs: map[*inode]bool{},
	}
	room := s.cfg.VolumeBytes
	if room == 0 {
		room = defaultVolumeBytes
	}
	v.maxNodes, v.maxNames = int(room/2/nodeBytes), int(room/2/slotBytes)
	n, err := v.node(st.Root())
	if err != nil {
		return nil, err
	}
	var ok bool
	if v.root, ok = n.(*dir); !ok {
		return nil, syscall.EIO
	}
	v.root.up = v.root
	go v.run()
	return v, nil
}

// covering is the root that is mounted on a directory.
type covering struct{ directory }

// under returns the directory mounted on n, if there is one, or else n.
func under(n node) node {
	if d, ok := n.(*dir); ok {
		if c := d.over.Load(); c != nil {
			return c.directory
		}
	}
	return n
}

// stored returns the volume of an inode that a store keeps, or nil.
func (i *inode) stored() *volume {
	if i.vol != nil && i.vol.store != nil {
		return i.vol
	}
	return nil
}

// unnamed drops the volume's reference on a node that has lost its last name. Precondition:
// the caller has another reference.
func unnamed(n node) {
	if i := n.base(); i.stored() != nil && i.nlink.Load() == 0 {
		i.refs.Add(-1)
	}
}

// changed wakes run, because the store has something to write.
func (v *volume) changed() {
	select {
	case v.wake <- struct{}{}:
	default:
	}
}

// run is the volume's writeback task.
func (v *volume) run() {
	defer close(v.ended)
	for {
		select {
		case <-v.stop:
			return
		case <-v.wake:
		}
		v.bury()
		late := time.NewTimer(writebackDelay)
		select {
		case <-v.stop:
			late.Stop()
			return
		case <-late.C:
		}
		v.eachDirty((*vm.FileObject).WriteBack)
		v.flushAttrs()
		v.bury()
		if v.store.ReadOnly() == "" {
			_ = v.store.Sync() // fsync reports the error
		}
	}
}

// bury tells the store to forget inodes that are not used any more.
func (v *volume) bury() {
	v.work.Lock()
	defer v.work.Unlock()
	v.nodesMu.Lock()
	dead := v.dead
	v.dead = nil
	v.nodesMu.Unlock()
	for _, ino := range dead {
		_ = v.store.Forget(ino) // on an error the store becomes read-only
	}
}

// makeRoom frees inodes and blocks that are not used any more, on disk too, so that they
// can be used again. It reports whether that succeeded.
func (v *volume) makeRoom() bool {
	v.bury()
	return v.store.Sync() == nil
}

// eachDirty calls do for each file that has dirty pages now. During the call, only that
// file has a reference: the other files can be forgotten. A file stays on the list until it
// is clean, so if two threads call eachDirty, both wait for the file.
func (v *volume) eachDirty(do func(*vm.FileObject)) {
	v.nodesMu.Lock()
	files := slices.Collect(maps.Keys(v.dirty))
	v.nodesMu.Unlock()
	for _, f := range files {
		v.nodesMu.Lock()
		ok := v.dirty[f] && f.object.TryRef() // if false, the file is gone or about to be
		v.nodesMu.Unlock()
		if !ok {
			continue
		}
		do(f.object)
		v.nodesMu.Lock()
		if !f.object.Dirty() { // if it becomes dirty again, Dirtied adds it again
			delete(v.dirty, f)
		}
		v.nodesMu.Unlock()
		f.object.Unref()
	}
}

// sync returns when all previous changes of the volume are on disk.
func (v *volume) sync() error {
	if v.store == nil || v.store.ReadOnly() != "" {
		return nil
	}
	var first error
	v.eachDirty(func(o *vm.FileObject) {
		if err := o.Sync(); err != nil && first == nil {
			first = err
		}
	})
	v.flushAttrs()
	v.bury()
	if err := v.store.Sync(); err != nil && first == nil {
		first = err
	}
	return first
}

// flushAttrs writes changed times to the store.
func (v *volume) flushAttrs() {
	v.work.Lock()
	defer v.work.Unlock()
	v.nodesMu.Lock()
	attrs := v.attrs
	v.attrs = map[*inode]bool{}
	v.nodesMu.Unlock()
	for i := range attrs {
		_ = v.store.SetAttr(i.ino, i.attr())
	}
}

// touched records that the times of an inode have changed.
func (v *volume) touched(i *inode) {
	v.nodesMu.Lock()
	v.attrs[i] = true
	v.nodesMu.Unlock()
	v.changed()
}

// attr returns the inode's attributes for the store.
func (i *inode) attr() Attr {
	return Attr{
		Mode: i.typ | i.perm.Load(), UID: i.uid.Load(), GID: i.gid.Load(), Rdev: i.rdev,
		Atime: i.atime.Load(), Mtime: i.mtime.Load(), Ctime: i.ctime.Load(), Btime: i.btime.Load(),
	}
}

// setAttr writes an inode's attributes to the store. Errors: EROFS, EIO.
func (v *volume) setAttr(i *inode) error {
	err := v.store.SetAttr(i.ino, i.attr())
	v.changed()
	return err
}

// evict forgets inodes that are not in use, until it has forgotten more than half of
// maxNodes. It reports whether there were any. Names do not count as a use, and directories
// are not forgotten. This is safe because walks on a volume with a store hold the nodes
// that they have found, and all other users of a node have a reference. Precondition: mu
// held for writing.
func (v *volume) evict() bool {
	var victims []node
	// flushAttrs may be writing times of an inode that is not in attrs any more. A node made
	// anew before that would have the old ones.
	v.work.Lock()
	defer v.work.Unlock()
	v.nodesMu.Lock()
	names := map[node][]*slot{}
	for _, n := range v.nodes {
		if d, ok := n.(*dir); ok {
			for _, e := range d.names {
				if e.node != nil {
					names[e.node] = append(names[e.node], e)
				}
			}
		}
	}
	for ino, n := range v.nodes {
		if len(victims) > v.maxNodes/2 {
			break
		}
		i := n.base()
		if i.typ == syscall.S_IFDIR || v.attrs[i] || i.nlink.Load() == 0 {
			continue
		}
		r, isFile := n.(*regular)
		if isFile && r.pages.(*vm.FileObject).Busy() {
			continue
		}
		if !i.refs.CompareAndSwap(1+int32(len(names[n])), 0) {
			continue
		}
		if isFile {
			r.pages.(*vm.FileObject).Store().(*storedFile).evicted = true
		}
		for _, e := range names[n] {
			e.node, e.ino, e.typ = nil, ino, i.typ
		}
		delete(v.nodes, ino)
		victims = append(victims, n)
	}
	v.nodesMu.Unlock()
	for _, n := range victims {
		v.fs.inodes.Add(-1)
		n.drop()
	}
	return len(victims) > 0
}

// node returns the node of an inode. It makes the node if necessary. Precondition: mu held
// for writing.
func (v *volume) node(ino uint64) (node, error) {
	v.nodesMu.Lock()
	n, full := v.nodes[ino], len(v.nodes) >= v.maxNodes
	v.nodesMu.Unlock()
	if n != nil {
		return n, nil
	}
	if full && !v.evict() {
		v.eachDirty((*vm.FileObject).WriteBack) // a dirty file cannot be forgotten
		v.flushAttrs()
		if !v.evict() {
			return nil, syscall.ENFILE
		}
	}
	a, err := v.store.Stat(ino)
	if err == nil {
		n, err = v.build(ino, &a)
	}
	if err != nil {
		return nil, err
	}
	v.nodesMu.Lock()
	defer v.nodesMu.Unlock()
	v.nodes[ino] = n
	return n, nil
}

// build makes a node from the store's attributes. Its one reference is the volume's.
func (v *volume) build(ino uint64, a *Attr) (n node, err error) {
	s := v.fs
	switch a.Mode & syscall.S_IFMT {
	case syscall.S_IFDIR:
		n = &dir{names: map[string]*slot{}, cookie: cookieDots, absent: true}
	case syscall.S_IFREG:
		f := &storedFile{v: v, ino: ino, need: map[int64]int64{}}
		if s.cfg.NewStored == nil {
			return nil, syscall.ENODEV
		}
		if f.object, err = s.cfg.NewStored("", f, a.Size); err != nil {
			return nil, err
		}
		n = &regular{pages: f.object}
	case syscall.S_IFLNK:
		target, err := v.store.Readlink(ino)
		if err != nil {
			return nil, err
		}
		n = &symlink{target: target}
	case syscall.S_IFIFO:
		f := new(fifo)
		if f.pipe.init(s, boot) == nil {
			return nil, syscall.ENFILE
		}
		n = f
	case syscall.S_IFCHR, syscall.S_IFBLK:
		n = &device{}
	case syscall.S_IFSOCK:
		n = &socketNode{}
	default:
		return nil, syscall.EIO
	}
	i := n.base()
	i.init(s, v.dev, a.Mode)
	i.vol, i.ino, i.rdev = v, ino, a.Rdev
	i.uid.Store(a.UID)
	i.gid.Store(a.GID)
	i.nlink.Store(int32(a.Nlink))
	i.atime.Store(a.Atime)
	i.mtime.Store(a.Mtime)
	i.ctime.Store(a.Ctime)
	i.btime.Store(a.Btime)
	newborn(n)
	if r, ok := n.(*regular); ok {
		o := r.pages.(*vm.FileObject)
		o.SetInode(ino)
		o.OnWrite(func() { r.changed() })
	}
	return n, nil
}

// gone is called when a node of the volume has no references any more, and thus no name. A
// file's inode stays until its pages are gone: see storedFile.Gone.
func (v *volume) gone(n node) {
	i := n.base()
	v.nodesMu.Lock()
	defer v.nodesMu.Unlock()
	if v.nodes[i.ino] == n {
		delete(v.nodes, i.ino)
	}
	delete(v.attrs, i)
	if i.typ != syscall.S_IFREG {
		v.bury1(i.ino)
	}
}

// bury1 hands an inode to bury. Precondition: nodesMu held.
func (v *volume) bury1(ino uint64) {
	if !v.closed {
		v.dead = append(v.dead, ino)
		v.changed()
	}
}

// load reads a directory's names, if they have not been read yet. Precondition: mu held for
// writing.
func (d *dir) load() error {
	if !d.absent {
		return nil
	}
	names := map[string]*slot{}
	var order *slot
	cookie := d.cookie
	v := d.vol
	err := v.store.List(d.ino, func(name string, ino uint64, typ uint32) error {
		switch {
		case name == "" || names[name] != nil:
			return syscall.EIO
		case v.names+len(names) >= v.maxNames:
			return syscall.ENFILE
		}
		cookie++
		e := &slot{name: name, cookie: cookie, ino: ino, typ: typ}
		names[name] = e
		order = joinSlots(order, e)
		return nil
	})
	if err != nil {
		return err
	}
	v.names += len(names)
	d.names, d.order, d.cookie, d.absent = names, order, cookie, false
	return nil
}

// fill makes the node of a slot, if it has none. Precondition: mu held for writing.
func (d *dir) fill(e *slot) error {
	if e.node != nil {
		return nil
	}
	n, err := d.vol.node(e.ino)
	if err != nil {
		return err
	}
	if c, ok := n.(*dir); ok {
		if c.up != nil { // a second name of a directory: the disk is broken
			return syscall.EIO
		}
		c.up, c.name = d, e.name
	}
	n.base().refs.Add(1) // for the name
	e.node = n
	return nil
}

// slot returns the slot of a name, with its node, or nil if there is no such name.
// Precondition: mu held for writing.
func (d *dir) slot(name string) (*slot, error) {
	if err := d.load(); err != nil {
		return nil, err
	}
	e := d.names[name]
	if e == nil {
		return nil, nil
	}
	return e, d.fill(e)
}

// fetch is lookup for names or nodes that must be read from the store.
func (d *dir) fetch(name string) (node, error) {
	d.vol.mu.Lock()
	defer d.vol.mu.Unlock()
	if d.removed() || d.vol.closed {
		return nil, syscall.ENOENT
	}
	e, err := d.slot(name)
	switch {
	case err != nil:
		return nil, err
	case e == nil:
		return nil, syscall.ENOENT
	}
	return e.node, nil
}

// create makes an inode like n with a name, and returns its node. Errors: EEXIST; ENOENT if
// the directory was removed.
func (v *volume) create(d *dir, name string, n node) (node, error) {
	e, err := v.fs.newSlot(boot, name)
	if err != nil {
		return nil, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	a, target := n.base().attr(), ""
	if l, ok := n.(*symlink); ok {
		target = l.target
	}
	made, err := v.createLocked(d, e, a, target)
	if err != nil {
		e.free()
	}
	return made, err
}

func (v *volume) createLocked(d *dir, e *slot, a Attr, target string) (node, error) {
	if d.removed() || v.closed {
		return nil, syscall.ENOENT
	}
	if err := d.load(); err != nil {
		return nil, err
	}
	if d.names[e.name] != nil {
		return nil, syscall.EEXIST
	}
	if v.names >= v.maxNames {
		return nil, syscall.ENFILE
	}
	ino, err := v.store.Create(d.ino, e.name, a, target)
	if err == syscall.ENOSPC && v.makeRoom() {
		ino, err = v.store.Create(d.ino, e.name, a, target)
	}
	if err != nil {
		return nil, err
	}
	n, err := v.node(ino)
	if err != nil { // a file without a node must not keep its name
		_ = v.store.Unlink(d.ino, e.name, a.Mode&syscall.S_IFMT == syscall.S_IFDIR, a.Ctime)
		_ = v.store.Forget(ino)
		return nil, err
	}
	if c, ok := n.(*dir); ok {
		c.absent = false
	}
	n.base().nlink.Add(-1) // attach adds it again
	d.attach(e, n)
	v.changed()
	return n, nil
}
