//go:build tamago

package kernel

import (
	"fmt"
	"runtime"
	"unsafe"
)

// crash dies as crash= asks for, so that the crash report can be tested.
func crash(how string) {
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
	}
}
