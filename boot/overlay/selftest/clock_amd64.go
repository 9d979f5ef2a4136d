//go:build tamago

package main

// clockHz is the TSC's frequency under QEMU's -icount.
var clockHz uint64 = 1_000_000_000
