package arm64

import "fmt"

// pin is a GPIO pin.
type pin interface {
	output()
	set(high bool)
}

// LEDConfig is a light on a GPIO pin. Kind "": none.
type LEDConfig struct {
	Kind      string // of the GPIO controller
	Regs      Span
	Pin       int
	ActiveLow bool
}

// led is a light on a pin; the zero value is none.
type led struct {
	pin       pin
	activeLow bool
}

func newLED(c LEDConfig) (led, error) {
	if c.Kind == "" {
		return led{}, nil
	}
	d := pinDrivers[c.Kind]
	if d == nil {
		return led{}, fmt.Errorf("arm64: no driver for a light on GPIO controller %q", c.Kind)
	}
	return led{d(windowAt(c.Regs), uintptr(c.Pin)), c.ActiveLow}, nil
}

func (l *led) set(on bool) {
	if l.pin != nil {
		l.pin.set(on != l.activeLow)
	}
}

// blinkSpins is how long a failed machine's light stays on or off: some hundred
// milliseconds on a CPU of 1 GHz. It need not be exact.
const blinkSpins = 100 << 20

// show shows how the machine ended, as long as there is power: the light is on if all went
// well, and blinks if not. It does not return. park stops the CPU. feed is called
// repeatedly while the light blinks.
func (l *led) show(good bool, park, feed func()) {
	if l.pin == nil {
		park()
	}
	l.pin.output()
	l.set(true)
	for !good {
		for _, on := range []bool{false, true} {
			l.set(on)
			feed()
			for range blinkSpins {
			}
		}
	}
	park()
}

// bcmPin is a pin of the Raspberry Pi's GPIO block ("BCM2835 ARM Peripherals", 6.1).
type bcmPin struct {
	window
	n uintptr
}

const (
	gpfsel = 0x00 // 3 bits a pin, ten pins a register; 1 is output
	gpset  = 0x1c
	gpclr  = 0x28
)

func (p bcmPin) output() {
	off, shift := gpfsel+4*(p.n/10), 3*(p.n%10)
	p.write(off, p.read(off)&^(7<<shift)|1<<shift)
}

func (p bcmPin) set(high bool) {
	off := uintptr(gpclr)
	if high {
		off = gpset
	}
	p.write(off+4*(p.n/32), 1<<(p.n%32))
}

// zynqPin is a pin of the Zynq UltraScale+ GPIO block (UG1087, module GPIO). The block has
// three banks of 26 MIO pins, then three of 32 EMIO pins.
type zynqPin struct {
	window
	n uintptr
}

const (
	zgData = 0x40  // + 4 a bank
	zgDirm = 0x204 // + 0x40 a bank: 1 is output
	zgOen  = 0x208 // the same: output enable
)

func (p zynqPin) place() (bank, bit uintptr) {
	if p.n < 78 {
		return p.n / 26, p.n % 26
	}
	return 3 + (p.n-78)/32, (p.n - 78) % 32
}

func (p zynqPin) output() {
	bank, bit := p.place()
	for _, off := range []uintptr{zgDirm, zgOen} {
		off += 0x40 * bank
		p.write(off, p.read(off)|1<<bit)
	}
}

func (p zynqPin) set(high bool) {
	bank, bit := p.place()
	off := zgData + 4*bank
	v := p.read(off) &^ (1 << bit)
	if high {
		v |= 1 << bit
	}
	p.write(off, v)
}

// imxPin is a pin of an i.MX GPIO block (i.MX 8M Plus reference manual, 8.3).
type imxPin struct {
	window
	n uintptr
}

const (
	imxDR   = 0x00
	imxGDIR = 0x04 // 1 is output
)

func (p imxPin) output() { p.write(imxGDIR, p.read(imxGDIR)|1<<(p.n%32)) }

func (p imxPin) set(high bool) {
	v := p.read(imxDR) &^ (1 << (p.n % 32))
	if high {
		v |= 1 << (p.n % 32)
	}
	p.write(imxDR, v)
}
