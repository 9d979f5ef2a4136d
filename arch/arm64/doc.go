// Package arm64 implements package arch for Armv8-A in AArch64: EL1 and EL0,
// 4 KB granule, GICv2, GICv3 or the BCM2836's interrupt controllers, the generic
// timer, PSCI or a board's own power control. drivers.go lists the devices.
//
// # How the kernel uses the CPU
//
// Kernel Go code runs at EL1t: SPSel is 0 and SP_EL0 is the goroutine's stack.
// SP_EL1 is for exceptions. While the kernel runs it is the exception stack, so
// that a fault of the kernel's own (vectors 0x000) is reported even if the Go
// stack is the reason. In user mode it points at the thread's u-area, so that a
// trap (vectors 0x400) stores its registers without needing a free one. An
// exception at EL1h (vectors 0x200) can only come from the few instructions of
// entry.s between the two, or from the fault report; it ends the machine.
//
// Interrupts, FIQ and SError are masked at EL1 always. WFI wakes up for a masked
// interrupt that is pending, so idling has no window in which one can be lost.
// At EL0 interrupts and SError are open.
//
// # User mode
//
// An EL0 program may read CTR_EL0, DCZID_EL0 and the virtual counter, clean the
// data cache and invalidate the instruction cache by address, and use DC ZVA, as
// under Linux. It may not read the ID registers, but mrs of one is emulated with
// the fields that Linux shows. FP and SIMD belong to the user state; SVE, SME,
// pointer authentication, MTE and AArch32 are off, and what they add is undefined.
//
// # What is not used
//
// SCTLR_EL1.WXN would take execution from a user's writable and executable
// mappings too, which the Linux ABI allows; nothing is W and X in the kernel
// half because the tables say so. TCR_EL1.TBI is off: addresses with a tag in
// the top byte fault.
//
// Of TamaGo, arm64 and arm64/gic, arm/gic keep device addresses in 32 bits and
// need them mapped one to one, which a kernel in the upper half cannot offer;
// arm64's exception vectors take every exception on the one stack they find.
package arm64
