package proc

import (
	"math/rand"
	"sync"
	"syscall"
	"testing"
)

// The table is compared with a simple model: no number is handed out while it has a use,
// every number is found, and none is refused that could be handed out.
func TestPIDTable(t *testing.T) {
	const limit = 700 // more than a chunk, not a multiple of 64
	var pt pidTable
	pt.init(limit)
	uses := map[int]int{}
	rnd := rand.New(rand.NewSource(1))
	if n, err := pt.alloc(true); n != 1 || err != nil {
		t.Fatalf("init: %d, %v", n, err)
	}
	if _, err := pt.alloc(true); err != syscall.EEXIST {
		t.Fatalf("second init: %v", err)
	}
	uses[1] = 1
	full := 0
	for step := range 200_000 {
		// Phases that grow and shrink, so that the table is full now and then.
		if grow := step/3000%2 == 0; rnd.Intn(10) < 7 == grow {
			n, err := pt.alloc(false)
			switch {
			case err != nil && len(uses) != limit-1:
				t.Fatalf("refused with %d of %d in use", len(uses), limit-1)
			case err != nil:
				full++
			case uses[n] != 0 || n < 2 || n >= limit:
				t.Fatalf("handed out %d, which has %d uses", n, uses[n])
			default:
				uses[n] = 1
			}
			continue
		}
		for n := range uses { // any
			if n == 1 {
				continue
			}
			if rnd.Intn(4) == 0 {
				pt.use(n)
				uses[n]++
				break
			}
			pt.release(n)
			if uses[n]--; uses[n] == 0 {
				delete(uses, n)
			}
			break
		}
		if pt.used() != len(uses) {
			t.Fatalf("%d in use, want %d", pt.used(), len(uses))
		}
	}
	if full == 0 {
		t.Error("the table was never full")
	}
	for _, n := range []int{-1, 0, limit, limit + 1000, 1 << 40} {
		if pt.process(n) != nil || pt.thread(n) != nil || pt.group(n) != nil {
			t.Errorf("found something under %d", n)
		}
	}
}

// Numbers are not reused soon, and not at all while a group or session has them: with 12
// numbers, a group keeps its number long after its leader is gone. It fails if newGroup
// does not take a use of the number.
func TestPIDReuse(t *testing.T) {
	m := newMachine(t, 2048, func(c *Config) { c.PIDMax = 14 })
	m.run(0, func(u *user) {
		gate := make(chan struct{})
		// A leader makes a group and a member, and exits.
		leader := u.Fork(func(c *user) {
			c.must(func(t *Thread) (uint64, error) { return 0, t.Setpgid(0, 0) })
			c.Fork(func(c *user) {
				c.Sys(func(t *Thread) (uint64, error) { return 0, t.Sleep(gate, Forever) })
			})
			c.ExitGroup(0)
		})
		u.Wait(leader)
		seen := map[int]int{}
		for range 100 {
			pid := u.Fork(func(c *user) { c.ExitGroup(0) })
			seen[pid]++
			u.Wait(pid)
		}
		if seen[leader] != 0 {
			t.Errorf("pid %d was handed out %d times while a group had it", leader, seen[leader])
		}
		// 14 minus 0 and init's number, this process's, the leader's and the member's.
		if len(seen) != 14-5 {
			t.Errorf("%d different pids, want 9: %v", len(seen), seen)
		}
		close(gate)
	})
	eventually(t, "the member ends", func() bool { return m.k.Counts().Processes == 0 })

	// There are no numbers left: EAGAIN for processes and threads, and nothing is lost.
	m.run(0, func(u *user) {
		n := 0
		for {
			_, err := u.Clone(ForkArgs{ExitSignal: syscall.SIGCHLD}, func(c *user) { c.ExitGroup(0) })
			if err == syscall.EAGAIN {
				break
			}
			n++
		}
		if _, err := u.Clone(ForkArgs{Flags: threadFlags}, func(c *user) {}); err != syscall.EAGAIN {
			t.Errorf("thread: %v, want EAGAIN", err)
		}
		if n != 11 {
			t.Errorf("%d children, want 11", n)
		}
		for range n {
			u.Wait(-1)
		}
		u.ExitGroup(0)
	})
}

func TestPIDTableParallel(t *testing.T) {
	var pt pidTable
	pt.init(200)
	var owned [200]sync.Mutex
	var wg sync.WaitGroup
	for range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for range 3000 {
				n, err := pt.alloc(false)
				if err != nil {
					continue
				}
				if !owned[n].TryLock() {
					t.Errorf("%d handed out twice", n)
					return
				}
				owned[n].Unlock()
				pt.release(n)
			}
		}()
	}
	wg.Wait()
}
