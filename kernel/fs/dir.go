package fs

import (
	"sync/atomic"
	"syscall"

	"grim/mm/charge"
)

// directory is a node that holds names: a directory of a volume, or of /proc or /sys.
type directory interface {
	node
	// lookup returns the node with a name other than "." and "..", or ENOENT.
	lookup(t Task, name string) (node, error)
	// where returns the parent and the directory's name in it. The root is its own parent.
	// A removed directory has none.
	where() (directory, string)
	// entries calls yield for the entries whose cookies are greater than after, in
	// ascending order of their cookies, until yield returns false. yield must not block, as
	// the directory may be locked.
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

// cookieDots is the largest cookie that "." and ".." use.
const cookieDots = 2

// dir is a directory of a volume. volume.mu protects all fields.
type dir struct {
	inode
	over   atomic.Pointer[covering] // the volume mounted on it; nil: none
	absent bool                     // the names have not been read from the store yet
	up     directory                // the parent; nil: removed
	name   string                   // its name in up
	names  map[string]*slot
	order  *slot // the slots by cookie: the root of a treap
	cookie int64 // the last one given out
}

// slot is one name of a directory. Its cookie never changes and is not used again. A reader
// of the directory continues after the cookie of its last entry; so it meets every name
// that stays in the directory exactly once, whatever is added and removed in the meantime.
type slot struct {
	node   node
	name   string
	cookie int64
	// The slots form a treap: a search tree by cookie, and a heap by weight.
	before, after *slot

	payer *charge.User // [I] pays for the name; nil: not charged, as a store keeps it

	// ino and typ are set if a store has listed the name. node is nil until the name is
	// looked up for the first time.
	ino uint64
	typ uint32 // 0: unknown, the type is in the inode
}

// weight returns a pseudo-random number, which keeps the treap flat. Any fixed mixing of
// the cookie's bits will do; this one uses the 64-bit golden ratio, and adds the high half.
func (e *slot) weight() uint64 {
	x := uint64(e.cookie) * 0x9e3779b97f4a7c15
	return x ^ x>>32
}

// joinSlots returns a treap of all slots of a and b. All cookies of a must be less than
// those of b.
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

// remove removes e from the treap.
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

// ascend is directory.entries for the treap below e. It returns false if yield returned
// false.
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

// newDir makes an empty directory without a name. It returns ENOSPC if the task may not
// have it.
func (s *FS) newDir(t Task, perm uint32) (*dir, error) {
	d := &dir{names: map[string]*slot{}, cookie: cookieDots}
	if err := d.pay(s.payer(t), 0); err != nil {
		return nil, err
	}
	d.init(s, devRoot, syscall.S_IFDIR|perm)
	d.vol = s.mem
	d.nlink.Store(1) // for "."; attach adds one for the name
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

// give attaches n under a name that the kernel pays for, at start-up.
func (d *dir) give(name string, n node) { d.attach(sure(d.fs.newSlot(boot, name)), n) }

// attach puts n into d under the name of e, a new slot. It takes a reference on n and
// counts the link. Precondition: volume.mu held, or d is not reachable yet; the name is
// free.
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
		d.nlink.Add(1) // for its ".."
	}
	d.changed()
}

// detach removes a name and returns its node. The caller must release the name's reference
// on the node, after unlocking volume.mu.
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

// removed reports whether rmdir has removed d: no name can be added any more. Precondition:
// volume.mu held.
func (d *dir) removed() bool { return d.up == nil }

// open makes the handle that Getdents reads.
func (d *dir) open(c call, flags int) (handle, error) {
	return &dirHandle{dir: d}, nil
}
