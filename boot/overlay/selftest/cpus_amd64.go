//go:build tamago

package main

import "unsafe"

// startCPU is goos.Task. This kernel starts secondaries on arm64 only.
func startCPU(sp, mp, gp, fn unsafe.Pointer) { panic("startCPU") }
