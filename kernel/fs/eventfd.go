package fs

import (
	"encoding/binary"
	"math"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// eventfd is a counter (eventfd(2)).
type eventfd struct {
	plain
	q         WaitQueue
	semaphore bool

	mu sync.Mutex
	n  uint64
}

// Eventfd implements eventfd2(2); flags: EFD_SEMAPHORE, EFD_NONBLOCK, EFD_CLOEXEC.
func (s *FS) Eventfd(t Task, initial uint64, flags int) (*File, error) {
	if flags&^(unix.EFD_SEMAPHORE|unix.EFD_NONBLOCK|unix.EFD_CLOEXEC) != 0 {
		return nil, syscall.EINVAL
	}
	e := &eventfd{n: initial, semaphore: flags&unix.EFD_SEMAPHORE != 0}
	return s.anonFile(t, "", e, "anon_inode:[eventfd]", unix.O_RDWR|flags&unix.O_NONBLOCK)
}

func (e *eventfd) queue() *WaitQueue { return &e.q }

func (e *eventfd) ready() uint32 {
	e.mu.Lock()
	defer e.mu.Unlock()
	var r uint32
	if e.n > 0 {
		r |= EPOLLIN | EPOLLRDNORM
	}
	if e.n < math.MaxUint64-1 {
		r |= EPOLLOUT | EPOLLWRNORM
	}
	return r
}

// read takes the whole counter, or 1 of it from a semaphore. It waits while the counter is
// 0.
func (e *eventfd) read(c call, b []byte, _ int64) (int, error) {
	if len(b) < 8 {
		return 0, syscall.EINVAL
	}
	for {
		if v := e.take(); v != 0 {
			binary.LittleEndian.PutUint64(b, v)
			e.q.Wake(EPOLLOUT | EPOLLWRNORM)
			return 8, nil
		}
		if c.nonblock {
			return 0, syscall.EAGAIN
		}
		if err := await(c.task, e, EPOLLIN, Never); err != nil {
			return 0, err
		}
	}
}

func (e *eventfd) take() uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	v := e.n
	if e.semaphore && v > 0 {
		v = 1
	}
	e.n -= v
	return v
}

// write adds to the counter. It waits while the sum would reach 2^64-1.
func (e *eventfd) write(c call, b []byte, _ int64) (int, error) {
	if len(b) < 8 {
		return 0, syscall.EINVAL
	}
	v := binary.LittleEndian.Uint64(b)
	if v == math.MaxUint64 {
		return 0, syscall.EINVAL
	}
	for !e.add(v) {
		if c.nonblock {
			return 0, syscall.EAGAIN
		}
		if err := e.awaitRoom(c.task, v); err != nil {
			return 0, err
		}
	}
	e.q.Wake(EPOLLIN | EPOLLRDNORM)
	return 8, nil
}

func (e *eventfd) add(v uint64) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if v > math.MaxUint64-1-e.n {
		return false
	}
	e.n += v
	return true
}

// awaitRoom blocks until v fits or may fit: EPOLLOUT alone promises only that 1 fits.
func (e *eventfd) awaitRoom(t Task, v uint64) error {
	b := bells.Get().(*bell)
	defer b.put()
	e.q.add(&b.w, EPOLLOUT)
	defer b.w.remove()
	for {
		e.mu.Lock()
		fits := v <= math.MaxUint64-1-e.n
		e.mu.Unlock()
		if fits {
			return nil
		}
		if err := sleep(t, b.ch, Never); err != nil {
			return err
		}
	}
}
