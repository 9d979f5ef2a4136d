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
	// maxRW is the most that one call transfers (read(2), "NOTES").
	maxRW = 0x7ffff000
	// maxIov is IOV_MAX (readv(2)).
	maxIov = 1024
	// iovCost is the kernel memory of one of its elements; up to iovFree of
	// them cost less than the waiting thread.
	iovCost, iovFree = 32, 64
)

// span is a piece of user memory of a transfer, inside the user half.
type span struct {
	va arch.VA
	n  uint64
}

// fileIO reads or writes p at a file, at its own offset or at one given.
type fileIO func(p []byte, off int64) (int, error)

// read copies from io to the spans until they are full, io gives less than it
// was asked for, or fails. Only a regular file is asked more than once: a
// second read of a device might block although there is something to return.
func (c ctx) read(f *fs.File, io fileIO, off int64, spans []span) (uint64, error) {
	regular := f.Stat().Mode&unix.S_IFMT == unix.S_IFREG
	buf := getBuffer(total(spans))
	defer buf.put()
	if !regular && len(spans) > 0 {
		// What was taken out of a device cannot be put back.
		if err := c.mem().EnsureWritable(spans[0].va, 1); err != nil {
			return 0, err
		}
	}
	done := uint64(0)
	for {
		want := int(min(total(spans), uint64(len(buf.b))))
		n, err := io(buf.b[:want], off+int64(done))
		if err != nil || n == 0 {
			return partial(done, err)
		}
		for b := buf.b[:n]; len(b) > 0; {
			k := min(uint64(len(b)), spans[0].n)
			if err := c.mem().CopyOut(spans[0].va, b[:k]); err != nil {
				return partial(done, err)
			}
			b, done = b[k:], done+k
			spans = advance(spans, k)
		}
		if n < want || !regular || len(spans) == 0 {
			return done, nil
		}
	}
}

// write copies from the spans to io until all is written or io fails or takes
// less than it was given.
func (c ctx) write(io fileIO, off int64, spans []span) (uint64, error) {
	buf := getBuffer(total(spans))
	defer buf.put()
	done := uint64(0)
	for {
		b := buf.b[:0]
		for len(b) < len(buf.b) && len(spans) > 0 {
			k := min(uint64(len(buf.b)-len(b)), spans[0].n)
			if err := c.mem().CopyIn(buf.b[len(b):len(b)+int(k)], spans[0].va); err != nil {
				if len(b) > 0 || done > 0 {
					spans = nil // write what is there, then stop
					break
				}
				return 0, err
			}
			b, spans = buf.b[:len(b)+int(k)], advance(spans, k)
		}
		n, err := io(b, off+int64(done))
		done += uint64(n)
		if err == syscall.EPIPE {
			c.raise(syscall.SIGPIPE)
		}
		if err != nil || n < len(b) || len(spans) == 0 {
			return partial(done, err)
		}
	}
}

// partial is the result of a transfer that stopped: what was done counts, and
// an error shows only if nothing was.
func partial(done uint64, err error) (uint64, error) {
	if done > 0 {
		return done, nil
	}
	return 0, err
}

// total is how many bytes the spans hold; at most maxRW.
func total(spans []span) (n uint64) {
	for _, s := range spans {
		n += s.n
	}
	return n
}

// advance takes k bytes, all of the first span, and drops it when it is empty.
func advance(spans []span, k uint64) []span {
	spans[0].va += arch.VA(k)
	if spans[0].n -= k; spans[0].n == 0 {
		return spans[1:]
	}
	return spans
}

// buffer is the span of a pointer and a length argument.
func (c ctx) buffer(i int) (span, error) {
	n := min(c.arg(i+1), maxRW)
	if int64(c.arg(i+1)) < 0 {
		return span{}, syscall.EINVAL
	}
	return span{c.va(i), n}, userRange(c.va(i), n)
}

