package fs

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// Dest is the place to which the bytes of a stream go. Source is the place from which they
// come. Either is the caller's memory or a buffer of the kernel. Offsets count from the
// start of the transfer, so a copy can be repeated, and bytes are removed from a stream
// only after they have arrived.
//
// A copy never sleeps and may run under the locks of a stream. It stops early at an absent
// page of user memory, or after enough work for one turn. The stream then releases its
// locks, calls Fault for the first missing byte, and continues there.
type Dest interface {
	// Len returns the size of the transfer.
	Len() int
	// CopyOut copies p to offset off and returns how many bytes it copied.
	CopyOut(off int, p []byte) int
	// Fault makes the page at offset off accessible. It may sleep. Errors: EFAULT, ENOMEM.
	Fault(off int) error
}

// Source is the opposite of Dest.
type Source interface {
	Len() int
	// CopyIn fills p from offset off and returns how many bytes it copied.
	CopyIn(p []byte, off int) int
	Fault(off int) error
}

// flat is a Dest and a Source in kernel memory.
type flat []byte

func (b *flat) Len() int                      { return len(*b) }
func (b *flat) CopyOut(off int, p []byte) int { return copy((*b)[off:], p) }
func (b *flat) CopyIn(p []byte, off int) int  { return copy(p, (*b)[off:]) }
func (b *flat) Fault(int) error               { return nil }

// streamer is a handle whose bytes can be read only once. It moves them between its own
// memory and the caller's, without a buffer in between.
type streamer interface {
	readTo(c call, d Dest) (int, error)
	writeFrom(c call, s Source) (int, error)
}

// Streams reports whether f is a stream. Its writes of up to PipeAtomic bytes are not
// split.
func (f *File) Streams() bool {
	_, ok := f.h.(streamer)
	return ok
}

// PipeAtomic is PIPE_BUF (pipe(7)).
const PipeAtomic = pipeAtomic

// ReadTo is Read into d. Bytes that did not arrive stay in a stream. The offset moves by
// the bytes that arrived. It returns EFAULT only if none arrived.
func (f *File) ReadTo(t Task, d Dest) (int, error) {
	n, err := f.readTo(t, d)
	if n > 0 && f.fs.watched() {
		f.fs.tell(f.node, f.from, unix.IN_ACCESS)
	}
	return n, err
}

func (f *File) readTo(t Task, d Dest) (int, error) {
	if err := f.may(unix.O_RDONLY); err != nil {
		return 0, err
	}
	c := f.call(t)
	if s, ok := f.h.(streamer); ok {
		return s.readTo(c, d)
	}
	if _, ok := f.h.(seekable); !ok {
		return copyTo(c, f.h, d, 0, false)
	}
	f.posMu.Lock()
	defer f.posMu.Unlock()
	n, err := copyTo(c, f.h, d, f.pos, true)
	f.pos += int64(n)
	return n, err
}

// PreadTo is Pread into d.
func (f *File) PreadTo(t Task, d Dest, off int64) (int, error) {
	n, err := f.preadTo(t, d, off)
	if n > 0 && f.fs.watched() {
		f.fs.tell(f.node, f.from, unix.IN_ACCESS)
	}
	return n, err
}

func (f *File) preadTo(t Task, d Dest, off int64) (int, error) {
	if err := f.positional(unix.O_RDONLY, off); err != nil {
		return 0, err
	}
	return copyTo(f.call(t), f.h, d, off, true)
}

