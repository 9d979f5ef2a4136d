package sys

import (
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"grim/arch"
	"grim/kernel/fs"
	"grim/mm/vm"
)

const (
	// maxRW is the maximum that one call transfers (read(2), "NOTES").
	maxRW = 0x7ffff000
	// maxIov is IOV_MAX (readv(2)).
	maxIov = 1024
	// iovCost is the kernel memory of one element of an iovec, in bytes.
	iovCost = 32
)

// span is a piece of user memory of a transfer. It is inside the user half.
type span struct {
	va arch.VA
	n  uint64
}

// partial returns the result of a transfer that stopped. The error is returned only if
// nothing was transferred.
func partial(done uint64, err error) (uint64, error) {
	if done > 0 {
		return done, nil
	}
	return 0, err
}

// total returns how many bytes the spans have together, at most maxRW.
func total(spans []span) (n uint64) {
	for _, s := range spans {
		n += s.n
	}
	return n
}

// buffer returns the span of a pointer argument and a length argument.
func (c ctx) buffer(i int) (span, error) {
	n := min(c.arg(i+1), maxRW)
	if int64(c.arg(i+1)) < 0 {
		return span{}, syscall.EINVAL
	}
	return span{c.va(i), n}, userRange(c.va(i), n)
}

// iovec reads an array of struct iovec. EINVAL: a bad count, or a sum that is too large.
// EFAULT. Empty elements are dropped.
func (c ctx) iovec(i int) ([]span, error) {
	n := c.int(i + 1)
	if n < 0 || n > maxIov {
		return nil, syscall.EINVAL
	}
	return c.readIovec(c.va(i), n)
}

// readIovec is iovec for n elements at va.
func (c ctx) readIovec(va arch.VA, n int) ([]span, error) {
	raw := make([]byte, 16*n)
	if err := c.mem().CopyIn(raw, va); n > 0 && err != nil {
		return nil, err
	}
	spans := make([]span, 0, n)
	sum := uint64(0)
	for ; len(raw) > 0; raw = raw[16:] {
		if err := c.pauseEvery(len(raw) / 16); err != nil {
			return nil, err
		}
		s := span{arch.VA(le.Uint64(raw)), le.Uint64(raw[8:])}
		if int64(s.n) < 0 {
			return nil, syscall.EINVAL
		}
		if err := userRange(s.va, s.n); err != nil {
			return nil, err
		}
		s.n = min(s.n, maxRW-sum)
		if sum += s.n; s.n > 0 {
			spans = append(spans, s)
		}
	}
	return spans, nil
}

// transfer implements the eight calls below.
func (c ctx) transfer(out, vec, at bool) (uint64, error) {
	f, err := c.file(0)
	if err != nil {
		return 0, err
	}
	defer f.Release()
	var one span
	var pieces []span
	if vec {
		if n := c.int(2) * iovCost; n > 0 && n <= maxIov*iovCost {
			if !c.take(n) {
				return 0, syscall.ENOMEM
			}
			defer c.give(n)
		}
		pieces, err = c.iovec(1)
	} else {
		one, err = c.buffer(1)
	}
	if err != nil {
		return 0, err
	}
	off := int64(0)
	if at {
		if off = int64(c.arg(3)); off < 0 {
			return 0, syscall.EINVAL
		}
	}
	n := one.n
	if vec {
		n = total(pieces)
	}
	if out && vec && !at && n <= fs.PipeAtomic && f.Streams() {
		return c.writeGathered(f, pieces, n)
	}
	u := userSpansPool.Get().(*userSpans)
	defer func() {
		*u = userSpans{}
		userSpansPool.Put(u)
	}()
	u.vs, u.n, u.spans = c.mem(), int(n), pieces
	if !vec {
		u.one[0] = one
		u.spans = u.one[:]
	}
	t := c.task()
	var k int
	switch {
	case out && at:
		k, err = f.PwriteFrom(t, userSource{u}, off)
	case out:
		k, err = f.WriteFrom(t, userSource{u})
	case at:
		k, err = f.PreadTo(t, userDest{u}, off)
	default:
		k, err = f.ReadTo(t, userDest{u})
	}
	return c.moved(k, err)
}

