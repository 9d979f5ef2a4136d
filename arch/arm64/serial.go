package arm64

import (
	"fmt"
	"sync/atomic"
)

// uartSpins bounds every wait: a UART that is stuck must not stop the kernel.
const uartSpins = 1 << 20

// port is one kind of serial port. No method allocates, blocks or takes a lock:
// they run while the kernel dies.
type port interface {
	// init turns the port on, its receive interrupt too. It keeps the baud
	// rate: firmware or QEMU has set it, and the clock that it is divided from
	// is not ours to know.
	init()
	// room reports whether a byte can be sent, which send does.
	room() bool
	send(c byte)
	// receive takes the next byte; bad if it did not arrive whole.
	receive() (c byte, st received)
	// clear forgets the receive event that came. Bytes are received after
	// that, so a byte that comes meanwhile is an event again.
	clear()
	// transmit lets the port raise its line when there is room to send, or not.
	transmit(on bool)
	// status changes when the port does something, for Jitter.
	status() uint32
}

// received says what port.receive found.
type received uint8

const (
	nothing received = iota
	good
	bad
)

// UARTConfig is a serial port; Kind "" for none.
type UARTConfig struct {
	Kind  string
	Regs  Span
	Line  int // at the interrupt controller, 0 for none
	Shift int // "16550": log2 of the distance of its registers
	Width int // the same: bytes of an access, 1 or 4
}

// UART is a serial port of any kind: Put polls, so that it works while
// the kernel dies; Send and Await are for output that does not wait; input comes by
// interrupt into a ring. TamaGo has no drivers for
// most of them, and its soc/nxp/uart takes 32-bit register addresses that must
// be mapped one to one, which a kernel in the upper half cannot offer.
type UART struct {
	port port
	line int // 0: no interrupt
	ring [1024]byte
	head atomic.Uint32 // next to be written, by drain
	tail atomic.Uint32 // next to be read
	sent chan struct{} // holds one token: there may be room to send
}

// newUART binds a driver and turns the port on.
func newUART(c *UARTConfig) (*UART, error) {
	d := portDrivers[c.Kind]
	if d == nil {
		return nil, fmt.Errorf("arm64: no driver for serial port %q", c.Kind)
	}
	u := &UART{port: d(windowAt(c.Regs), c), line: c.Line, sent: make(chan struct{}, 1)}
	u.port.init()
	return u, nil
}

// Put sends a byte. It takes no lock and does not allocate: usable from the
// runtime's print hook and from the fault handler.
func (u *UART) Put(c byte) {
	for i := 0; !u.port.room(); i++ {
		if i == uartSpins {
			return
		}
	}
	u.port.send(c)
}

// Send sends as much of p as there is room for, and never waits.
func (u *UART) Send(p []byte) (n int) {
	for n < len(p) && u.port.room() {
		u.port.send(p[n])
		n++
	}
	return n
}

// drain moves what was received to the ring; what does not fit is dropped. It
// empties the FIFO, which is what ends the interrupt.
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
	u.port.transmit(false) // Await looks again
}

// take empties the ring into b.
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
