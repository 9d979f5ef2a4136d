package proc

import (
	"slices"
	"sync"

	"grim/proc/exit"
)

// deadBound is how many dead threads may wait for the reaper before whoever
// makes another has to wait for it (E5). A thread costs about two pages, so
// this is some half a megabyte; a burst of that many exits is absorbed without
// anybody waiting.
const deadBound = 64

// deadQueue is deadproc: dead threads in order of death.
type deadQueue struct {
	mu         sync.Mutex
	head, tail *Thread
	n          int       // on the list, plus the one the reaper holds, plus those of begin
	reaper     parker    // where the reaper sleeps
	room       []*Thread // makers of threads that wait for n < deadBound
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

// take waits for the next; nil once closed and empty.
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

// done says that the thread taken last is freed.
func (d *deadQueue) done() {
	d.mu.Lock()
	d.n--
	if d.n == deadBound-1 {
		for _, t := range d.room {
			t.Wake()
		}
		clear(d.room) // a thread that waits again has to be added again
		d.room = d.room[:0]
	}
	d.mu.Unlock()
}

// waitRoom blocks t while too many threads wait to be freed. The reaper always
// gets on, so this ends by itself, but maybe late: under exit.Reaper it may wait
// for a pager. The end of t cuts it short: ERESTARTNOINTR. No lock is held.
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

// begin counts something that is freed like a dead thread, but not by the reaper, among
// those that makers of threads wait for; done follows.
func (d *deadQueue) begin() {
	d.mu.Lock()
	d.n++
	d.mu.Unlock()
}

// reaper is the kernel task that buries threads, and with the last one of a process
// ends the process: one for the machine. It never waits for a user process. Under
// exit.Reaper it may wait for a pager, and everybody's exit with it, which is what that
// design is there to show.
func (k *Kernel) reaper() {
	for t := k.dead.take(); t != nil; t = k.dead.take() {
		k.bury(t, exit.InReaper)
		k.dead.done()
	}
}
