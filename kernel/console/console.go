// Package console moves user output to a serial port that is much slower than the kernel.
// The CPU does not wait for the port.
//
// Output goes into a ring. A goroutine of the package moves it to the port when the port
// has room, and sleeps in between. Write fails if the ring is full; a function is called
// when there is room again. A message of the kernel does not wait for that goroutine: it
// sends the contents of the ring first, so that the order is kept, then the message,
// synchronously. So a message that tells how the kernel died is the last thing on the
// console.
//
// Lock order: Console.busy is a spin lock, innermost, held for a copy or for the
// synchronous output of the ring. Sync may run on any stack, also in a dying kernel. It
// allocates nothing, and goes on without the lock if it does not get it after many tries.
package console

import (
	"runtime"
	"sync/atomic"
)

// Port is a serial port. Its methods do not allocate.
type Port interface {
	// Send sends as much of p as there is room for and never waits.
	Send(p []byte) int
	// Put sends a byte and waits until there is room. It may run on any stack.
	Put(c byte)
	// Await blocks the calling goroutine until Send may have room. It reports whether the
	// port has said so; if not, too much time has passed.
	Await() bool
}

// ringSize is the size of the ring in bytes. At 115200 baud it takes 0.2 s to send, which
// is how long a message of the kernel may have to wait.
const ringSize = 2048

// Console is output to one port.
type Console struct {
	port Port
	// room is called by the goroutine in Run, whenever the ring has become empty enough for
	// Write to succeed again.
	room func()

	busy       atomic.Bool // spin lock that guards ring, head and tail
	ring       [ringSize]byte
	head, tail uint32 // indexes of the next byte to write and to send; not reduced modulo ringSize

	work chan struct{} // holds a token if the ring may not be empty

	told, late atomic.Int64 // see Waits
}

// New makes the console of a port. room is called when there is room again.
func New(port Port, room func()) *Console {
	return &Console{port: port, room: room, work: make(chan struct{}, 1)}
}

// lock takes busy. With one CPU, nothing else runs between lock and unlock. With several
// CPUs, the holder may have to stop for the garbage collector, so the waiting goroutine lets
// others run.
func (c *Console) lock() {
	for !c.busy.CompareAndSwap(false, true) {
		runtime.Gosched()
	}
}

func (c *Console) unlock() { c.busy.Store(false) }

// Write adds all of p to the output and returns true, or adds nothing and returns false if
// there is no room.
func (c *Console) Write(p []byte) bool {
	c.lock()
	fits := len(p) <= ringSize-int(c.head-c.tail)
	if fits {
		for _, b := range p {
			c.ring[c.head%ringSize] = b
			c.head++
		}
	}
	c.unlock()
	if fits && len(p) > 0 {
		select {
		case c.work <- struct{}{}:
		default:
		}
	}
	return fits
}

// Pending returns how many bytes wait in the ring.
func (c *Console) Pending() int {
	c.lock()
	defer c.unlock()
	return int(c.head - c.tail)
}

// Waits is how often Run has waited for the port: until the port said that there was room,
// and in vain until Run looked by itself.
func (c *Console) Waits() (told, late int64) { return c.told.Load(), c.late.Load() }

// Room returns how many bytes fit into the ring.
func (c *Console) Room() int { return ringSize - c.Pending() }

// Run moves output to the port. It does not return.
func (c *Console) Run() {
	for range c.work {
		for c.step() {
			if c.port.Await() {
				c.told.Add(1)
			} else {
				c.late.Add(1)
			}
		}
	}
}

// lowWater is how many bytes may be left in a ring when room is called: one wake-up of
// writers is to serve many bytes.
const lowWater = ringSize / 2

// step sends as many bytes as the port has room for, and reports whether more are waiting.
func (c *Console) step() (more bool) {
	before := c.Pending()
	for {
		c.lock()
		at := c.tail % ringSize
		p := c.ring[at:min(ringSize, at+c.head-c.tail)]
		n := c.port.Send(p)
		c.tail += uint32(n)
		left := int(c.head - c.tail)
		c.unlock()
		if left > 0 && n > 0 {
			continue
		}
		if left == 0 || before > lowWater && left <= lowWater {
			c.room()
		}
		return left > 0
	}
}

// forceAfter is how many times Sync tries to take the lock. Its holder may be dead.
const forceAfter = 1 << 20

// Sync sends the contents of the ring, then b, and returns when the port has taken all.
func (c *Console) Sync(b ...byte) {
	mine := false
	for range forceAfter {
		if mine = c.busy.CompareAndSwap(false, true); mine {
			break
		}
	}
	for c.tail != c.head {
		c.port.Put(c.ring[c.tail%ringSize])
		c.tail++
	}
	for _, x := range b {
		c.port.Put(x)
	}
	if mine {
		c.unlock()
	}
}
