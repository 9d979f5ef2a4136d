//go:build tamago && arm64

package arm64

import (
	"errors"
	"runtime"
	"sync/atomic"
)

// PL011 registers, DDI 0183 section 3.2.
const (
	uartDR   = 0x00
	uartFR   = 0x18
	uartLCRH = 0x2c
	uartCR   = 0x30
	uartIMSC = 0x38
	uartICR  = 0x44

	frBusy   = 1 << 3
	frRXFE   = 1 << 4 // nothing received
	frTXFF   = 1 << 5 // no room to send
	lcrhFIFO = 1<<4 | 3<<5
	crEnable = 1<<0 | 1<<8 | 1<<9 // UART, transmitter, receiver
	intRX    = 1<<4 | 1<<6        // receive, receive time-out
	drError  = 0xf00

	// uartSpins bounds every wait: a UART that is stuck must not stop the kernel.
	uartSpins = 1 << 20
)

// UART is a PL011 serial port: output by polling, so that it works while the
// kernel dies; input by interrupt into a ring. TamaGo has no driver for it.
type UART struct {
	regs window
	line int // 0: no interrupt
	ring [1024]byte
	head atomic.Uint32 // next to be written, by drain
	tail atomic.Uint32 // next to be read
}

// init keeps the baud rate: firmware or QEMU has set it, and the clock that it
// is divided from is not ours to know.
func (u *UART) init() {
	for i := 0; u.regs.read(uartFR)&frBusy != 0 && i < uartSpins; i++ {
	}
	u.regs.write(uartCR, 0)
	u.regs.write(uartLCRH, lcrhFIFO) // 8 bits, no parity, FIFOs
	u.regs.write(uartICR, 0x7ff)
	u.regs.write(uartIMSC, intRX)
	u.regs.write(uartCR, crEnable)
}

// Put sends a byte. It takes no lock and does not allocate: usable from the
// runtime's print hook and from the fault handler.
func (u *UART) Put(c byte) {
	for i := 0; u.regs.read(uartFR)&frTXFF != 0; i++ {
		if i == uartSpins {
			return
		}
	}
	u.regs.write(uartDR, uint32(c))
}

// drain moves what was received to the ring; what does not fit is dropped. It
// empties the FIFO, which is what ends the interrupt.
func (u *UART) drain() {
	for i := 0; u.regs.read(uartFR)&frRXFE == 0 && i < uartSpins; i++ {
		d := u.regs.read(uartDR)
		h := u.head.Load()
		if d&drError == 0 && h-u.tail.Load() < uint32(len(u.ring)) {
			u.ring[h%uint32(len(u.ring))] = byte(d)
			u.head.Store(h + 1)
		}
	}
	u.regs.write(uartICR, intRX)
}

// Read returns what has come in, at least one byte; it blocks the calling
// goroutine until then. Config.Raise must be runtime.RaiseIRQ. One reader at a
// time.
func (u *UART) Read(b []byte) (int, error) {
	if u.line == 0 {
		return 0, errors.New("arm64: the UART has no interrupt to wait for")
	}
	for len(b) > 0 {
		if n := u.take(b); n > 0 {
			return n, nil
		}
		runtime.WaitIRQ(u.line)
	}
	return 0, nil
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
