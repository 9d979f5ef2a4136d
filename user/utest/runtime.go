package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

var runtimeTests = []test{
	{name: "runtime-start", run: runtimeStart},
	{name: "runtime-goroutines", run: runtimeGoroutines},
	{name: "runtime-timers", run: runtimeTimers},
	{name: "runtime-gc", run: runtimeGC},
	{name: "runtime-preempt", run: runtimePreempt},
}

// runtimeStart: arguments, environment and a formatted line.
func runtimeStart() {
	equal("argument", os.Args[1], "runtime-start")
	equal("formatted", fmt.Sprintf("%d %s %.2f", 6*7, runtime.GOARCH, 1.5), "42 "+runtime.GOARCH+" 1.50")
	if os.Getpid() <= 1 {
		fail("pid %d", os.Getpid())
	}
}

func runtimeGoroutines() {
	const n = 1000
	c := make(chan int)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { c <- i })
	}
	sum := 0
	for range n {
		sum += <-c
	}
	wg.Wait()
	equal("sum", sum, n*(n-1)/2)
}

func runtimeTimers() {
	start := time.Now()
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			d := time.Duration(i) * time.Millisecond
			t := time.Now()
			time.Sleep(d)
			if got := time.Since(t); got < d {
				fail("slept %v, asked for %v", got, d)
			}
		})
	}
	wg.Wait()
	if d := time.Since(start); d > 10*time.Second {
		fail("20 sleeps of up to 20 ms took %v", d)
	}
}

func runtimeGC() {
	m := map[string][]byte{}
	for i := range 20000 {
		m[fmt.Sprint(i%500)] = make([]byte, 1000+i%1000)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	clear(m)
	runtime.GC()
	runtime.ReadMemStats(&after)
	if after.NumGC == before.NumGC || after.HeapAlloc >= before.HeapAlloc {
		fail("heap %d before, %d after a collection, %d collections", before.HeapAlloc, after.HeapAlloc, after.NumGC)
	}
}

// runtimePreempt: a goroutine that spins without a call does not stop others. That needs
// the kernel's time slices and the runtime's preemption signal.
func runtimePreempt() {
	var stop atomic.Bool
	for range 2 {
		go func() {
			for !stop.Load() {
			}
		}()
	}
	ticks := 0
	for range 5 {
		time.Sleep(time.Millisecond)
		ticks++
	}
	stop.Store(true)
	equal("ticks", ticks, 5)
	if strings.Contains(runtime.Version(), "tamago") {
		fail("built with %s, want the stock toolchain", runtime.Version())
	}
}
