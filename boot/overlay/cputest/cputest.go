//go:build tamago

// Package cputest tries what the runtime port promises where it runs on several CPUs. The kernel
// of ../selftest runs the tests, and so do the self-tests of Grim itself, on machines of both
// architectures.
package cputest

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Test is one test. Several CPUs must run, and nothing else may happen meanwhile.
type Test struct {
	Name string
	Run  func() error
}

// Wakes is how many interrupts CPUs have sent each other to wake up. It is set by the kernel that
// runs the tests.
var Wakes func() int64

// Parallel says that the CPUs run at the same time, and not in turn.
var Parallel bool

// Tests in the order in which they run.
var Tests = []Test{
	{"a wake-up at every moment of the way to sleep", parkRace},
	{"a moved timer wakes the CPU that has it", movedTimer},
	{"one interrupt wakes an idle CPU", oneInterrupt},
	{"goroutines stay on the CPUs that they are bound to", bound},
	{"real-time goroutines go first", realTime},
	{"a request to yield that is taken back in user mode", takenBack},
	{"stacks grow and finalizers run while all CPUs collect", collect},
}

// on has the calling goroutine go on with one CPU.
func on(cpu int) { runtime.SetPlace(runtime.MakePlace(1<<cpu, 0, false, false)) }

// anywhere ends that.
func anywhere() { runtime.SetPlace(0) }

// until waits for a condition, with the CPU, and reports whether it has come true in time.
func until(cond func() bool) bool {
	end := runtime.Nanotime() + 5e9
	for n := 1; !cond(); n++ {
		if runtime.Nanotime() > end {
			return false
		}
		if runtime.Pause(); n%64 == 0 {
			runtime.Gosched() // a collection may wait for this goroutine
		}
	}
	return true
}

// parkRace: a goroutine on another CPU is woken at each moment of its way to sleep. Where an
// emulator runs the CPUs in turn, it does not switch there.
// Broken by (with the CPUs in parallel): parkerSleep that stores its word without comparing.
func parkRace() error {
	defer anywhere()
	on(0)
	var p runtime.Parker
	var woken atomic.Int64
	var stop atomic.Bool
	ended := make(chan bool)
	go func() {
		defer anywhere()
		on(1)
		for !stop.Load() {
			p.Park()
			woken.Add(1)
		}
		close(ended)
	}()
	rounds := int64(20)
	if Parallel {
		rounds = 3000
	}
	begin := runtime.Nanotime()
	for n := range rounds {
		if runtime.Nanotime()-begin > 3e8 {
			break // a busy host
		}
		p.Unpark()
		if !until(func() bool { return woken.Load() > n }) {
			return fmt.Errorf("wake-up %d is lost", n)
		}
		for range n % 61 * 4 {
			stop.Load() // some instructions
		}
	}
	stop.Store(true)
	p.Unpark()
	<-ended
	return nil
}

// movedTimer: the timer is in the heap of a CPU that sleeps, and so does the caller's.
// Broken by (with the CPUs in parallel): timerMoved that wakes nobody.
func movedTimer() error {
	defer anywhere()
	on(0)
	for n := range 2 * (runtime.NumCPU() - 1) {
		fired := make(chan bool, 1)
		made := make(chan *time.Timer)
		go func() {
			defer anywhere()
			on(1 + n/2)
			made <- time.AfterFunc(time.Hour, func() { fired <- true })
		}()
		t := <-made
		over := waitFor(fired, 10*time.Second)
		time.Sleep(time.Millisecond) // now all CPUs sleep
		begin := time.Now()
		t.Reset(10 * time.Millisecond) // a CPU that looks for work meanwhile does not find it due
		<-over
		if late := time.Since(begin); late > 5*time.Second { // the host may be busy
			return fmt.Errorf("it came after %v", late)
		}
	}
	return nil
}

// waitFor is c, or a channel that gives a value when the time is over.
func waitFor(c chan bool, d time.Duration) chan bool {
	out := make(chan bool, 1)
	go func() {
		select {
		case <-c:
		case <-time.After(d):
		}
		out <- true
	}()
	return out
}

// oneInterrupt: to wake a goroutine of an idle CPU takes one interrupt, and none if the CPU runs.
// Broken by (with the CPUs in parallel): kick that sends one of its own besides startm's.
func oneInterrupt() error {
	defer anywhere()
	on(0)
	var p runtime.Parker
	var woken atomic.Int64
	var stop atomic.Bool
	ended := make(chan bool)
	go func() {
		defer anywhere()
		on(1)
		for !stop.Load() {
			p.Park()
			woken.Add(1)
		}
		close(ended)
	}()
	time.Sleep(2 * time.Millisecond)
	const rounds = 20
	before := Wakes()
	for n := range int64(rounds) {
		for end := runtime.Nanotime() + 300_000; runtime.Nanotime() < end; { // it goes to sleep
			runtime.Pause()
		}
		p.Unpark()
		if !until(func() bool { return woken.Load() > n }) {
			return fmt.Errorf("wake-up %d is lost", n)
		}
	}
	sent := Wakes() - before
	stop.Store(true)
	p.Unpark()
	<-ended
	if sent > rounds*3/2 { // timers and the kernel's own goroutines may wake others
		return fmt.Errorf("%d interrupts for %d wake-ups of an idle CPU", sent, rounds)
	}
	return nil
}

