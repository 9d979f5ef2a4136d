package fs

import (
	"sort"
	"syscall"
)

// directory is a node that holds names: of the in-memory tree, or of /proc.
type directory interface {
	node
	// lookup finds a name other than "." and ".."; ENOENT.
	lookup(t Task, name string) (node, error)
	// where is the parent and the name in it. The root is its own parent; a
	// removed directory has none.
	where() (directory, string)
	// list gives the entries in an order that does not change while they live.
	list(t Task) ([]entry, error)
}

// entry is a directory entry. Its cookie is its d_off: unique in the directory,
// ascending in list order, above cookieDots.
type entry struct {
	name   string
	cookie int64
	ino    uint64
	typ    uint32
}

// Cookies up to this one are "." and "..".
const cookieDots = 2

// dir is a directory of the in-memory tree. Everything is protected by FS.tree.
type dir struct {
	inode
	up      directory // nil: removed
	name    string    // in up
	entries map[string]*slot
	cookie  int64 // last one given out
}

// slot is one name. cookie only grows, so that a reader of the directory meets
// every name that stays exactly once, whatever is added and removed meanwhile.
type slot struct {
	node   node
	cookie int64
}

func (s *FS) newDir(perm uint32) *dir {
	d := &dir{entries: map[string]*slot{}, cookie: cookieDots}
	d.init(s, devRoot, syscall.S_IFDIR|perm)
	d.nlink.Store(1) // "."; attach adds the name's
	return d
}

func (d *dir) lookup(t Task, name string) (node, error) {
	d.fs.tree.RLock()
	defer d.fs.tree.RUnlock()
	if e := d.entries[name]; e != nil {
		return e.node, nil
	}
	return nil, syscall.ENOENT
}

func (d *dir) where() (directory, string) {
	d.fs.tree.RLock()
	defer d.fs.tree.RUnlock()
	return d.up, d.name
}

func (d *dir) size() int64 { return 4096 }

func (d *dir) list(t Task) ([]entry, error) {
	d.fs.tree.RLock()
	defer d.fs.tree.RUnlock()
	es := make([]entry, 0, len(d.entries))
	for name, e := range d.entries {
		b := e.node.base()
		es = append(es, entry{name, e.cookie, b.ino, b.typ})
	}
	sort.Slice(es, func(i, j int) bool { return es[i].cookie < es[j].cookie })
	return es, nil
}

// attach gives n the name in d: it takes a reference of its own and counts the
// link. FS.tree is held, or nobody knows d yet; the name is free.
func (d *dir) attach(name string, n node) {
	d.cookie++
	d.entries[name] = &slot{n, d.cookie}
	b := n.base()
	b.refs.Add(1)
	b.nlink.Add(1)
	if c, ok := n.(*dir); ok {
		c.up, c.name = d, name
		d.nlink.Add(1) // its ".."
	}
	d.changed()
}

// detach takes the name away and returns the node, whose reference the caller
// must give back after unlocking FS.tree.
func (d *dir) detach(name string) node {
	n := d.entries[name].node
	delete(d.entries, name)
	b := n.base()
	b.nlink.Add(-1)
	b.ctime.Store(d.fs.cfg.Now())
	if c, ok := n.(*dir); ok {
		c.up, c.name = nil, ""
		d.nlink.Add(-1)
	}
	d.changed()
	return n
}

// removed says whether rmdir took d away: no name can be added any more.
// FS.tree is held.
func (d *dir) removed() bool { return d.up == nil }

// open makes the handle that Getdents reads.
func (d *dir) open(c call, flags int) (handle, error) {
	return &dirHandle{dir: d}, nil
}
