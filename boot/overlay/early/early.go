// Package early finds the console of a machine that cannot be started, or whose device tree
// cannot be read as a whole, and writes to it.
//
// It runs before anything else can: at any exception level, with the MMU off, at an address
// other than the link address, and without a real goroutine. So it uses only a part of Go.
// Tests that boot it under these conditions check that:
//
//   - nothing allocates or panics, and every function is nosplit: boot/overlay sees
//     to that in the kernel's copy, so that the fuzzer's is free of it;
//   - no variables, no tables of strings, no switch with eight cases or more: those
//     hold link addresses, code has none;
//   - memory is read by aligned words and by bytes, never by copying or comparing a
//     string or a structure as a whole, and what is on the stack is made of 64-bit
//     fields: without MMU memory is device memory, where an unaligned access is a
//     fault. (The floating-point unit must be on.)
//
// A tree is read as far as it makes sense: the part before the damage is used.
package early

import "unsafe"

// Kinds of consoles, those of grim/boot/machine.
const (
	None = iota
	PL011
	UART16
	MiniU
	Cadence
	IMX
	SBSA
	UART8    // UART16 by accesses of 8 bits
	Debugger // semihosting; of an image's port for early output only
)

// Ways to call PSCI.
const (
	NoPSCI = iota
	HVC
	SMC
)

// Console is the console that Find has found.
type Console struct {
	Kind  uint32
	Shift uint32 // UART16: log2 of the distance of registers
	Base  uint64 // physical address of the registers
	PSCI  uint32 // the machine can be turned off

	// A Raspberry Pi's GPIO block, and the two serial ports that the pins of its header can
	// carry. 0 on other machines. See Pins.
	GPIO, PL011, Mini uint64
}

// Pins makes the port that GPIO 14 and 15 carry the console. It reads the function register
// of the GPIO block, whose registers are at p.
func (c *Console) Pins(p unsafe.Pointer) {
	f := load(p, 4) >> 12 & 0x3f
	if f == 4<<3|4 && c.PL011 != 0 {
		c.Kind, c.Base = PL011, c.PL011
	} else if f == 2<<3|2 && c.Mini != 0 {
		c.Kind, c.Base = MiniU, c.Mini
	}
}

const (
	magic    = 0xd00dfeed
	headSize = 40
	maxSize  = 2 << 20
	maxDepth = 10
	efiTree  = 8 // in the EFI stub's block: the tree's address
	efiMagic = 0x314946454d495247

	tokBegin = 1
	tokEnd   = 2
	tokProp  = 3
	tokNop   = 4
)

// tree is a flattened device tree (Devicetree Specification v0.4, chapter 5). All offsets
// are relative to its start.
type tree struct {
	at           unsafe.Pointer
	size         uint
	structs, end uint
	strings      uint
}

// token is a token of the structure block, with the offset of the next one. name is the
// offset of text that ends with a zero byte.
type token struct {
	kind, next uint
	name       uint
	value, n   uint // of a property
}

// Find finds the console that the device tree at physical address arg names, or else the
// first device that can be a console. arg may also be the EFI stub's block. A physical
// address plus delta is a valid address. c.Kind is None if there is no console.
func Find(arg uint64, delta uintptr, c *Console) {
	c.clear()
	if arg == 0 || arg%8 != 0 {
		return
	}
	p := unsafe.Add(unsafe.Pointer(nil), uintptr(arg)+delta)
	if *(*uint64)(p) == efiMagic {
		arg = *(*uint64)(unsafe.Add(p, efiTree))
		if arg == 0 || arg%8 != 0 {
			return
		}
		p = unsafe.Add(unsafe.Pointer(nil), uintptr(arg)+delta)
	}
	FindIn(p, c)
}

func (c *Console) clear() {
	c.Kind, c.Shift, c.Base, c.PSCI = None, 0, 0, NoPSCI
	c.GPIO, c.PL011, c.Mini = 0, 0, 0
}

// FindIn is Find for a tree at p, which must be aligned to eight bytes.
func FindIn(p unsafe.Pointer, c *Console) {
	c.clear()
	var t tree
	t.at, t.size = p, headSize
	if t.word(0) != magic {
		return
	}
	size := t.word(4)
	if size < headSize || size > maxSize {
		return
	}
	t.size = size &^ 3
	t.structs, t.strings = t.word(8), t.word(12)
	t.end = t.size
	if n := t.word(36); t.structs < t.size && n < t.size-t.structs {
		t.end = t.structs + n
	}
	if t.structs%4 != 0 {
		return
	}
	if v, n := t.find("psci", "method"); n != 0 {
		if t.text(v, "hvc") {
			c.PSCI = HVC
		} else if t.text(v, "smc") {
			c.PSCI = SMC
		}
	}
	t.console(t.stdout(), c)
}

