package fs

import (
	"syscall"

	"grim/mm/vm"
)

// storedFile is the data of a file of a volume. It implements vm.Store with the volume's
// Store.
type storedFile struct {
	v       *volume
	ino     uint64
	object  *vm.FileObject
	evicted bool            // [volume.nodesMu] the node was evicted: the inode still exists on disk
	need    map[int64]int64 // blocks reserved for a page; used by one method at a time
}

const pageBytes = 4096

func (f *storedFile) ReadPages(index int64, p []byte) error {
	return f.v.store.Read(f.ino, p, index*pageBytes)
}

func (f *storedFile) Prepare(index int64) error {
	if f.v.store.ReadOnly() != "" {
		return syscall.EROFS
	}
	n, err := f.v.store.Need(f.ino, index*pageBytes, pageBytes)
	if err != nil {
		return err
	}
	if n > 0 {
		err := f.v.store.Reserve(n)
		if err == syscall.ENOSPC && f.v.makeRoom() {
			err = f.v.store.Reserve(n)
		}
		if err != nil {
			return err
		}
		f.need[index] = n
	}
	return nil
}

func (f *storedFile) Release(index int64) {
	if n := f.need[index]; n > 0 {
		f.v.store.Unreserve(n)
		delete(f.need, index)
	}
}

func (f *storedFile) WritePages(index int64, p []byte, size int64) error {
	used, err := f.v.store.Write(f.ino, p, index*pageBytes, size)
	left := -used
	for i := range int64(len(p) / pageBytes) {
		left += f.need[index+i]
		delete(f.need, index+i)
	}
	f.v.store.Unreserve(left)
	return err
}

func (f *storedFile) Truncate(size int64) error {
	err := f.v.store.Truncate(f.ino, size)
	f.v.changed()
	return err
}

func (f *storedFile) Flush() error {
	f.v.flushAttrs()
	return f.v.store.Sync()
}

func (f *storedFile) Dirtied() {
	f.v.nodesMu.Lock()
	f.v.dirty[f] = true
	f.v.nodesMu.Unlock()
	f.v.changed()
}

func (f *storedFile) Gone() {
	f.v.nodesMu.Lock()
	defer f.v.nodesMu.Unlock()
	delete(f.v.dirty, f)
	if !f.evicted {
		f.v.bury1(f.ino)
	}
}
