//go:build tamago && arm64

package arm64

import (
	"runtime"
	"sync/atomic"
)

// stopLimit is how long the other CPUs have to react, in nanoseconds. They take an
// interrupt in user mode and while idle only, so one that is in the kernel reacts when it
// leaves it. QEMU with -icount runs the CPUs in turn, for up to 100 ms each.
const stopLimit = 500_000_000

// What a CPU was doing that has stopped because the kernel dies on another one.
const (
	stopNot  = iota // it has not stopped
	stopIdle        // it slept
	stopUser        // it was in user mode, at cpu.userPC
)

// StopOthers is goos.Stop. A CPU that has no task uses nothing of the kernel's.
func (m *Machine) StopOthers() {
	self := runtime.ThisCPU()
	for n := range m.running {
		if n != self && m.Started(n) {
			cpus[n].asked.Store(1)
			m.send(n, sgiStop)
		}
	}
	end := runtime.Nanotime() + stopLimit
	for n := range m.running {
		for n != self && m.Started(n) && cpus[n].stopped.Load() == stopNot && runtime.Nanotime() < end {
			yield()
		}
	}
}

// Started tells whether the CPU takes interrupts.
func (m *Machine) Started(n int) bool {
	return n == 0 || atomic.LoadUint64(&cpus[n].start.started) != 0
}

// stop stops this CPU for good, because the kernel dies on another one.
func (c *cpu) stop() {
	if c.userPC != 0 {
		c.stopped.Store(stopUser)
	} else {
		c.stopped.Store(stopIdle)
	}
	halt()
}

// ReportOthers prints what the CPUs were doing that StopOthers has told to stop. It
// allocates nothing.
func (m *Machine) ReportOthers() {
	for n := range m.running {
		c := cpus[n]
		if c.asked.Load() == 0 {
			continue
		}
		print("CPU ", n)
		switch c.stopped.Load() {
		case stopNot:
			print(" does not react: it is in the kernel, and has not left it")
		case stopIdle:
			print(" was idle")
		case stopUser:
			show(" was in user mode at ", c.userPC)
		}
		print("\n")
	}
}
