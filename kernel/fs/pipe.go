package fs

import (
	"fmt"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
	"grim/arch"
	"grim/mm/charge"
	"grim/mm/phys"
)

// Sizes of pipe(7). Writes of up to pipeAtomic bytes are not split. A pipe's size is a
// multiple of the page size.
const (
	pipePages    = 16
	pipeFewPages = 2   // if the user has used up the share
	pipeMaxPages = 256 // fs.pipe-max-size: 1 MB
	pipeSize     = pipePages * pipePage
	pipePage     = arch.PageSize
	pipeAtomic   = 4096
)

// pipe is a stream of bytes between any number of readers and writers. The bytes are in
// page frames. A write allocates frames, and a read frees the frames that it has emptied.
type pipe struct {
	q   WaitQueue
	mem *phys.Memory

	mu sync.Mutex
	// ring has a frame for each page of the bytes held, starting at slot head. The other
	// slots are 0. Its length is the pipe's size in pages.
	ring    []phys.Frame
	head    int
	start   int // offset of the first byte in the frame at head
	n       int // bytes held
	readers int
	writers int
	// claimed says that a splice moves the first bytes elsewhere. They are still in the ring,
	// because perhaps not all of them can be moved. No other reader may take any.
	claimed bool
	// promised is room for bytes that a splice is about to bring.
	promised int
	// How often the pipe has been opened for reading and for writing. With these, opening a
	// FIFO can wait for a peer that has come and gone since (fifo(7)), and a FIFO that no
	// process has written to yet is not at its end.
	readerGen, writerGen uint64

	payer *charge.User // [mu] pays for the pages of the ring

	few [pipePages]phys.Frame // the ring, unless F_SETPIPE_SZ has made it longer
}

// init makes an empty pipe of the usual size, or of a smaller size if the task's user has
// used up the share. It returns nil if the user may not have that either.
func (p *pipe) init(s *FS, t Task) *pipe {
	p.mem = s.cfg.Frames
	payer := s.payer(t)
	for _, pages := range [...]int{pipePages, pipeFewPages} {
		if payer.Take(charge.PipePages, int64(pages)*pipePage) {
			p.payer = payer
			p.ring = p.few[:pages]
			return p
		}
	}
	return nil
}

// repay returns the charge of init and resizeLocked if no end is open. No end may be opened
// afterwards. A second call does nothing.
func (p *pipe) repay() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.payer != nil && p.readers+p.writers == 0 {
		p.payer.Give(charge.PipePages, int64(len(p.ring))*pipePage)
		p.payer = nil
	}
}

// pipeEnd is an open end of a pipe. A FIFO opened with O_RDWR reads and writes through the
// same pipeEnd.
type pipeEnd struct {
	p      *pipe
	reads  bool
	writes bool
	seen   uint64 // writerGen when a FIFO without writers was opened for reading, or noneSeen
	desc   File   // see newFile
}

// noneSeen is a value of seen that no writerGen is equal to.
const noneSeen = ^uint64(0)

// Pipe implements pipe2(2). Flags: O_NONBLOCK. O_CLOEXEC is ignored: it belongs to the
// descriptor. O_DIRECT is refused (EINVAL).
func (s *FS) Pipe(t Task, flags int) (r, w *File, err error) {
	if flags&^(unix.O_NONBLOCK|unix.O_CLOEXEC) != 0 {
		return nil, nil, syscall.EINVAL
	}
	n := new(pipeNode)
	if n.pipe.init(s, t) == nil {
		return nil, nil, syscall.ENFILE
	}
	if n.pay(s.payer(t), 0) != nil {
		n.pipe.repay()
		return nil, nil, syscall.ENFILE
	}
	n.init(s, devAnon, syscall.S_IFIFO|0o600)
	n.adopt(credOf(t), nil)
	newborn(n)
	hold(n) // for the two Files
	flags &= unix.O_NONBLOCK
	if r, err = s.newFile(t, n, n.pipe.end(true, false), place{}, unix.O_RDONLY|flags); err == nil {
		if w, err = s.newFile(t, n, n.pipe.end(false, true), place{}, unix.O_WRONLY|flags); err == nil {
			return r, w, nil
		}
		r.Release()
		return nil, nil, err
	}
	unhold(n) // the other end's
	return nil, nil, err
}