// writeGathered writes many pieces that must not be split. It copies them to one buffer
// first, because copying them under the locks of a stream might take too long.
func (c ctx) writeGathered(f *fs.File, pieces []span, n uint64) (uint64, error) {
	buf := fs.NewBuffer(n)
	defer buf.Put()
	b := buf.B[:0]
	for _, s := range pieces {
		b = b[:uint64(len(b))+s.n]
		if err := c.mem().CopyIn(b[uint64(len(b))-s.n:], s.va); err != nil {
			return 0, err
		}
	}
	return c.moved(f.Write(c.task(), b))
}

// moved returns the result of a transfer. SIGPIPE is sent even if a part was written.
func (c ctx) moved(n int, err error) (uint64, error) {
	if err == syscall.EPIPE {
		c.raise(syscall.SIGPIPE)
	}
	return partial(uint64(n), err)
}

// userSpans is the memory of a transfer. It is used as fs.Dest and fs.Source.
type userSpans struct {
	vs    *vm.VMSpace
	spans []span
	one   [1]span
	n     int // total(spans)

	// The place of the last copy: offset base is the first byte of spans[i].
	i, base int
}

var userSpansPool = sync.Pool{New: func() any { return new(userSpans) }}

// copySpans is how many pieces one copy uses at most, because it may run under a lock.
const copySpans = 32

// at returns the piece that contains offset off, and the position in that piece. Offsets
// rarely go back.
func (u *userSpans) at(off int) (s span, skip uint64) {
	if off < u.base {
		u.i, u.base = 0, 0
	}
	for uint64(off-u.base) >= u.spans[u.i].n {
		u.base += int(u.spans[u.i].n)
		u.i++
	}
	return u.spans[u.i], uint64(off - u.base)
}

func (u *userSpans) Len() int { return u.n }

func (u *userSpans) CopyOut(off int, p []byte) (n int) {
	for turns := 0; n < len(p) && turns < copySpans; turns++ {
		s, skip := u.at(off + n)
		part := p[n:][:min(uint64(len(p)-n), s.n-skip)]
		k := u.vs.CopyOutPresent(s.va+arch.VA(skip), part)
		if n += k; k < len(part) {
			break
		}
	}
	return n
}

func (u *userSpans) CopyIn(p []byte, off int) (n int) {
	for turns := 0; n < len(p) && turns < copySpans; turns++ {
		s, skip := u.at(off + n)
		part := p[n:][:min(uint64(len(p)-n), s.n-skip)]
		k := u.vs.CopyInPresent(part, s.va+arch.VA(skip))
		if n += k; k < len(part) {
			break
		}
	}
	return n
}

// userDest and userSource request different kinds of access in Fault.
type userDest struct{ *userSpans }
type userSource struct{ *userSpans }

func (u userDest) Fault(off int) error {
	s, skip := u.at(off)
	return u.vs.EnsureWritable(s.va+arch.VA(skip), 1)
}

func (u userSource) Fault(off int) error {
	s, skip := u.at(off)
	return u.vs.EnsureReadable(s.va+arch.VA(skip), 1)
}

func sysRead(c ctx) (uint64, error)    { return c.transfer(false, false, false) }
func sysWrite(c ctx) (uint64, error)   { return c.transfer(true, false, false) }
func sysReadv(c ctx) (uint64, error)   { return c.transfer(false, true, false) }
func sysWritev(c ctx) (uint64, error)  { return c.transfer(true, true, false) }
func sysPread(c ctx) (uint64, error)   { return c.transfer(false, false, true) }
func sysPwrite(c ctx) (uint64, error)  { return c.transfer(true, false, true) }
func sysPreadv(c ctx) (uint64, error)  { return c.transfer(false, true, true) }
func sysPwritev(c ctx) (uint64, error) { return c.transfer(true, true, true) }

func sysLseek(c ctx) (uint64, error) {
	f, err := c.file(0)
	if err != nil {
		return 0, err
	}
	defer f.Release()
	off, err := f.Seek(int64(c.arg(1)), c.int(2))
	return uint64(off), err
}

// sysSendfile copies data from a seekable file to any other file.
func sysSendfile(c ctx) (uint64, error) {
	src, dst, err := c.twoFiles(1, 0)
	if err != nil {
		return 0, err
	}
	defer src.Release()
	defer dst.Release()
	if dst.Flags()&unix.O_APPEND != 0 {
		return 0, syscall.EINVAL
	}
	return c.copyFile(src, c.va(2), dst, 0, c.arg(3), false)
}