// bound: goroutines change the CPUs that they may use all the time, sleep, wake each other and
// give way, and never find themselves on another.
// Broken by: stealReady that takes whatever it finds.
func bound() error {
	var wg sync.WaitGroup
	var bad atomic.Int64
	n := runtime.NumCPU()
	for i := range 4 * n {
		wg.Add(1)
		go func() {
			defer wg.Done()
			defer anywhere()
			for j := range 60 {
				cpus := uint64(i*7+j*13)%(1<<n-1) + 1
				runtime.SetPlace(runtime.MakePlace(cpus, 0, false, j%5 == 4))
				for k := range 4 {
					runtime.Pin()
					if cpus>>runtime.ThisCPU()&1 == 0 {
						bad.Add(1)
					}
					runtime.Unpin()
					switch k {
					case 0:
						runtime.Gosched()
					case 1:
						time.Sleep(time.Duration(j%7) * 10 * time.Microsecond)
					case 2:
						runtime.YieldAll()
					}
				}
			}
		}()
	}
	wg.Wait()
	if bad.Load() != 0 {
		return fmt.Errorf("%d times on another CPU", bad.Load())
	}
	return nil
}

// realTime: of the goroutines that are ready on a CPU, those of higher priority run first, whenever
// they have become ready.
// Broken by: putSpecial that takes no notice of the priority.
func realTime() error {
	defer anywhere()
	on(1)
	var mu sync.Mutex
	var order []int
	var wg sync.WaitGroup
	var parkers [5]runtime.Parker
	var ready atomic.Int64
	for _, prio := range []int{0, 10, 30, 20, 0} {
		i := int(ready.Load())
		wg.Add(1)
		go func() {
			defer wg.Done()
			defer anywhere()
			runtime.SetPlace(runtime.MakePlace(1<<1, prio, true, false))
			ready.Add(1)
			parkers[i].Park()
			mu.Lock()
			order = append(order, prio)
			mu.Unlock()
		}()
		for int(ready.Load()) == i {
			time.Sleep(50 * time.Microsecond)
		}
	}
	time.Sleep(time.Millisecond)
	for i := range parkers {
		parkers[i].Unpark()
	}
	wg.Wait()
	if fmt.Sprint(order) != "[30 20 10 0 0]" {
		return fmt.Errorf("they ran in the order %v", order)
	}
	return nil
}

// raiseBound sets the goroutine's stack bound to the top of its stack, as a request to yield does:
// the next function that looks at the bound finds no room. Unlike the value of a request, this one
// is none any more when newstack reads the bound, as if the collector had taken the request back in
// between (suspendG).
//
//go:nosplit
func raiseBound()

// takenBack: a request to yield that comes between EnterUser and LeaveUser, and is taken back before
// newstack reads it, does not make the stack grow. Its growth would wait for a goroutine that runs,
// which in user mode this one is not.
// Broken by (it hangs): newstack without the edit that looks at syscallsp.
func takenBack() error {
	for range 10 {
		runtime.Pin()
		for !runtime.EnterUser() {
			runtime.Rejoin()
			runtime.Pin()
		}
		raiseBound()
		sum := withFrame(1)
		if runtime.LeaveUser() {
			runtime.Unpin()
		} else {
			runtime.Rejoin()
		}
		if sum != 64 {
			return fmt.Errorf("a function in user mode gave %d", sum)
		}
	}
	return nil
}

// withFrame is a function that looks at the stack bound.
//
//go:noinline
func withFrame(v int) (sum int) {
	var room [64]int
	for i := range room {
		room[i] = v
	}
	for i := range room {
		sum += room[(i*7+v)%64]
	}
	return sum
}

type link struct {
	next *link
	data [6]uint64
}

// collect: all CPUs allocate, and grow stacks, while collections run; what is reachable stays,
// and what is not has its finalizer run.
func collect() error {
	var wg sync.WaitGroup
	var finalized atomic.Int64
	var bad atomic.Int64
	n := 2 * runtime.NumCPU()
	const rounds = 12
	for range n {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for r := range rounds {
				var list *link
				for i := range 200 {
					list = &link{next: list}
					list.data[0] = uint64(i)
				}
				runtime.SetFinalizer(list, func(*link) { finalized.Add(1) })
				if deep(200+r*20, list) != list {
					bad.Add(1)
				}
				i := uint64(199)
				for l := list; l != nil; l, i = l.next, i-1 {
					if l.data[0] != i {
						bad.Add(1)
					}
				}
				runtime.Gosched()
			}
		}()
	}
	for range 4 {
		runtime.GC()
	}
	wg.Wait()
	if bad.Load() != 0 {
		return fmt.Errorf("%d damaged lists", bad.Load())
	}
	for range 100 {
		if runtime.GC(); finalized.Load() >= int64(n*rounds)*9/10 {
			return nil
		}
		time.Sleep(time.Millisecond)
	}
	return errors.New("finalizers have not run")
}

// deep uses stack, with a pointer in each frame.
//
//go:noinline
func deep(n int, l *link) *link {
	var room [16]*link
	room[n%16] = l
	if n == 0 {
		return room[0]
	}
	got := deep(n-1, l)
	if room[n%16] != got {
		return nil
	}
	return got
}
