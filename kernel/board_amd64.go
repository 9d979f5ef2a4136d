//go:build tamago

package kernel

import (
	"fmt"
	"runtime"
	"runtime/goos"
	"strings"
	"time"
	"unsafe"

	"grim/arch"
	"grim/arch/amd64"
	"grim/boot/machine"
)

// pc is a PC or a microvm.
type pc struct {
	*amd64.Machine
	serial *amd64.Serial
	info   *machine.Info
}

// discover reads what the PVH boot protocol handed over.
func discover() (*machine.Info, error) { return machine.FromPVH(physical, goos.BootArg) }

// physical reads memory through the direct map; before the kernel's own tables
// that reaches the first 4 GB, which is where loaders put things.
func physical(pa uint64, n int) []byte {
	if n < 0 || pa+uint64(n) > 4<<30 || pa+uint64(n) < pa {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Add(nil, uintptr(arch.DirectBase)+uintptr(pa))), n)
}

// openBoard takes the machine over: page tables, traps, interrupts, clock.
func openBoard(info *machine.Info, alloc func() arch.PA) (board, error) {
	text, etext, rodata, erodata, data, _ := runtime.Sections()
	c := amd64.Config{
		Image: amd64.Image{
			Text: uint64(text), EText: uint64(etext),
			Rodata: uint64(rodata), ERodata: uint64(erodata),
			Data: uint64(data), End: uint64(runtime.Heap().Limit),
		},
		LAPIC: info.Interrupts.CPU.Base, IOAPIC: info.Interrupts.Dist.Base,
		Alloc: alloc, Raise: runtime.RaiseIRQ,
	}
	for _, r := range info.Memory {
		c.RAM = append(c.RAM, amd64.Span(r))
	}
	m, err := amd64.New(c)
	if err != nil {
		return nil, err
	}
	p := &pc{Machine: m, info: info}
	if info.Console.Kind == "16550-port" {
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

func (p *pc) Read(b []byte) (int, error) {
	if p.serial == nil {
		return 0, fmt.Errorf("the machine has no serial port")
	}
	return p.serial.Read(b)
}

func (p *pc) MapHeap(va arch.VA, pa arch.PA, size uint64, _ func() arch.PA) error {
	return p.GrowWindow(va, pa, size)
}

func (p *pc) WallTime() (time.Time, error) { return amd64.WallTime() }
func (p *pc) Exit(status int32)            { amd64.Exit(status, 0, 0) }
func (p *pc) Restart()                     { amd64.Exit(0, 0, 0) }

func (p *pc) Describe() string {
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
	return fmt.Sprintf("%s\ncpu: %s, TSC %d MHz; %s", p.info.Model, strings.TrimSpace(f.Name), f.TSCHz/1_000_000, strings.Join(has, " "))
}
