package early

import "unsafe"

// spins bounds the wait for a stuck port.
const spins = 1 << 20

// Put sends a byte to the port whose registers are at p, once it has room or is stuck. The
// registers are those of the drivers in grim/arch/arm64. Put keeps the baud rate of the
// firmware, and turns the transmitter on.
func (c *Console) Put(p unsafe.Pointer, b byte) {
	status, busy, full, data := uint32(0x18), uint32(1<<5), uint32(1<<5), uint32(0) // PL011
	switch c.Kind {
	case PL011:
		set(p, 0x30, 1<<0|1<<8)
	case MiniU:
		status, full = 0x14, 0
		set(p, 0x20, 1<<1)
	case SBSA:
	case UART16:
		status, full = 5<<c.Shift, 0
	case UART8:
		for i := 0; load8(p, 5<<c.Shift)&(1<<5) == 0 && i < spins; i++ {
		}
		store8(p, 0, b)
		return
	case Cadence:
		status, busy, full, data = 0x2c, 1<<4, 1<<4, 0x30
		store(p, 0, load(p, 0)&^(1<<5|1<<7)|1<<4)
	case IMX:
		status, busy, full, data = 0xb4, 1<<4, 1<<4, 0x40
		set(p, 0x80, 1<<0)
		set(p, 0x84, 1<<0|1<<2|1<<5|1<<14)
	default:
		return
	}
	for i := 0; load(p, status)&busy == full && i < spins; i++ {
	}
	store(p, data, uint32(b))
}

// set sets bits of a register, if they are not set.
func set(p unsafe.Pointer, off, bits uint32) {
	if v := load(p, off); v&bits != bits {
		store(p, off, v|bits)
	}
}

//go:noinline
func load8(p unsafe.Pointer, off uint32) byte { return *(*byte)(unsafe.Add(p, uintptr(off))) }

//go:noinline
func store8(p unsafe.Pointer, off uint32, v byte) { *(*byte)(unsafe.Add(p, uintptr(off))) = v }

// load and store are not inlined, so that each is one access of 32 bits.
//
//go:noinline
func load(p unsafe.Pointer, off uint32) uint32 { return *(*uint32)(unsafe.Add(p, uintptr(off))) }

//go:noinline
func store(p unsafe.Pointer, off, v uint32) { *(*uint32)(unsafe.Add(p, uintptr(off))) = v }

// Hex sends a blank, a letter as the name of the number, and the number.
func (c *Console) Hex(p unsafe.Pointer, name byte, v uint64) {
	c.Put(p, ' ')
	c.Put(p, name)
	c.Put(p, ' ')
	for shift := 60; shift >= 0; shift -= 4 {
		d := byte(v >> uint(shift) & 15)
		if d < 10 {
			c.Put(p, '0'+d)
		} else {
			c.Put(p, 'a'+d-10)
		}
	}
}
