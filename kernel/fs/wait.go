package fs

import (
	"errors"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// The EPOLL* bits that this package uses. The POLL* bits of poll(2) have the same values.
const (
	EPOLLIN     = unix.EPOLLIN
	EPOLLPRI    = unix.EPOLLPRI
	EPOLLOUT    = unix.EPOLLOUT
	EPOLLERR    = unix.EPOLLERR
	EPOLLHUP    = unix.EPOLLHUP
	EPOLLRDNORM = unix.EPOLLRDNORM
	EPOLLWRNORM = unix.EPOLLWRNORM
	EPOLLRDHUP  = unix.EPOLLRDHUP

	// always is reported even if it was not requested (poll(2)).
	always = EPOLLERR | EPOLLHUP
)

// WaitQueue holds the waiters for changes of a file: blocked readers and writers, poll,
// epoll. A thread that changes the state changes it first, then wakes. A thread that waits
// queues first, then looks at the state. So no wake-up is lost. The zero value is empty.
type WaitQueue struct {
	mu         sync.Mutex
	head, tail *waiter // exclusive waiters come last, in the order of their arrival
}

// waiter is an entry of a queue.
type waiter struct {
	events uint32 // the events that it waits for
	// wake is called with WaitQueue.mu held and must not block. It returns true if the
	// waiter will handle the event; then no further exclusive waiter is woken.
	wake       func(uint32) bool
	exclusive  bool
	yield      func()     // lets others run, for waiters of which a queue may have many; nil: none
	queue      *WaitQueue // nil: not queued
	prev, next *waiter
}

// add queues w for events.
func (q *WaitQueue) add(w *waiter, events uint32) {
	q.mu.Lock()
	defer q.mu.Unlock()
	w.queue, w.events = q, events|always
	w.prev, w.next = nil, nil
	switch {
	case q.head == nil:
		q.head, q.tail = w, w
	case w.exclusive:
		w.prev, q.tail.next, q.tail = q.tail, w, w
	default:
		w.next, q.head.prev, q.head = q.head, w, w
	}
}

// remove takes w off its queue. After remove returns, w.wake is not running any more.
func (w *waiter) remove() {
	q := w.queue
	if q == nil {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if w.prev != nil {
		w.prev.next = w.next
	} else {
		q.head = w.next
	}
	if w.next != nil {
		w.next.prev = w.prev
	} else {
		q.tail = w.prev
	}
	w.queue, w.prev, w.next = nil, nil, nil
}

// Wake wakes all waiters for one of events. Of the exclusive waiters, which come last, it
// wakes only as many as it takes until one says that it will handle the event.
func (q *WaitQueue) Wake(events uint32) {
	q.mu.Lock()
	defer q.mu.Unlock()
	steps := 0
	for w := q.head; w != nil; w = w.next {
		if steps++; steps%pollTurn == 0 && w.yield != nil {
			w.yield() // with mu held, so that the queue stays as it is
		}
		if w.events&events != 0 && w.wake(events) && w.exclusive {
			return
		}
	}
}

// waiting reports whether the queue has waiters.
func (q *WaitQueue) waiting() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.head != nil
}

// bell wakes a sleeping thread. Any number of wake-ups ring it once.
type bell struct {
	ch chan struct{}
	w  waiter // for threads that wait on one queue
}

var bells = sync.Pool{New: func() any {
	b := &bell{ch: make(chan struct{}, 1)}
	b.w.wake = b.ring
	return b
}}

func (b *bell) ring(uint32) bool {
	select {
	case b.ch <- struct{}{}:
	default:
	}
	return true
}

// put returns b to the pool, without a pending ring.
func (b *bell) put() {
	select {
	case <-b.ch:
	default:
	}
	bells.Put(b)
}

// sleep blocks t on ch until deadline. A nil task is the kernel itself: no signal
// interrupts it, and it waits without a deadline.
func sleep(t Task, ch <-chan struct{}, deadline int64) error {
	if t == nil {
		<-ch
		return nil
	}
	return t.Sleep(ch, deadline)
}

// await blocks until h is ready for one of events. Errors: EINTR, or ETIMEDOUT at deadline.
// Another thread may be faster and use the event up, so the caller must try again.
func await(t Task, h handle, events uint32, deadline int64) error {
	q := h.queue()
	if q == nil {
		return nil
	}
	b := bells.Get().(*bell)
	defer b.put()
	q.add(&b.w, events)
	defer b.w.remove()
	for h.ready()&(events|always) == 0 {
		if err := sleep(t, b.ch, deadline); err != nil {
			return err
		}
	}
	return nil
}

// timedOut reports whether an error of Sleep means that the deadline has passed.
func timedOut(err error) bool { return errors.Is(err, syscall.ETIMEDOUT) }
