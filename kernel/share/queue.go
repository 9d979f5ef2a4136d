package share

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"grim/arch"
	"grim/kernel/disk"
)

var le = binary.LittleEndian

// Queue is the queue of a virtio 9P device (VirtIO 1.2, section 5.8 has its number only; QEMU's
// device is the definition). A request is a chain of two descriptors, the message and the
// room for the reply, in one buffer. So the device never gets an address of other memory.
//
// Locks: mu is innermost. A slot belongs to the goroutine that took it from slots, and to the
// device as well while it is busy.
type Queue struct {
	c     QueueConfig
	slots chan *slot

	mu     sync.Mutex // the rings
	all    []*slot    // [I]
	avail  uint16     // [mu] number of chains made available
	used   uint16     // [mu] number of chains taken back
	broken error      // [mu] why requests are no longer made; nil if they are
}

// QueueConfig describes a queue, set up by TamaGo's driver.
type QueueConfig struct {
	Transport disk.Transport
	// The queue's memory, for QueueSize descriptors.
	Desc, Avail, Used []byte
	QueueSize         int
	// Buffers are BufferBytes each: one for each request that may be made at the same time,
	// at most QueueSize/2.
	Buffers []disk.Buffer
	// Limit is how long a request may take; 0: for ever.
	Limit time.Duration
	Log   func(line string)
}

const (
	// BufferBytes is the room for a message with its data and the reply to it.
	BufferBytes = MessageBytes + replyBytes
	// MessageBytes is the size of the largest message: 64 KB of data, and what is around it.
	MessageBytes = 64<<10 + 4096
	// replyBytes is the room for a reply without data: a symbolic link's target is the longest.
	replyBytes = 8192

	descBytes = 16
	descNext  = 1
	descWrite = 2
)

type slot struct {
	first  uint16 // number of its first descriptor
	buffer disk.Buffer
	busy   bool   // [Queue.mu] the device owns it
	room   uint32 // [Queue.mu] for the reply
	wrote  uint32 // [Queue.mu] bytes of the reply
	done   chan struct{}
}

// NewQueue makes the queue. The caller must call Run in a goroutine of its own.
func NewQueue(c QueueConfig) (*Queue, error) {
	n := c.QueueSize
	if n < 2 || n&(n-1) != 0 || len(c.Desc) < n*descBytes || len(c.Avail) < 4+2*n || len(c.Used) < 4+8*n || len(c.Buffers) > n/2 || len(c.Buffers) == 0 {
		return nil, fmt.Errorf("a queue of %d descriptors and %d buffers", n, len(c.Buffers))
	}
	q := &Queue{c: c, slots: make(chan *slot, len(c.Buffers))}
	for i, b := range c.Buffers {
		s := &slot{first: uint16(2 * i), buffer: b, done: make(chan struct{}, 1)}
		q.all = append(q.all, s)
		q.slots <- s
	}
	return q, nil
}

var errBroken = errors.New("the device is not used any more")

// do sends a message, and returns the reply that the device has written, of at most room
// bytes. It sleeps until then.
func (q *Queue) do(m []byte, room int) ([]byte, error) {
	at := (len(m) + 15) &^ 15 // where the reply goes
	if at+room > BufferBytes {
		return nil, fmt.Errorf("a message of %d bytes with a reply of %d", len(m), room)
	}
	s := <-q.slots
	b := s.buffer.Bytes
	copy(b, m)
	if err := q.submit(s, len(m), at, room); err != nil {
		q.slots <- s
		return nil, err
	}
	q.await(s)
	q.mu.Lock()
	err, n := q.broken, s.wrote
	q.mu.Unlock()
	var reply []byte
	if err == nil {
		reply = append(reply, b[at:at+int(n)]...)
	}
	q.slots <- s
	return reply, err
}

// submit makes the slot's chain available to the device.
func (q *Queue) submit(s *slot, n, at, room int) error {
	q.mu.Lock()
	if q.broken != nil { // the device may still write to the slot
		q.mu.Unlock()
		return errBroken
	}
	select {
	case <-s.done: // left by an earlier request
	default:
	}
	put := func(i uint16, address uint64, length int, flags, next uint16) {
		d := q.c.Desc[int(i)*descBytes:]
		le.PutUint64(d, address)
		le.PutUint32(d[8:], uint32(length))
		le.PutUint16(d[12:], flags)
		le.PutUint16(d[14:], next)
	}
	put(s.first, s.buffer.Address, n, descNext, s.first+1)
	put(s.first+1, s.buffer.Address+uint64(at), room, descWrite, 0)
	s.busy, s.room, s.wrote = true, uint32(room), 0
	le.PutUint16(q.c.Avail[4+2*(int(q.avail)%q.c.QueueSize):], s.first)
	q.avail++
	// Flags (0: interrupts are wanted) and index are stored at once. The atomic store is
	// ordered after all earlier stores.
	atomic.StoreUint32(arch.Word(q.c.Avail), uint32(q.avail)<<16)
	q.mu.Unlock()
	q.c.Transport.Notify()
	return nil
}

// await blocks until the slot's request has been answered, or the device is broken.
func (q *Queue) await(s *slot) {
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
			q.fail(fmt.Errorf("no answer for %v", q.c.Limit))
		}
	}
}

// Run takes replies from the device until the device is broken.
func (q *Queue) Run() {
	for {
		q.c.Transport.Await()
		if q.reap() != nil {
			return
		}
	}
}

// reap takes all replies that the used ring has. It returns why the device is broken, if it
// is.
func (q *Queue) reap() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.c.Transport.Alive() {
		q.failLocked(errors.New("the device is gone"))
	}
	for q.broken == nil {
		index := uint16(atomic.LoadUint32(arch.Word(q.c.Used)) >> 16)
		if index == q.used {
			break
		}
		if index-q.used > q.avail-q.used {
			q.failLocked(fmt.Errorf("the device says that it has done %d requests of %d", index-q.used, q.avail-q.used))
			break
		}
		e := q.c.Used[4+8*(int(q.used)%q.c.QueueSize):]
		id, n := le.Uint32(e), le.Uint32(e[4:])
		if id%2 != 0 || id/2 >= uint32(len(q.all)) || !q.all[id/2].busy {
			q.failLocked(fmt.Errorf("the device says that it has done request %d, which it was not given", id))
			break
		}
		s := q.all[id/2]
		if n > s.room {
			q.failLocked(fmt.Errorf("the device says that it has written %d bytes where %d have room", n, s.room))
			break
		}
		q.used++
		s.busy, s.wrote = false, n
		s.done <- struct{}{}
	}
	return q.broken
}

func (q *Queue) fail(why error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.failLocked(why)
}

// failLocked marks the device as broken and ends all requests. Preconditions: mu held.
func (q *Queue) failLocked(why error) {
	if q.broken != nil {
		return
	}
	q.broken = why
	q.c.Log(why.Error() + ": " + errBroken.Error())
	for _, s := range q.all {
		if s.busy {
			s.busy = false
			s.done <- struct{}{}
		}
	}
}
