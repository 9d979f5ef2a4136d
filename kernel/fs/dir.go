package fs

import (
	"sync/atomic"
	"syscall"

	"grim/mm/charge"
)

// directory is a node that holds names: of the in-memory tree, or of /proc.
type directory interface {
	node
	// lookup finds a name other than "." and ".."; ENOENT.
	lookup(t Task, name string) (node, error)
	// where is the parent and the name in it. The root is its own parent; a
	// removed directory has none.
	where() (directory, string)
	// entries calls yield for the entries whose cookies are greater than after, in
	// the order of their cookies, until it returns false. yield must not block: the
	// directory may be locked.
	entries(t Task, after int64, yield func(entry) bool)
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

// dir is a directory of a volume. Everything is protected by volume.mu.
type dir struct {
	inode
	over   atomic.Pointer[covering] // what is mounted on it; nil: nothing
	absent bool                     // names have not been read from the store
	up     directory                // nil: removed
	name   string                   // in up
	names  map[string]*slot
	order  *slot // the same, by cookie: the root of a treap
	cookie int64 // last one given out
}

// slot is one name. Its cookie never changes and is not used again, so that a
// reader of the directory, who goes on after the cookie of its last entry, meets
// every name that stays exactly once, whatever is added and removed meanwhile.
type slot struct {
	node   node
	name   string
	cookie int64
	// The order is a treap: a search tree by cookie, a heap by weight.
	before, after *slot

	payer *charge.User // [I] of the name; nil: nobody, where a store has it

	// Of a name that a store has told of. Until somebody looks for it, node is nil.
	ino uint64
	typ uint32 // 0: only the inode tells
}

// weight is pseudo-random, which keeps the treap flat; any fixed mixing of the
// cookie's bits will do (this is the 64-bit golden ratio, and its high half).
func (e *slot) weight() uint64 {
	x := uint64(e.cookie) * 0x9e3779b97f4a7c15
	return x ^ x>>32
}

// joinSlots is the treap of a and b; all cookies of a are less than those of b.
func joinSlots(a, b *slot) *slot {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	case a.weight() > b.weight():
		a.after = joinSlots(a.after, b)
		return a
	}
	b.before = joinSlots(a, b.before)
	return b
}

// remove takes e out of the treap.
func (d *dir) remove(e *slot) {
	at := &d.order
	for *at != e {
		if e.cookie < (*at).cookie {
			at = &(*at).before
		} else {
			at = &(*at).after
		}
	}
	*at = joinSlots(e.before, e.after)
}

// ascend is directory.entries for the treap below e; false if yield ended it.
func (e *slot) ascend(after int64, yield func(*slot) bool) bool {
	if e == nil {
		return true
	}
	if e.cookie > after {
		if !e.before.ascend(after, yield) || !yield(e) {
			return false
		}
	}
	return e.after.ascend(after, yield)
}

// newDir is an empty directory that nobody knows yet: ENOSPC.
func (s *FS) newDir(t Task, perm uint32) (*dir, error) {
	d := &dir{names: map[string]*slot{}, cookie: cookieDots}
	if err := d.pay(s.payer(t), 0); err != nil {
		return nil, err
	}
	d.init(s, devRoot, syscall.S_IFDIR|perm)
	d.vol = s.mem
	d.nlink.Store(1) // "."; attach adds the name's
	return d, nil
}

func (d *dir) lookup(t Task, name string) (node, error) {
	d.vol.mu.RLock()
	e, absent := d.names[name], d.absent
	var n node
	if e != nil {
		n = e.node
	}
	d.vol.mu.RUnlock()
	if n == nil {
		if e == nil && !absent {
			return nil, syscall.ENOENT
		}
		var err error
		if n, err = d.fetch(name); err != nil {
			return nil, err
		}
	}
	return under(n), nil
}

func (d *dir) where() (directory, string) {
	if v := d.vol; v.root == d && v.over != nil {
		return v.over.where()
	}
	d.vol.mu.RLock()
	defer d.vol.mu.RUnlock()
	return d.up, d.name
}

func (d *dir) size() int64 { return 4096 }

func (d *dir) entries(t Task, after int64, yield func(entry) bool) {
	d.vol.mu.RLock()
	defer d.vol.mu.RUnlock()
	d.order.ascend(after, func(e *slot) bool {
		if e.node == nil {
			return yield(entry{e.name, e.cookie, e.ino, e.typ})
		}
		b := e.node.base()
		return yield(entry{e.name, e.cookie, b.ino, b.typ})
	})
}

// give is attach of a name that the kernel pays for, at start-up.
func (d *dir) give(name string, n node) { d.attach(sure(d.fs.newSlot(boot, name)), n) }

// attach gives n the name of e, a new slot, in d: it takes a reference of its own and
// counts the link. volume.mu is held, or nobody knows d yet; the name is free.
func (d *dir) attach(e *slot, n node) {
	d.cookie++
	d.vol.names++
	e.node, e.cookie = n, d.cookie
	d.names[e.name] = e
	d.order = joinSlots(d.order, e)
	b := n.base()
	b.refs.Add(1)
	b.nlink.Add(1)
	if c, ok := n.(*dir); ok {
		c.up, c.name = d, e.name
		d.nlink.Add(1) // its ".."
	}
	d.changed()
}

// detach takes the name away and returns the node, whose reference the caller
// must give back after unlocking volume.mu.
func (d *dir) detach(name string) node {
	e := d.names[name]
	d.vol.names--
	delete(d.names, name)
	d.remove(e)
	e.free()
	n := e.node
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
// volume.mu is held.
func (d *dir) removed() bool { return d.up == nil }

// open makes the handle that Getdents reads.
func (d *dir) open(c call, flags int) (handle, error) {
	return &dirHandle{dir: d}, nil
}