func (n *pipeNode) drop() { n.pipe.repay() }

// pipeNode is the node of a pipe without a name.
type pipeNode struct {
	inode
	pipe pipe
}

// open is called for /proc/self/fd/N. It never waits for a peer: a pipe without a name has
// had a peer.
func (n *pipeNode) open(c call, flags int) (handle, error) {
	acc := flags & unix.O_ACCMODE
	e := n.pipe.end(acc != unix.O_WRONLY, acc != unix.O_RDONLY)
	e.seen = noneSeen
	n.pipe.q.Wake(EPOLLIN | EPOLLOUT)
	return e, nil
}

// label is what /proc/self/fd shows in place of a name.
func (n *pipeNode) label() string { return fmt.Sprintf("pipe:[%d]", n.ino) }

// end opens an end.
func (p *pipe) end(reads, writes bool) *pipeEnd {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := &pipeEnd{p: p, reads: reads, writes: writes, seen: p.writerGen}
	if p.writers > 0 {
		e.seen = noneSeen // when these writers close, that is an end of file
	}
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

// close closes an end. If it is the last reader or writer, the other side sees a broken
// pipe or an end of file.
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
		p.dropLocked(p.n)
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
		if p.n > 0 && !p.claimed {
			r |= EPOLLIN | EPOLLRDNORM
		}
		if p.writers == 0 && p.writerGen != e.seen {
			r |= EPOLLHUP
		}
	}
	if e.writes {
		if p.roomLocked() >= pipeAtomic {
			r |= EPOLLOUT | EPOLLWRNORM
		}
		if p.readers == 0 {
			r |= EPOLLERR
		}
	}
	return r
}

// roomLocked returns how many bytes fit. Bytes that have been read from the first page
// count until that page is empty. Precondition: mu held.
func (p *pipe) roomLocked() int { return len(p.ring)*pipePage - p.start - p.n - p.promised }

// slotLocked returns the ring slot of byte i, and the offset of the byte in that slot's
// frame. Precondition: mu held.
func (p *pipe) slotLocked(i int) (slot, off int) {
	i += p.start
	slot = p.head + i/pipePage
	if slot >= len(p.ring) {
		slot -= len(p.ring)
	}
	return slot, i % pipePage
}

// dropLocked removes the first n bytes, and frees the frames that become empty.
// Precondition: mu held.
func (p *pipe) dropLocked(n int) {
	p.n -= n
	p.start += n
	for p.start >= pipePage || p.n == 0 && p.start > 0 {
		p.mem.Unref(p.ring[p.head])
		p.ring[p.head] = 0
		if p.head++; p.head == len(p.ring) {
			p.head = 0
		}
		p.start = max(p.start-pipePage, 0)
	}
	if p.n == 0 {
		p.start = 0
	}
}

// turnPages is how many pages are copied before mu is released.
const turnPages = 16

// Reasons why a copy stopped.
const (
	errAbsent  = syscall.EFAULT // a page of the user's memory is absent: it must be faulted in
	errFull    = syscall.EAGAIN // no room, or not enough for an atomic write
	errEmpty   = syscall.ENODATA
	errClaimed = syscall.EBUSY // the bytes are another reader's
)

// read and write are for callers with a buffer in kernel memory.
func (e *pipeEnd) read(c call, b []byte, _ int64) (int, error) {
	return e.readTo(c, (*flat)(&b))
}

func (e *pipeEnd) write(c call, b []byte, _ int64) (int, error) {
	return e.writeFrom(c, (*flat)(&b))
}

// readTo reads the bytes that are there. It waits for at least one byte, and returns 0
// after the last writer has closed.
func (e *pipeEnd) readTo(c call, d Dest) (int, error) {
	if !e.reads {
		return 0, syscall.EBADF
	}
	for done := 0; ; {
		n, err := e.p.take(d, done)
		if n > 0 {
			e.p.q.Wake(EPOLLOUT | EPOLLWRNORM)
		}
		switch done += n; {
		case done == d.Len():
			return done, nil
		case err == errAbsent:
			err = d.Fault(done)
		case (err == errEmpty || err == errClaimed) && done > 0:
			return done, nil
		case err == errEmpty && e.p.atEnd():
			return 0, nil
		case (err == errEmpty || err == errClaimed) && c.nonblock:
			return 0, syscall.EAGAIN
		case err == errEmpty:
			err = await(c.task, e, EPOLLIN, Never)
		case err == errClaimed:
			err = e.p.awaitClaimed(c.task)
		default:
			err = c.pause()
		}
		if err != nil {
			return partial(done, err)
		}
	}
}

