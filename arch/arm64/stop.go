//go:build tamago && arm64

package arm64

import (
	"runtime"
	"sync/atomic"
)

// stopLimit is how long the other CPUs have to react, in nanoseconds. They take an
// interrupt only in user mode and while idle, so a CPU that is in the kernel reacts when it
// leaves the kernel. QEMU with -icount runs the CPUs in turn, for up to 100 ms each.
const stopLimit = 500_000_000

// Values of cpu.stopped: what a CPU was doing when the kernel died on another CPU.
const (
	stopNot  = iota // it has not stopped
	stopIdle        // it slept
	stopUser        // it was in user mode, at cpu.userPC
)

// StopOthers implements goos.Stop. It skips CPUs without a task, as they do not run kernel
// code.
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

// Started reports whether the CPU takes interrupts.
func (m *Machine) Started(n int) bool {
	return n == 0 || atomic.LoadUint64(&cpus[n].start.started) != 0
}

// stop stops this CPU for good, because the kernel dies on another CPU. It ignores an
// interrupt that no CPU has asked for: firmware may have left it pending.
func (c *cpu) stop() {
	if c.asked.Load() == 0 {
		return
	}
	if c.userPC != 0 {
		c.stopped.Store(stopUser)
	} else {
		c.stopped.Store(stopIdle)
	}
	halt()
}

// ReportOthers prints what the CPUs that StopOthers has stopped were doing. It allocates
// nothing.
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
