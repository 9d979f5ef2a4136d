package arm64

import "unsafe"

// The mailbox through which a Raspberry Pi's firmware is asked for things: message
// and answer in memory, its address in the mailbox. Registers and channels as in the
// firmware's documentation ("Mailboxes", "Mailbox property interface" in its wiki).
const (
	mboxRead   = 0x00
	mboxStatus = 0x18 // of the one to read
	mboxWrite  = 0x20
	mboxRoom   = 0x38 // status of the one to write
	mboxFull   = 1 << 31
	mboxEmpty  = 1 << 30

	mboxProperty = 8          // channel
	mboxBus      = 0xc0000000 // the firmware's address of physical 0, past its cache

	tagSetState  = 0x38041
	tagSetConfig = 0x38043
)

// mailWords is where messages are made: whole cache lines, so that nothing else is
// written with them.
var mailWords [3 * 64 / 4]uint32

// message is what of messages only the machine itself can do, mailmem.go; nothing
// where the tests run.
var message = struct {
	// flush writes the cache's lines of a message to memory, and drops them.
	flush func(p unsafe.Pointer, n uintptr)
	// physical is a message's address.
	physical func(p unsafe.Pointer) uint64
}{func(unsafe.Pointer, uintptr) {}, func(unsafe.Pointer) uint64 { return 0 }}

// firmwarePin is one of the pins that a Raspberry Pi 3 has on an expander which the
// firmware drives; it counts them from 128. What it does not answer has no effect.
type firmwarePin struct {
	window
	n uint32
}

const expanderBase = 128

// output makes the pin an output: direction, polarity, pull-up enabled and its
// direction, level.
func (p firmwarePin) output() { p.ask(tagSetConfig, expanderBase+p.n, 1, 0, 0, 0, 0) }

func (p firmwarePin) set(high bool) {
	level := uint32(0)
	if high {
		level = 1
	}
	p.ask(tagSetState, expanderBase+p.n, level)
}

// ask sends one tag with its values, and waits for the answer, within bounds. One
// caller at a time.
func (p firmwarePin) ask(tag uint32, values ...uint32) {
	const line = 64 // a boundary for the message, at least 16
	start := -uintptr(unsafe.Pointer(&mailWords)) % line / 4
	m := mailWords[start : start+line/4 : start+line/4]
	clear(m)
	size := uint32(4 * len(values))
	m[0], m[2], m[3] = 4*uint32(len(m)), tag, size
	copy(m[5:], values)
	at := unsafe.Pointer(&m[0])
	pa := message.physical(at)
	if pa >= mboxBus>>2 {
		return // not where the firmware sees memory
	}
	message.flush(at, line)
	letter := uint32(pa) | mboxBus | mboxProperty
	for i := 0; p.read(mboxRoom)&mboxFull != 0; i++ {
		if i == uartSpins {
			return
		}
	}
	p.write(mboxWrite, letter)
	for range uartSpins {
		if p.read(mboxStatus)&mboxEmpty == 0 && p.read(mboxRead) == letter {
			break
		}
	}
	message.flush(at, line)
}
