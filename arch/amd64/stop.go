//go:build tamago && amd64

package amd64

import (
	"runtime"
	"sync/atomic"
)

// stopLimit is how long StopOthers waits for the other CPUs to react to an NMI, in
// nanoseconds. Only a CPU that is held by firmware (SMM) needs more than a moment.
const stopLimit = 100_000_000

// StopOthers is goos.Stop. It leaves out CPUs that have no task: they are stopped already,
// and have no IDT to take an NMI with.
func (m *Machine) StopOthers() {
	self := runtime.ThisCPU()
	for n := range m.running {
		if a := cpus[n].area; n != self && m.Started(n) {
			atomic.StoreUint64(&a.stop, 1)
			m.ipi(cpus[n].apicID, icrNMI)
		}
	}
	end := runtime.Nanotime() + stopLimit
	for n := range m.running {
		if n != self && m.Started(n) {
			await(&cpus[n].area.stopped, max(end-runtime.Nanotime(), 0))
		}
	}
}

// Started reports whether CPU n takes interrupts.
func (m *Machine) Started(n int) bool {
	return n == 0 || atomic.LoadUint64(&cpus[n].area.started) != 0
}

// ReportOthers prints what the CPUs were doing that StopOthers has stopped. It allocates
// nothing.
func (m *Machine) ReportOthers() {
	for n := range m.running {
		a := cpus[n].area
		if n == runtime.ThisCPU() || atomic.LoadUint64(&a.stop) == 0 {
			continue
		}
		say("CPU ")
		sayHex(uint64(n), 1)
		switch pc := uintptr(a.stopPC); {
		case atomic.LoadUint64(&a.stopped) == 0:
			say(" does not react")
		case a.stopCS&3 != 0:
			show(" was in user mode at ", uint64(pc))
		default:
			show(" was in the kernel at ", uint64(pc))
			if f := runtime.FuncForPC(pc); f != nil {
				say(", ")
				say(f.Name())
			}
			if m.sleeps(pc) {
				say(": idle")
			}
		}
		say("\n")
	}
}

// sleeps reports whether a PC is in the function sleep, that is behind its HLT.
func (m *Machine) sleeps(pc uintptr) bool {
	f := runtime.FuncForPC(pc)
	return f != nil && f.Entry() == sleepAddress()
}

// sleepAddress returns the address of the function sleep.
func sleepAddress() uintptr
