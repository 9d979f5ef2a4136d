//go:build tamago

// Selftest is a kernel that only tests the promises of the runtime port. It has no drivers,
// and no page tables but the entry code's. ../qemu_test.go builds and boots it and reads
// its TAP output.
package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/goos"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"grim/boot/overlay/cputest"
)

// mode is set by the linker. It selects how the kernel ends.
var mode string

func main() {
	print("printed before there is a console\n")
	goos.Printk = runtime.EarlyConsole
	switch mode {
	case "oom":
		fill()
	case "panic":
		var m map[string]int
		m["x"] = 1
	case "nil":
		dereference(nil)
	case "fatal":
		pretend.Kind = runtime.FaultIllegal
		faultHere()
	case "nested":
		// The console itself faults while the kernel dies.
		goos.Printk = func(c byte) {
			runtime.EarlyConsole(c)
			if c == '!' {
				faultHere()
			}
		}
		panic("the console faults!")
	case "deadlock":
		// Only the timer can wake this up. The kernel must sleep, not die.
		time.AfterFunc(20*time.Millisecond, func() { fmt.Println("awake"); os.Exit(0) })
		select {}
	}
	tests := tests
	switch mode {
	case "cpus":
		startCPUs()
		debug.SetGCPercent(25) // the first heap is small
		tests = parallelTests
	case "parallel":
		cputest.Parallel = true
		startCPUs()
		debug.SetGCPercent(25)
		tests = slices.DeleteFunc(parallelTests, func(t testCase) bool { return t.judgesTime })
	}
	failed := 0
	for i, t := range tests {
		err := t.run()
		if err != nil {
			failed++
			fmt.Printf("not ok %d - %s: %v\n", i+1, t.name, err)
			continue
		}
		fmt.Printf("ok %d - %s\n", i+1, t.name)
	}
	fmt.Printf("%d passed, %d failed\n", len(tests)-failed, failed)
	if failed != 0 {
		os.Exit(1)
	}
}

type testCase struct {
	name string
	run  func() error

	// judgesTime: it fails on a busy host, unless time is a count of instructions.
	judgesTime bool
}

var tests = []testCase{
	{name: "maps and strings", run: maps},
	{name: "deep stack", run: deepStack},
	{name: "garbage collection", run: collect},
	{name: "1000 goroutines", run: goroutines},
	{name: "sleep is accurate", run: sleep},
	{name: "timers in order", run: timers},
	{name: "ticker under load", run: ticker},
	{name: "LockOSThread keeps others running", run: locked},
	{name: "interrupt wakes goroutine", run: interrupts},
	{name: "interrupt from the idle hook", run: idleInterrupt},
	{name: "NextTimer and Waits", run: scheduler},
	{name: "Park and Unpark", run: parking},
	{name: "who was woken runs first", run: wokenFirst},
	{name: "a due timer goes before who yields", run: dueFirst},
	{name: "a due timer goes before who is handed over to", run: dueBetween},
	{name: "who gave way has its turn", run: turnForAll},
	{name: "SetClock keeps time continuous", run: clock},
	{name: "TicksAt", run: ticks},
	{name: "wall clock", run: wall},
	{name: "system calls", run: syscalls},
	{name: "random numbers", run: random},
	{name: "recover", run: recovered},
	{name: "fault becomes a panic", run: faultRecovered},
	{name: "heap figures", run: heap},
	{name: "GrowHeap", run: growHeap},
	{name: "PrepareHeap", run: prepareHeap},
	{name: "WaitIdle", run: waitIdle},
}

func maps() error {
	m := map[string]int{}
	for i := range 20000 {
		m[fmt.Sprint("key", i)] = i
	}
	sum := 0
	for _, v := range m {
		sum += v
	}
	if sum != 19999*20000/2 {
		return fmt.Errorf("sum of 20000 values is %d", sum)
	}
	return nil
}

