//go:build grim_overlay

package runtime

import (
	"runtime/goos"
	"unsafe"
)

// earlyRing keeps the last bytes printed before there was a console.
var earlyRing struct {
	buf [8 << 10]byte
	n   uint // bytes ever put in
}

// write1 is below print, throw and the traceback, hence below everything that
// may go wrong: it must work on every stack. Descriptors do not matter.
//
//go:nosplit
func write1(fd uintptr, p unsafe.Pointer, n int32) int32 {
	gp := getg()
	if gp == gp.m.g0 || gp == gp.m.gsignal {
		console(p, n)
	} else {
		systemstack(func() { console(p, n) })
	}
	return n
}

// console hands bytes to goos.Printk, or keeps them while that is unset.
func console(p unsafe.Pointer, n int32) {
	put := goos.Printk
	if put != nil && earlyRing.n != 0 {
		replayEarly(put)
	}
	for i := int32(0); i < n; i++ {
		c := *(*byte)(add(p, uintptr(i)))
		if put != nil {
			put(c)
		} else {
			earlyRing.buf[earlyRing.n%uint(len(earlyRing.buf))] = c
			earlyRing.n++
		}
	}
}

// replayEarly empties the ring into put. The ring counts as empty from the
// start, in case put prints or faults.
func replayEarly(put func(byte)) {
	size := uint(len(earlyRing.buf))
	end := earlyRing.n
	earlyRing.n = 0
	i := uint(0)
	if end > size {
		i = end - size
	}
	for ; i < end; i++ {
		put(earlyRing.buf[i%size])
	}
}

// flushEarly is the last resort of a kernel that dies without a console.
func flushEarly() {
	replayEarly(earlyPutc)
}

// EarlyConsole may serve as goos.Printk until the kernel has found its console:
// COM1 on amd64; on arm64 the serial port that the device tree names, as far as the
// tree can be read, or else a debugger's semihosting console. After grim/arch/arm64
// has made its own page tables it must not be used for the first time.
func EarlyConsole(c byte) { earlyPutc(c) }
