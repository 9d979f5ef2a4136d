package selftest

import (
	"time"

	"golang.org/x/sys/unix"

	"grim/mm/vm"
	"grim/proc"
)

var turnTests = []test{
	{name: "turns/woken-waits-short", run: wokenWaits, virtual: true},
	{name: "turns/all-get-some", run: allGetSome, virtual: true},
}

// wokenWait is how long a task that is woken may have to wait while others compute. One step
// in the kernel takes up to 25 us.
const wokenWait = 60 * time.Microsecond

// wokenWaits: on every CPU, new processes compute again and again, of the usual nice value
// and of one that gives them slices of 15 ms. No task that is woken waits for the end of a
// slice, not even if it is woken just before a new process gets the CPU.
// Broken by: turnEnd that does not look at WaitsWoken.
func wokenWaits(t *T) {
	for _, nice := range []int{0, -5} {
		var child, p program
		child.repeat(1000, func() {
			for range 64 {
				child.load(dataVA)
			}
			child.handOver()
		})
		child.exit(0)
		for range 30 {
			p.fork(&child)
			p.waitAny(dataVA)
		}
		p.exitFailed()
		t.givesWay("a task that is woken", wokenWait, func() time.Duration {
			spaces := make([]*vm.VMSpace, t.Machine.CPUs())
			for i := range spaces {
				spaces[i] = t.space(&p)
				t.mapped(spaces[i], dataVA, page)
			}
			return waitsEvery(wayInterval, func() {
				var all []*proc.Process
				for _, vs := range spaces {
					all = append(all, t.startAfter(vs, func(thread *proc.Thread) {
						thread.ChangeSched(func(s *proc.Sched) { s.Nice = nice })
					}))
				}
				for _, p := range all {
					if st := p.Wait().Status; st != 0 {
						t.Errorf("the processes that compute: %s", statusText(st))
					}
				}
			}) - wayInterval
		})
	}
}

// allGetSome: two processes on one CPU wake each other all the time. A third, of nice value
// 19, computes there, and gets a part of the CPU nevertheless.
// Broken by: nextReady without lowerDue.
func allGetSome(t *T) {
	bind := func(nice int) func(*proc.Thread) {
		return func(thread *proc.Thread) {
			thread.ChangeSched(func(s *proc.Sched) { s.CPUs, s.Nice = 1, nice })
		}
	}
	// The two pass a byte around, through two pipes: descriptors 0 to 3.
	var pong, ping program
	pong.repeat(3000, func() {
		pong.call(unix.SYS_READ, 0, uint64(dataVA), 1)
		pong.call(unix.SYS_WRITE, 3, uint64(dataVA), 1)
	})
	pong.exitFailed()
	ping.call(unix.SYS_PIPE2, uint64(dataVA), 0)
	ping.call(unix.SYS_PIPE2, uint64(dataVA), 0)
	ping.fork(&pong)
	ping.repeat(3000, func() {
		ping.call(unix.SYS_WRITE, 1, uint64(dataVA), 1)
		ping.call(unix.SYS_READ, 2, uint64(dataVA), 1)
	})
	ping.waitAny(dataVA)
	ping.exitFailed()
	var hog program
	hog.spin()
	hogSpace := t.space(&hog)
	spinner := t.startAfter(hogSpace, bind(19))
	vs := t.space(&ping)
	t.mapped(vs, dataVA, page)
	begin, used := time.Now(), spinner.Usage().UserTime
	if st := t.startAfter(vs, bind(0)).Wait().Status; st != 0 {
		t.Errorf("the pair: %s", statusText(st))
	}
	took, had := time.Since(begin), time.Duration(spinner.Usage().UserTime-used)
	if share := float64(had) / float64(took); share < 0.1 || share > 0.6 {
		t.Errorf("a process that computes had %v of %v while two others woke each other", had, took)
	}
	t.check("kill", spinner.Signal(siginfo(unix.SIGKILL)))
	spinner.Wait()
}
