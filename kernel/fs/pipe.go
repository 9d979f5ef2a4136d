package fs

import (
	"fmt"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Sizes of pipe(7). Writes of up to pipeAtomic bytes are not split.
const (
	pipeSize   = 65536
	pipeAtomic = 4096
)

// pipe is a stream of bytes between any number of readers and writers.
type pipe struct {
	q WaitQueue

	mu      sync.Mutex
	buf     []byte // ring; grows as it fills, up to limit; nil when closed
	start   int    // first byte
	n       int    // bytes held
	limit   int
	readers int
	writers int
	// Openings so far, so that opening a FIFO waits for a peer that came and
	// went meanwhile (fifo(7)), and a FIFO that nobody has written to is not at
	// its end.
	readerGen, writerGen uint64
}

func newPipe() *pipe { return &pipe{limit: pipeSize} }

// pipeEnd is one open end; a FIFO opened O_RDWR is both.
type pipeEnd struct {
	p      *pipe
	reads  bool
	writes bool
	seen   uint64 // writerGen when a FIFO's reading end was opened
	desc   File   // see newFile
}

// Pipe is pipe2(2); flags: O_NONBLOCK, O_DIRECT is refused (EINVAL), O_CLOEXEC
// is the descriptor table's business.
func (s *FS) Pipe(flags int) (r, w *File, err error) {
	if flags&^(unix.O_NONBLOCK|unix.O_CLOEXEC) != 0 {
		return nil, nil, syscall.EINVAL
	}
	n := &pipeNode{pipe: pipe{limit: pipeSize}}
	n.init(s, devAnon, syscall.S_IFIFO|0o600)
	newborn(n)
	hold(n) // two Files
	flags &= unix.O_NONBLOCK
	return s.newFile(n, n.pipe.end(true, false), place{}, unix.O_RDONLY|flags),
		s.newFile(n, n.pipe.end(false, true), place{}, unix.O_WRONLY|flags), nil
}

// pipeNode is the node of a pipe without a name.
type pipeNode struct {
	inode
	pipe pipe
}

// open serves /proc/self/fd/N.
func (n *pipeNode) open(c call, flags int) (handle, error) { return n.pipe.open(c, flags) }

// label is what /proc/self/fd shows for the name it has not.
func (n *pipeNode) label() string { return fmt.Sprintf("pipe:[%d]", n.ino) }

// pipeBuffers keeps the smallest buffers of closed pipes for the next: most pipes
// never need another. They are not cleared, as nobody reads what was not written.
var pipeBuffers = struct {
	sync.Mutex
	free [][]byte
}{free: make([][]byte, 0, 32)}

func newPipeBuffer(size int) []byte {
	b := &pipeBuffers
	b.Lock()
	defer b.Unlock()
	if n := len(b.free); size == pipeAtomic && n > 0 {
		buf := b.free[n-1]
		b.free = b.free[:n-1]
		return buf
	}
	return make([]byte, size)
}

func freePipeBuffer(buf []byte) {
	b := &pipeBuffers
	b.Lock()
	if len(buf) == pipeAtomic && len(b.free) < cap(b.free) {
		b.free = append(b.free, buf)
	}
	b.Unlock()
}

// end opens an end.
func (p *pipe) end(reads, writes bool) *pipeEnd {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := &pipeEnd{p: p, reads: reads, writes: writes, seen: p.writerGen}
	if reads {
		p.readers++
		p.readerGen++
	}
	if writes {
		p.writers++
		p.writerGen++
	}
	return e
}

// close is the end of an end; the last of its kind leaves the other side an end
// of file, or a broken pipe.
func (e *pipeEnd) close() {
	p := e.p
	p.mu.Lock()
	var wake uint32
	if e.reads {
		if p.readers--; p.readers == 0 {
			wake |= EPOLLERR | EPOLLOUT
		}
	}
	if e.writes {
		if p.writers--; p.writers == 0 {
			wake |= EPOLLHUP | EPOLLIN
		}
	}
	if p.readers+p.writers == 0 { // a FIFO's name may keep p alive
		freePipeBuffer(p.buf)
		p.buf, p.start, p.n = nil, 0, 0
	}
	p.mu.Unlock()
	if wake != 0 {
		p.q.Wake(wake)
	}
}

func (e *pipeEnd) queue() *WaitQueue { return &e.p.q }

func (e *pipeEnd) ready() uint32 {
	p := e.p
	p.mu.Lock()
	defer p.mu.Unlock()
	var r uint32
	if e.reads {
		if p.n > 0 {
			r |= EPOLLIN | EPOLLRDNORM
		}
		if p.writers == 0 && p.writerGen != e.seen {
			r |= EPOLLHUP
		}
	}
	if e.writes {
		if p.limit-p.n >= pipeAtomic {
			r |= EPOLLOUT | EPOLLWRNORM
		}
		if p.readers == 0 {
			r |= EPOLLERR
		}
	}
	return r
}

// read takes what there is, at least a byte; 0 when the last writer has gone.
func (e *pipeEnd) read(c call, b []byte, _ int64) (int, error) {
	if !e.reads {
		return 0, syscall.EBADF
	}
	if len(b) == 0 {
		return 0, nil
	}
	for {
		n, eof := e.p.take(b)
		switch {
		case n > 0:
			e.p.q.Wake(EPOLLOUT | EPOLLWRNORM)
			return n, nil
		case eof:
			return 0, nil
		case c.nonblock:
			return 0, syscall.EAGAIN
		}
		if err := await(c.task, e, EPOLLIN, Never); err != nil {
			return 0, err
		}
	}
}

func (p *pipe) take(b []byte) (n int, eof bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for n < len(b) && p.n > 0 {
		part := p.buf[p.start:min(len(p.buf), p.start+p.n)]
		k := copy(b[n:], part)
		n += k
		p.n -= k
		p.start = (p.start + k) % len(p.buf)
	}
	if p.n == 0 {
		p.start = 0
	}
	return n, p.writers == 0
}

// write puts all of b, waiting for room; writes of up to pipeAtomic bytes in one
// piece. EPIPE without readers. A signal or O_NONBLOCK gives what was written.
func (e *pipeEnd) write(c call, b []byte, _ int64) (int, error) {
	if !e.writes {
		return 0, syscall.EBADF
	}
	done := 0
	for {
		n, err := e.p.put(b[done:], len(b) <= pipeAtomic)
		done += n
		if n > 0 {
			e.p.q.Wake(EPOLLIN | EPOLLRDNORM)
		}
		if err == nil && done < len(b) {
			if c.nonblock {
				err = syscall.EAGAIN
			} else {
				err = e.p.awaitRoom(c.task, e, len(b)-done)
			}
		} else if err == nil {
			return done, nil
		}
		if err != nil {
			if done > 0 {
				return done, nil
			}
			return 0, err
		}
	}
}

// awaitRoom blocks until a write of n bytes can make progress.
func (p *pipe) awaitRoom(t Task, e *pipeEnd, n int) error {
	b := bells.Get().(*bell)
	defer b.put()
	p.q.add(&b.w, EPOLLOUT)
	defer b.w.remove()
	for !p.room(n) {
		if err := sleep(t, b.ch, Never); err != nil {
			return err
		}
	}
	return nil
}

// room says whether n bytes, or a part if they are many, fit now, or never will.
func (p *pipe) room(n int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.readers == 0 || p.limit-p.n >= min(n, pipeAtomic)
}

// put adds what fits: all of b or nothing, if whole.
func (p *pipe) put(b []byte, whole bool) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(b) == 0 {
		return 0, nil
	}
	if p.readers == 0 {
		return 0, syscall.EPIPE
	}
	n := min(len(b), p.limit-p.n)
	if whole && n < len(b) {
		return 0, nil
	}
	p.grow(p.n + n)
	for i := 0; i < n; {
		at := (p.start + p.n) % len(p.buf)
		k := copy(p.buf[at:min(len(p.buf), at+n-i)], b[i:])
		i += k
		p.n += k
	}
	return n, nil
}

