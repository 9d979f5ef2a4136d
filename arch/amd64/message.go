//go:build tamago && amd64

package amd64

// firstMessage is the first of the lines that no I/O APIC of one's own has: the vectors
// of lines firstMessage to irqLines-1 serve devices that send their interrupts as
// messages (MSI-X).
const firstMessage = 24

// Messages is how many devices can send their interrupts as messages.
const Messages = irqLines - firstMessage

// Message is what device n, below Messages, sends to the local APIC, and the line that
// Config.Raise is told then. Each message is an edge: nothing needs to be unmasked.
func Message(n int) (vector, line int) { return vecIRQ + firstMessage + n, firstMessage + n }
