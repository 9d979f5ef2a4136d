package fs

import (
	"encoding/binary"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// timerfd counts expirations of a timer (timerfd_create(2)). CLOCK_BOOTTIME is
// CLOCK_MONOTONIC here, because the machine never sleeps.
//
// A timer with an interval is not restarted when it expires, but when its state is next
// looked at. The expirations since then are counted at that time. So a short interval costs
// nothing while no thread reads.
type timerfd struct {
	plain
	fs       *FS
	realtime bool
	q        WaitQueue

	mu       sync.Mutex
	timer    *time.Timer // nil: disarmed
	gen      uint64      // number of settings: the expiry of an old setting is ignored
	next     int64       // time of the next expiry on the timer's clock, ns
	interval int64       // 0: the timer expires once
	count    uint64      // expirations not read yet
	expired  bool        // it has expired at next, and was not restarted since
}

// Timerfd implements timerfd_create(2); flags: TFD_NONBLOCK, TFD_CLOEXEC.
func (s *FS) Timerfd(task Task, clock int, flags int) (*File, error) {
	if flags&^(unix.TFD_NONBLOCK|unix.TFD_CLOEXEC) != 0 {
		return nil, syscall.EINVAL
	}
	switch clock {
	case unix.CLOCK_MONOTONIC, unix.CLOCK_REALTIME, unix.CLOCK_BOOTTIME:
	default:
		return nil, syscall.EINVAL
	}
	t := &timerfd{fs: s, realtime: clock == unix.CLOCK_REALTIME}
	return s.anonFile(task, "", t, "anon_inode:[timerfd]", unix.O_RDWR|flags&unix.O_NONBLOCK)
}

// now returns the time of the timer's clock.
func (t *timerfd) now() int64 {
	if t.realtime {
		return t.fs.cfg.Now()
	}
	return t.fs.cfg.Monotonic()
}

// TimerfdSet implements timerfd_settime(2). Times are in nanoseconds. The first expiry is
// after value, or with abs when the clock shows value. value 0 disarms the timer. It
// returns the result of TimerfdGet before the change. EINVAL: f is no timer, or a time is
// negative.
func (f *File) TimerfdSet(value, interval int64, abs bool) (oldValue, oldInterval int64, err error) {
	t, ok := f.h.(*timerfd)
	if !ok || value < 0 || interval < 0 {
		return 0, 0, syscall.EINVAL
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.goOnLocked()
	oldValue, oldInterval = t.leftLocked()
	t.stopLocked()
	t.count = 0
	if value != 0 {
		t.interval = interval
		t.next = value
		if !abs {
			t.next = addOffsets(t.now(), value)
			if t.next < 0 {
				t.next = Never
			}
		}
		t.startLocked()
	}
	return oldValue, oldInterval, nil
}

// TimerfdGet implements timerfd_gettime(2). It returns the nanoseconds to the next expiry,
// or 0 if the timer is disarmed, and the interval.
func (f *File) TimerfdGet() (value, interval int64, err error) {
	t, ok := f.h.(*timerfd)
	if !ok {
		return 0, 0, syscall.EINVAL
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.goOnLocked()
	value, interval = t.leftLocked()
	return value, interval, nil
}

// Precondition of leftLocked, startLocked and stopLocked: mu held.
func (t *timerfd) leftLocked() (int64, int64) {
	if t.timer == nil {
		return 0, t.interval
	}
	return max(1, t.next-t.now()), t.interval
}

func (t *timerfd) startLocked() {
	t.gen++
	gen := t.gen
	t.timer = time.AfterFunc(time.Duration(t.next-t.now()), func() { t.expire(gen) })
}

// goOnLocked restarts an expired timer that has an interval, and counts the expirations
// that have passed in the meantime. Precondition: mu held.
func (t *timerfd) goOnLocked() {
	if !t.expired || t.interval == 0 {
		return
	}
	t.expired = false
	n := max((t.now()-t.next)/t.interval, 0) // without the one that expire has counted
	t.count += uint64(n)
	if t.next = addOffsets(t.next+n*t.interval, t.interval); t.next < 0 {
		t.next = Never
	}
	t.startLocked()
}

func (t *timerfd) stopLocked() {
	if t.timer != nil {
		t.timer.Stop()
	}
	t.timer, t.interval, t.expired = nil, 0, false
	t.gen++
}

// expire counts an expiry and wakes the waiting threads.
func (t *timerfd) expire(gen uint64) {
	t.mu.Lock()
	if gen != t.gen {
		t.mu.Unlock()
		return
	}
	t.timer = nil
	if t.now() < t.next { // the clock was set back, or runs slower than the runtime's
		t.startLocked()
		t.mu.Unlock()
		return
	}
	t.count++
	t.expired = true
	t.mu.Unlock()
	t.q.Wake(EPOLLIN | EPOLLRDNORM)
}

func (t *timerfd) queue() *WaitQueue { return &t.q }

func (t *timerfd) ready() uint32 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.count > 0 {
		return EPOLLIN | EPOLLRDNORM
	}
	return 0
}

// read returns the number of expirations and resets it. It waits for the first.
func (t *timerfd) read(c call, b []byte, _ int64) (int, error) {
	if len(b) < 8 {
		return 0, syscall.EINVAL
	}
	for {
		t.mu.Lock()
		t.goOnLocked()
		n := t.count
		t.count = 0
		t.mu.Unlock()
		if n > 0 {
			binary.LittleEndian.PutUint64(b, n)
			return 8, nil
		}
		if c.nonblock {
			return 0, syscall.EAGAIN
		}
		if err := await(c.task, t, EPOLLIN, Never); err != nil {
			return 0, err
		}
	}
}

func (t *timerfd) write(call, []byte, int64) (int, error) { return 0, syscall.EINVAL }

func (t *timerfd) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stopLocked()
}
