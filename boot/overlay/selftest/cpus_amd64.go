//go:build tamago

package main

import "unsafe"

// startCPU is goos.Task. This kernel starts other CPUs only on arm64.
func startCPU(sp, mp, gp, fn unsafe.Pointer) { panic("startCPU") }
