package arm64

// uart16550 is the 8250 family with 32-bit registers (the PC16550D's data sheet,
// section 8, has the registers).
type uart16550 struct {
	window
	shift int
}

const (
	nsData = 0 // RBR, THR
	nsIER  = 1
	nsFCR  = 2
	nsMCR  = 4
	nsLSR  = 5

	ierRX   = 1 << 0
	ierTX   = 1 << 1
	ierLine = 1 << 2
	fcrOn   = 1 << 0
	mcrLine = 1<<0 | 1<<1 | 1<<3 // DTR, RTS, OUT2: interrupts reach the line
	lsrRX   = 1 << 0
	lsrBad  = 1<<2 | 1<<3 | 1<<4 // parity, framing, break
	lsrRoom = 1 << 5
)

func (u *uart16550) reg(n uintptr) uintptr { return n << u.shift }

func (u *uart16550) init() {
	u.write(u.reg(nsFCR), fcrOn)
	u.write(u.reg(nsMCR), mcrLine)
	u.write(u.reg(nsIER), ierRX|ierLine)
}

func (u *uart16550) room() bool  { return u.read(u.reg(nsLSR))&lsrRoom != 0 }
func (u *uart16550) send(c byte) { u.write(u.reg(nsData), uint32(c)) }
func (u *uart16550) clear()      {}
func (u *uart16550) transmit(on bool) {
	if on {
		u.write(u.reg(nsIER), ierRX|ierTX|ierLine)
	} else {
		u.write(u.reg(nsIER), ierRX|ierLine)
	}
}

func (u *uart16550) status() uint32 { return u.read(u.reg(nsLSR)) }

func (u *uart16550) receive() (byte, received) {
	s := u.read(u.reg(nsLSR))
	if s&lsrRX == 0 {
		return 0, nothing
	}
	c := byte(u.read(u.reg(nsData)))
	if s&lsrBad != 0 {
		return 0, bad
	}
	return c, good
}

// miniUART is the Raspberry Pi's second serial port, an 8250 without parity and
// modem lines ("BCM2835 ARM Peripherals", 2.2). Its errata want the line status
// bit of IER set for receive interrupts to come.
type miniUART struct{ uart16550 }

const (
	muCNTL   = 0x20 // from the port's own base
	muEnable = 3    // receiver, transmitter
)

func (u *miniUART) init() {
	u.write(u.reg(nsIER), ierRX|ierLine)
	u.write(muCNTL, muEnable)
}
