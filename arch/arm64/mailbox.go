package arm64

import "unsafe"

// The mailbox through which the kernel asks a Raspberry Pi's firmware for things. Message
// and answer are in memory, and the address is written to the mailbox. Registers and
// channels are described in the firmware's documentation ("Mailboxes", "Mailbox property
// interface" in its wiki).
const (
	mboxRead   = 0x00
	mboxStatus = 0x18 // status of the mailbox to read
	mboxWrite  = 0x20
	mboxRoom   = 0x38 // status of the mailbox to write
	mboxFull   = 1 << 31
	mboxEmpty  = 1 << 30

	mboxProperty = 8          // channel
	mboxBus      = 0xc0000000 // the firmware's address of physical 0, bypassing its cache

	tagSetState  = 0x38041
	tagSetConfig = 0x38043
)

// mailWords is the memory for messages: whole cache lines, so that no other data is in the
// same lines.
var mailWords [3 * 64 / 4]uint32

// message has the operations on messages that need the machine; see mailmem.go. They do
// nothing on the host, where the tests run.
var message = struct {
	// flush writes the cache lines of a message to memory and invalidates them.
	flush func(p unsafe.Pointer, n uintptr)
	// physical returns the physical address of a message.
	physical func(p unsafe.Pointer) uint64
}{func(unsafe.Pointer, uintptr) {}, func(unsafe.Pointer) uint64 { return 0 }}

// firmwarePin is a pin of a Raspberry Pi 3 that is on an expander. The firmware drives the
// expander, and counts the pins from 128. If the firmware does not answer, nothing happens.
type firmwarePin struct {
	window
	n uint32
}

const expanderBase = 128

// output makes the pin an output. The values are: direction, polarity, pull-up enabled,
// direction of the pull-up, level.
func (p firmwarePin) output() { p.ask(tagSetConfig, expanderBase+p.n, 1, 0, 0, 0, 0) }

func (p firmwarePin) set(high bool) {
	level := uint32(0)
	if high {
		level = 1
	}
	p.ask(tagSetState, expanderBase+p.n, level)
}

// ask sends one tag with its values, and waits for the answer for a limited time. Only one
// caller at a time may use it.
func (p firmwarePin) ask(tag uint32, values ...uint32) {
	const line = 64 // alignment of the message, at least 16
	start := -uintptr(unsafe.Pointer(&mailWords)) % line / 4
	m := mailWords[start : start+line/4 : start+line/4]
	clear(m)
	size := uint32(4 * len(values))
	m[0], m[2], m[3] = 4*uint32(len(m)), tag, size
	copy(m[5:], values)
	at := unsafe.Pointer(&m[0])
	pa := message.physical(at)
	if pa >= mboxBus>>2 {
		return // the firmware cannot access memory there
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
