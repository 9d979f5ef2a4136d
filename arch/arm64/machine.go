//go:build tamago && arm64

package arm64

import (
	"errors"
	"math"
	"slices"
	"time"

	"grim/arch"
)

// Config is what the machine layer needs to know; it comes from the device tree.
type Config struct {
	RAM     []Span // all memory that the direct map shall reach; no overlaps
	Screen  Span   // a framebuffer, mapped by EarlyMapScreen already; Size 0 for none
	Devices []Span // further device windows, mapped at DirectBase + PA

	UART UARTConfig // mapped by EarlyMap already if OpenUART was called

	Controller     string // "gicv2", "gicv3" or "bcm2836"
	Distributor    Span   // GICD, or the BCM2836's older controller
	Interface      Span   // GICv2: GICC; BCM2836: the local controller
	Redistributors []Span // GICv3: GICR
	TimerLine      int    // of the virtual timer, the controller's number
	TimerHz        uint64 // where CNTFRQ_EL0 is 0; 0 if the tree has none either

	PSCI  Conduit
	Power PowerConfig
	Clock ClockConfig
	LED   LEDConfig

	// Mitigations are the words of the kernel argument mitigations=.
	Mitigations []string

	Watchdogs []WatchdogConfig

	// CPUs are the machine's; the boot CPU may be missing. At most MaxCPUs are used, one if
	// it is 0.
	CPUs    []Processor
	MaxCPUs int

	// Alloc gives a frame for the page tables of GrowWindow and MapDevice, and for what
	// the other CPUs need. New itself takes memory of the first Go heap.
	Alloc func() arch.PA
	// Raise is told of each device interrupt. It must not block or allocate:
	// runtime.RaiseIRQ.
	Raise func(intid int)
}

// Machine implements arch.Machine. There is one.
type Machine struct {
	mmu
	timer
	spec      speculation
	irqs      controller
	uart      *UART // nil for none
	conduit   Conduit
	power     power // nil for none
	clock     ClockConfig
	led       led
	dogs      watchdogs
	timerLine int
	uartLine  int
	raise     func(int)
	running   int // CPUs
	// warnings are what New found and could do without.
	warnings []string
}

var _ arch.Machine = (*Machine)(nil)

// OpenUART turns the serial port on before New, for messages of what comes
// between. New takes it over if Config.UART is the same.
func OpenUART(c *UARTConfig) (*UART, error) {
	if err := EarlyMap(c.Regs); err != nil {
		return nil, err
	}
	u, err := newUART(c)
	opened = u
	return u, err
}

// opened is what OpenUART opened.
var opened *UART

// New takes the CPU over from the boot code: final page tables, exception
// vectors, user-mode controls, UART, interrupt controller and timer. It runs
// once, on the boot CPU, in an ordinary goroutine. After an error the UART
// prints if it was found, and the machine can only be stopped.
func New(c *Config) (*Machine, error) {
	m := &Machine{conduit: c.PSCI, clock: c.Clock, running: 1, timerLine: c.TimerLine, uartLine: c.UART.Line, raise: c.Raise}
	useRecord(0)
	thisCPU().mpidr = readMPIDR() & mpidrAffinity
	setFaultMachine(m)
	if len(c.RAM) == 0 {
		return nil, errors.New("arm64: no RAM given")
	}
	m.features()
	m.speculation(c.Mitigations)
	if err := m.mmu.init(c.RAM, c.windows(), c.Screen); err != nil {
		return nil, err
	}
	var err error
	if m.uart = opened; m.uart == nil && c.UART.Kind != "" {
		if m.uart, err = newUART(&c.UART); err != nil {
			return m, err
		}
	}
	if m.power, err = newPower(c.Power); err != nil {
		return m, err
	}
	if m.led, err = newLED(c.LED); err != nil {
		return m, err
	}
	if err := m.dogs.adopt(c.Watchdogs); err != nil {
		return m, err
	}
	if m.irqs, err = newController(c); err != nil {
		return m, err
	}
	if err := m.irqs.init(&thisCPU().irqCPU); err != nil {
		return m, err
	}
	if err := m.timer.init(c.TimerHz); err != nil {
		return m, err
	}
	m.mmu.alloc = c.Alloc
	m.irqs.enable(m.timerLine)
	if m.uartLine != 0 {
		m.irqs.enable(m.uartLine)
	}
	m.warnings = m.startOthers(c)
	return m, nil
}