// grow makes the ring hold at least n bytes. Precondition: mu held.
func (p *pipe) grow(n int) {
	size := max(len(p.buf), pipeAtomic)
	for size < n {
		size *= 2
	}
	if size == len(p.buf) {
		return
	}
	buf := newPipeBuffer(size)
	k := copy(buf, p.buf[p.start:min(len(p.buf), p.start+p.n)])
	copy(buf[k:p.n], p.buf)
	freePipeBuffer(p.buf)
	p.buf, p.start = buf, 0
}

// ioctl: FIONREAD.
func (e *pipeEnd) ioctl(c call, mem UserMemory, req uint32, arg uint64) (uint64, error) {
	if req != fionread {
		return 0, syscall.ENOTTY
	}
	e.p.mu.Lock()
	n := e.p.n
	e.p.mu.Unlock()
	return putInt(mem, arg, n)
}

// PipeSize is fcntl F_GETPIPE_SZ; EBADF if f is no pipe.
func (f *File) PipeSize() (int, error) {
	e, ok := f.h.(*pipeEnd)
	if !ok {
		return 0, syscall.EBADF
	}
	e.p.mu.Lock()
	defer e.p.mu.Unlock()
	return e.p.limit, nil
}

// SetPipeSize is fcntl F_SETPIPE_SZ: the next power of two pages, up to 1 MB
// (EPERM); EBUSY if more is in the pipe. It returns the new size.
func (f *File) SetPipeSize(n int) (int, error) {
	e, ok := f.h.(*pipeEnd)
	if !ok {
		return 0, syscall.EBADF
	}
	if n < 0 {
		return 0, syscall.EINVAL
	}
	if n > 1<<20 { // pipe-max-size of Linux
		return 0, syscall.EPERM
	}
	size := pipeAtomic
	for size < n {
		size *= 2
	}
	e.p.mu.Lock()
	defer e.p.mu.Unlock()
	if e.p.n > size {
		return 0, syscall.EBUSY
	}
	e.p.limit = size
	if len(e.p.buf) > size {
		p := e.p
		old := make([]byte, p.n)
		for i := range old {
			old[i] = p.buf[(p.start+i)%len(p.buf)]
		}
		p.buf, p.start = append(old, make([]byte, size-len(old))...), 0
	}
	return size, nil
}
