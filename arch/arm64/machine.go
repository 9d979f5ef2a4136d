//go:build tamago && arm64

package arm64

import (
	"errors"
	"math"
	"slices"
	"time"

	"grim/arch"
)

// Config has the facts that the machine layer needs. They come from the device tree.
type Config struct {
	RAM     []Span // all memory that the direct map must cover; no overlaps
	Screen  Span   // a framebuffer, mapped by EarlyMapScreen already; Size 0: none
	Devices []Span // further device windows, mapped at DirectBase + PA

	UART UARTConfig // mapped by EarlyMap already if OpenUART was called

	Controller     string // "gicv2", "gicv3" or "bcm2836"
	Distributor    Span   // GICD, or the BCM2836's older controller
	Interface      Span   // GICv2: GICC; BCM2836: the local controller
	Redistributors []Span // GICv3: GICR
	TimerLine      int    // line of the virtual timer, the controller's number
	TimerHz        uint64 // used if CNTFRQ_EL0 is 0; 0 if the tree has none either

	PSCI  Conduit
	Power PowerConfig
	Clock ClockConfig
	LED   LEDConfig

	// Mitigations are the words of the kernel argument mitigations=.
	Mitigations []string

	Watchdogs []WatchdogConfig

	// CPUs are the machine's CPUs. The boot CPU may be missing. At most MaxCPUs are used; 0
	// counts as 1.
	CPUs    []Processor
	MaxCPUs int

	// Alloc returns a frame for the page tables of GrowWindow and MapDevice, and for data
	// of the other CPUs. New itself takes memory of the first Go heap.
	Alloc func() arch.PA
	// Raise is called at each device interrupt. It must not block or allocate:
	// runtime.RaiseIRQ.
	Raise func(intid int)
}

// Machine implements arch.Machine. There is only one.
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
	running   int // number of CPUs
	// warnings are problems that New has found and that the machine can run with.
	warnings []string
}

var _ arch.Machine = (*Machine)(nil)

// OpenUART turns the serial port on before New, for early messages. New takes the port over
// if Config.UART is the same.
func OpenUART(c *UARTConfig) (*UART, error) {
	if err := EarlyMap(c.Regs); err != nil {
		return nil, err
	}
	u, err := newUART(c)
	opened = u
	return u, err
}

// opened is the UART that OpenUART has turned on.
var opened *UART

// New takes the CPU over from the boot code: final page tables, exception vectors,
// user-mode controls, UART, interrupt controller and timer. It runs once, on the boot CPU,
// in an ordinary goroutine. After an error, the UART prints if it was found, and the
// machine can only be stopped.
func New(c *Config) (*Machine, error) {
	m := &Machine{conduit: c.PSCI, clock: c.Clock, running: 1, timerLine: c.TimerLine, uartLine: c.UART.Line, raise: c.Raise}
	useRecord(0)
	thisCPU().mpidr = readMPIDR() & mpidrAffinity
	setFaultMachine(m)
	if len(c.RAM) == 0 {
		return nil, errors.New("arm64: no RAM given")
	}
	m.features(c.Mitigations)
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

// speculation decides on the measures against speculative execution, and installs the
// vectors that implement them.
func (m *Machine) speculation(force []string) {
	facts := coreFacts{
		midr: readMIDR(), pfr0: readPFR0(), pfr1: readPFR1(), mmfr1: readMMFR1(), mmfr2: readMMFR2(), isar2: readISAR2(),
		firmware: m.firmwareFeature,
	}
	m.spec = decideSpeculation(&facts, force)
	m.clearHistory()
}

// clearHistory installs the vectors of this CPU that were decided on.
func (m *Machine) clearHistory() {
	smc := uint64(0)
	if m.conduit == SMC {
		smc = 1
	}
	clearHistory(m.spec.history, uint64(m.spec.loops), smc)
}

// Warnings returns the problems that New has found and that the machine can run with.
func (m *Machine) Warnings() []string { return m.warnings }

// Speculation returns the measures against speculative execution on this CPU.
func (m *Machine) Speculation() arch.Speculation {
	s := arch.Speculation{On: m.spec.on, Open: m.spec.open}
	if m.spec.between != 0 {
		s.Barrier = func() { m.call(uint64(m.spec.between), 0) }
	}
	return s
}

// windows lists the device registers that the drivers use, in whole pages. On some boards
// several devices share a page.
func (c *Config) windows() []Span {
	var dogs []Span
	for _, w := range c.Watchdogs {
		dogs = append(dogs, w.Regs)
	}
	all := slices.Concat(dogs, []Span{c.Distributor, c.Interface, c.UART.Regs, c.Power.Regs, c.Clock.Regs, c.LED.Regs}, c.Redistributors, c.Devices, releaseWindows(c.CPUs, c.RAM))
	return pages(all)
}

// Console returns the serial port, or nil if the machine has none.
func (m *Machine) Console() *UART { return m.uart }

// Watchdogs returns how many watchdogs run and cannot be stopped. Feed feeds them. The
// kernel calls Feed every WatchdogPeriod; it may be called anywhere.
func (m *Machine) Watchdogs() int { return len(m.dogs) }
func (m *Machine) Feed()          { m.dogs.feed() }

// WallTime returns the time of day from the machine's clock, or ErrNoClock if it has none.
func (m *Machine) WallTime() (time.Time, error) { return m.clock.time() }

// MaskLine masks interrupts of a device line, UnmaskLine unmasks them. At first all are
// masked, except the UART's. A line is masked each time it is raised, as lines are
// level-sensitive. Its driver unmasks it after it has served the device.
func (m *Machine) MaskLine(intid int)   { m.irqs.disable(intid) }
func (m *Machine) UnmaskLine(intid int) { m.irqs.enable(intid) }

// SetTimer implements arch.Machine.
func (m *Machine) SetTimer(deadline int64) { m.timer.set(deadline) }

// Dispatch implements arch.Machine.
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
			// The line is level-sensitive, so it must be low before done.
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

// Poll handles the pending interrupts. It does not sleep.
func (m *Machine) Poll() { m.Dispatch() }

// Idle implements goos.Idle. It sleeps until an interrupt, at the latest until the
// monotonic time until (negative: no limit), and handles the pending interrupts.
func (m *Machine) Idle(until int64) {
	if until < 0 {
		until = math.MaxInt64
	}
	m.timer.set(until)
	thisCPU().userPC = 0
	waitForInterrupt()
	m.Dispatch()
}
