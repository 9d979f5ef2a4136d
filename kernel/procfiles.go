package kernel

import (
	"fmt"
	"runtime"
	"syscall"
)

// These are the machine's own texts in /proc (proc(5)).

// versionText is /proc/version.
func versionText(release, goVersion string) []byte {
	return fmt.Appendf(nil, "Linux version %s (grim) (%s)\n", release, goVersion)
}

// randomizeText is /proc/sys/kernel/randomize_va_space: 2, everything is, the heap
// included, or 0. It cannot be written: aslr= decides.
func randomizeText(on bool) []byte {
	if on {
		return []byte("2\n")
	}
	return []byte("0\n")
}

// uptimeText is /proc/uptime: seconds since start; idle time is not counted.
func uptimeText(ns int64) []byte {
	return fmt.Appendf(nil, "%d.%02d 0.00\n", ns/1e9, ns%1e9/1e7)
}

// cpuinfoText is /proc/cpuinfo, for one processor.
func cpuinfoText(cpu string) []byte {
	return fmt.Appendf(nil, "processor\t: 0\nmodel name\t: %s\n\n", cpu)
}

// heapText is /proc/heap, which other systems do not have: what the kernel's own
// objects occupy, in bytes, with the garbage that has not been collected yet.
func heapText() []byte {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return fmt.Appendf(nil, "live %d\nobjects %d\nstacks %d\n", m.HeapAlloc, m.HeapObjects, m.StackInuse)
}

// collectHeap is a write of "collect" to /proc/heap, which root may do: two readings
// after it differ by what came to stay in between. It costs some milliseconds.
func collectHeap(value string) error {
	if value != "collect" {
		return syscall.EINVAL
	}
	// What a sync.Pool holds lives through the first.
	runtime.GC()
	runtime.GC()
	return nil
}
