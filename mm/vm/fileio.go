package vm

import (
	"io"
	"syscall"

	"grim/arch"
	"grim/mm/phys"
)

// ReadAt reads from the file at off. It returns io.EOF at the end, as an io.ReaderAt does.
// EINVAL for a negative offset. It sleeps if the file has a pager or a store.
func (o *FileObject) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, syscall.EINVAL
	}
	if o.pager != nil {
		o.ioMu.Lock()
		defer o.ioMu.Unlock()
		return o.pagerRead(p, off)
	}
	if o.cache != nil {
		return o.readStored(p, off)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	n := 0
	for n < len(p) && off < o.size {
		in := int(off & (arch.PageSize - 1))
		k := int(min(int64(len(p)-n), int64(arch.PageSize-in), o.size-off))
		if f := o.pages.get(off >> arch.PageShift); f != 0 {
			copy(p[n:n+k], o.sys.mem.Bytes(f)[in:])
		} else {
			clear(p[n : n+k]) // a hole stays a hole
		}
		n, off = n+k, off+int64(k)
	}
	return n, eof(n, len(p))
}

func eof(n, want int) error {
	if n < want {
		return io.EOF
	}
	return nil
}

// WriteAt writes to the file at off and extends the file if needed. It returns how many
// bytes it wrote: all, or fewer with ENOSPC if frames run out. EINVAL for a negative
// offset, EFBIG. It sleeps if the file has a pager or a store.
func (o *FileObject) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, syscall.EINVAL
	}
	if off > maxFileSize-int64(len(p)) {
		return 0, syscall.EFBIG
	}
	if o.cache != nil {
		return o.writeStored(p, off)
	}
	o.ioMu.Lock()
	defer o.ioMu.Unlock()
	if o.pager != nil {
		return o.pagerWrite(p, off)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(p) > 0 {
		o.changed()
		if off > o.size {
			o.clearTail(o.size)
		}
	}
	n := 0
	for n < len(p) {
		f, err := o.pageLocked(off >> arch.PageShift)
		if err != nil {
			return n, syscall.ENOSPC
		}
		k := o.fill(f, p[n:], off)
		n, off = n+k, off+int64(k)
		o.size = max(o.size, off)
	}
	return n, nil
}

// fill copies the part of p that belongs to the page at offset off into the page's frame f.
// Preconditions: mu held.
func (o *FileObject) fill(f phys.Frame, p []byte, off int64) int {
	k := copy(o.sys.mem.Bytes(f)[off&(arch.PageSize-1):], p)
	o.sys.mem.Modified(f)
	return k
}

// pageIn is GetPage for a file with a pager.
func (o *FileObject) pageIn(index int64) (phys.Frame, error) {
	o.ioMu.Lock() // keeps out writes and truncation while the page comes in
	defer o.ioMu.Unlock()
	if !inObject(index, pagesOf(o.Size())) {
		return 0, syscall.EIO
	}
	if f, ok := o.CachedPage(index, false); ok {
		return f, nil
	}
	f, err := o.sys.mem.AllocZero(phys.FileCache)
	if err != nil {
		return 0, err
	}
	if o.pager.PageIn(index, o.sys.mem.Bytes(f)) != nil {
		o.sys.mem.Unref(f)
		return 0, syscall.EIO
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.pages.set(index, f); err != nil {
		o.sys.mem.Unref(f)
		return 0, err
	}
	if index == o.size>>arch.PageShift {
		o.clearTail(o.size)
	}
	o.sys.mem.Ref(f)
	return f, nil
}

// pagerRead is ReadAt for a file with a pager. Preconditions: ioMu held.
func (o *FileObject) pagerRead(p []byte, off int64) (int, error) {
	page := make([]byte, arch.PageSize)
	size := o.Size()
	n := 0
	for n < len(p) && off < size {
		if o.pager.PageIn(off>>arch.PageShift, page) != nil {
			return n, syscall.EIO
		}
		k := copy(p[n:n+int(min(int64(len(p)-n), size-off))], page[off&(arch.PageSize-1):])
		n, off = n+k, off+int64(k)
	}
	return n, eof(n, len(p))
}

// pagerWrite is WriteAt for a file with a pager. It reads each page, changes it and writes
// it back. It also changes the mapped frame, if there is one. Preconditions: ioMu held.
func (o *FileObject) pagerWrite(p []byte, off int64) (int, error) {
	page := make([]byte, arch.PageSize)
	n := 0
	for n < len(p) {
		index := off >> arch.PageShift
		if index < pagesOf(o.Size()) {
			if o.pager.PageIn(index, page) != nil {
				return n, syscall.EIO
			}
		} else {
			clear(page)
		}
		k := copy(page[off&(arch.PageSize-1):], p[n:])
		if o.pager.PageOut(index, page) != nil {
			return n, syscall.EIO
		}
		o.mu.Lock()
		if f := o.pages.get(index); f != 0 {
			o.fill(f, p[n:n+k], off)
		}
		n, off = n+k, off+int64(k)
		o.size = max(o.size, off)
		o.mu.Unlock()
	}
	return n, nil
}