// word returns a big-endian number, or 0 outside of the tree.
func (t *tree) word(off uint) uint {
	if off%4 != 0 || off >= t.size {
		return 0
	}
	v := *(*uint32)(unsafe.Add(t.at, uintptr(off)))
	return uint(v<<24 | v>>24 | v<<8&0xff0000 | v>>8&0xff00)
}

func (t *tree) byte(off uint) byte {
	if off >= t.size {
		return 0
	}
	return *(*byte)(unsafe.Add(t.at, uintptr(off)))
}

// text reports whether the text at off is s.
func (t *tree) text(off uint, s string) bool {
	for i := 0; i < len(s); i++ {
		if t.byte(off+uint(i)) != s[i] {
			return false
		}
	}
	return t.byte(off+uint(len(s))) == 0
}

// next reads the token at off. kind 0 means the end, or an error.
func (t *tree) next(off uint, k *token) {
	k.kind = 0
	if off%4 != 0 || off >= t.end {
		return
	}
	kind := t.word(off)
	off += 4
	switch kind {
	case tokBegin:
		k.name = off
		for off < t.end && t.byte(off) != 0 {
			off++
		}
		off = (off + 4) &^ 3
	case tokProp:
		k.n, k.name, k.value = t.word(off), t.strings+t.word(off+4), off+8
		if k.value > t.end || k.n > t.end-k.value {
			return
		}
		off = (k.value + k.n + 3) &^ 3
	case tokEnd, tokNop:
	default:
		return
	}
	k.kind, k.next = kind, off
}

// find returns a property of a node below the root. n is 0 if there is none.
func (t *tree) find(node, property string) (value, n uint) {
	var k token
	depth, here := 0, false
	for t.next(t.structs, &k); k.kind != 0; t.next(k.next, &k) {
		switch k.kind {
		case tokBegin:
			depth++
			here = depth == 2 && t.text(k.name, node)
		case tokEnd:
			depth--
			here = false
		case tokProp:
			if here && t.text(k.name, property) {
				return k.value, k.n
			}
		}
	}
	return 0, 0
}

// stdout returns the path of the console in /chosen, after following an alias, or 0 if
// there is none. The path ends with a zero byte or a colon.
func (t *tree) stdout() uint {
	path, n := t.find("chosen", "stdout-path")
	if n == 0 || t.byte(path) == '/' {
		return path
	}
	var k token
	depth, here := 0, false
	for t.next(t.structs, &k); k.kind != 0; t.next(k.next, &k) {
		switch k.kind {
		case tokBegin:
			depth++
			here = depth == 2 && t.text(k.name, "aliases")
		case tokEnd:
			depth--
			here = false
		case tokProp:
			if here && t.same(path, k.name) && t.byte(k.value) == '/' {
				return k.value
			}
		}
	}
	return 0
}

// ended reports whether a byte ends a path's component.
func ended(c byte) bool { return c == 0 || c == ':' || c == '/' }

// same reports whether a component of a path is the name at off. The path may leave out the
// unit address.
func (t *tree) same(path, name uint) bool {
	for ; !ended(t.byte(path)); path, name = path+1, name+1 {
		if t.byte(path) != t.byte(name) {
			return false
		}
	}
	return t.byte(name) == 0 || t.byte(name) == '@'
}

// bus has the properties of a node for its children's addresses: #address-cells,
// #size-cells << 8, and the offset of "ranges" with its length << 32. They are packed, as
// there is a bus for each node on the way.
type bus struct {
	cells  uint
	ranges uint
}

const cellsDefault = 2 | 1<<8

func (b *bus) address() uint { return b.cells & 0xff }

func (b *bus) size() uint { return b.cells >> 8 }

// way has a bus for each depth up to the present node's.
type way [maxDepth]bus

// at returns an element without a check that could panic. depth must be less than maxDepth.
func (w *way) at(depth uint) *bus {
	return (*bus)(unsafe.Add(unsafe.Pointer(w), uintptr(depth)*unsafe.Sizeof(bus{})))
}

// device has the properties of the present node.
type device struct {
	kind, shift, width uint
	reg, regN          uint
	off, gpio          bool
}

