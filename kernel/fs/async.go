package fs

import (
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
	"grim/proc/cred"
)

// Kinds of owners of a description (F_SETOWN_EX).
const (
	OwnerThread  = 0
	OwnerProcess = 1
	OwnerGroup   = 2
)

// IOSignal is the signal for a description that has become ready.
type IOSignal struct {
	Kind, ID int // who gets it
	Signal   syscall.Signal
	FD       int // with which F_SETSIG or O_ASYNC was asked for
	Info     bool
	Band     uint32     // EPOLL bits
	By       *cred.Cred // who has set the owner
}

// async says who is told with a signal when a description becomes ready (fcntl(2),
// "Managing signals").
type async struct {
	f *File
	w waiter

	mu     sync.Mutex
	kind   int
	id     int
	sig    int // F_SETSIG; 0: SIGIO without more
	fd     int
	by     *cred.Cred
	events atomic.Uint32 // not told of yet
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

// SetOwner is F_SETOWN and F_SETOWN_EX, by a caller with the descriptor fd.
func (f *File) SetOwner(t Task, kind, id, fd int) {
	a := f.asyncState()
	a.mu.Lock()
	a.kind, a.id, a.fd, a.by = kind, id, fd, credOf(t)
	a.mu.Unlock()
}

// Owner is F_GETOWN_EX; id is 0 if there is none.
func (f *File) Owner() (kind, id int) {
	a := f.async.Load()
	if a == nil {
		return OwnerProcess, 0
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.kind, a.id
}

// SetOwnerSignal is F_SETSIG.
func (f *File) SetOwnerSignal(sig, fd int) {
	a := f.asyncState()
	a.mu.Lock()
	a.sig, a.fd = sig, fd
	a.mu.Unlock()
}

// OwnerSignal is F_GETSIG.
func (f *File) OwnerSignal() int {
	a := f.async.Load()
	if a == nil {
		return 0
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.sig
}

// setAsync is a change of O_ASYNC. A file that is always ready sends nothing.
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

// wake runs with the queue locked: the signal is sent by a goroutine, once for all that
// happens before it runs.
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
