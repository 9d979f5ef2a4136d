//go:build tamago && amd64

package amd64

// firstMessage is the first line that has no input of the I/O APIC here. The vectors of
// lines firstMessage to irqLines-1 serve devices that send their interrupts as messages
// (MSI-X).
const firstMessage = 24

// Messages is the number of devices that can send their interrupts as messages.
const Messages = irqLines - firstMessage

// Message returns the vector that device n, below Messages, must send to the local APIC,
// and the line that Config.Raise is called with. Each message is an edge, so nothing must
// be unmasked.
func Message(n int) (vector, line int) { return vecIRQ + firstMessage + n, firstMessage + n }