// console looks for the node at path. It fills in c from that node, or from the first
// device that can be a console.
func (t *tree) console(path uint, c *Console) {
	var (
		k       token
		above   way
		d       device
		depth   uint // of the present node; the root's is 1
		matched uint // how many nodes of the path contain the present node
		found   bool // the console that the path leads to
		fresh   bool // the present node's properties are being read
	)
	for t.next(t.structs, &k); k.kind != 0 && depth < maxDepth; t.next(k.next, &k) {
		if fresh && k.kind != tokProp && k.kind != tokNop {
			wanted := path != 0 && matched == depth && t.byte(path) != '/'
			if d.gpio || d.kind == PL011 || d.kind == MiniU {
				at := t.address(&d, &above, depth)
				if d.gpio && c.GPIO == 0 && !d.off {
					c.GPIO = at
				} else if d.kind == MiniU && c.Mini == 0 {
					c.Mini = at
				} else if d.kind == PL011 && c.PL011 == 0 && at&0xffffff == 0x201000 {
					c.PL011 = at
				}
			}
			if !found && d.kind != None && !d.off && (wanted || c.Kind == None) {
				if base := t.address(&d, &above, depth); base != 0 {
					c.Kind, c.Shift, c.Base = uint32(d.kind), uint32(d.shift), base
					found = wanted
				}
			}
			if wanted {
				path = 0 // not that one
			}
			fresh = false
		}
		switch k.kind {
		case tokBegin:
			if depth == 0 {
				matched = 1
			} else if path != 0 && matched == depth && t.same(path+1, k.name) {
				matched++
				for path++; !ended(t.byte(path)); path++ {
				}
			}
			if depth++; depth == maxDepth {
				return
			}
			b := above.at(depth)
			b.cells, b.ranges = cellsDefault, 0
			d.kind, d.shift, d.width, d.reg, d.regN, d.off, d.gpio = None, 0, 1, 0, 0, false, false
			fresh = true
		case tokEnd:
			if depth == 0 {
				return
			}
			if matched == depth {
				path = 0 // the path leads nowhere
			}
			depth--
		case tokProp:
			t.property(&k, above.at(depth), &d)
		}
	}
}

// property handles the properties that are used here.
func (t *tree) property(k *token, b *bus, d *device) {
	n := k.name
	if t.text(n, "reg") {
		d.reg, d.regN = k.value, k.n
	} else if t.text(n, "ranges") {
		b.ranges = k.value | k.n<<32
	} else if t.text(n, "#address-cells") {
		b.cells = b.cells&^0xff | min(t.word(k.value), 0xff)
	} else if t.text(n, "#size-cells") {
		b.cells = b.cells&0xff | min(t.word(k.value), 0xff)<<8
	} else if t.text(n, "reg-shift") {
		d.shift = t.word(k.value)
	} else if t.text(n, "reg-io-width") {
		d.width = t.word(k.value)
	} else if t.text(n, "status") {
		d.off = !t.text(k.value, "okay") && !t.text(k.value, "ok")
	} else if t.text(n, "compatible") {
		for off := k.value; d.kind == None && off < k.value+k.n; off++ {
			d.kind = t.bind(off)
			d.gpio = d.gpio || t.text(off, "brcm,bcm2835-gpio") || t.text(off, "brcm,bcm2711-gpio")
			for t.byte(off) != 0 {
				off++
			}
		}
	}
}

// bind returns the kind for a "compatible" string. The strings are those of
// grim/boot/machine, bindings.go.
func (t *tree) bind(s uint) uint {
	if t.text(s, "arm,pl011") {
		return PL011
	} else if t.text(s, "arm,sbsa-uart") {
		return SBSA
	} else if t.text(s, "brcm,bcm2835-aux-uart") {
		return MiniU
	} else if t.text(s, "cdns,uart-r1p8") || t.text(s, "cdns,uart-r1p12") || t.text(s, "xlnx,xuartps") {
		return Cadence
	} else if t.text(s, "fsl,imx6q-uart") || t.text(s, "fsl,imx21-uart") {
		return IMX
	} else if t.text(s, "ns16550a") || t.text(s, "ns16550") || t.text(s, "snps,dw-apb-uart") {
		return UART16
	}
	return None
}

// address returns the address of the device's registers, through the buses above, or 0 if
// it makes no sense.
func (t *tree) address(d *device, above *way, depth uint) uint64 {
	if depth < 2 || depth >= maxDepth {
		return 0
	}
	if d.kind != UART16 {
		d.shift = 0
	} else if d.width == 1 && d.shift <= 3 {
		d.kind = UART8
	} else if d.width != 4 || d.shift < 2 || d.shift > 3 {
		return 0
	}
	depth--
	n := above.at(depth).address()
	if n > 4 || d.regN < 4*n {
		return 0
	}
	a := t.number(d.reg, n)
	for ; depth > 1; depth-- {
		b := above.at(depth)
		off, end := b.ranges&(1<<32-1), b.ranges>>32
		if end == 0 {
			continue
		}
		end += off
		n, up, size := b.address(), above.at(depth-1).address(), b.size()
		step := 4 * (n + up + size)
		if n > 4 || up > 4 || size > 4 || step == 0 {
			return 0
		}
		found := false
		for ; !found && off+step <= end; off += step {
			child := t.number(off, n)
			if a-child < t.number(off+4*(n+up), size) {
				a, found = t.number(off+4*n, up)+(a-child), true
			}
		}
		if !found {
			return 0
		}
	}
	return a
}

// number returns the last 64 bits of some cells.
func (t *tree) number(off, cells uint) (v uint64) {
	for ; cells > 0; cells-- {
		v = v<<32 | uint64(t.word(off))
		off += 4
	}
	return v
}
