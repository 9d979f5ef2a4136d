package fs

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// fifo is a named pipe. Its data lives while any process has it open.
type fifo struct {
	inode
	pipe pipe
}

func (s *FS) newFIFO(t Task, perm uint32) (*fifo, error) {
	f := new(fifo)
	if f.pipe.init(s, t) == nil {
		return nil, syscall.ENOSPC
	}
	if err := f.pay(s.payer(t), 0); err != nil {
		f.pipe.repay()
		return nil, err
	}
	f.init(s, devRoot, syscall.S_IFIFO|perm)
	return f, nil
}

func (f *fifo) drop() { f.pipe.repay() }

func (f *fifo) open(c call, flags int) (handle, error) { return f.pipe.open(c, flags) }

// open implements fifo(7). A reader waits for a writer, and a writer for a reader. With
// O_NONBLOCK neither waits, and a writer without a reader gets ENXIO. O_RDWR never waits.
func (p *pipe) open(c call, flags int) (handle, error) {
	acc := flags & unix.O_ACCMODE
	if acc == unix.O_RDWR {
		e := p.end(true, true)
		p.q.Wake(EPOLLIN | EPOLLOUT)
		return e, nil
	}
	p.mu.Lock()
	alone := acc == unix.O_RDONLY && p.writers == 0 || acc == unix.O_WRONLY && p.readers == 0
	rgen, wgen := p.readerGen, p.writerGen
	p.mu.Unlock()
	if alone && acc == unix.O_WRONLY && c.nonblock {
		return nil, syscall.ENXIO
	}
	e := p.end(acc == unix.O_RDONLY, acc == unix.O_WRONLY)
	p.q.Wake(EPOLLIN | EPOLLOUT) // a peer may be waiting for this end
	if alone && !c.nonblock {
		if err := p.awaitPeer(c.task, acc == unix.O_RDONLY, rgen, wgen); err != nil {
			e.close()
			return nil, err
		}
	}
	return e, nil
}

// awaitPeer blocks until the other side has been opened since the generations were read,
// even if it has been closed again.
func (p *pipe) awaitPeer(t Task, reader bool, rgen, wgen uint64) error {
	b := bells.Get().(*bell)
	defer b.put()
	p.q.add(&b.w, EPOLLIN|EPOLLOUT)
	defer b.w.remove()
	for {
		p.mu.Lock()
		met := reader && p.writerGen != wgen || !reader && p.readerGen != rgen
		p.mu.Unlock()
		if met {
			return nil
		}
		if err := sleep(t, b.ch, Never); err != nil {
			return err
		}
	}
}
