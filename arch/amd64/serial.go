//go:build tamago && amd64

package amd64

import (
	"errors"
	"runtime"
	"time"

	"github.com/usbarmory/tamago/soc/intel/rtc"
	"github.com/usbarmory/tamago/soc/intel/uart"
)

// Serial is a 16550 serial port. Output and polling use TamaGo's driver. Input by
// interrupt, which that driver does not have, is added here.
type Serial struct {
	port uart.UART
	m    *Machine
	line int
	sent chan struct{} // holds a token if there may be room to send
}

// Interrupt enable and FIFO control, PC16550D data sheet, 8.6.
const (
	ierReceive = 1 << 0
	ierSent    = 1 << 1
	fcrEnable  = 1<<0 | 1<<1 // FIFOs on, receiver cleared
	lsrSent    = 1 << 5      // the transmitter's FIFO is empty
	fifoBytes  = 16
)

// NewSerial sets up the port for output. Speed and format stay as firmware has chosen them.
func NewSerial(base uint16) *Serial {
	s := &Serial{port: uart.UART{Base: base, DTR: true, RTS: true}, line: -1, sent: make(chan struct{}, 1)}
	s.port.Init()
	return s
}

// Put sends one byte, and waits by polling until there is room for it. It may be called on
// any stack: it neither allocates nor locks.
func (s *Serial) Put(c byte) { s.port.Tx(c) }

// Send sends as many bytes of p as there is room for, and returns how many. It never waits.
func (s *Serial) Send(p []byte) int {
	if in8(s.port.Base+uart.LSR)&lsrSent == 0 {
		return 0
	}
	n := 1
	if s.line >= 0 { // Listen has turned the FIFO on
		n = fifoBytes
	}
	n = min(n, len(p))
	for _, c := range p[:n] {
		out8(s.port.Base+uart.THR, c)
	}
	return n
}

// awaitLimit is how long Await sleeps if no interrupt comes, as when nothing reads the
// port.
const awaitLimit = 10 * time.Millisecond

// Await blocks the calling goroutine until Send may have room. The port's transmit
// interrupt says so; the goroutine in Read passes it on. Without an interrupt line Await
// sleeps a millisecond.
func (s *Serial) Await() bool {
	limit := awaitLimit
	if s.line < 0 {
		limit = time.Millisecond
	} else {
		out8(s.port.Base+uart.IER, ierReceive|ierSent)
	}
	late := time.NewTimer(limit)
	defer late.Stop()
	select {
	case <-s.sent:
		return true
	case <-late.C:
		return false
	}
}

// Listen makes the port raise line of m's I/O APIC when a byte comes in.
func (s *Serial) Listen(m *Machine, line int) {
	s.m, s.line = m, line
	out8(s.port.Base+uart.FCR, fcrEnable)
	out8(s.port.Base+uart.IER, ierReceive)
	m.UnmaskLine(line)
}

// Read returns what has come in, at least one byte; it blocks the calling goroutine until
// then. Listen must have been called before. Only one goroutine may read at a time.
func (s *Serial) Read(b []byte) (int, error) {
	if s.line < 0 {
		return 0, errors.New("amd64: Serial.Read without Listen")
	}
	for len(b) > 0 {
		n := 0
		for n < len(b) {
			c, ok := s.port.Rx()
			if !ok {
				break
			}
			b[n] = c
			n++
		}
		if n > 0 {
			return n, nil
		}
		runtime.WaitIRQ(s.line)
		// The transmit interrupt is turned off. With all received bytes read, the line is
		// low again, so that the next interrupt is a new edge.
		out8(s.port.Base+uart.IER, ierReceive)
		select {
		case s.sent <- struct{}{}:
		default:
		}
		if s.m.lines[s.line].Level {
			s.m.UnmaskLine(s.line)
		}
	}
	return 0, nil
}

// WallTime reads the real-time clock, which counts seconds, by TamaGo's driver. While the
// clock is being updated it tries again, for two milliseconds at most.
func WallTime() (time.Time, error) {
	clock := rtc.RTC{Location: time.UTC}
	for try := 0; ; try++ {
		t, err := clock.Now()
		if err == nil || try == 10000 {
			return t, err
		}
	}
}
