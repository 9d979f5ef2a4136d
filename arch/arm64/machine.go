//go:build tamago && arm64

package arm64

import (
	"errors"
	"math"
	"slices"

	"grim/arch"
)

// Range is a piece of physical memory.
type Range struct {
	Base arch.PA
	Size uint64
}

// Config is what the machine layer needs to know; it comes from the device tree.
type Config struct {
	Memory  []Range // all RAM, not overlapping; reserved parts that may be mapped included
	Devices []Range // windows to map beside those below

	UART     Range // PL011, Size 0 for none
	UARTLine int   // its INTID, 0 for none

	GIC            int     // 2 or 3
	Distributor    Range   // GICD
	Interface      Range   // GICv2: GICC
	Redistributors []Range // GICv3: GICR
	TimerLine      int     // INTID of the virtual timer

	PSCI Conduit

	// Line is called by Dispatch for every device interrupt, after UART input
	// has been taken. It must not block or allocate: runtime.RaiseIRQ.
	Line func(intid int)
}

// Machine implements arch.Machine. There is one.
type Machine struct {
	mmu
	timer
	gic       gic
	uart      UART
	conduit   Conduit
	timerLine int
	uartLine  int
	line      func(int)
}

var _ arch.Machine = (*Machine)(nil)

// New takes the CPU over from the boot code: final page tables, exception
// vectors, user-mode controls, UART, interrupt controller and timer. It runs
// once, on the boot CPU, in an ordinary goroutine. After an error the UART
// prints if it was found, and the machine can only be stopped.
func New(c *Config) (*Machine, error) {
	m := &Machine{conduit: c.PSCI, timerLine: c.TimerLine, uartLine: c.UARTLine, line: c.Line}
	setFaultMachine(m)
	if len(c.Memory) == 0 {
		return nil, errors.New("arm64: no RAM given")
	}
	windows := slices.Concat([]Range{c.Distributor, c.Interface, c.UART}, c.Redistributors, c.Devices)
	m.features()
	if err := m.mmu.init(c.Memory, windows); err != nil {
		return nil, err
	}
	if c.UART.Size != 0 {
		m.uart.regs = window{c.UART.Base}
		m.uart.init()
	}
	var err error
	if m.gic, err = newGIC(c); err != nil {
		return m, err
	}
	if err := m.gic.init(); err != nil {
		return m, err
	}
	if err := m.timer.init(); err != nil {
		return m, err
	}
	m.gic.enable(m.timerLine)
	if m.uartLine != 0 {
		m.gic.enable(m.uartLine)
	}
	return m, nil
}

// Console is the serial port; nil if the machine has none.
func (m *Machine) Console() *UART {
	if m.uart.regs.base == 0 {
		return nil
	}
	return &m.uart
}

// EnableLine lets a device's interrupt through to Config.Line.
func (m *Machine) EnableLine(intid int) { m.gic.enable(intid) }

// SetTimer is arch.Machine's.
func (m *Machine) SetTimer(deadline int64) { m.timer.set(deadline) }

// Dispatch is arch.Machine's.
func (m *Machine) Dispatch() {
	for {
		intid := m.gic.acknowledge()
		if intid >= firstSpecial {
			return
		}
		switch intid {
		case m.timerLine:
			// The line is level-sensitive: it must go down before done.
			m.timer.disarm()
		case m.uartLine:
			m.uart.drain()
			fallthrough
		default:
			if m.line != nil {
				m.line(intid)
			}
		}
		m.gic.done(intid)
	}
}

// Idle is goos.Idle's: it sleeps until an interrupt, at the latest until the
// monotonic time until (negative: no limit), and handles what came.
func (m *Machine) Idle(until int64) {
	if until < 0 {
		until = math.MaxInt64
	}
	m.timer.set(until)
	waitForInterrupt()
	m.Dispatch()
}
