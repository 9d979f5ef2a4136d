package fs

import (
	"errors"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// The EPOLL* bits this package uses; POLL* of poll(2) are the same numbers.
const (
	EPOLLIN     = unix.EPOLLIN
	EPOLLPRI    = unix.EPOLLPRI
	EPOLLOUT    = unix.EPOLLOUT
	EPOLLERR    = unix.EPOLLERR
	EPOLLHUP    = unix.EPOLLHUP
	EPOLLRDNORM = unix.EPOLLRDNORM
	EPOLLWRNORM = unix.EPOLLWRNORM
	EPOLLRDHUP  = unix.EPOLLRDHUP

	// always is reported whether asked for or not (poll(2)).
	always = EPOLLERR | EPOLLHUP
)

// WaitQueue holds who waits for a file to become ready: blocked readers and
// writers, poll, epoll. Whoever changes the state changes it first and wakes
// then; whoever waits queues first and looks at the state then; so no wake-up
// is lost. The zero value is empty.
type WaitQueue struct {
	mu         sync.Mutex
	head, tail *waiter // exclusive waiters are last, in the order they came
}

// waiter is one entry of a queue.
type waiter struct {
	events uint32 // what it waits for
	// wake is called with WaitQueue.mu held and must not block. It says whether
	// somebody will see to the event: then no further exclusive waiter is woken.
	wake       func(uint32) bool
	exclusive  bool
	yield      func()     // lets others run; nil: nobody is to. Of what there may be many of in a queue
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

// remove takes w off its queue; when it returns, w.wake does not run any more.
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

// Wake tells every waiter that waits for one of events; of the exclusive ones only
// as many as it takes until one says that it will see to it.
func (q *WaitQueue) Wake(events uint32) {
	q.mu.Lock()
	defer q.mu.Unlock()
	steps := 0
	for w := q.head; w != nil; w = w.next {
		if steps++; steps%pollTurn == 0 && w.yield != nil {
			w.yield() // with mu held: the queue stays as it is
		}
		if w.events&events != 0 && w.wake(events) && w.exclusive {
			return
		}
	}
}

// waiting says whether anybody is queued.
func (q *WaitQueue) waiting() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.head != nil
}

// bell is what a sleeping thread waits for: any number of wake-ups ring it once.
type bell struct {
	ch chan struct{}
	w  waiter // for the one-queue case
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

// put gives b back, silent, for the next sleeper.
func (b *bell) put() {
	select {
	case <-b.ch:
	default:
	}
	bells.Put(b)
}

// sleep blocks t on ch until deadline; a nil task is the kernel itself, which
// no signal interrupts and which waits without a deadline.
func sleep(t Task, ch <-chan struct{}, deadline int64) error {
	if t == nil {
		<-ch
		return nil
	}
	return t.Sleep(ch, deadline)
}

// await blocks until h is ready for one of events: EINTR, or ETIMEDOUT at
// deadline. Another thread may take what made it ready: the caller tries again.
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

// timedOut says whether err of a Sleep is the deadline.
func timedOut(err error) bool { return errors.Is(err, syscall.ETIMEDOUT) }
