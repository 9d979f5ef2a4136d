package fs

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// PidTarget is the process of a pidfd. It may outlive its pid.
type PidTarget interface {
	PID() int
	// Exited reports whether it is a zombie or gone.
	Exited() bool
	// OnExit arranges that fn is called once, when the process becomes a zombie (at once if
	// it is a zombie already). fn must not block. cancel cancels that.
	OnExit(fn func()) (cancel func())
}

// pidfd refers to a process. It becomes readable when the process ends (pidfd_open(2)).
type pidfd struct {
	plain
	target PidTarget
	q      WaitQueue
	cancel func()
}

// Pidfd implements pidfd_open(2); flags: PIDFD_NONBLOCK (for waitid).
func (s *FS) Pidfd(t Task, target PidTarget, flags int) (*File, error) {
	h := &pidfd{target: target}
	h.cancel = target.OnExit(func() { h.q.Wake(EPOLLIN | EPOLLRDNORM) })
	return s.anonFile(t, "", h, "anon_inode:[pidfd]", unix.O_RDWR|flags&unix.O_NONBLOCK)
}

// Pid returns the process of a pidfd. EBADF: f is no pidfd.
func (f *File) Pid() (PidTarget, error) {
	h, ok := f.h.(*pidfd)
	if !ok {
		return nil, syscall.EBADF
	}
	return h.target, nil
}

func (h *pidfd) read(call, []byte, int64) (int, error)  { return 0, syscall.EINVAL }
func (h *pidfd) write(call, []byte, int64) (int, error) { return 0, syscall.EINVAL }
func (h *pidfd) queue() *WaitQueue                      { return &h.q }
func (h *pidfd) close()                                 { h.cancel() }

func (h *pidfd) ready() uint32 {
	if h.target.Exited() {
		return EPOLLIN | EPOLLRDNORM
	}
	return 0
}
