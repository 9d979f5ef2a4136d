//go:build tamago

package main

import (
	"fmt"
	"runtime/goos"
	"unsafe"
)

// registers are the start values of a secondary CPU. cpus_arm64.s contains the offsets.
type registers struct {
	ttbr1, tcr, mair, sctlr, vbar, high, entry uint64
	ttbr0, sp, g, fn                           uint64
}

func cpuOn(cpu, entry, context uint64) int64
func systemRegisters(r *registers)

// Tables that map the first RAM of QEMU's virt machine at its physical address.
var (
	identity [2 * 512 * 2]uint64 // two pages, whatever the alignment
	starting [8]registers
)

func physical(p unsafe.Pointer) uint64 {
	return uint64(uintptr(p)) - 0xffffffff80000000 + goos.PhysBase
}

// startCPU is goos.Task.
func startCPU(sp, mp, gp, fn unsafe.Pointer) {
	cpu := -1
	for i := range starting {
		if starting[i].sp == 0 {
			cpu = i + 1
			break
		}
	}
	r := &starting[cpu-1]
	const page = 4096
	root := unsafe.Pointer((uintptr(unsafe.Pointer(&identity)) + page - 1) &^ (page - 1))
	level1 := unsafe.Add(root, page)
	*(*uint64)(root) = physical(level1) | 3
	*(*uint64)(unsafe.Add(level1, 8)) = 1<<30 | 0x701
	systemRegisters(r)
	r.ttbr0, r.sp, r.g, r.fn = physical(root), uint64(uintptr(sp)), uint64(uintptr(gp)), uint64(uintptr(fn))
	if e := cpuOn(uint64(cpu), r.entry-0xffffffff80000000+goos.PhysBase, physical(unsafe.Pointer(r))); e != 0 {
		panic(fmt.Sprintf("CPU_ON of %d: %d", cpu, e))
	}
}
