//go:build grim_overlay

package runtime

import (
	"internal/runtime/atomic"
	"runtime/goos"
)

// dyingCPU is the number of the CPU that dies, plus 1; 0: none dies. othersStopped says
// that it has stopped the others.
var (
	dyingCPU      atomic.Uint32
	othersStopped bool
)

// StopOthers is called by a CPU on which the kernel dies, before it prints. The first such
// CPU stops all others with goos.Stop. A second one waits to be stopped. It allocates
// nothing.
func StopOthers() {
	mp := getg().m
	me := uint32(mp.cpu) + 1
	if !dyingCPU.CompareAndSwap(0, me) {
		for dyingCPU.Load() != me {
			procyield(100)
		}
		return
	}
	if goos.Stop == nil {
		return
	}
	goos.Stop()
	othersStopped = true
	if mp.printlock == 0 {
		debuglock = mutex{} // a CPU that was stopped while it printed never releases it
	}
}
