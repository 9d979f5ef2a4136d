package arm64

// imxUART is NXP's UART (i.MX 8M Plus reference manual, 16.2).
type imxUART struct{ window }

const (
	imxURXD = 0x00
	imxUTXD = 0x40
	imxUCR1 = 0x80
	imxUCR2 = 0x84
	imxUFCR = 0x90
	imxUSR2 = 0x98
	imxUTS  = 0xb4

	urxdReady = 1 << 15
	urxdError = 1 << 14
	ucr1On    = 1<<0 | 1<<9 // UARTEN, RRDYEN: interrupt when RXTL bytes have arrived
	ucr1TX    = 1 << 6      // TXMPTYEN: interrupt when everything is sent
	ucr2On    = 1<<0 | 1<<1 | 1<<2
	ucr2Eight = 1 << 5
	ucr2IRTS  = 1 << 14 // ignore RTS
	ufcrRXTL  = 0x3f
	utsTXFull = 1 << 4
)

func (u *imxUART) init() {
	u.write(imxUFCR, u.read(imxUFCR)&^ufcrRXTL|1)
	u.write(imxUCR2, u.read(imxUCR2)|ucr2On|ucr2Eight|ucr2IRTS)
	u.write(imxUCR1, u.read(imxUCR1)|ucr1On)
}

func (u *imxUART) room() bool  { return u.read(imxUTS)&utsTXFull == 0 }
func (u *imxUART) send(c byte) { u.write(imxUTXD, uint32(c)) }
func (u *imxUART) clear()      {}
func (u *imxUART) transmit(on bool) {
	if on {
		u.write(imxUCR1, u.read(imxUCR1)|ucr1TX)
	} else {
		u.write(imxUCR1, u.read(imxUCR1)&^ucr1TX)
	}
}

func (u *imxUART) status() uint32 { return u.read(imxUSR2) }

func (u *imxUART) receive() (byte, received) {
	d := u.read(imxURXD)
	switch {
	case d&urxdReady == 0:
		return 0, nothing
	case d&urxdError != 0:
		return 0, bad
	}
	return byte(d), good
}
