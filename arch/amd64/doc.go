// Package amd64 implements the contract of package arch on x86-64: descriptor tables,
// traps, entry to and return from user mode, page-table roots, local and I/O APIC, clocks,
// serial input, random numbers and power.
//
// Files that touch the machine are built with the tag tamago only. The rest, which are the
// descriptors, the trap decoder, the CPU feature decoder and the builder of the kernel's
// page tables, is plain Go over plain memory and tested on any host.
//
// Context: interrupts are disabled everywhere but in the two instructions STI; HLT of Idle.
// Nothing allocates on the Go heap after New.
//
// Every interrupt and exception arrives on an interrupt stack (IST) of the entry area
// (area.go), whatever ran before. So a fault in kernel code is handled on a good stack even
// if the fault was caused by a bad stack pointer.
//
// In kernel mode, FS is the Go runtime's thread pointer, and GS still holds the user
// thread's base. The kernel uses GS only in the first instructions after SYSCALL, which
// swap its own base in and out again. So no path has to find out what GS holds from the
// mode it came from.
//
// Manuals: "SDM" is the Intel 64 and IA-32 Architectures Software Developer's
// Manual, "APM" the AMD64 Architecture Programmer's Manual.
package amd64
