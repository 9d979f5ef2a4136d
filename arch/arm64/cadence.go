package arm64

// cadence is the UART of Xilinx Zynq (UG1087, module UART).
type cadence struct{ window }

const (
	cdCR     = 0x00
	cdIER    = 0x08
	cdIDR    = 0x0c
	cdISR    = 0x14
	cdRXTOUT = 0x1c
	cdRXWM   = 0x20
	cdSR     = 0x2c
	cdFIFO   = 0x30

	cdEnable  = 1<<2 | 1<<4 // receiver, transmitter
	cdDisable = 1<<3 | 1<<5 // the same, turned off
	cdBreaks  = 1<<7 | 1<<8 // start and stop break
	cdRXEmpty = 1 << 1      // SR
	cdTXFull  = 1 << 4      // SR
	cdIntRX   = 1 << 0      // as many bytes have arrived as RXWM says
	cdIntTX   = 1 << 3      // ISR: nothing left to send
	cdAll     = 0x1fff
)

func (u *cadence) init() {
	u.write(cdIDR, cdAll)
	u.write(cdCR, u.read(cdCR)&^(cdDisable|cdBreaks)|cdEnable)
	u.write(cdRXWM, 1) // interrupt at the first byte: then no time-out is needed
	u.write(cdRXTOUT, 0)
	u.write(cdISR, cdAll)
	u.write(cdIER, cdIntRX)
}

func (u *cadence) room() bool  { return u.read(cdSR)&cdTXFull == 0 }
func (u *cadence) send(c byte) { u.write(cdFIFO, uint32(c)) }
func (u *cadence) clear()      { u.write(cdISR, cdIntRX) }
func (u *cadence) transmit(on bool) {
	if on {
		u.write(cdISR, cdIntTX)
		u.write(cdIER, cdIntTX)
	} else {
		u.write(cdIDR, cdIntTX)
	}
}

func (u *cadence) status() uint32 { return u.read(cdSR) }

// receive cannot detect a bad byte: the status bits do not belong to a byte.
func (u *cadence) receive() (byte, received) {
	if u.read(cdSR)&cdRXEmpty != 0 {
		return 0, nothing
	}
	return byte(u.read(cdFIFO)), good
}