// iovec reads an array of struct iovec: EINVAL for a bad count or a sum that
// does not fit, EFAULT. Empty ones are dropped.
func (c ctx) iovec(i int) ([]span, error) {
	n := c.int(i + 1)
	if n < 0 || n > maxIov {
		return nil, syscall.EINVAL
	}
	raw := make([]byte, 16*n)
	if err := c.mem().CopyIn(raw, c.va(i)); n > 0 && err != nil {
		return nil, err
	}
	spans := make([]span, 0, n)
	sum := uint64(0)
	for ; len(raw) > 0; raw = raw[16:] {
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

// transfer is what the eight calls below have in common.
func (c ctx) transfer(out, vec, at bool) (uint64, error) {
	f, err := c.file(0)
	if err != nil {
		return 0, err
	}
	defer f.Release()
	var one span
	var pieces []span
	if vec {
		if n := c.int(2) * iovCost; n > iovFree*iovCost && n <= maxIov*iovCost {
			if !c.s.transient.take(n) {
				return 0, syscall.ENOMEM
			}
			defer c.s.transient.give(n)
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
	if !at && f.Streams() {
		return c.stream(f, out, one, pieces)
	}
	t := c.task()
	spans := pieces
	if !vec && one.n > 0 {
		spans = []span{one}
	}
	switch {
	case out && at:
		return c.write(func(p []byte, off int64) (int, error) { return f.Pwrite(t, p, off) }, off, spans)
	case out:
		return c.write(func(p []byte, _ int64) (int, error) { return f.Write(t, p) }, 0, spans)
	case at:
		return c.read(f, func(p []byte, off int64) (int, error) { return f.Pread(t, p, off) }, off, spans)
	}
	return c.read(f, func(p []byte, _ int64) (int, error) { return f.Read(t, p) }, 0, spans)
}

// userSpans is the memory of a transfer as a fs.Dest and a fs.Source.
type userSpans struct {
	vs    *vm.VMSpace
	spans []span
	one   [1]span
	n     int // total(spans)

	// Where the last copy was: offset base is the first byte of spans[i].
	i, base int
}

var userSpansPool = sync.Pool{New: func() any { return new(userSpans) }}

// copySpans is how many pieces one copy touches: it may run under a lock.
const copySpans = 32

// at finds the piece that offset off is in, and the byte in it. Offsets hardly
// ever go back.
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

// userDest and userSource differ in the access that a fault asks for.
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

// stream is a transfer of a file whose bytes can be read only once: of the piece
// one, or of the pieces in vec.
func (c ctx) stream(f *fs.File, out bool, one span, vec []span) (uint64, error) {
	n := one.n
	if vec != nil {
		n = total(vec)
	}
	if out && len(vec) > 1 && n <= smallChunk {
		return c.streamGathered(f, vec, n)
	}
	u := userSpansPool.Get().(*userSpans)
	defer func() {
		*u = userSpans{}
		userSpansPool.Put(u)
	}()
	u.vs, u.n, u.spans = c.mem(), int(n), vec
	if vec == nil {
		u.one[0] = one
		u.spans = u.one[:]
	}
	if !out {
		k, err := f.ReadTo(c.task(), userDest{u})
		return uint64(k), err
	}
	return c.streamed(f.WriteFrom(c.task(), userSource{u}))
}

// streamGathered writes many pieces that must not be divided: copying them may be
// long for the locks of the stream.
func (c ctx) streamGathered(f *fs.File, vec []span, n uint64) (uint64, error) {
	buf := getBuffer(n)
	defer buf.put()
	b := buf.b[:0]
	for _, s := range vec {
		b = b[:uint64(len(b))+s.n]
		if err := c.mem().CopyIn(b[uint64(len(b))-s.n:], s.va); err != nil {
			return 0, err
		}
	}
	return c.streamed(f.Write(c.task(), b))
}

// streamed is the result of a write. SIGPIPE comes even if a part was written.
func (c ctx) streamed(n int, err error) (uint64, error) {
	if err == syscall.EPIPE {
		c.raise(syscall.SIGPIPE)
	}
	return partial(uint64(n), err)
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

// sysSendfile and sysCopyFileRange move file data through a kernel buffer.
func sysSendfile(c ctx) (uint64, error) {
	return c.copyFile(c.int(1), c.va(2), c.int(0), 0, c.arg(3))
}

func sysCopyFileRange(c ctx) (uint64, error) {
	if c.arg(5) != 0 {
		return 0, syscall.EINVAL
	}
	return c.copyFile(c.int(0), c.va(1), c.int(2), c.va(3), c.arg(4))
}

// copyFile copies up to n bytes between descriptors. An offset pointer that is
// not null is used instead of the file's own offset, and updated.
func (c ctx) copyFile(in int, inOff arch.VA, out int, outOff arch.VA, n uint64) (uint64, error) {
	src, err := c.files().fds.Get(in)
	if err != nil {
		return 0, err
	}
	defer src.Release()
	dst, err := c.files().fds.Get(out)
	if err != nil {
		return 0, err
	}
	defer dst.Release()
	var offs [2]int64
	for i, va := range [2]arch.VA{inOff, outOff} {
		if va != 0 {
			if offs[i], err = get[int64](c, va); err != nil {
				return 0, err
			}
			if offs[i] < 0 {
				return 0, syscall.EINVAL
			}
		}
	}
	done, err := c.pump(src, inOff != 0, offs[0], dst, outOff != 0, offs[1], min(n, maxRW))
	for i, va := range [2]arch.VA{inOff, outOff} {
		if end := offs[i] + int64(done); va != 0 && done > 0 {
			if err := put(c, va, &end); err != nil {
				return 0, err
			}
		}
	}
	return partial(done, err)
}

func (c ctx) pump(src *fs.File, srcAt bool, srcOff int64, dst *fs.File, dstAt bool, dstOff int64, n uint64) (uint64, error) {
	buf := getBuffer(n)
	defer buf.put()
	t := c.task()
	done := uint64(0)
	for done < n {
		b := buf.b[:min(n-done, uint64(len(buf.b)))]
		var k int
		var err error
		if srcAt {
			k, err = src.Pread(t, b, srcOff+int64(done))
		} else {
			k, err = src.Read(t, b)
		}
		if err != nil || k == 0 {
			return done, err
		}
		var w int
		if dstAt {
			w, err = dst.Pwrite(t, b[:k], dstOff+int64(done))
		} else {
			w, err = dst.Write(t, b[:k])
		}
		done += uint64(w)
		if err == syscall.EPIPE {
			c.raise(syscall.SIGPIPE)
		}
		if w < k && !srcAt {
			// Give back what was read and not written; a stream cannot.
			_, _ = src.Seek(int64(w-k), unix.SEEK_CUR)
		}
		if err != nil || w < k {
			return done, err
		}
	}
	return done, nil
}