func deepStack() error {
	var f func(n int) int
	f = func(n int) int {
		var pad [64]byte
		if n == 0 {
			return int(pad[0])
		}
		return f(n-1) + 1
	}
	if n := f(10000); n != 10000 {
		return fmt.Errorf("depth %d", n)
	}
	return nil
}

type node struct {
	next *node
	data [200]byte
}

// collect makes 40 times as much garbage as the heap holds, an object with a finalizer that
// must be collected, and a list that must not.
func collect() error {
	var keep *node
	for i := range 1000 {
		keep = &node{next: keep, data: [200]byte{byte(i)}}
	}
	done := make(chan bool, 1)
	runtime.SetFinalizer(&node{}, func(*node) { done <- true })
	for i := range 5000 {
		b := make([]byte, 128<<10)
		b[i] = 1
		if i%100 == 0 {
			runtime.Gosched()
		}
	}
	runtime.GC()
	n := 0
	for p := keep; p != nil; p = p.next {
		if p.data[0] != byte(999-n) {
			return fmt.Errorf("element %d was overwritten", n)
		}
		n++
	}
	if n != 1000 {
		return fmt.Errorf("%d of 1000 elements left", n)
	}
	select {
	case <-done:
		return nil
	case <-time.After(time.Second):
		return errors.New("finalizer did not run")
	}
}

func goroutines() error {
	var wg sync.WaitGroup
	var mu sync.Mutex
	n := 0
	c := make(chan int)
	for i := range 1000 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			v := <-c
			time.Sleep(time.Duration(i%10) * time.Millisecond)
			mu.Lock()
			n += v
			mu.Unlock()
		}()
	}
	for i := range 1000 {
		c <- i
	}
	wg.Wait()
	if n != 999*1000/2 {
		return fmt.Errorf("sum is %d", n)
	}
	return nil
}

func sleep() error {
	for _, d := range []time.Duration{time.Microsecond, time.Millisecond, 30 * time.Millisecond} {
		t := time.Now()
		time.Sleep(d)
		if e := time.Since(t); e < d || e > d+20*time.Millisecond {
			return fmt.Errorf("sleep of %v took %v", d, e)
		}
	}
	return nil
}

func timers() error {
	var got []string
	c := make(chan string)
	for _, ms := range []int{30, 10, 20, 5} {
		time.AfterFunc(time.Duration(ms)*time.Millisecond, func() { c <- fmt.Sprint(ms) })
	}
	for range 4 {
		got = append(got, <-c)
	}
	if s := strings.Join(got, " "); s != "5 10 20 30" {
		return errors.New(s)
	}
	return nil
}

// ticker: a goroutine that yields but never blocks must not keep timers from firing.
func ticker() error {
	stop := false
	go func() {
		for !stop {
			runtime.Gosched()
		}
	}()
	t := time.NewTicker(2 * time.Millisecond)
	for range 5 {
		<-t.C
	}
	stop = true
	return nil
}

func locked() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	c := make(chan int)
	go func() {
		runtime.LockOSThread() // it ends without unlocking
		c <- 1
	}()
	<-c
	time.Sleep(time.Millisecond)
	return nil
}

func interrupts() error {
	c := make(chan int)
	go func() {
		for i := range 3 {
			runtime.WaitIRQ(5)
			c <- i
		}
	}()
	runtime.RaiseIRQ(5) // before any goroutine waits
	runtime.RaiseIRQ(5) // coalesces
	<-c
	select {
	case <-c:
		return errors.New("two interrupts did not become one")
	case <-time.After(5 * time.Millisecond):
	}
	runtime.RaiseIRQ(5) // while it waits
	<-c
	runtime.RaiseIRQ(5)
	<-c
	runtime.RaiseIRQ(-1)
	runtime.RaiseIRQ(1 << 20)
	return nil
}

