//go:build tamago && arm64

package arm64

import (
	"errors"
	"math"
	"slices"

	"grim/arch"
)

// Span is a piece of the physical address space.
type Span struct {
	Base, Size uint64
}

// Config is what the machine layer needs to know; it comes from the device tree.
type Config struct {
	RAM     []Span // all memory that the direct map shall reach; no overlaps
	Devices []Span // further device windows, mapped at DirectBase + PA

	UART     Span // PL011, Size 0 for none
	UARTLine int  // its INTID, 0 for none

	GIC            int    // 2 or 3
	Distributor    Span   // GICD
	Interface      Span   // GICv2: GICC
	Redistributors []Span // GICv3: GICR
	TimerLine      int    // INTID of the virtual timer

	PSCI Conduit

	// Alloc gives a frame for the page tables of GrowWindow and MapDevice. New
	// itself takes memory of the first Go heap.
	Alloc func() arch.PA
	// Raise is told of each device interrupt. It must not block or allocate:
	// runtime.RaiseIRQ.
	Raise func(intid int)
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
	raise     func(int)
}

var _ arch.Machine = (*Machine)(nil)

// New takes the CPU over from the boot code: final page tables, exception
// vectors, user-mode controls, UART, interrupt controller and timer. It runs
// once, on the boot CPU, in an ordinary goroutine. After an error the UART
// prints if it was found, and the machine can only be stopped.
func New(c *Config) (*Machine, error) {
	m := &Machine{conduit: c.PSCI, timerLine: c.TimerLine, uartLine: c.UARTLine, raise: c.Raise}
	setFaultMachine(m)
	if len(c.RAM) == 0 {
		return nil, errors.New("arm64: no RAM given")
	}
	windows := slices.Concat([]Span{c.Distributor, c.Interface, c.UART}, c.Redistributors, c.Devices)
	m.features()
	if err := m.mmu.init(c.RAM, windows); err != nil {
		return nil, err
	}
	if c.UART.Size != 0 {
		m.uart.regs, m.uart.line = window{arch.PA(c.UART.Base)}, c.UARTLine
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
	m.mmu.alloc = c.Alloc
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

// MaskLine stops interrupts of a device line; UnmaskLine lets them come. All are
// masked at first but the UART's. A line is masked each time it is raised, until
// its driver has served the device and unmasks it: lines are level-sensitive.
func (m *Machine) MaskLine(intid int)   { m.gic.disable(intid) }
func (m *Machine) UnmaskLine(intid int) { m.gic.enable(intid) }

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
			m.raise(intid)
		default:
			m.gic.disable(intid)
			m.raise(intid)
		}
		m.gic.done(intid)
	}
}

// Poll handles the interrupts that are pending, without sleeping.
func (m *Machine) Poll() { m.Dispatch() }

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
