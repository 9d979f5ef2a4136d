//go:build tamago

package kernel

import (
	"errors"
	"fmt"
	"runtime"
	"runtime/goos"
	"time"

	"grim/arch"
	"grim/arch/arm64"
	"grim/boot/machine"
)

// dtBoard is a machine that a device tree describes.
type dtBoard struct {
	*arm64.Machine
	info *machine.Info
	line int // of the console's interrupt
}

// discover reads the device tree.
func discover() (*machine.Info, error) { return machine.FromDeviceTree(physical, goos.BootArg) }

// physical reads memory through the direct map, which before the kernel's own
// tables holds only the device tree.
func physical(pa uint64, n int) []byte { return arm64.Bytes(pa, n) }

// openBoard takes the machine over: page tables, vectors, interrupts, clock.
func openBoard(info *machine.Info, _ func() arch.PA) (board, error) {
	c := arm64.Config{TimerLine: info.Timer.IRQ, Line: runtime.RaiseIRQ}
	for _, r := range info.Memory {
		c.Memory = append(c.Memory, span(r))
	}
	in := info.Interrupts
	c.Distributor = span(in.Dist)
	switch in.Kind {
	case "gicv2":
		c.GIC, c.Interface = 2, span(in.CPU)
	case "gicv3":
		c.GIC = 3
		if len(in.Redist) == 0 {
			return nil, errors.New("the device tree's GICv3 has no redistributors")
		}
		c.Interface = span(in.Redist[0])
	default:
		return nil, fmt.Errorf("interrupt controller %q is not supported: it is a GICv2 or a GICv3", in.Kind)
	}
	switch info.PSCI {
	case "hvc":
		c.PSCI = arm64.HVC
	case "smc":
		c.PSCI = arm64.SMC
	}
	b := &dtBoard{info: info}
	if info.Console.Kind == "pl011" {
		c.UART = arm64.Range{Base: arch.PA(info.Console.Base), Size: info.Console.Size}
		if info.Console.IRQ > 0 {
			c.UARTLine, b.line = info.Console.IRQ, info.Console.IRQ
		}
	}
	m, err := arm64.New(&c)
	if err != nil {
		return nil, err
	}
	b.Machine = m
	return b, nil
}

func span(r machine.Range) arm64.Range { return arm64.Range{Base: arch.PA(r.Base), Size: r.Size} }

func (b *dtBoard) Put(c byte) {
	if u := b.Console(); u != nil {
		u.Putc(c)
	}
}

func (b *dtBoard) Read(p []byte) (int, error) {
	u := b.Console()
	if u == nil || b.line == 0 {
		return 0, errors.New("the machine has no serial port with an interrupt")
	}
	for {
		if n := u.Read(p); n > 0 {
			return n, nil
		}
		runtime.WaitIRQ(b.line)
	}
}

func (b *dtBoard) MapHeap(va arch.VA, pa arch.PA, size uint64, table func() arch.PA) error {
	return b.Machine.MapHeap(va, pa, size, func() (arch.PA, error) {
		t := table()
		clear((*[arch.PageSize]byte)(arm64.Ptr(t))[:])
		return t, nil
	})
}

func (b *dtBoard) Random(p []byte) bool { return arm64.HasRandom() && arm64.Random(p) }
func (b *dtBoard) Restart()             { b.Reset() }

// WallTime: no real-time clock is driven.
func (b *dtBoard) WallTime() (time.Time, error) {
	return time.Time{}, errors.New("no real-time clock")
}

func (b *dtBoard) Describe() string {
	return fmt.Sprintf("%s\ncpu: %s", b.info.Model, arm64.CPU())
}
