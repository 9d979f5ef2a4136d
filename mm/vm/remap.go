package vm

import (
	"syscall"

	"grim/arch"
)

// Flags of Remap: Linux's MREMAP_MAYMOVE, MREMAP_FIXED, MREMAP_DONTUNMAP.
const (
	mremapMayMove   = 1
	mremapFixed     = 2
	mremapDontUnmap = 4
)

// Remap is mremap(2): it changes the size of a mapping, and its address if flags allow
// that. Pages are moved, not copied. EINVAL, EFAULT (not one mapping), ENOMEM, EAGAIN
// (RLIMIT_MEMLOCK). It may sleep.
func (vs *VMSpace) Remap(old arch.VA, oldLen, newLen uint64, flags int, to arch.VA) (arch.VA, error) {
	return vs.For(nil).Remap(old, oldLen, newLen, flags, to)
}

// Remap is VMSpace.Remap.
func (c Caller) Remap(old arch.VA, oldLen, newLen uint64, flags int, to arch.VA) (arch.VA, error) {
	vs := c.vs
	oldEnd, ok := userRange(old, oldLen)
	if !ok || newLen == 0 || newLen > uint64(arch.UserMax) || flags&^(mremapMayMove|mremapFixed|mremapDontUnmap) != 0 ||
		flags&(mremapFixed|mremapDontUnmap) != 0 && flags&mremapMayMove == 0 {
		return 0, syscall.EINVAL
	}
	n := uint64(arch.VA(newLen).PageUp())
	r := remap{vs: vs, old: old, oldEnd: oldEnd, n: n, keep: flags&mremapDontUnmap != 0}
	if r.keep && n != uint64(oldEnd-old) {
		return 0, syscall.EINVAL
	}
	if flags&mremapFixed != 0 {
		end, ok := userRange(to, n)
		if !ok || to < arch.UserMin || to < oldEnd && old < end {
			return 0, syscall.EINVAL
		}
		r.to = to
	}
	vs.mu.Lock()
	va, err := r.do(flags)
	wired := false
	if e := vs.tree.find(va); err == nil && e != nil {
		wired = e.flags&entWired != 0
	}
	vs.mu.Unlock()
	r.owed.settle(vs.sys)
	if err == nil && wired {
		c.populate(va, va+arch.VA(n))
	}
	return va, err
}

// remap is an mremap in progress.
type remap struct {
	vs          *VMSpace
	old, oldEnd arch.VA
	n           uint64  // new length
	to          arch.VA // new address, 0: any
	keep        bool    // leave the old range mapped, empty
	owed        owed    // to be settled by Remap
}

// unmap removes [start, end). Preconditions: mu held.
func (r *remap) unmap(start, end arch.VA) error {
	o, err := r.vs.unmap(start, end)
	r.owed.add(o)
	return err
}

// do shrinks, grows in place, or moves the mapping. Preconditions: mu held.
func (r *remap) do(flags int) (arch.VA, error) {
	vs := r.vs
	e := vs.tree.find(r.old)
	if e == nil {
		return 0, syscall.EFAULT
	}
	have := uint64(r.oldEnd - r.old)
	if have == 0 {
		// This is a second mapping of the same pages, which makes sense for shared pages
		// only.
		if e.private() || flags&mremapMayMove == 0 {
			return 0, syscall.EINVAL
		}
	}
	if r.to == 0 && !r.keep && r.n <= have {
		return r.old, r.unmap(r.old+arch.VA(r.n), r.oldEnd)
	}
	if r.oldEnd > e.end {
		return 0, syscall.EFAULT
	}
	if e.obj != nil {
		if off := e.off + int64(r.old-e.start); off+int64(r.n) < off {
			return 0, syscall.EINVAL
		}
	}
	if r.n > have {
		more := r.n - have
		if e.flags&entWired != 0 && !vs.mayLock(more) {
			return 0, syscall.EAGAIN
		}
		if err := vs.mayGrow(more, 0, e); err != nil {
			return 0, err
		}
		if end := r.oldEnd + arch.VA(more); r.to == 0 && r.oldEnd == e.end && end <= arch.UserMax && vs.free(r.oldEnd, end) {
			vs.resize(e, e.start, end)
			vs.merge(r.old, end)
			return r.old, nil
		}
	}
	if flags&mremapMayMove == 0 {
		return 0, syscall.ENOMEM
	}
	return r.move(e)
}

// move maps the range at its new address and moves the pages there. Preconditions: mu held,
// e contains the old range.
func (r *remap) move(e *entry) (arch.VA, error) {
	vs := r.vs
	if err := vs.room(3); err != nil {
		return 0, err
	}
	if r.to != 0 {
		if r.oldEnd > r.old+arch.VA(r.n) { // Linux cuts off the tail first
			if err := r.unmap(r.old+arch.VA(r.n), r.oldEnd); err != nil {
				return 0, err
			}
			r.oldEnd = r.old + arch.VA(r.n)
		}
		if err := r.unmap(r.to, r.to+arch.VA(r.n)); err != nil {
			return 0, err
		}
		if e = vs.tree.find(r.old); e == nil {
			return 0, syscall.EFAULT
		}
	}
	moved := uint64(r.oldEnd - r.old)
	if r.keep || moved == 0 {
		if err := vs.mayGrow(r.n, 0, e); err != nil {
			return 0, err
		}
	}
	like := entry{prot: e.prot, obj: e.obj, flags: e.flags &^ entHeap}
	if e.obj != nil {
		like.off = e.off + int64(r.old-e.start)
	}
	if r.to == 0 {
		var err error
		if r.to, err = vs.pick(0, r.n, &like); err != nil {
			return 0, err
		}
	}
	// It stays a separate entry until the pages are there, so that this can be undone.
	c := vs.sys.newEntry()
	c.start, c.end, c.off, c.obj, c.prot, c.flags = r.to, r.to+arch.VA(r.n), like.off, like.obj, like.prot, like.flags
	if c.obj != nil {
		c.obj.Ref()
	}
	vs.link(c)
	if err := r.movePages(e, moved); err != nil {
		vs.drop(c) // e holds another reference to the object
		return 0, err
	}
	if r.keep && e.flags&entWired != 0 {
		// The lock has moved with the pages (mremap(2), MREMAP_DONTUNMAP).
		for o := vs.clipRange(r.old, r.oldEnd); o != nil && o.start < r.oldEnd; o = o.next {
			vs.setWired(o, false)
		}
		vs.merge(r.old, r.oldEnd)
	}
	if moved != 0 && !r.keep {
		if err := r.unmap(r.old, r.oldEnd); err != nil {
			panic("vm: mremap could not unmap an empty range: " + err.Error())
		}
	}
	vs.merge(r.to, r.to+arch.VA(r.n))
	return r.to, nil
}

// movePages moves n bytes of pages. Truncation of the object must find them at one of the
// two addresses, so Mappings.mu is held. After ENOMEM nothing has moved.
func (r *remap) movePages(e *entry, n uint64) error {
	if n == 0 {
		return nil
	}
	r.vs.rs.Break(r.old, r.oldEnd)
	if e.obj != nil {
		m := e.obj.Mapped()
		m.mu.Lock()
		defer m.mu.Unlock()
	}
	return r.vs.pm.Move(r.old, r.to, n)
}
