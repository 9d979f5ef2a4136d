//go:build tamago

package kernel

import (
	"fmt"
	"runtime"
	"runtime/goos"
	"strings"
	"time"

	"grim/arch"
	"grim/arch/amd64"
	"grim/boot/machine"
	"grim/kernel/cmdline"
	"grim/proc/elf"
)

// pc is a PC or a microvm.
type pc struct {
	*amd64.Machine
	serial *amd64.Serial
	off    amd64.SoftOff // zero on machines that have none
	info   *machine.Info
}

// discover reads the data of the PVH boot protocol.
func discover() (*machine.Info, error) {
	goos.Printk = runtime.EarlyConsole
	return machine.FromPVH(physical, goos.BootArg)
}

// physical reads memory through the direct map. Before the kernel has its own tables, the
// direct map has the first 4 GB, where loaders put their data.
func physical(pa uint64, n int) []byte {
	if n < 0 || pa+uint64(n) > 4<<30 || pa+uint64(n) < pa {
		return nil
	}
	return directBytes(arch.PA(pa), uint64(n))
}

// tableLimit is the end of the entry code's direct map, through which the kernel's first
// tables are filled: 4 GB.
const tableLimit = 4 << 30

// openBoard takes the machine over: page tables, traps, interrupts, clock.
func openBoard(info *machine.Info, opts *cmdline.Options, boot *bootMemory) (board, error) {
	text, etext, rodata, erodata, data, _ := runtime.Sections()
	c := amd64.Config{
		Image: amd64.Image{
			Text: uint64(text), EText: uint64(etext),
			Rodata: uint64(rodata), ERodata: uint64(erodata),
			Data: uint64(data), End: uint64(runtime.Heap().Limit),
		},
		LAPIC: info.Interrupts.CPU.Base, IOAPIC: info.Interrupts.Dist.Base,
		Lines: map[int]amd64.Line{}, Mitigations: opts.Mitigations, MaxCPUs: opts.CPUs,
		Alloc: boot.page, Low: func() (arch.PA, bool) { return lowPage(info) }, Raise: runtime.RaiseIRQ,
	}
	for _, cpu := range info.CPUs {
		c.CPUs = append(c.CPUs, uint32(cpu.ID))
	}
	for _, isa := range info.Interrupts.ISA {
		c.Lines[int(isa.GSI)-int(info.Interrupts.GSIBase)] = amd64.Line{Level: isa.LevelTriggered, ActiveLow: isa.ActiveLow}
	}
	for _, r := range info.Memory {
		c.RAM = append(c.RAM, amd64.Span(r))
	}
	// This must be before New, while all of the first 4 GB can be read.
	off, offErr := amd64.FindSoftOff(physical, info.RSDP)
	m, err := amd64.New(c)
	if err != nil {
		return nil, err
	}
	p := &pc{Machine: m, info: info}
	if offErr == nil { // otherwise Exit resets, which the runner accepts too
		p.off = off
	}
	if info.Console.Kind == machine.PortCOM {
		p.serial = amd64.NewSerial(uint16(info.Console.Base))
		if line := info.Console.IRQ - int(info.Interrupts.GSIBase); line >= 0 {
			p.serial.Listen(m, line)
		}
	}
	return p, nil
}

func (p *pc) Put(c byte) {
	if p.serial != nil {
		p.serial.Put(c)
	}
}

func (p *pc) Send(b []byte) int {
	if p.serial == nil {
		return len(b)
	}
	return p.serial.Send(b)
}

func (p *pc) Await() bool { return p.serial.Await() }

func (p *pc) Read(b []byte) (int, error) {
	if p.serial == nil {
		return 0, fmt.Errorf("the machine has no serial port")
	}
	return p.serial.Read(b)
}

func (p *pc) MapHeap(va arch.VA, pa arch.PA, size uint64, table func() arch.PA) error {
	return p.GrowWindow(va, pa, size, table)
}

func (p *pc) PageOps() arch.PageOps        { return amd64.PageOps(&p.Features) }
func (p *pc) FPU() amd64.FPU               { return p.Features.FPU() }
func (p *pc) UserCPU() elf.CPU             { return elf.CPU{Platform: "x86_64", HWCap: p.HWCap()} }
func (p *pc) WallTime() (time.Time, error) { return amd64.WallTime() }
func (p *pc) Restart()                     { amd64.Restart() }

// Exit ends the machine. The runtime calls it after a panic too: the exception that caused
// the panic is then printed last.
func (p *pc) Exit(status int32) {
	if status == exitPanic {
		p.ReportOthers()
		amd64.CrashReport()
	}
	amd64.Exit(status, p.off)
}

// exitEarly ends a machine that openBoard has not taken over.
func exitEarly(status int32) { amd64.Exit(status, amd64.SoftOff{}) }

func (p *pc) DescribeCPU() string {
	f := &p.Features
	var has []string
	for _, x := range []struct {
		name string
		on   bool
	}{
		{"SMEP", f.SMEP}, {"SMAP", f.SMAP}, {"UMIP", f.UMIP}, {"PCID", f.PCID}, {"FSGSBASE", f.FSGSBase},
		{"XSAVE", f.XSAVE}, {"1GB pages", f.Page1GB}, {"TSC deadline", f.Deadline}, {"RDRAND", f.RDRAND},
	} {
		if x.on {
			has = append(has, x.name)
		}
	}
	return fmt.Sprintf("%s, TSC %d MHz; %s", strings.TrimSpace(f.Name), f.TSCHz/1_000_000, strings.Join(has, " "))
}

func overflowStack() { amd64.OverflowStack() }

// stackGuards returns the unmapped pages below the kernel's fixed stacks.
func stackGuards() []arch.StackGuard { return amd64.StackGuards() }

// pageFormat is the CPU's page-table format.
func pageFormat() *arch.Format { return &amd64.Format }

// kernelRights returns the rights that an entry of the kernel's page tables grants, for
// self-tests.
func kernelRights(e arch.PTE, leaf bool) (arch.Prot, bool) { return amd64.KernelRights(e, leaf) }
