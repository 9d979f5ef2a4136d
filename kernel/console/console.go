// Package console moves user output to a serial port that is much slower than the
// kernel, without the CPU waiting for it.
//
// Output goes into a ring; a goroutine of its own moves it to the port as that has
// room, and sleeps in between. A writer that finds the ring full is told so, and
// when there is room again. A message of the kernel does not wait: what is in the
// ring goes out first, so that the order stays, then the message, synchronously. So
// a message that tells how the kernel died is the last thing on the console.
//
// Lock order: Console.busy is a spin lock, innermost, held for a copy or for the
// synchronous output of the ring. Sync may run on any stack, in a kernel that dies
// too: it allocates nothing, and takes the lock by force if it does not get it.
package console

import "sync/atomic"

// Port is a serial port. Its methods do not allocate.
type Port interface {
	// Send sends as much of p as there is room for and never waits.
	Send(p []byte) int
	// Put sends a byte and waits until there is room. It may run on any stack.
	Put(c byte)
	// Await blocks the calling goroutine until Send may have room.
	Await()
}

// ringSize is how much output waits: at 115200 baud, 0.2 s, which is also how long a
// message of the kernel can take.
const ringSize = 2048

// Console is output to one port.
type Console struct {
	port Port
	// room is called, from the goroutine of Run, whenever the ring has become
	// empty enough for Write to succeed again.
	room func()

	busy       atomic.Bool // guards what follows
	ring       [ringSize]byte
	head, tail uint32 // next to be written, next to be sent; they count on

	work chan struct{} // one token: the ring is not empty
}

// New makes the console of a port. room is told that there is room again.
func New(port Port, room func()) *Console {
	return &Console{port: port, room: room, work: make(chan struct{}, 1)}
}

// lock takes busy. On one CPU nobody else runs between lock and unlock, so it never
// spins there.
func (c *Console) lock() {
	for !c.busy.CompareAndSwap(false, true) {
		spin()
	}
}

func (c *Console) unlock() { c.busy.Store(false) }

// Write adds p to the output: all of it, or nothing if there is no room.
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

// Pending is how many bytes wait in the ring.
func (c *Console) Pending() int {
	c.lock()
	defer c.unlock()
	return int(c.head - c.tail)
}

// Room is how many bytes fit.
func (c *Console) Room() int { return ringSize - c.Pending() }

// Run moves output to the port, for ever.
func (c *Console) Run() {
	for range c.work {
		for c.step() {
			c.port.Await()
		}
	}
}

// lowWater is how much must have left a ring, or be missing in it, before writers
// are told: one wake-up for many bytes.
const lowWater = ringSize / 2

// step sends what there is room for; it says whether more is waiting.
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

// forceAfter is how often Sync tries to take the lock: who has it may be dead.
const forceAfter = 1 << 20

// Sync sends what is in the ring, then b, and returns when all has left for the port.
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