// partial returns the result of a transfer that stopped. The error is returned only if
// nothing was moved.
func partial(done int, err error) (int, error) {
	if done > 0 {
		return done, nil
	}
	return 0, err
}

// take moves bytes to d, from offset off on: as many as there are, up to turnPages pages.
// The error is the reason if it stops earlier: errAbsent, errEmpty, errClaimed.
func (p *pipe) take(d Dest, off int) (n int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.claimed {
		return 0, errClaimed
	}
	for range turnPages {
		want := min(d.Len()-off-n, p.n)
		if want == 0 {
			if p.n == 0 {
				return n, errEmpty
			}
			return n, nil
		}
		b := p.mem.Bytes(p.ring[p.head])[p.start:]
		b = b[:min(len(b), want)]
		k := d.CopyOut(off+n, b)
		p.dropLocked(k)
		if n += k; k < len(b) {
			return n, errAbsent
		}
	}
	return n, nil
}

// atEnd reports whether the last writer has closed and no bytes are left.
func (p *pipe) atEnd() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.n == 0 && p.writers == 0
}

// writeFrom writes all of s, and waits for room. A write of up to pipeAtomic bytes is not
// split. Without readers it returns EPIPE, together with the count of bytes written before.
// A signal or O_NONBLOCK ends the write after a part.
func (e *pipeEnd) writeFrom(c call, s Source) (int, error) {
	if !e.writes {
		return 0, syscall.EBADF
	}
	if s.Len() == 0 {
		return 0, nil
	}
	whole := s.Len() <= pipeAtomic
	for done := 0; ; {
		n, missing, err := e.p.put(s, done, whole)
		if n > 0 {
			e.p.q.Wake(EPOLLIN | EPOLLRDNORM)
		}
		switch done += n; {
		case done == s.Len():
			return done, nil
		case err == syscall.EPIPE:
			return done, err
		case err == errAbsent:
			err = s.Fault(missing)
		case err == errFull && !c.nonblock:
			err = e.p.awaitRoom(c.task, s.Len()-done)
		case err == nil:
			err = c.pause()
		}
		if err != nil {
			return partial(done, err)
		}
	}
}

// awaitRoom blocks until a write of n bytes can make progress.
func (p *pipe) awaitRoom(t Task, n int) error {
	b := bells.Get().(*bell)
	defer b.put()
	p.q.add(&b.w, EPOLLOUT)
	defer b.w.remove()
	for !p.fits(n) {
		if err := sleep(t, b.ch, Never); err != nil {
			return err
		}
	}
	return nil
}

// awaitClaimed blocks until the first bytes are no other reader's.
func (p *pipe) awaitClaimed(t Task) error {
	b := bells.Get().(*bell)
	defer b.put()
	p.q.add(&b.w, EPOLLIN)
	defer b.w.remove()
	for {
		p.mu.Lock()
		claimed := p.claimed
		p.mu.Unlock()
		if !claimed {
			return nil
		}
		if err := sleep(t, b.ch, Never); err != nil {
			return err
		}
	}
}

// fits reports that waiting is over: n bytes fit, or a part of many, or there are no
// readers.
func (p *pipe) fits(n int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.readers == 0 || p.roomLocked() >= min(n, pipeAtomic)
}

// put adds bytes of s, from offset off on: as many as fit, up to turnPages pages. If whole
// it adds all or nothing. The error is the reason if it stops earlier: EPIPE, ENOMEM,
// errFull, or errAbsent; missing is then the offset of the byte that could not be read.
func (p *pipe) put(s Source, off int, whole bool) (n, missing int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.putLocked(s, off, whole)
}

