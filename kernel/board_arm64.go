//go:build tamago

package kernel

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/goos"
	"time"

	"grim/arch"
	"grim/arch/amd64"
	"grim/arch/arm64"
	"grim/boot/machine"
	"grim/boot/screen"
	"grim/kernel/cmdline"
	"grim/proc/elf"
)

// dtBoard is a machine that a device tree describes.
type dtBoard struct {
	*arm64.Machine
	info *machine.Info
}

// display is the framebuffer that firmware has left, if there is one. It shows all output
// of the serial port, from the first message on.
var display *screen.Screen

// discover reads the device tree. It opens the console first, so that problems with the
// rest can be printed. Until then messages are kept. A machine without a serial port that
// has a driver prints that on its display and through a debugger, and does not start.
func discover() (*machine.Info, error) {
	runtime.EarlyMark('k')
	runtime.EarlyMark('\n')
	info, err := machine.FromArm64(physical, goos.BootArg)
	if info == nil {
		goos.Printk = runtime.EarlyConsole
		return nil, err
	}
	if info.Pins.GPIO.Size != 0 {
		if mapErr := arm64.EarlyMap(arm64.Span(info.Pins.GPIO)); mapErr == nil {
			info.PickConsole(arm64.ReadRegister(info.Pins.PinFunctions()))
		}
	}
	put := runtime.EarlyConsole
	if info.Console.Kind != "" {
		u := uartConfig(info)
		port, openErr := arm64.OpenUART(&u)
		if openErr == nil {
			put = func(c byte) {
				if c == '\n' {
					port.Put('\r')
				}
				port.Put(c)
			}
		}
		err = errors.Join(err, openErr)
	}
	if s := info.Screen; s.Size != 0 {
		var screenErr error
		if display, screenErr = openScreen(&s); screenErr != nil {
			info.Warnings = append(info.Warnings, screenErr.Error())
		}
	}
	goos.Printk = func(c byte) {
		put(c)
		show(c)
	}
	for _, w := range info.Warnings {
		fmt.Println("grim: warning:", w)
	}
	if err == nil {
		err = info.CheckImage(loadedImage())
	}
	return info, err
}

func openScreen(s *machine.Screen) (*screen.Screen, error) {
	if err := arm64.EarlyMapScreen(arm64.Span(s.Range)); err != nil {
		return nil, err
	}
	return screen.New(arm64.Ptr(arch.PA(s.Base)), s.Size, screen.Config{Width: s.Width, Height: s.Height, Stride: s.Stride, Format: s.Format})
}

// show puts a byte on the display.
func show(c byte) {
	if display != nil {
		display.Put(c)
	}
}

// loadedImage returns the memory that the loader has filled, from the header's page to the
// end of the first heap.
func loadedImage() machine.Range {
	text, _, _, _, _, _ := runtime.Sections()
	base := goos.PhysBase + uint64(text) - uint64(arch.KernelBase) - arch.PageSize
	end := imageRange().End()
	return machine.Range{Base: base, Size: end - base}
}

func uartConfig(info *machine.Info) arm64.UARTConfig {
	c := info.Console
	return arm64.UARTConfig{
		Kind: c.Kind, Regs: arm64.Span{Base: c.Base, Size: c.Size},
		Line: max(c.IRQ, 0), Shift: c.RegShift, Width: c.RegWidth,
	}
}

// physical reads memory through the direct map. Before the kernel has its own tables, the
// direct map has the data of the boot protocol: 2 MB from the 2 MB boundary below it, and
// the next 2 MB.
func physical(pa uint64, n int) []byte {
	from := goos.BootArg &^ (arch.BlockSize - 1)
	if n < 0 || n > 2*arch.BlockSize || pa < from || pa-from > 2*arch.BlockSize-uint64(n) {
		return nil
	}
	return arm64.Bytes(pa, n)
}

// tableLimit is the end of the direct map: some machines have no memory below 4 GB.
const tableLimit = 1 << 47

