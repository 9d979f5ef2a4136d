//go:build tamago

package kernel

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"unsafe"
)

// crash dies in the way that crash= selects, so that the crash report can be tested.
func crash(how string, board board) {
	switch how {
	case "panic": // a broken invariant
		panic(fmt.Sprintf("kernel: crash=%s was asked for", how))
	case "nil":
		var p *int
		*p = 1
	case "text": // a write that the page tables forbid
		text, _ := runtime.TextRegion()
		*(*byte)(unsafe.Add(nil, text)) = 0
	case "stack":
		overflowStack()
	case "stack-cpu1":
		if board.CPUs() < 2 {
			panic("kernel: crash=stack-cpu1 wants two CPUs")
		}
		runtime.SetPlace(runtime.MakePlace(1<<1, 0, false, false))
		overflowStack()
	case "busy": // on one CPU, while another is in the kernel
		if board.CPUs() < 2 {
			panic("kernel: crash=busy wants two CPUs")
		}
		go occupy()
		for !occupied.Load() { // without yielding: the other goroutine is for another CPU
			board.Pause()
		}
		panic(fmt.Sprintf("kernel: crash=%s was asked for", how))
	}
}

// occupied says that occupy runs on a CPU.
var occupied atomic.Bool

// occupy takes a CPU and never gives it back.
//
//go:noinline
func occupy() {
	for occupied.Store(true); ; {
	}
}