// sysCopyFileRange copies data from one regular file to another, or to another part of the
// same file.
func sysCopyFileRange(c ctx) (uint64, error) {
	if c.arg(5) != 0 {
		return 0, syscall.EINVAL
	}
	src, dst, err := c.twoFiles(0, 2)
	if err != nil {
		return 0, err
	}
	defer src.Release()
	defer dst.Release()
	if dst.Flags()&unix.O_APPEND != 0 {
		return 0, syscall.EBADF
	}
	for _, f := range [2]*fs.File{src, dst} {
		switch f.Stat().Mode & unix.S_IFMT {
		case unix.S_IFREG:
		case unix.S_IFDIR:
			return 0, syscall.EISDIR
		default:
			return 0, syscall.EINVAL
		}
	}
	return c.copyFile(src, c.va(1), dst, c.va(3), c.arg(4), true)
}

// twoFiles returns the files of two descriptor arguments. The caller must release both.
func (c ctx) twoFiles(in, out int) (src, dst *fs.File, err error) {
	if src, err = c.file(in); err != nil {
		return nil, nil, err
	}
	if dst, err = c.file(out); err != nil {
		src.Release()
		return nil, nil, err
	}
	return src, dst, nil
}

// fileOffset is the start of a copy: a number in user memory, which is updated, or the
// file's own offset.
type fileOffset struct {
	va  arch.VA // 0: the file's own
	off int64
}

func (c ctx) fileOffset(f *fs.File, va arch.VA) (o fileOffset, err error) {
	o.va = va
	if va == 0 {
		o.off, err = f.Seek(0, unix.SEEK_CUR)
		return o, err
	}
	if o.off, err = get[int64](c, va); err == nil && o.off < 0 {
		err = syscall.EINVAL
	}
	return o, err
}

// advance moves the offset by the number of bytes copied.
func (o *fileOffset) advance(c ctx, f *fs.File, n uint64) error {
	end := o.off + int64(n)
	if o.va == 0 {
		_, err := f.Seek(end, unix.SEEK_SET)
		return err
	}
	return put(c, o.va, &end)
}

// copyFile copies up to n bytes between files through a kernel buffer. As on Linux, the
// offsets are read at the beginning and stored at the end. apart: two ranges of one file
// must not overlap.
func (c ctx) copyFile(src *fs.File, srcVA arch.VA, dst *fs.File, dstVA arch.VA, n uint64, apart bool) (uint64, error) {
	n = min(n, maxRW)
	from, err := c.fileOffset(src, srcVA)
	if err == syscall.ESPIPE && srcVA == 0 {
		err = syscall.EINVAL // a stream: bytes read could not be put back
	}
	if err != nil {
		return 0, err
	}
	to, err := c.fileOffset(dst, dstVA)
	seeks := true
	if err == syscall.ESPIPE && dstVA == 0 {
		seeks, err = false, nil
	}
	if err != nil {
		return 0, err
	}
	if apart { // no more than the source has
		n = min(n, uint64(max(src.Stat().Size-from.off, 0)))
	}
	if apart && dst.SameFile(src) && from.off < to.off+int64(n) && to.off < from.off+int64(n) {
		return 0, syscall.EINVAL
	}
	done, err := c.pump(src, from.off, dst, to.off, seeks, n)
	if done > 0 {
		if e := from.advance(c, src, done); e != nil {
			return 0, e
		}
		if seeks {
			if e := to.advance(c, dst, done); e != nil {
				return 0, e
			}
		}
	}
	return partial(done, err)
}

// pump is the loop of copyFile. It lets other threads run after every turn, and ends early
// if the process is killed.
func (c ctx) pump(src *fs.File, from int64, dst *fs.File, to int64, seeks bool, n uint64) (done uint64, err error) {
	buf := fs.NewBuffer(n)
	defer buf.Put()
	t := c.task()
	for done < n {
		b := buf.B[:min(n-done, uint64(len(buf.B)))]
		k, err := src.Pread(t, b, from+int64(done))
		if err != nil || k == 0 {
			return done, err
		}
		var w int
		if seeks {
			w, err = dst.Pwrite(t, b[:k], to+int64(done))
		} else {
			w, err = dst.Write(t, b[:k])
		}
		done += uint64(w)
		if err == syscall.EPIPE {
			c.raise(syscall.SIGPIPE)
		}
		if err != nil || w < k {
			return done, err
		}
		if err := c.t.Pause(); err != nil {
			return done, err
		}
	}
	return done, nil
}