// copyTo reads from h into d through a buffer. It ends when d is full, when h returns less
// than requested, or when either fails. With again, h is read more than once. That is for
// seekable files: a second read of a stream might block although there are bytes to return.
func copyTo(c call, h handle, d Dest, off int64, again bool) (int, error) {
	if !again && d.Len() > 0 {
		// Bytes taken out of a stream cannot be put back, so fault first.
		if err := d.Fault(0); err != nil {
			return 0, err
		}
	}
	buf := NewBuffer(uint64(d.Len()))
	defer buf.Put()
	for done := 0; ; {
		want := min(len(buf.B), d.Len()-done)
		n, err := h.read(c, buf.B[:want], off+int64(done))
		if err != nil || n == 0 {
			return partial(done, err)
		}
		k, err := deliver(c, d, done, buf.B[:n])
		done += k
		if err != nil {
			return partial(done, err)
		}
		if n < want || !again || done == d.Len() {
			return done, nil
		}
		if err := c.pause(); err != nil {
			return partial(done, err)
		}
	}
}

// deliver copies p to offset off of d. It stops at an error of Fault.
func deliver(c call, d Dest, off int, p []byte) (n int, err error) {
	for {
		if n += d.CopyOut(off+n, p[n:]); n == len(p) {
			return n, nil
		}
		if err := d.Fault(off + n); err != nil {
			return n, err
		}
		if err := c.pause(); err != nil {
			return n, err
		}
	}
}

// WriteFrom is Write from s. It may return EPIPE together with a count: the caller sends
// SIGPIPE and returns the count.
func (f *File) WriteFrom(t Task, s Source) (int, error) {
	n, err := f.writeFrom(t, s)
	if n > 0 && f.fs.watched() {
		f.fs.tell(f.node, f.from, unix.IN_MODIFY)
	}
	return n, err
}

func (f *File) writeFrom(t Task, s Source) (int, error) {
	if err := f.may(unix.O_WRONLY); err != nil {
		return 0, err
	}
	c := f.call(t)
	if w, ok := f.h.(streamer); ok {
		return w.writeFrom(c, s)
	}
	if _, ok := f.h.(seekable); !ok {
		n, _, err := copyFrom(c, f.h, s, 0)
		return n, err
	}
	f.posMu.Lock()
	defer f.posMu.Unlock()
	n, end, err := copyFrom(c, f.h, s, f.pos)
	f.pos = end
	return f.written(n, err)
}

// PwriteFrom is Pwrite from s.
func (f *File) PwriteFrom(t Task, s Source, off int64) (int, error) {
	n, err := f.pwriteFrom(t, s, off)
	if n > 0 && f.fs.watched() {
		f.fs.tell(f.node, f.from, unix.IN_MODIFY)
	}
	return n, err
}

func (f *File) pwriteFrom(t Task, s Source, off int64) (int, error) {
	if err := f.positional(unix.O_WRONLY, off); err != nil {
		return 0, err
	}
	n, _, err := copyFrom(f.call(t), f.h, s, off)
	return f.written(n, err)
}

// copyFrom writes s to h through a buffer. It ends when all is written, when h takes less
// than it was given, or when either fails. end is the offset after the last byte.
func copyFrom(c call, h handle, s Source, off int64) (n int, end int64, err error) {
	if a, ok := h.(appender); ok {
		off = a.beginWrite(c, off)
		defer a.endWrite()
	}
	buf := NewBuffer(uint64(s.Len()))
	defer buf.Put()
	for {
		b := buf.B[:min(len(buf.B), s.Len()-n)]
		k, bad := gather(c, s, n, b)
		if k == 0 && len(b) > 0 {
			n, err = partial(n, bad)
			return n, off, err
		}
		w, err := h.write(c, b[:k], off)
		n, off = n+w, off+int64(w)
		if err == nil && w == k && n < s.Len() && bad == nil {
			if err = c.pause(); err == nil {
				continue
			}
		}
		if err != syscall.EPIPE {
			n, err = partial(n, err)
		}
		return n, off, err
	}
}

// gather fills p from offset off of s. It stops at an error of Fault.
func gather(c call, s Source, off int, p []byte) (n int, err error) {
	for {
		if n += s.CopyIn(p[n:], off+n); n == len(p) {
			return n, nil
		}
		if err := s.Fault(off + n); err != nil {
			return n, err
		}
		if err := c.pause(); err != nil {
			return n, err
		}
	}
}