func idleInterrupt() error {
	calls := 0
	var until int64
	goos.Idle = func(u int64) {
		if calls++; calls == 3 {
			until = u
			runtime.RaiseIRQ(33)
		}
	}
	defer func() { goos.Idle = nil }()
	t := time.AfterFunc(time.Hour, func() {})
	want := runtime.Nanotime() + int64(time.Hour)
	runtime.WaitIRQ(33)
	t.Stop()
	if calls < 3 {
		return fmt.Errorf("%d calls of the idle hook", calls)
	}
	if until < want-int64(time.Second) || until > want {
		return fmt.Errorf("idle until %d, want about %d", until, want)
	}
	return nil
}

func scheduler() error {
	time.Sleep(time.Millisecond)
	if n := runtime.NextTimer(); n != -1 {
		return fmt.Errorf("NextTimer is %d with no timer", n)
	}
	want := runtime.Nanotime() + int64(time.Second)
	t := time.AfterFunc(time.Second, func() {})
	if n := runtime.NextTimer(); n < want || n > want+int64(20*time.Millisecond) {
		return fmt.Errorf("NextTimer is %d, want %d", n, want)
	}
	t.Stop()
	if k := runtime.Waits(); k != 0 {
		return fmt.Errorf("Waits is %#x with nobody there", k)
	}
	ran := false
	go func() { ran = true }()
	if k := runtime.Waits(); k != runtime.WaitsWoken {
		return fmt.Errorf("Waits is %#x after a go statement", k)
	}
	runtime.Gosched()
	if !ran {
		return errors.New("Gosched did not run it")
	}
	return nil
}

func clock() error {
	a := runtime.Nanotime()
	for _, hz := range []uint64{62_500_000, 3_999_999_999, 24_000_000, 1_000_000_000} {
		runtime.SetClock(hz)
		b := runtime.Nanotime()
		if b < a || b > a+int64(50*time.Millisecond) {
			return fmt.Errorf("SetClock(%d) moved time from %d to %d", hz, a, b)
		}
		a = b
	}
	runtime.SetClock(clockHz)
	return nil
}

func ticks() error {
	now := runtime.Nanotime()
	a, b := runtime.TicksAt(now+1e6), runtime.TicksAt(now+2e6)
	if a >= b {
		return fmt.Errorf("ticks %d at 1 ms, %d at 2 ms", a, b)
	}
	c := runtime.TicksAt(now + 1001e6)
	if hz := float64(c - a); hz < float64(clockHz)*0.999999 || hz > float64(clockHz)*1.000001 {
		return fmt.Errorf("%v ticks a second, want %d", hz, clockHz)
	}
	if runtime.TicksAt(1<<63-1) < c {
		return errors.New("the far future is before the next second")
	}
	return nil
}

func wall() error {
	want := time.Date(2025, 5, 3, 12, 0, 0, 0, time.UTC)
	runtime.SetWallTime(want.UnixNano())
	if d := time.Now().Sub(want); d < 0 || d > time.Second {
		return fmt.Errorf("time.Now is %v", time.Now())
	}
	return nil
}

func syscalls() error {
	if n, err := os.Stdout.WriteString("# standard output\n"); n != 18 || err != nil {
		return fmt.Errorf("write: %d, %v", n, err)
	}
	if _, err := os.Open("/etc/passwd"); !errors.Is(err, syscall.ENOSYS) {
		return fmt.Errorf("open: %v", err)
	}
	if _, err := syscall.Write(7, []byte("x")); err != syscall.EBADF {
		return fmt.Errorf("write to 7: %v", err)
	}
	return nil
}

func random() error {
	var a, b [32]byte
	unix.Getrandom(a[:], 0)
	unix.Getrandom(b[:], 0)
	if a == b || a == [32]byte{} {
		return fmt.Errorf("%x %x", a, b)
	}
	called := false
	goos.RandomData = func(b []byte) {
		called = true
		for i := range b {
			b[i] = byte(i)
		}
	}
	defer func() { goos.RandomData = nil }()
	runtime.Reseed()
	unix.Getrandom(a[:], 0)
	if !called {
		return errors.New("hook not called")
	}
	return nil
}