// openBoard takes the machine over: page tables, vectors, interrupts, clock.
func openBoard(info *machine.Info, opts *cmdline.Options, boot *bootMemory) (board, error) {
	in := info.Interrupts
	c := arm64.Config{
		Controller: in.Kind, Distributor: arm64.Span(in.Dist), Interface: arm64.Span(in.CPU), TimerLine: info.Timer.IRQ, TimerHz: info.Timer.Hz,
		Power: arm64.PowerConfig{Kind: info.Power.Kind, Regs: arm64.Span(info.Power.Range)},
		Clock: arm64.ClockConfig{Kind: info.Clock.Kind, Regs: arm64.Span(info.Clock.Range)},
		LED: arm64.LEDConfig{
			Kind: info.LED.GPIO.Kind, Regs: arm64.Span(info.LED.GPIO.Range),
			Pin: info.LED.Pin, ActiveLow: info.LED.ActiveLow,
		},
		UART:        uartConfig(info),
		Screen:      arm64.Span(info.Screen.Range),
		Mitigations: opts.Mitigations,
		MaxCPUs:     opts.CPUs,
		Alloc:       boot.page, Raise: runtime.RaiseIRQ,
	}
	for _, w := range info.Watchdogs {
		c.Watchdogs = append(c.Watchdogs, arm64.WatchdogConfig{Kind: w.Kind, Regs: arm64.Span(w.Range)})
	}
	for _, r := range info.Others() {
		c.Devices = append(c.Devices, arm64.Span(r))
	}
	for _, r := range info.Memory {
		c.RAM = append(c.RAM, arm64.Span(r))
	}
	for _, o := range info.CPUs {
		c.CPUs = append(c.CPUs, arm64.Processor{MPIDR: o.ID, Method: o.Method, Release: o.Release})
	}
	for _, r := range in.Redist {
		c.Redistributors = append(c.Redistributors, arm64.Span(r))
	}
	switch info.PSCI {
	case "hvc":
		c.PSCI = arm64.HVC
	case "smc":
		c.PSCI = arm64.SMC
	}
	m, err := arm64.New(&c)
	if err != nil {
		return nil, err
	}
	if esr, was := m.PendingSError(); was {
		fmt.Printf("grim: warning: an SError was pending when the kernel took over: esr %#x\n", esr)
	}
	if m.Watchdogs() > 0 {
		go feedWatchdogs(m)
	}
	return &dtBoard{Machine: m, info: info}, nil
}

// feedWatchdogs is a kernel task. It runs only as long as timer, interrupts and scheduler
// work.
func feedWatchdogs(m *arm64.Machine) {
	for {
		time.Sleep(arm64.WatchdogPeriod * time.Second)
		m.Feed()
	}
}

func (b *dtBoard) Put(c byte) {
	b.Console().Put(c)
	show(c)
}

func (b *dtBoard) Send(p []byte) int {
	n := b.Console().Send(p)
	for _, c := range p[:n] {
		show(c)
	}
	return n
}

func (b *dtBoard) Await() bool { return b.Console().Await() }

func (b *dtBoard) Read(p []byte) (int, error) { return b.Console().Read(p) }

func (b *dtBoard) MapHeap(va arch.VA, pa arch.PA, size uint64, _ func() arch.PA) error {
	return b.GrowWindow(va, pa, size)
}

// Exit ends the machine. The runtime calls it after a panic too: the exception that caused
// the panic is then printed last.
func (b *dtBoard) Exit(status int32) {
	if status == exitPanic {
		b.ReportOthers()
		arm64.CrashReport()
	}
	b.Machine.Exit(status)
}

// exitEarly ends a machine that openBoard has not taken over.
func exitEarly(status int32) { os.Exit(int(status)) }

func (b *dtBoard) PageOps() arch.PageOps { return arm64.PageOps() }
func (b *dtBoard) FPU() amd64.FPU        { return amd64.FPU{} }
func (b *dtBoard) Restart()              { b.Reset() }

func (b *dtBoard) DescribeCPU() string { return arm64.CPU() }

// UserCPU returns the data about the CPU for programs.
func (b *dtBoard) UserCPU() elf.CPU {
	caps, caps2 := b.HWCap()
	return elf.CPU{Platform: "aarch64", HWCap: caps, HWCap2: caps2}
}

func overflowStack() { arm64.OverflowStack() }

// stackGuards returns the unmapped pages below the kernel's fixed stacks.
func stackGuards() []arch.StackGuard { return arm64.StackGuards() }

// pageFormat is the CPU's page-table format.
func pageFormat() *arch.Format { return &arm64.Format }

// kernelRights returns the rights that an entry of the kernel's page tables grants, for
// self-tests.
func kernelRights(e arch.PTE, leaf bool) (arch.Prot, bool) { return arm64.KernelRights(e, leaf) }