// putLocked is put with mu held.
func (p *pipe) putLocked(s Source, off int, whole bool) (n, missing int, err error) {
	if p.readers == 0 {
		return 0, 0, syscall.EPIPE
	}
	if whole && s.Len()-off > p.roomLocked() {
		return 0, 0, errFull
	}
	for range turnPages {
		want := min(s.Len()-off-n, p.roomLocked()-n)
		if want == 0 {
			break
		}
		slot, at := p.slotLocked(p.n + n)
		f := p.ring[slot]
		if f == 0 {
			if f, err = p.mem.Alloc(phys.Pipe); err != nil {
				break
			}
			p.ring[slot] = f
		}
		b := p.mem.Bytes(f)[at:]
		b = b[:min(len(b), want)]
		k := s.CopyIn(b, off+n)
		if n += k; k < len(b) {
			missing, err = off+n, errAbsent
			break
		}
	}
	if err != nil && whole {
		n = 0
	}
	p.n += n
	p.trimLocked()
	if err == nil && off+n < s.Len() && p.roomLocked() == 0 {
		err = errFull
	}
	return n, missing, err
}

// trimLocked frees the frames behind the last byte, which a failed write has left. There
// are at most two. Precondition: mu held.
func (p *pipe) trimLocked() {
	last := p.n
	if last+p.start > 0 {
		last = (p.start+p.n+pipePage-1)&^(pipePage-1) - p.start
	}
	for range 2 {
		if last+p.start >= len(p.ring)*pipePage {
			return
		}
		slot, _ := p.slotLocked(last)
		if p.ring[slot] == 0 {
			return
		}
		p.mem.Unref(p.ring[slot])
		p.ring[slot] = 0
		last += pipePage
	}
}

// ioctl implements FIONREAD.
func (e *pipeEnd) ioctl(c call, mem UserMemory, req uint32, arg uint64) (uint64, error) {
	if req != fionread {
		return 0, syscall.ENOTTY
	}
	e.p.mu.Lock()
	n := e.p.n
	e.p.mu.Unlock()
	return putInt(mem, arg, n)
}

// pipe returns the pipe of the end f. EBADF: f is no pipe.
func (f *File) pipe() (*pipe, error) {
	e, ok := f.h.(*pipeEnd)
	if !ok {
		return nil, syscall.EBADF
	}
	return e.p, nil
}

// PipeSize implements F_GETPIPE_SZ. EBADF: f is no pipe.
func (f *File) PipeSize() (int, error) {
	p, err := f.pipe()
	if err != nil {
		return 0, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.ring) * pipePage, nil
}

// SetPipeSize implements F_SETPIPE_SZ: it sets the next power of two pages, and returns the
// new size. EPERM: more than 1 MB, or more than the user's share. EBUSY: more pages are in
// use.
func (f *File) SetPipeSize(n int) (int, error) {
	p, err := f.pipe()
	if err != nil {
		return 0, err
	}
	if n < 0 {
		return 0, syscall.EINVAL
	}
	if n > pipeMaxPages*pipePage {
		return 0, syscall.EPERM
	}
	pages := 1
	for pages*pipePage < n {
		pages *= 2
	}
	p.mu.Lock()
	old := len(p.ring)
	err = p.resizeLocked(pages)
	p.mu.Unlock()
	if err != nil {
		return 0, err
	}
	if pages > old {
		p.q.Wake(EPOLLOUT | EPOLLWRNORM)
	}
	return pages * pipePage, nil
}

// resizeLocked changes the ring's length. Precondition: mu held.
func (p *pipe) resizeLocked(pages int) error {
	if p.start+p.n+p.promised > pages*pipePage {
		return syscall.EBUSY
	}
	if pages == len(p.ring) {
		return nil
	}
	if more := int64(pages-len(p.ring)) * pipePage; more < 0 {
		p.payer.Give(charge.PipePages, -more)
	} else if !p.payer.Take(charge.PipePages, more) {
		return syscall.EPERM
	}
	old := append([]phys.Frame(nil), p.ring[p.head:]...)
	old = append(old, p.ring[:p.head]...)
	if pages <= pipePages {
		p.few = [pipePages]phys.Frame{}
		p.ring = p.few[:pages]
	} else {
		p.ring = make([]phys.Frame, pages)
	}
	copy(p.ring, old)
	p.head = 0
	return nil
}