func recovered() (err error) {
	defer func() {
		if r := recover(); r == nil || !strings.Contains(fmt.Sprint(r), "index out of range") {
			err = fmt.Errorf("recovered %v", r)
		}
	}()
	var s []int
	_ = s[len(os.Args)+3]
	return nil
}

func heap() error {
	before := runtime.Heap()
	keep := make([]byte, 2<<20)
	after := runtime.Heap()
	runtime.KeepAlive(keep)
	if after.Free+2<<20 > before.Free {
		return fmt.Errorf("before 2 MB %+v, after %+v", before, after)
	}
	if runtime.NumCPU() != 1 || runtime.GOMAXPROCS(0) != 1 {
		return fmt.Errorf("%d CPUs, GOMAXPROCS %d", runtime.NumCPU(), runtime.GOMAXPROCS(0))
	}
	if after.Taken > after.Limit-after.Base {
		return fmt.Errorf("%+v", after)
	}
	debug.FreeOSMemory()
	return nil
}

// growHeap: the entry code maps whole 2 MB blocks, so there is memory up to the next
// boundary.
func growHeap() error {
	h := runtime.Heap()
	limit := (h.Limit + 2<<20 - 1) &^ (2<<20 - 1)
	runtime.GrowHeap(limit + 100)
	if got := runtime.Heap().Limit; got != limit {
		return fmt.Errorf("limit is %#x after GrowHeap(%#x)", got, limit+100)
	}
	if got, want := debug.SetMemoryLimit(-1), int64(limit-h.Base)/4*3; got != want {
		return fmt.Errorf("memory limit is %d, want %d", got, want)
	}
	text, etext, rodata, erodata, data, end := runtime.Sections()
	if !(text < etext && etext <= rodata && rodata < erodata && erodata <= data && data < end && end <= h.Base) {
		return fmt.Errorf("sections %#x %#x %#x %#x %#x %#x, heap %#x", text, etext, rodata, erodata, data, end, h.Base)
	}
	return nil
}

var sink [][]byte

func fill() {
	for {
		sink = append(sink, make([]byte, 64<<10))
	}
}

// prepareHeap: prepared memory takes no time later, and is zero, even where the heap has
// been before.
func prepareHeap() error {
	runtime.PrepareHeap(6 << 20)
	t0 := runtime.Nanotime()
	runtime.PrepareHeap(6 << 20)
	if d := runtime.Nanotime() - t0; d > 10_000 {
		return fmt.Errorf("nothing to prepare took %d ns", d)
	}
	defer func() { sink = nil }()
	for taken := runtime.Heap().Taken; runtime.Heap().Taken == taken && len(sink) < 16; {
		b := make([]byte, 1<<20)
		for i, x := range b {
			if x != 0 {
				return fmt.Errorf("byte %d of fresh memory is %#x", i, x)
			}
			b[i] = 1
		}
		sink = append(sink, b)
	}
	return nil
}

var last []byte // kept from the compiler

func waitIdle() error {
	ran := 0
	go func() {
		for range 2 {
			runtime.WaitIdle(1<<20, int64(5*time.Millisecond))
			ran++
			runtime.GC()
		}
	}()
	garbage := func() {
		for range 32 {
			last = make([]byte, 64<<10)
		}
	}
	want := func(n int, when string) error {
		if ran != n {
			return fmt.Errorf("WaitIdle has returned %d times, want %d: %s", ran, n, when)
		}
		return nil
	}
	runtime.GC()
	time.Sleep(20 * time.Millisecond)
	err := want(0, "nothing allocated")
	garbage()
	for range 1000 {
		runtime.Gosched()
	}
	err = errors.Join(err, want(0, "never idle"))
	t := time.NewTicker(2 * time.Millisecond)
	for range 10 {
		<-t.C
	}
	t.Stop()
	err = errors.Join(err, want(0, "a timer was always near"))
	time.Sleep(20 * time.Millisecond)
	err = errors.Join(err, want(1, "idle"))
	garbage()
	time.Sleep(20 * time.Millisecond)
	return errors.Join(err, want(2, "idle again"))
}
