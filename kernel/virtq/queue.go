package virtq

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

// Transport notifies a device of requests, and waits for its interrupts.
type Transport interface {
	// Notify tells the device to look at the queue.
	Notify()
	// Alive reports whether the device still answers.
	Alive() bool
	// Await blocks until the device has raised its interrupt since the last call, and
	// acknowledges it.
	Await()
}

// Config describes a queue for requests, set up by TamaGo's driver.
type Config struct {
	Transport Transport
	Memory
	// Parts is how many parts the chain of a request has at most.
	Parts int
	// Buffers are one for each request that may be made at the same time. Data are copied
	// through them, so that the device never gets an address of other memory.
	Buffers []Buffer
	// Limit is how long a request may take; 0: for ever.
	Limit time.Duration
	// Log takes the line that says why the device is not used any more.
	Log func(line string)
}

// Queue makes requests. Each uses a slot: some adjacent descriptors and a buffer.
type Queue struct {
	c     Config
	slots chan *Slot // that are free
	all   []*Slot    // [I]

	mu     sync.Mutex
	ring   *Ring // [mu]
	broken error // [mu] why requests are no longer made; nil if they are
}

// Slot is what one request needs. It belongs to the goroutine that has it from Take until
// Give, and from the beginning to the end of Do to the device as well.
type Slot struct {
	Buffer     // [I]
	Number int // [I] from 0

	busy  bool   // [Queue.mu] the device owns it
	room  uint64 // [Queue.mu] how much the device may write
	wrote uint32 // [Queue.mu] how much it has written
	done  chan struct{}
}

// ErrBroken is the end of the line about a device that lies, is gone, or does not answer, and
// the error of requests that are made afterwards.
var ErrBroken = errors.New("the device is not used any more")

// New makes the queue. The caller must call Run in a goroutine of its own.
func New(c Config) (*Queue, error) {
	r, err := NewRing(c.Memory)
	if err != nil {
		return nil, err
	}
	if c.Parts < 1 || len(c.Buffers) < 1 || len(c.Buffers) > c.Size/c.Parts {
		return nil, fmt.Errorf("a queue of %d descriptors and %d buffers", c.Size, len(c.Buffers))
	}
	q := &Queue{c: c, ring: r, slots: make(chan *Slot, len(c.Buffers))}
	for i, b := range c.Buffers {
		s := &Slot{Buffer: b, Number: i, done: make(chan struct{}, 1)}
		q.all = append(q.all, s)
		q.slots <- s
	}
	return q, nil
}

// Take waits for a slot. If the device is not used any more, there is none: the device may
// still write to them.
func (q *Queue) Take() (*Slot, error) {
	s := <-q.slots
	if q.Broken() != nil {
		q.slots <- s
		return nil, ErrBroken
	}
	return s, nil
}

// Give puts a slot back.
func (q *Queue) Give(s *Slot) { q.slots <- s }

// Do makes a request, and sleeps until the device has answered. It returns how much the
// device has written. The parts are memory of the slot, or belong to it.
func (q *Queue) Do(s *Slot, parts ...Part) (wrote uint32, err error) {
	if err := q.submit(s, parts); err != nil {
		return 0, err
	}
	q.await(s)
	q.mu.Lock()
	defer q.mu.Unlock()
	return s.wrote, q.broken
}

// submit makes the slot's chain available to the device.
func (q *Queue) submit(s *Slot, parts []Part) error {
	q.mu.Lock()
	if q.broken != nil {
		q.mu.Unlock()
		return ErrBroken
	}
	select {
	case <-s.done: // left by an earlier request
	default:
	}
	s.busy, s.room, s.wrote = true, 0, 0
	for _, p := range parts {
		if p.Write {
			s.room += uint64(p.Bytes)
		}
	}
	first := uint16(s.Number * q.c.Parts)
	q.ring.Describe(first, parts...)
	q.ring.Offer(first, 0)
	q.mu.Unlock()
	q.c.Transport.Notify()
	return nil
}

// await blocks until the slot's request has been answered, or the device is broken.
func (q *Queue) await(s *Slot) {
	if q.c.Limit == 0 {
		<-s.done
		return
	}
	late := time.NewTimer(q.c.Limit)
	defer late.Stop()
	select {
	case <-s.done:
	case <-late.C:
		q.reap() // the answer may be there, and only the interrupt lost
		select {
		case <-s.done:
		default:
			q.mu.Lock()
			q.failLocked(fmt.Errorf("no answer for %v", q.c.Limit))
			q.mu.Unlock()
		}
	}
}

// Run takes answers from the device until the device is broken.
func (q *Queue) Run() {
	for {
		q.c.Transport.Await()
		if q.reap() != nil {
			return
		}
	}
}

// reap takes all answers that the used ring has. It returns why the device is broken, if it
// is.
func (q *Queue) reap() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.c.Transport.Alive() {
		q.failLocked(errors.New("the device is gone"))
	}
	for q.broken == nil {
		first, n, ok, err := q.ring.Taken()
		if err != nil {
			q.failLocked(err)
			break
		}
		if !ok {
			break
		}
		at := int(first) / q.c.Parts
		if int(first)%q.c.Parts != 0 || at >= len(q.all) || !q.all[at].busy {
			q.failLocked(notGiven(uint32(first)))
			break
		}
		s := q.all[at]
		if uint64(n) > s.room {
			q.failLocked(fmt.Errorf("the device says that it has written %d bytes where %d have room", n, s.room))
			break
		}
		s.busy, s.wrote = false, n
		s.done <- struct{}{}
	}
	return q.broken
}

// failLocked marks the device as broken and ends all requests. Preconditions: mu held.
func (q *Queue) failLocked(why error) {
	if q.broken != nil {
		return
	}
	q.broken = why
	q.c.Log(why.Error() + ": " + ErrBroken.Error())
	for _, s := range q.all {
		if s.busy {
			s.busy = false
			s.done <- struct{}{}
		}
	}
}

// Broken returns why the device is not used any more, or nil.
func (q *Queue) Broken() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.broken
}
