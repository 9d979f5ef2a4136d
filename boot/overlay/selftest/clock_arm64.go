//go:build tamago

package main

// clockHz is the counter's frequency in QEMU (CNTFRQ_EL0).
var clockHz uint64 = 62_500_000
