package ext2

import "syscall"

// The data of a file. For one inode, a call of Truncate must not overlap with any other
// call in this file, and two calls of WriteAt must not overlap.

// ReadAt reads whole blocks, whatever the file's size is. Unallocated blocks read as zeros.
func (f *FS) ReadAt(ino uint32, p []byte, off int64) error {
	if off < 0 || off%f.bs != 0 || int64(len(p))%f.bs != 0 {
		return syscall.EINVAL
	}
	for len(p) > 0 {
		f.mu.Lock()
		f.trim()
		i, err := f.regular(ino)
		var at, n uint64
		if err == nil {
			at, n, err = i.lookup(uint64(off / f.bs))
		}
		f.mu.Unlock()
		if err != nil {
			return err
		}
		k := min(int64(len(p)), int64(min(n, maxRun))*f.bs)
		if at == 0 {
			clear(p[:k])
		} else if _, err := f.d.ReadAt(p[:k], int64(at)*f.bs); err != nil {
			return ioError(err)
		}
		p, off = p[k:], off+k
	}
	return nil
}

// regular returns an inode that is a regular file. EINVAL if it is not.
func (f *FS) regular(ino uint32) (inode, error) {
	i, err := f.inode(ino)
	if err == nil && i.typ() != ModeReg {
		err = syscall.EINVAL
	}
	return i, err
}

// Missing returns how many blocks of [off, off+n) WriteAt would have to allocate.
func (f *FS) Missing(ino uint32, off, n int64) (blocks int64, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.trim()
	i, err := f.regular(ino)
	if err != nil {
		return 0, err
	}
	for l, end := uint64(off/f.bs), uint64((off+n+f.bs-1)/f.bs); l < end; {
		if l >= i.maxBlock() {
			return 0, syscall.EFBIG
		}
		at, k, err := i.lookup(l)
		if err != nil {
			return 0, err
		}
		k = min(k, end-l)
		if at == 0 {
			blocks += int64(k)
		}
		l += k
	}
	return blocks, nil
}

// WriteAt writes whole blocks. It allocates missing blocks, for which the caller must have
// called Reserve; used is how many reserved blocks it has used up, also after an error.
// size is the size that the file is going to have: blocks after it are not written. The
// size on disk becomes at least the end of what was written, or size if that is less.
func (f *FS) WriteAt(ino uint32, p []byte, off, size int64) (used int64, err error) {
	if off < 0 || off%f.bs != 0 || int64(len(p))%f.bs != 0 {
		return 0, syscall.EINVAL
	}
	if end := (size + f.bs - 1) / f.bs * f.bs; off+int64(len(p)) > end {
		p = p[:max(end-off, 0)]
	}
	for len(p) > 0 {
		k, n, err := f.writeRun(ino, p, off, size)
		used += n
		if err != nil {
			return used, err
		}
		p, off = p[k:], off+k
	}
	return used, nil
}

// writeRun is WriteAt for the first blocks of p that are adjacent on disk.
func (f *FS) writeRun(ino uint32, p []byte, off, size int64) (k, used int64, err error) {
	if err := f.begin(); err != nil {
		return 0, 0, err
	}
	l, want := uint64(off/f.bs), uint64(int64(len(p))/f.bs)
	i, err := f.regular(ino)
	var at, n uint64
	if err == nil && l+want > i.maxBlock() {
		err = syscall.EFBIG
	}
	if err == nil {
		at, n, err = i.lookup(l)
	}
	if err != nil {
		f.mu.Unlock()
		return 0, 0, err
	}
	n = min(n, want, maxRun)
	hole := at == 0
	if hole {
		goal := uint64(0)
		if l > 0 {
			if q, _, err := i.lookup(l - 1); err == nil && q != 0 {
				goal = q + 1
			}
		}
		if goal == 0 {
			goal = f.first + uint64((ino-1)/f.inodesPerGroup)*f.perGroup + 1
		}
		var got uint32
		if at, got, err = f.allocate(goal, uint32(n)); err != nil {
			f.mu.Unlock()
			return 0, 0, err
		}
		n = uint64(got)
		for x := range n {
			f.forget(at + x)
		}
		f.reserved -= int64(n)
		used = int64(n)
	}
	f.mu.Unlock()
	k = int64(n) * f.bs
	if _, err := f.d.WriteAt(p[:k], int64(at)*f.bs); err != nil {
		if hole { // nothing on disk points to it
			f.mu.Lock()
			f.free(at, n, f.queue.first-1)
			f.mu.Unlock()
		}
		return 0, used, ioError(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	end := min(off+k, size)
	if !hole && end <= i.size() {
		return k, used, nil
	}
	if i, err = f.regular(ino); err != nil { // the inode may be in another buffer now
		return k, used, err
	}
	i.touch()
	if hole {
		if err := i.insert(l, at, n, 0); err != nil {
			f.free(at, n, f.queue.first)
			i.done()
			return k, used, err
		}
		i.addBlocks(int64(n))
	}
	if end > i.size() {
		i.setSize(end)
	}
	i.done()
	return k, used, nil
}

// Truncate sets the size. Whole blocks after the size are freed. The rest of the last block
// stays as it is; the caller must clear it.
func (f *FS) Truncate(ino uint32, size int64) error {
	if err := f.begin(); err != nil {
		return err
	}
	defer f.mu.Unlock()
	i, err := f.regular(ino)
	if err != nil {
		return err
	}
	l := uint64((size + f.bs - 1) / f.bs)
	if size < 0 || l > i.maxBlock() {
		return syscall.EFBIG
	}
	if i.flags()&(flagImmutable|flagAppend) != 0 {
		return syscall.EPERM
	}
	if size == i.size() {
		return nil
	}
	at := i.touch()
	smaller := size < i.size()
	i.setSize(size)
	if smaller {
		if err := i.cut(l, at); err != nil {
			return err
		}
	}
	i.done()
	return nil
}

// BlockSize returns the size of a block in bytes.
func (f *FS) BlockSize() int64 { return f.bs }

// MaxSize returns the largest size that a file with that inode can have.
func (f *FS) MaxSize(ino uint32) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	i, err := f.regular(ino)
	if err != nil {
		return 0, err
	}
	return int64(i.maxBlock()) * f.bs, nil
}
