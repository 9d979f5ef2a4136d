package selftest

import (
	"runtime"
	"time"
)

var heapTests = []test{
	{name: "heap/collected-when-idle", run: heapIdle},
}

// heapIdle: garbage is collected while the machine is idle, and not while it is busy.
// Broken by: collectWhenIdle not started; beforeIdle without the count of bytes (a
// collection in every idle time).
func heapIdle(t *T) {
	collections := func() uint32 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.NumGC
	}
	rest := func() { time.Sleep(50 * time.Millisecond) }
	// Another CPU may have decided before this call that it will collect.
	runtime.GC()
	rest()
	begin := collections()
	rest()
	if n := collections() - begin; n != 0 {
		t.Errorf("%d collections without garbage", n)
	}
	size := min(t.HeapBytes, 32<<10) // not a constant, or it would be on the stack
	for n := uint64(0); n < t.HeapBytes/8; n += size {
		runtime.KeepAlive(make([]byte, size))
		runtime.Gosched()
	}
	if n := collections() - begin; n != 0 {
		t.Errorf("%d collections while busy", n)
	}
	rest()
	for i := 0; i < 20 && collections() == begin; i++ {
		rest() // in wall time, an emulator's CPU may have had no turn yet
	}
	if n := collections() - begin; n != 1 {
		t.Errorf("%d collections while idle, want 1", n)
	}
}
