//go:build tamago

package main

import (
	"errors"
	"fmt"
	"runtime"
	"runtime/goos"
	"sync"
	"sync/atomic"
	"time"

	"grim/boot/overlay/cputest"
)

// cpus is the number of CPUs in the mode "cpus".
const cpus = 4

// Interrupts between CPUs: a sleeping CPU looks at its word.
var (
	pending   [cpus]atomic.Bool
	wakes     atomic.Int64
	idleCalls [cpus]atomic.Int64
	// deviceIRQ is a line that the next idle CPU raises, unless it is 0.
	deviceIRQ atomic.Int32
)

func wakeCPU(cpu uint64) {
	wakes.Add(1)
	pending[cpu].Store(true)
}

func idleCPU(until int64) {
	c := runtime.ThisCPU()
	idleCalls[c].Add(1)
	for !pending[c].Swap(false) && (until < 0 || runtime.Nanotime() < until) {
		if line := deviceIRQ.Swap(0); line != 0 {
			runtime.RaiseIRQ(int(line))
			return
		}
		runtime.Pause()
	}
}

func startCPUs() {
	goos.Task, goos.Wake, goos.Idle = startCPU, wakeCPU, idleCPU
	runtime.SetCPUs(cpus)
}

var parallelTests = append([]testCase{
	{name: "all CPUs run goroutines", run: allRun},
	{name: "idle CPUs sleep", run: allSleep, judgesTime: true},
	{name: "Park and Unpark between CPUs", run: parkStorm},
	{name: "channels, mutexes, new goroutines", run: storm},
	{name: "timers of idle CPUs", run: idleTimers, judgesTime: true},
	{name: "a timer made earlier by another CPU", run: earlierTimer, judgesTime: true},
	{name: "an interrupt on an idle CPU", run: idleCPUInterrupt},
	{name: "garbage collection on all CPUs", run: parallelCollect},
	{name: "collections wait for no user mode", run: userModeRuns},
	{name: "user mode against collections", run: userModeStorm},
	{name: "1000 goroutines", run: goroutines},
	{name: "sleep is accurate", run: sleep, judgesTime: true},
	{name: "timers in order", run: timers, judgesTime: true},
	{name: "LockOSThread keeps others running", run: locked},
	{name: "recover", run: recovered},
	{name: "fault becomes a panic", run: faultRecovered},
}, shared()...)

// shared are the tests that Grim runs too.
func shared() (list []testCase) {
	cputest.Wakes = wakes.Load
	for _, c := range cputest.Tests {
		list = append(list, testCase{name: c.Name, run: c.Run})
	}
	return list
}

// allRun: as many goroutines as CPUs run at the same time.
func allRun() error {
	if runtime.NumCPU() != cpus || runtime.GOMAXPROCS(0) != cpus {
		return fmt.Errorf("%d CPUs, GOMAXPROCS %d", runtime.NumCPU(), runtime.GOMAXPROCS(0))
	}
	var here [cpus]atomic.Bool
	var met atomic.Int32
	var wg sync.WaitGroup
	for range cpus {
		wg.Add(1)
		go func() {
			defer wg.Done()
			runtime.Pin()
			here[runtime.ThisCPU()].Store(true)
			met.Add(1)
			for end := runtime.Nanotime() + 60e9; met.Load() < cpus && runtime.Nanotime() < end; {
				runtime.Pause()
			}
			runtime.Unpin()
		}()
	}
	wg.Wait()
	for i := range here {
		if !here[i].Load() {
			return fmt.Errorf("nothing ran on CPU %d", i)
		}
	}
	return nil
}

// allSleep: CPUs without work sleep, and are not woken without a reason.
func allSleep() error {
	time.Sleep(2 * time.Millisecond)
	before, wb := [cpus]int64{}, wakes.Load()
	for i := range before {
		before[i] = idleCalls[i].Load()
	}
	time.Sleep(20 * time.Millisecond)
	calls := int64(0)
	for i := range before {
		calls += idleCalls[i].Load() - before[i]
	}
	if calls > 20 || wakes.Load()-wb > 10 {
		return fmt.Errorf("%d calls of Idle and %d interrupts in a sleep", calls, wakes.Load()-wb)
	}
	return nil
}

// parkStorm: pairs of goroutines hand a count to each other; no wake-up is lost.
func parkStorm() error {
	var wg sync.WaitGroup
	for range 2 * cpus {
		var a, b runtime.Parker
		var turn atomic.Int64
		wg.Add(2)
		side := func(me int64, own, other *runtime.Parker) {
			defer wg.Done()
			for range 500 {
				for turn.Load()&1 != me {
					own.Park()
				}
				turn.Add(1)
				other.Unpark()
			}
		}
		go side(0, &a, &b)
		go side(1, &b, &a)
	}
	wg.Wait()
	return nil
}

func storm() error {
	var wg sync.WaitGroup
	var mu sync.Mutex
	total := 0
	c := make(chan int, 3)
	for range 2 * cpus {
		wg.Add(2)
		go func() {
			defer wg.Done()
			for i := range 500 {
				c <- i
			}
		}()
		go func() {
			defer wg.Done()
			for range 500 {
				v := <-c
				mu.Lock()
				total += v
				mu.Unlock()
				if v%100 == 0 {
					wg.Add(1)
					go func() { defer wg.Done(); runtime.Gosched() }()
				}
			}
		}()
	}
	wg.Wait()
	if want := 2 * cpus * 499 * 500 / 2; total != want {
		return fmt.Errorf("sum is %d, want %d", total, want)
	}
	return nil
}

