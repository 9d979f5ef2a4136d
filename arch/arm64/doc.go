// Package arm64 implements package arch for Armv8-A in AArch64: EL1 and EL0,
// 4 KB granule, GICv2, GICv3 or the BCM2836's interrupt controllers, the generic
// timer, PSCI or a board's own power control. drivers.go lists the devices.
//
// # How the kernel uses the CPU
//
// Kernel Go code runs at EL1t: SPSel is 0 and SP_EL0 is the goroutine's stack. SP_EL1 is
// for exceptions. While the kernel runs, SP_EL1 is the exception stack, so that a fault of
// the kernel itself (vectors 0x000) is reported even if the Go stack is the reason. In user
// mode it points at the thread's u-area, so that a trap (vectors 0x400) can store the
// registers without a free register. An exception at EL1h (vectors 0x200) can only come
// from the few instructions of entry.s in between, or from the fault report. It ends the
// machine.
//
// Interrupts and FIQ are always masked at EL1. WFI wakes up for a pending interrupt even if
// it is masked, so no interrupt can be lost when the CPU goes idle. SErrors are masked only
// on the way into and out of user mode, where they would overwrite ELR_EL1. At EL0
// interrupts and SErrors are unmasked.
//
// # User mode
//
// An EL0 program may read CTR_EL0, DCZID_EL0 and the virtual counter, clean the data cache
// and invalidate the instruction cache by address, and use DC ZVA, as under Linux. It may
// not read the ID registers, but an MRS of an ID register is emulated with the fields that
// Linux shows. FP and SIMD belong to the user state. SVE, SME, pointer authentication, MTE
// and AArch32 are off: their instructions are undefined.
//
// # What is not used
//
// SCTLR_EL1.WXN is off: it would also make a user's writable and executable mappings not
// executable, and the Linux ABI allows such mappings. In the kernel half nothing is both
// writable and executable because the tables say so. TCR_EL1.TBI is off: addresses with a
// tag in the top byte fault.
//
// TamaGo's arm64 and arm64/gic are not used. arm/gic keeps device addresses in 32 bits and
// needs them mapped one to one, which is impossible for a kernel in the upper half. arm64's
// exception vectors take every exception on the stack that they find.
package arm64
