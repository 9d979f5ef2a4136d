package arm64

// pl011 is Arm's UART, DDI 0183. The registers are in section 3.2.
type pl011 struct{ window }

const (
	uartDR   = 0x00
	uartFR   = 0x18
	uartLCRH = 0x2c
	uartCR   = 0x30
	uartIMSC = 0x38
	uartICR  = 0x44

	frBusy   = 1 << 3
	frRXFE   = 1 << 4 // receive FIFO is empty
	frTXFF   = 1 << 5 // transmit FIFO is full
	lcrhFIFO = 1<<4 | 3<<5
	crEnable = 1<<0 | 1<<8 | 1<<9 // UART, transmitter, receiver
	intRX    = 1<<4 | 1<<6        // receive, receive time-out
	intTX    = 1 << 5
	drError  = 0xf00
)

func (u *pl011) init() {
	for i := 0; u.read(uartFR)&frBusy != 0 && i < uartSpins; i++ {
	}
	u.write(uartCR, 0)
	u.write(uartLCRH, lcrhFIFO) // 8 bits, no parity, FIFOs
	u.write(uartICR, 0x7ff)
	u.write(uartIMSC, intRX)
	u.write(uartCR, crEnable)
}

// sbsaUART is the part of a PL011 that servers have (Arm Server Base System Architecture,
// appendix B). Firmware has turned it on, and it has no control registers.
type sbsaUART struct{ pl011 }

func (u *sbsaUART) init() {
	u.write(uartICR, 0x7ff)
	u.write(uartIMSC, intRX)
}

func (u *pl011) room() bool  { return u.read(uartFR)&frTXFF == 0 }
func (u *pl011) send(c byte) { u.write(uartDR, uint32(c)) }
func (u *pl011) clear()      { u.write(uartICR, intRX|intTX) }
func (u *pl011) transmit(on bool) {
	if on {
		u.write(uartIMSC, intRX|intTX)
	} else {
		u.write(uartIMSC, intRX)
	}
}

func (u *pl011) status() uint32 { return u.read(uartFR) }

func (u *pl011) receive() (byte, received) {
	if u.read(uartFR)&frRXFE != 0 {
		return 0, nothing
	}
	d := u.read(uartDR)
	if d&drError != 0 {
		return 0, bad
	}
	return byte(d), good
}
