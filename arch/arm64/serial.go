package arm64

import (
	"fmt"
	"sync/atomic"
	"time"
)

// uartSpins bounds every wait, so that a stuck UART does not stop the kernel.
const uartSpins = 1 << 20

// port is one kind of serial port. No method allocates, blocks or takes a lock, as they are
// called while the kernel dies.
type port interface {
	// init turns the port on, with its receive interrupt. It keeps the baud rate, which
	// firmware or QEMU has set: the clock from which it is divided is not known here.
	init()
	// room reports whether send can send a byte.
	room() bool
	send(c byte)
	// receive returns the next byte. st is bad if the byte did not arrive intact.
	receive() (c byte, st received)
	// clear clears the receive event. It is called before bytes are received, so that a
	// byte that arrives later is a new event.
	clear()
	// transmit turns the interrupt for room to send on or off.
	transmit(on bool)
	// status returns a value that changes when the port does something, for Jitter.
	status() uint32
}

// received is the result of port.receive.
type received uint8

const (
	nothing received = iota
	good
	bad
)

// UARTConfig is a serial port. Kind "": none.
type UARTConfig struct {
	Kind  string
	Regs  Span
	Line  int // line at the interrupt controller; 0: none
	Shift int // "16550": log2 of the distance of its registers
	Width int // "16550": bytes of an access, 1 or 4
}

// UART is a serial port of any kind. Put polls, so that it works while the kernel dies.
// Send and Await are for output that does not wait. Input comes by interrupt into a ring.
// TamaGo has no drivers for most of these ports. Its soc/nxp/uart takes 32-bit register
// addresses that must be mapped one to one, which is impossible for a kernel in the upper
// half.
type UART struct {
	port port
	line int // 0: no interrupt
	ring [1024]byte
	head atomic.Uint32 // next to be written, by drain
	tail atomic.Uint32 // next to be read
	sent chan struct{} // holds one token: there may be room to send
}

// newUART selects a driver and turns the port on.
func newUART(c *UARTConfig) (*UART, error) {
	d := portDrivers[c.Kind]
	if d == nil {
		return nil, fmt.Errorf("arm64: no driver for serial port %q", c.Kind)
	}
	u := &UART{port: d(windowAt(c.Regs), c), line: c.Line, sent: make(chan struct{}, 1)}
	u.port.init()
	return u, nil
}

// Put sends a byte. It takes no lock and does not allocate, so the runtime's print hook and
// the fault handler can use it.
func (u *UART) Put(c byte) {
	for i := 0; !u.port.room(); i++ {
		if i == uartSpins {
			return
		}
	}
	u.port.send(c)
}

// Send sends the part of p for which there is room. It never waits.
func (u *UART) Send(p []byte) (n int) {
	for n < len(p) && u.port.room() {
		u.port.send(p[n])
		n++
	}
	return n
}

// drain moves received bytes to the ring. Bytes that do not fit are dropped. It empties the
// FIFO, which ends the interrupt.
func (u *UART) drain() {
	u.port.clear()
	for range uartSpins {
		c, st := u.port.receive()
		if st == nothing {
			break
		}
		h := u.head.Load()
		if st == good && h-u.tail.Load() < uint32(len(u.ring)) {
			u.ring[h%uint32(len(u.ring))] = c
			u.head.Store(h + 1)
		}
	}
	u.port.transmit(false) // Await looks again for room
}

// take moves bytes from the ring to b.
func (u *UART) take(b []byte) (n int) {
	for n < len(b) {
		t := u.tail.Load()
		if t == u.head.Load() {
			break
		}
		b[n] = u.ring[t%uint32(len(u.ring))]
		u.tail.Store(t + 1)
		n++
	}
	return n
}

// passOn ends Await after an interrupt of the port.
func (u *UART) passOn() {
	select {
	case u.sent <- struct{}{}:
	default:
	}
}

// awaitLimit is how long Await sleeps at most, for ports that have no transmit interrupt,
// or if no goroutine is in Read.
var awaitLimit = 10 * time.Millisecond

// Await blocks the calling goroutine until Send may have room. The port's transmit
// interrupt says so; the goroutine in Read passes it on. It reports whether there was an
// interrupt: if none comes, it returns all the same after a while.
func (u *UART) Await() bool {
	limit := awaitLimit
	if u.line == 0 {
		limit = time.Millisecond
	} else {
		u.port.transmit(true)
	}
	late := time.NewTimer(limit)
	defer late.Stop()
	select {
	case <-u.sent:
		return true
	case <-late.C:
		return false
	}
}
