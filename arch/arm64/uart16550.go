package arm64

// uart16550 is the 8250 family (the registers are in section 8 of the PC16550D's data
// sheet). Some devices take only accesses of 8 bits, some only of 32 bits.
type uart16550 struct {
	window
	shift int
	bytes bool // accesses are of 8 bits
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

// get and put access register n.
func (u *uart16550) get(n uintptr) byte {
	if u.bytes {
		return u.read8(n << u.shift)
	}
	return byte(u.read(n << u.shift))
}

func (u *uart16550) put(n uintptr, v byte) {
	if u.bytes {
		u.write8(n<<u.shift, v)
	} else {
		u.write(n<<u.shift, uint32(v))
	}
}

func (u *uart16550) init() {
	u.put(nsFCR, fcrOn)
	u.put(nsMCR, mcrLine)
	u.put(nsIER, ierRX|ierLine)
}

func (u *uart16550) room() bool  { return u.get(nsLSR)&lsrRoom != 0 }
func (u *uart16550) send(c byte) { u.put(nsData, c) }
func (u *uart16550) clear()      {}
func (u *uart16550) transmit(on bool) {
	if on {
		u.put(nsIER, ierRX|ierTX|ierLine)
	} else {
		u.put(nsIER, ierRX|ierLine)
	}
}

func (u *uart16550) status() uint32 { return uint32(u.get(nsLSR)) }

func (u *uart16550) receive() (byte, received) {
	s := u.get(nsLSR)
	if s&lsrRX == 0 {
		return 0, nothing
	}
	c := u.get(nsData)
	if s&lsrBad != 0 {
		return 0, bad
	}
	return c, good
}

// miniUART is the Raspberry Pi's second serial port, an 8250 without parity and modem lines
// ("BCM2835 ARM Peripherals", 2.2). By its errata, the line status bit of IER must be set
// for receive interrupts.
type miniUART struct{ uart16550 }

const (
	muCNTL   = 0x20 // offset from the port's base
	muEnable = 3    // receiver, transmitter
)

func (u *miniUART) init() {
	u.put(nsIER, ierRX|ierLine)
	u.write(muCNTL, muEnable)
}
