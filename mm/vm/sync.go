package vm

import (
	"slices"
	"syscall"

	"grim/arch"
)

// Flags of Sync: Linux's MS_ASYNC, MS_INVALIDATE, MS_SYNC.
const (
	msAsync      = 1
	msInvalidate = 2
	msSync       = 4
)

// Sync is msync(2): it hands the dirty pages of shared mappings in the range to their
// objects. With MS_SYNC all dirty pages of files with a store are stored. Sync returns when
// that is done, even with MS_ASYNC. EINVAL; ENOMEM (a hole; the mapped pages have been
// handed over); EIO (the object failed); EBUSY (MS_INVALIDATE of locked memory). It may
// sleep.
func (vs *VMSpace) Sync(addr arch.VA, length uint64, flags int) error {
	return vs.For(nil).Sync(addr, length, flags)
}

// Sync is VMSpace.Sync. EINTR if the thread is to end, but the store of a file is not
// interrupted.
func (c Caller) Sync(addr arch.VA, length uint64, flags int) error {
	vs := c.vs
	end, ok := userRange(addr, length)
	if addr != addr.PageDown() || flags&^(msAsync|msInvalidate|msSync) != 0 || flags&(msAsync|msSync) == msAsync|msSync {
		return syscall.EINVAL
	}
	if !ok {
		return syscall.ENOMEM
	}
	var err error
	var files []*FileObject // files to be stored, with a reference each
	vs.mu.Lock()
	if vs.mapped(addr, end) != uint64(end-addr) {
		err = syscall.ENOMEM
	}
	for at := addr; at < end; {
		e := vs.tree.ceil(at)
		if e == nil || e.start >= end {
			break
		}
		vs.spend(costEntry)
		if flags&msInvalidate != 0 && e.flags&entWired != 0 {
			err = syscall.EBUSY
			break
		}
		if f, ok := e.obj.(*FileObject); ok && f.cache != nil && flags&msSync != 0 && !e.private() && !slices.Contains(files, f) {
			f.Ref()
			files = append(files, f)
		}
		at = max(at, e.start)
		last := min(e.end, end)
		if e.flags&entDirtied == 0 {
			at = last
			continue
		}
		at = vs.pm.Clean(at, last, &vs.dirty)
		o := vs.dirty.take()
		vs.mu.Unlock()
		if e := o.settle(vs.sys); e != nil && err == nil {
			err = syscall.EIO
		}
		stop := c.pause() != nil
		vs.mu.Lock()
		if stop {
			err = syscall.EINTR
			break
		}
	}
	vs.mu.Unlock()
	for _, f := range files {
		if err == syscall.EINTR {
			// nothing more is stored
		} else if e := f.Sync(); e != nil && err == nil {
			err = syscall.EIO
		}
		f.Unref()
	}
	return err
}
