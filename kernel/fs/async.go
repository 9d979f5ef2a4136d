package fs

import (
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
	"grim/proc/cred"
)

// Kinds of owner of an open file description (F_SETOWN_EX).
const (
	OwnerThread  = 0
	OwnerProcess = 1
	OwnerGroup   = 2
)

// IOSignal is the signal to send because a description has become ready.
type IOSignal struct {
	Kind, ID int // the thread, process or group that gets the signal
	Signal   syscall.Signal
	FD       int // the descriptor with which F_SETSIG or O_ASYNC was requested
	Info     bool
	Band     uint32     // EPOLL bits
	By       *cred.Cred // credentials of the thread that has set the owner
}

// async is the part of a description that sends a signal when the description becomes ready
// (fcntl(2), "Managing signals").
type async struct {
	f *File
	w waiter

	mu     sync.Mutex
	kind   int
	id     int
	sig    int // from F_SETSIG; 0: SIGIO without further information
	fd     int
	by     *cred.Cred    // without groups
	events atomic.Uint32 // events for which no signal has been sent yet
}

func (f *File) asyncState() *async {
	if a := f.async.Load(); a != nil {
		return a
	}
	a := &async{f: f}
	a.w.wake = a.wake
	f.async.CompareAndSwap(nil, a)
	return f.async.Load()
}

// SetOwner implements F_SETOWN and F_SETOWN_EX. fd is the descriptor that the caller
// used.
func (f *File) SetOwner(t Task, kind, id, fd int) {
	a := f.asyncState()
	a.mu.Lock()
	a.kind, a.id, a.fd, a.by = kind, id, fd, credOf(t).Alone()
	a.mu.Unlock()
}

// Owner implements F_GETOWN_EX. id is 0 if no owner is set.
func (f *File) Owner() (kind, id int) {
	a := f.async.Load()
	if a == nil {
		return OwnerProcess, 0
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.kind, a.id
}

// SetOwnerSignal implements F_SETSIG.
func (f *File) SetOwnerSignal(sig, fd int) {
	a := f.asyncState()
	a.mu.Lock()
	a.sig, a.fd = sig, fd
	a.mu.Unlock()
}

// OwnerSignal implements F_GETSIG.
func (f *File) OwnerSignal() int {
	a := f.async.Load()
	if a == nil {
		return 0
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.sig
}

// setAsync turns O_ASYNC on or off. A file that is always ready sends no signals.
func (f *File) setAsync(on bool) {
	q := f.h.queue()
	if q == nil {
		return
	}
	a := f.asyncState()
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case on && a.w.queue == nil:
		q.add(&a.w, ^uint32(0))
	case !on:
		a.w.remove()
	}
}

// wake runs with the queue locked. So a goroutine sends the signal; it sends one signal for
// all events that happen before it runs.
func (a *async) wake(events uint32) bool {
	if a.events.Or(events) == 0 {
		go a.send()
	}
	return false
}

func (a *async) send() {
	events := a.events.Swap(0)
	a.mu.Lock()
	s := IOSignal{Kind: a.kind, ID: a.id, Signal: syscall.Signal(a.sig), FD: a.fd, Info: a.sig != 0, Band: events, By: a.by}
	a.mu.Unlock()
	if s.Signal == 0 {
		s.Signal = unix.SIGIO
	}
	if s.ID != 0 {
		a.f.fs.cfg.SignalIO(s)
	}
}
