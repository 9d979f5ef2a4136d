package amd64

// Commands of the interrupt command register (SDM volume 3, 10.6.1). They say how an
// interrupt is delivered. All go to one CPU, given by its physical identifier.
const (
	icrFixed   = 0<<8 | icrAssert
	icrNMI     = 4<<8 | icrAssert
	icrInit    = 5<<8 | icrAssert
	icrStartup = 6<<8 | icrAssert

	icrAssert  = 1 << 14
	icrPending = 1 << 12 // xAPIC: the previous command has not been accepted yet
)

// maxXAPIC is the largest identifier that xAPIC mode can address; 255 means all CPUs.
const maxXAPIC = 254

// icrX2 returns the register's value in x2APIC mode, where it is one MSR (10.12.9).
func icrX2(id, command uint32) uint64 { return uint64(id)<<32 | uint64(command) }