// speculation decides what is done about speculative execution, and has the vectors
// do their part.
func (m *Machine) speculation(force []string) {
	facts := coreFacts{
		midr: readMIDR(), pfr0: readPFR0(), pfr1: readPFR1(), mmfr1: readMMFR1(), mmfr2: readMMFR2(), isar2: readISAR2(),
		firmware: m.firmwareFeature,
	}
	m.spec = decideSpeculation(&facts, force)
	m.clearHistory()
}

// clearHistory has this CPU's vectors do what was decided.
func (m *Machine) clearHistory() {
	smc := uint64(0)
	if m.conduit == SMC {
		smc = 1
	}
	clearHistory(m.spec.history, uint64(m.spec.loops), smc)
}

// Warnings are what New found and could do without, for people.
func (m *Machine) Warnings() []string { return m.warnings }

// Speculation is what is done about speculative execution on this CPU.
func (m *Machine) Speculation() arch.Speculation {
	s := arch.Speculation{On: m.spec.on, Open: m.spec.open}
	if m.spec.between != 0 {
		s.Barrier = func() { m.call(uint64(m.spec.between), 0) }
	}
	return s
}

// windows lists the device registers that the drivers use, in whole pages: on
// some boards several devices share one.
func (c *Config) windows() []Span {
	var dogs []Span
	for _, w := range c.Watchdogs {
		dogs = append(dogs, w.Regs)
	}
	all := slices.Concat(dogs, []Span{c.Distributor, c.Interface, c.UART.Regs, c.Power.Regs, c.Clock.Regs, c.LED.Regs}, c.Redistributors, c.Devices)
	return pages(all)
}

// Console is the serial port; nil if the machine has none.
func (m *Machine) Console() *UART { return m.uart }

// Watchdogs is how many watchdogs run and cannot be stopped, and Feed feeds them. The
// kernel does that every WatchdogPeriod; it may be done anywhere.
func (m *Machine) Watchdogs() int { return len(m.dogs) }
func (m *Machine) Feed()          { m.dogs.feed() }

// WallTime is the time of day by the machine's clock; ErrNoClock if it has none.
func (m *Machine) WallTime() (time.Time, error) { return m.clock.time() }

// MaskLine stops interrupts of a device line; UnmaskLine lets them come. All are
// masked at first but the UART's. A line is masked each time it is raised, until
// its driver has served the device and unmasks it: lines are level-sensitive.
func (m *Machine) MaskLine(intid int)   { m.irqs.disable(intid) }
func (m *Machine) UnmaskLine(intid int) { m.irqs.enable(intid) }

// SetTimer is arch.Machine's.
func (m *Machine) SetTimer(deadline int64) { m.timer.set(deadline) }

// Dispatch is arch.Machine's.
func (m *Machine) Dispatch() {
	for {
		intid, token := m.irqs.acknowledge()
		if intid >= firstSpecial {
			return
		}
		switch intid {
		case fromCPU(sgiWake):
			thisCPU().counts.Wake++
		case fromCPU(sgiShoot):
			thisCPU().counts.Shoot++
		case fromCPU(sgiStop):
			thisCPU().stop()
		case m.timerLine:
			// The line is level-sensitive: it must go down before done.
			m.timer.disarm()
			thisCPU().counts.Timer++
		case m.uartLine:
			m.uart.drain()
			m.raise(intid)
		default:
			m.irqs.disable(intid)
			m.raise(intid)
		}
		m.irqs.done(token)
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
	thisCPU().userPC = 0
	waitForInterrupt()
	m.Dispatch()
}