// idleTimers: sleeps that begin on any CPU end in time, even if all CPUs are idle.
func idleTimers() error {
	var wg sync.WaitGroup
	var late atomic.Int64
	for i := range 8 * cpus {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for j := range 8 {
				d := time.Duration((i*7+j*13)%50+1) * 10 * time.Microsecond
				t := time.Now()
				time.Sleep(d)
				if e := time.Since(t) - d; int64(e) > late.Load() {
					late.Store(int64(e))
				}
			}
		}()
	}
	wg.Wait()
	if l := time.Duration(late.Load()); l > 3*time.Millisecond {
		return fmt.Errorf("a sleep was %v late", l)
	}
	return nil
}

// earlierTimer: the timer is in the heap of a CPU that sleeps.
func earlierTimer() error {
	for range 15 {
		fired := make(chan time.Time, 1)
		made := make(chan *time.Timer)
		go func() { made <- time.AfterFunc(time.Hour, func() { fired <- time.Now() }) }()
		t := <-made
		time.Sleep(50 * time.Microsecond)
		want := time.Now().Add(100 * time.Microsecond)
		t.Reset(100 * time.Microsecond)
		select {
		case at := <-fired:
			if l := at.Sub(want); l > 2*time.Millisecond {
				return fmt.Errorf("%v late", l)
			}
		case <-time.After(time.Second):
			return errors.New("it did not fire")
		}
	}
	return nil
}

// idleCPUInterrupt: an interrupt that a CPU without a P takes wakes the goroutine that
// waits for it.
func idleCPUInterrupt() error {
	for range 30 {
		done := make(chan bool)
		go func() { runtime.WaitIRQ(40); done <- true }()
		time.Sleep(20 * time.Microsecond)
		deviceIRQ.Store(40)
		select {
		case <-done:
		case <-time.After(time.Second):
			return errors.New("the goroutine sleeps on")
		}
	}
	return nil
}

// tree is a binary tree, for the collector.
type tree struct{ l, r *tree }

func grow(depth int) *tree {
	if depth == 0 {
		return &tree{}
	}
	return &tree{grow(depth - 1), grow(depth - 1)}
}

func (t *tree) count() int {
	if t == nil {
		return 0
	}
	return 1 + t.l.count() + t.r.count()
}

func parallelCollect() error {
	var wg sync.WaitGroup
	var bad atomic.Int64
	for range 2 * cpus {
		wg.Add(1)
		go func() {
			defer wg.Done()
			keep := grow(9)
			for range 8 {
				if grow(9).count() != 1<<10-1 || keep.count() != 1<<10-1 {
					bad.Add(1)
				}
			}
		}()
	}
	for range 5 {
		runtime.GC()
	}
	wg.Wait()
	if bad.Load() != 0 {
		return fmt.Errorf("%d trees were damaged", bad.Load())
	}
	return nil
}

// inUser runs f as user code: between EnterUser and LeaveUser.
//
//go:noinline
func inUser(end func() bool) {
	for {
		runtime.Pin()
		if runtime.EnterUser() {
			break
		}
		runtime.Rejoin()
	}
	userCode(end)
	if runtime.LeaveUser() {
		runtime.Unpin()
	} else {
		runtime.Rejoin()
	}
}

//go:nosplit
func userCode(end func() bool) {
	for !end() {
		runtime.Pause()
	}
}

// userModeRuns: the world is stopped and started, and collections end, while all other CPUs
// are in user mode. Broken by (it hangs): EnterUser without the change of status.
func userModeRuns() error {
	var stop atomic.Bool
	var inside atomic.Int32
	var wg sync.WaitGroup
	for range cpus - 1 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			keep := grow(8)
			here := false
			inUser(func() bool {
				if !here {
					here = true
					inside.Add(1)
				}
				return stop.Load()
			})
			if keep.count() != 1<<9-1 {
				panic("a tree that user mode keeps was collected")
			}
		}()
	}
	for inside.Load() < cpus-1 {
		runtime.Gosched()
	}
	before := wakes.Load()
	for range 5 {
		sink = append(sink[:0], make([]byte, 64<<10))
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	sent := wakes.Load() - before
	stop.Store(true)
	wg.Wait()
	if sent != 0 {
		return fmt.Errorf("collections have interrupted CPUs in user mode %d times", sent)
	}
	return nil
}

// userModeStorm: goroutines enter and leave user mode all the time, while the world is
// stopped again and again.
func userModeStorm() error {
	var stop atomic.Bool
	var wg sync.WaitGroup
	var bad, turns atomic.Int64
	for i := range 2 * cpus {
		wg.Add(1)
		go func() {
			defer wg.Done()
			keep := grow(4)
			for n := 0; !stop.Load(); n++ {
				k := 0
				inUser(func() bool { k++; return k > (n*7+i)%40 })
				turns.Add(1)
				if keep.count() != 1<<5-1 {
					bad.Add(1)
				}
				if n%8 == 0 {
					keep = grow(4)
				} else if n%8 == 4 {
					runtime.Gosched()
				}
			}
		}()
	}
	for range 5 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
	}
	stop.Store(true)
	wg.Wait()
	if bad.Load() != 0 || turns.Load() < 8 {
		return fmt.Errorf("%d damaged trees in %d turns", bad.Load(), turns.Load())
	}
	return nil
}
