package fs

import (
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// SignalReader is a Task that can read signals from a signalfd.
type SignalReader interface {
	// ReadSignal takes a pending signal of set, and encodes it as struct signalfd_siginfo
	// at the start of p. If none is pending it waits, or without wait returns EAGAIN.
	ReadSignal(p []byte, set uint64, wait bool) error
}

// SignalTarget is the thread that has made a signalfd.
type SignalTarget interface {
	// SignalPending reports whether a signal of set is pending for the thread or its
	// process.
	SignalPending(set uint64) bool
	// OnSignal arranges that fn is called at each signal that is queued for the process. fn
	// is called with locks held, so it must not block. cancel cancels that.
	OnSignal(fn func()) (cancel func())
}

// SignalInfoSize is sizeof(struct signalfd_siginfo).
const SignalInfoSize = 128

// signalfd is an open signalfd. A read takes signals of the reading thread. poll(2) and
// epoll see the signals of the thread that has made the signalfd, as a file does not know
// which thread asks.
type signalfd struct {
	plain
	q      WaitQueue
	set    atomic.Uint64
	target SignalTarget
	cancel func()
}

// Signalfd implements signalfd4(2) for a new descriptor. Flags: SFD_NONBLOCK.
func (s *FS) Signalfd(t Task, target SignalTarget, set uint64, flags int) (*File, error) {
	h := &signalfd{target: target}
	h.set.Store(set)
	h.cancel = target.OnSignal(func() { h.q.Wake(EPOLLIN | EPOLLRDNORM) })
	return s.anonFile(t, "", h, "anon_inode:[signalfd]", unix.O_RDWR|flags&unix.O_NONBLOCK)
}

// SetSignals implements signalfd4(2) for an existing signalfd. EINVAL: f is no signalfd.
func (f *File) SetSignals(set uint64) error {
	h, ok := f.h.(*signalfd)
	if !ok {
		return syscall.EINVAL
	}
	h.set.Store(set)
	h.q.Wake(EPOLLIN | EPOLLRDNORM)
	return nil
}

func (h *signalfd) queue() *WaitQueue { return &h.q }
func (h *signalfd) close()            { h.cancel() }

func (h *signalfd) ready() uint32 {
	if h.target.SignalPending(h.set.Load()) {
		return EPOLLIN | EPOLLRDNORM
	}
	return 0
}

func (h *signalfd) write(call, []byte, int64) (int, error) { return 0, syscall.EINVAL }

// read returns as many signals as are pending and fit. It waits for the first one.
func (h *signalfd) read(c call, p []byte, _ int64) (n int, err error) {
	t, ok := c.task.(SignalReader)
	if !ok || len(p) < SignalInfoSize {
		return 0, syscall.EINVAL
	}
	for len(p)-n >= SignalInfoSize {
		if err := t.ReadSignal(p[n:n+SignalInfoSize], h.set.Load(), n == 0 && !c.nonblock); err != nil {
			return partial(n, err)
		}
		n += SignalInfoSize
	}
	return n, nil
}
