package proc

import (
	"slices"
	"sync"

	"grim/proc/exit"
)

// deadBound is how many dead threads may wait for the reaper before makers of threads have
// to wait (E5). A thread costs about two pages, so this is some half a megabyte. A burst of
// so many exits makes no thread wait.
const deadBound = 64

// deadQueue is deadproc: the dead threads in the order of their death.
type deadQueue struct {
	mu         sync.Mutex
	head, tail *Thread
	n          int       // threads on the list, plus the one that the reaper buries, plus those of begin
	reaper     parker    // the reaper sleeps here
	room       []*Thread // makers of threads that wait until n < deadBound
	closed     bool
}

func (d *deadQueue) init() { d.reaper.init() }

// put appends a dead thread. It does not block.
func (d *deadQueue) put(t *Thread) {
	d.mu.Lock()
	if d.tail != nil {
		d.tail.nextDead = t
	} else {
		d.head = t
	}
	d.tail = t
	d.n++
	d.mu.Unlock()
	d.reaper.wake()
}

// take waits for the next thread and takes it off the list. It returns nil if the queue is
// closed and empty.
func (d *deadQueue) take() *Thread {
	d.mu.Lock()
	for d.head == nil {
		if d.closed {
			d.mu.Unlock()
			return nil
		}
		d.mu.Unlock()
		d.reaper.sleep()
		d.mu.Lock()
	}
	t := d.head
	if d.head = t.nextDead; d.head == nil {
		d.tail = nil
	}
	t.nextDead = nil
	d.mu.Unlock()
	return t
}

// done records that the thread taken last has been freed.
func (d *deadQueue) done() {
	d.mu.Lock()
	d.n--
	if d.n == deadBound-1 {
		for _, t := range d.room {
			t.Wake()
		}
		clear(d.room) // a thread that waits again must be added again
		d.room = d.room[:0]
	}
	d.mu.Unlock()
}

// waitRoom blocks t while too many threads wait to be freed. The reaper always makes
// progress, so the wait ends by itself, though it may take long: under exit.Reaper the
// reaper may wait for a pager. The end of t cuts it short: ERESTARTNOINTR. No lock is held.
func (d *deadQueue) waitRoom(t *Thread) error {
	d.mu.Lock()
	if d.n < deadBound {
		d.mu.Unlock()
		return nil
	}
	t.pause('D')
	for d.n >= deadBound && !t.Dying() {
		if !slices.Contains(d.room, t) {
			d.room = append(d.room, t)
		}
		d.mu.Unlock()
		t.parker.sleep()
		d.mu.Lock()
	}
	if i := slices.Index(d.room, t); i >= 0 {
		d.room = slices.Delete(d.room, i, i+1)
	}
	d.mu.Unlock()
	t.resume()
	if t.Dying() {
		t.Interrupt()
		return ERESTARTNOINTR
	}
	return nil
}

func (d *deadQueue) len() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.n
}

func (d *deadQueue) close() {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.reaper.wake()
}

// begin counts something that is freed like a dead thread, but not by the reaper, so that
// makers of threads wait for it too. done must follow.
func (d *deadQueue) begin() {
	d.mu.Lock()
	d.n++
	d.mu.Unlock()
}

// reaper is the kernel task that buries threads, and ends a process with its last thread.
// The machine has one reaper. It never waits for a user process. Under exit.Reaper it may
// wait for a pager, and all exits with it; that design is there to show this.
func (k *Kernel) reaper() {
	for t := k.dead.take(); t != nil; t = k.dead.take() {
		k.bury(t, exit.InReaper)
		k.dead.done()
	}
}
