package amd64

// The interrupt command register, SDM volume 3, 10.6.1: how an interrupt is delivered.
// All are to one CPU, by its physical identifier.
const (
	icrFixed   = 0<<8 | icrAssert
	icrNMI     = 4<<8 | icrAssert
	icrInit    = 5<<8 | icrAssert
	icrStartup = 6<<8 | icrAssert

	icrAssert  = 1 << 14
	icrPending = 1 << 12 // xAPIC: the command before has not been accepted yet
)

// maxXAPIC is the greatest identifier that xAPIC mode can address; 255 are all CPUs.
const maxXAPIC = 254

// icrX2 is the register as one MSR, in x2APIC mode (10.12.9).
func icrX2(id, command uint32) uint64 { return uint64(id)<<32 | uint64(command) }
