package fs

import (
	"encoding/binary"
	"math"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

func word(v uint64) []byte { return binary.LittleEndian.AppendUint64(nil, v) }

func TestPoll(t *testing.T) { inBubble(t, testPoll) }

func testPoll(t *testing.T, w *world) {
	r, wr, err := w.Pipe(w.task, 0)
	must(t, err)
	defer wr.Release()
	defer r.Release()
	null := w.open("/dev/null", unix.O_RDWR)
	defer null.Release()
	fds := []PollFD{{File: r, Events: EPOLLIN}, {}, {File: wr, Events: EPOLLIN}}
	if n, err := Poll(w.task, PollFDs{fds}, 0); n != 0 || err != nil {
		t.Errorf("nothing ready: %d, %v", n, err)
	}
	start := time.Now()
	if n, err := Poll(w.task, PollFDs{fds}, w.task.now()+20e6); n != 0 || err != nil || time.Since(start) != 20e6 {
		t.Errorf("timeout: %d, %v after %v", n, err, time.Since(start))
	}
	w.task.interrupt <- struct{}{}
	_, err = Poll(w.task, PollFDs{fds}, Never)
	want(t, "interrupted", err, syscall.EINTR)
	time.AfterFunc(time.Millisecond, func() { wr.Write(newTask(), []byte("x")) })
	if n, err := Poll(w.task, PollFDs{fds}, Never); n != 1 || err != nil || fds[0].Revents != EPOLLIN {
		t.Errorf("woken: %d, %v, %+v", n, err, fds)
	}
	fds = append(fds, PollFD{File: null, Events: EPOLLIN | EPOLLOUT})
	if n, err := Poll(w.task, PollFDs{fds}, Never); n != 2 || err != nil || fds[3].Revents != EPOLLIN|EPOLLOUT {
		t.Errorf("with a file that is always ready: %d, %v", n, err)
	}
	if q := r.h.queue(); q.head != nil {
		t.Error("a waiter was left behind")
	}
}

// collectAll is EpollWait without waiting.
func collectAll(t *testing.T, ep *File) map[uint64]uint32 {
	t.Helper()
	evs := make([]EpollEvent, 8)
	n, err := ep.EpollWait(nil, evs, 0)
	must(t, err)
	got := map[uint64]uint32{}
	for _, e := range evs[:n] {
		got[e.Data] = e.Events
	}
	return got
}

func TestEpollModes(t *testing.T) {
	w := newWorld(t)
	ep := sure(w.Epoll(w.task))
	defer ep.Release()
	r, wr, err := w.Pipe(w.task, 0)
	must(t, err)
	defer wr.Release()
	defer r.Release()
	const level, edge, shot = 1, 2, 3
	must(t, ep.EpollCtl(unix.EPOLL_CTL_ADD, level, r, EpollEvent{EPOLLIN, level}))
	must(t, ep.EpollCtl(unix.EPOLL_CTL_ADD, edge, r, EpollEvent{EPOLLIN | unix.EPOLLET, edge}))
	must(t, ep.EpollCtl(unix.EPOLL_CTL_ADD, shot, r, EpollEvent{EPOLLIN | unix.EPOLLONESHOT, shot}))
	check := func(what string, keys ...uint64) {
		t.Helper()
		got := collectAll(t, ep)
		ok := len(got) == len(keys)
		for _, k := range keys {
			ok = ok && got[k] == EPOLLIN
		}
		if !ok {
			t.Errorf("%s: %v, want %v", what, got, keys)
		}
	}
	buf := make([]byte, 1)
	check("before")
	wr.Write(nil, buf)
	check("first write", level, edge, shot)
	check("again", level)
	wr.Write(nil, buf)
	check("second write", level, edge)
	must(t, ep.EpollCtl(unix.EPOLL_CTL_MOD, shot, r, EpollEvent{EPOLLIN | unix.EPOLLONESHOT, shot}))
	check("armed again", level, shot)
	r.Read(nil, buf)
	r.Read(nil, buf)
	check("empty")
	wr.Write(nil, buf)
	must(t, ep.EpollCtl(unix.EPOLL_CTL_DEL, edge, r, EpollEvent{}))
	check("after delete", level)
	want(t, "delete twice", ep.EpollCtl(unix.EPOLL_CTL_DEL, edge, r, EpollEvent{}), syscall.ENOENT)
	want(t, "add twice", ep.EpollCtl(unix.EPOLL_CTL_ADD, level, r, EpollEvent{}), syscall.EEXIST)
	want(t, "unknown operation", ep.EpollCtl(9, level, r, EpollEvent{}), syscall.EINVAL)
	want(t, "itself", ep.EpollCtl(unix.EPOLL_CTL_ADD, 9, ep, EpollEvent{}), syscall.EINVAL)
	want(t, "no epoll", r.EpollCtl(unix.EPOLL_CTL_ADD, 9, wr, EpollEvent{}), syscall.EINVAL)
	_, err = ep.EpollWait(nil, nil, 0)
	want(t, "no room", err, syscall.EINVAL)
	w.put("/f", "")
	f := w.open("/f", unix.O_RDONLY)
	want(t, "a regular file", ep.EpollCtl(unix.EPOLL_CTL_ADD, 9, f, EpollEvent{}), syscall.EPERM)
	f.Release()
}

// A closed file leaves its epoll instances, and a closed instance leaves its files.
func TestEpollClose(t *testing.T) {
	w := newWorld(t)
	ep := sure(w.Epoll(w.task))
	r, wr, err := w.Pipe(w.task, 0)
	must(t, err)
	must(t, ep.EpollCtl(unix.EPOLL_CTL_ADD, 1, r, EpollEvent{EPOLLIN, 1}))
	must(t, ep.EpollCtl(unix.EPOLL_CTL_ADD, 2, wr, EpollEvent{EPOLLOUT, 2}))
	wr.Release()
	if got := collectAll(t, ep); len(got) != 1 || got[1] != EPOLLHUP {
		t.Errorf("after the writer's close: %v", got)
	}
	ep.Release()
	if r.watch != nil || r.h.queue().head != nil {
		t.Error("the closed instance still watches")
	}
	r.Release()
}

func TestEpollNested(t *testing.T) { inBubble(t, testEpollNested) }

func testEpollNested(t *testing.T, w *world) {
	e, err := w.Eventfd(w.task, 0, 0)
	must(t, err)
	defer e.Release()
	var eps []*File
	for i := range maxNest {
		ep := sure(w.Epoll(w.task))
		defer ep.Release()
		inner := e
		if i > 0 {
			inner = eps[i-1]
		}
		must(t, ep.EpollCtl(unix.EPOLL_CTL_ADD, 1, inner, EpollEvent{EPOLLIN, uint64(i)}))
		eps = append(eps, ep)
	}
	outer, top := eps[maxNest-1], sure(w.Epoll(w.task))
	defer top.Release()
	want(t, "too deep", top.EpollCtl(unix.EPOLL_CTL_ADD, 1, outer, EpollEvent{EPOLLIN, 9}), syscall.ELOOP)
	want(t, "a cycle", eps[0].EpollCtl(unix.EPOLL_CTL_ADD, 2, eps[1], EpollEvent{EPOLLIN, 9}), syscall.ELOOP)
	if got := collectAll(t, outer); len(got) != 0 {
		t.Errorf("ready without a reason: %v", got)
	}
	time.AfterFunc(time.Millisecond, func() { e.Write(newTask(), word(1)) })
	evs := make([]EpollEvent, 1)
	if n, err := outer.EpollWait(w.task, evs, Never); n != 1 || err != nil || evs[0].Data != maxNest-1 {
		t.Errorf("woken through %d instances: %d, %v, %v", maxNest, n, err, evs)
	}
	e.Read(w.task, make([]byte, 8))
	if got := collectAll(t, outer); len(got) != 0 {
		t.Errorf("still ready: %v", got)
	}
}

// lateHandle becomes ready just after it was asked, as a file does when a thread writes to
// it at that moment.
type lateHandle struct {
	unreadable
	q     WaitQueue
	asked int
	late  int // the number of that question
}

func (h *lateHandle) queue() *WaitQueue { return &h.q }

func (h *lateHandle) ready() uint32 {
	h.asked++
	switch {
	case h.asked < h.late:
		return 0
	case h.asked == h.late:
		h.q.Wake(EPOLLIN)
		return 0
	}
	return EPOLLIN
}

// No wake-up is lost, at whatever moment between the look and the wait it comes. The test
// fails if collect takes an item off the list after the look (tried), if await or Poll look
// before they queue (tried), and if arm runs before add.
func TestWakeDuringLook(t *testing.T) { inBubble(t, testWakeDuringLook) }

func testWakeDuringLook(t *testing.T, w *world) {
	for late := 1; late <= 2; late++ {
		for _, mode := range []uint32{EPOLLIN, EPOLLIN | unix.EPOLLET} {
			f := sure(w.anonFile(w.task, "late", &lateHandle{late: late}, "late", unix.O_RDWR))
			ep := sure(w.Epoll(w.task))
			must(t, ep.EpollCtl(unix.EPOLL_CTL_ADD, 1, f, EpollEvent{mode, 1}))
			if late > 1 {
				f.h.queue().Wake(EPOLLIN) // lists it, although it is not ready yet
			}
			evs := make([]EpollEvent, 1)
			if n, err := ep.EpollWait(w.task, evs, w.task.now()+5e9); n != 1 || err != nil {
				t.Errorf("late at %d, mode %#x: epoll: %d, %v", late, mode, n, err)
			}
			ep.Release()
			f.Release()
		}
		h := &lateHandle{late: late}
		f := sure(w.anonFile(w.task, "late", h, "late", unix.O_RDWR))
		if n, err := Poll(w.task, PollFDs{[]PollFD{{File: f, Events: EPOLLIN}}}, w.task.now()+5e9); n != 1 || err != nil {
			t.Errorf("late at %d: poll: %d, %v", late, n, err)
		}
		f.Release()
	}
	h := &lateHandle{} // ready since the caller has looked
	if err := await(w.task, h, EPOLLIN, w.task.now()+1e8); err != nil {
		t.Errorf("await: %v", err)
	}
}

// Many producers write, several threads wait on one edge-triggered epoll, and items are
// added and removed all the time. Every token written is consumed, so no wake-up is lost.
func TestEpollStress(t *testing.T) { inBubble(t, testEpollStress) }

func testEpollStress(t *testing.T, w *world) {
	ep := sure(w.Epoll(w.task))
	const files, tokens, waiters = 6, 400, 3
	var sum atomic.Int64
	fds := make([]*File, files)
	for i := range fds {
		e, err := w.Eventfd(w.task, 0, unix.EFD_NONBLOCK)
		must(t, err)
		fds[i] = e
		mode := uint32(EPOLLIN)
		if i%2 == 0 {
			mode |= unix.EPOLLET
		}
		must(t, ep.EpollCtl(unix.EPOLL_CTL_ADD, i, e, EpollEvent{mode, uint64(i)}))
	}
	var wg sync.WaitGroup
	for range waiters {
		wg.Add(1)
		go func() {
			defer wg.Done()
			task, evs, buf := newTask(), make([]EpollEvent, 2), make([]byte, 8)
			for sum.Load() < files*tokens {
				n, err := ep.EpollWait(task, evs, task.now()+50e6)
				if err != nil {
					t.Error(err)
				}
				for _, e := range evs[:n] {
					if k, err := fds[e.Data].Read(task, buf); err == nil && k == 8 {
						sum.Add(int64(binary.LittleEndian.Uint64(buf)))
					}
				}
			}
		}()
	}
	for i := range fds {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for range tokens {
				fds[i].Write(newTask(), word(1))
			}
		}()
	}
	wg.Add(1)
	go func() {
		defer wg.Done()
		for i := range 200 {
			r, wr, err := w.Pipe(w.task, 0)
			if err != nil {
				t.Error(err)
				return
			}
			ep.EpollCtl(unix.EPOLL_CTL_ADD, 100, r, EpollEvent{unix.EPOLLET, 0}) // ERR and HUP only
			if i%2 == 0 {
				ep.EpollCtl(unix.EPOLL_CTL_DEL, 100, r, EpollEvent{})
			}
			go r.Release()
			wr.Release()
		}
	}()
	wg.Wait()
	ep.Release()
	for _, f := range fds {
		f.Release()
	}
	synctest.Wait() // for the pipes that are closed in the background
}

func TestEventfd(t *testing.T) { inBubble(t, testEventfd) }

func testEventfd(t *testing.T, w *world) {
	e, err := w.Eventfd(w.task, 3, unix.EFD_NONBLOCK|unix.EFD_SEMAPHORE)
	must(t, err)
	defer e.Release()
	buf := make([]byte, 8)
	for range 3 {
		if n, err := e.Read(w.task, buf); n != 8 || err != nil || binary.LittleEndian.Uint64(buf) != 1 {
			t.Errorf("semaphore read: %d, %v, %v", n, err, buf)
		}
	}
	_, err = e.Read(w.task, buf)
	want(t, "read at 0", err, syscall.EAGAIN)
	_, err = e.Write(w.task, word(math.MaxUint64))
	want(t, "write of 2^64-1", err, syscall.EINVAL)
	_, err = e.Write(w.task, word(math.MaxUint64-1))
	want(t, "write of 2^64-2", err, nil)
	_, err = e.Write(w.task, word(1))
	want(t, "write beyond", err, syscall.EAGAIN)
	_, err = e.Write(w.task, buf[:7])
	want(t, "short write", err, syscall.EINVAL)
	_, err = w.Eventfd(w.task, 0, 0x10)
	want(t, "unknown flag", err, syscall.EINVAL)

	b, err := w.Eventfd(w.task, 0, 0)
	must(t, err)
	defer b.Release()
	b.Write(w.task, word(math.MaxUint64-1))
	go b.Write(newTask(), word(5)) // blocks until the read
	b.Read(w.task, buf)
	if n, err := b.Read(w.task, buf); n != 8 || err != nil || binary.LittleEndian.Uint64(buf) != 5 {
		t.Errorf("after a blocked write: %d, %v, %v", n, err, buf)
	}
}

func TestTimerfd(t *testing.T) { inBubble(t, testTimerfd) }

func testTimerfd(t *testing.T, w *world) {
	f, err := w.Timerfd(w.task, unix.CLOCK_MONOTONIC, 0)
	must(t, err)
	defer f.Release()
	buf, total, start := make([]byte, 8), uint64(0), time.Now()
	_, _, err = f.TimerfdSet(5e6, 2e6, false)
	must(t, err)
	for total < 10 {
		if _, err := f.Read(w.task, buf); err != nil {
			t.Fatal(err)
		}
		total += binary.LittleEndian.Uint64(buf)
	}
	if d := time.Since(start); d != 23e6 || total != 10 {
		t.Errorf("%d expirations after %v", total, d)
	}
	if value, interval, err := f.TimerfdGet(); value != 2e6 || interval != 2e6 || err != nil {
		t.Errorf("TimerfdGet: %d, %d, %v", value, interval, err)
	}
	if _, old, err := f.TimerfdSet(0, 0, false); old != 2e6 || err != nil {
		t.Errorf("disarm: %d, %v", old, err)
	}
	f.SetFlags(unix.O_NONBLOCK)
	_, err = f.Read(w.task, buf)
	want(t, "read of a disarmed timer", err, syscall.EAGAIN)
	f.TimerfdSet(1, 0, true) // a time in the past
	if n, err := Poll(w.task, PollFDs{[]PollFD{{File: f, Events: EPOLLIN}}}, Never); n != 1 || err != nil {
		t.Errorf("poll: %d, %v", n, err)
	}
	_, err = w.Timerfd(w.task, 99, 0)
	want(t, "unknown clock", err, syscall.EINVAL)
}

// A timer with an interval of a nanosecond that no thread reads expires once, and counts
// the other expirations when it is read. When it was restarted at the expiry, it expired
// without end.
func TestTimerfdStartsAgainWhenRead(t *testing.T) { inBubble(t, testTimerfdStartsAgainWhenRead) }

func testTimerfdStartsAgainWhenRead(t *testing.T, w *world) {
	f, err := w.Timerfd(w.task, unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK)
	must(t, err)
	defer f.Release()
	h := f.h.(*timerfd)
	var last uint64
	for i := range 5 {
		if i == 0 {
			_, _, err := f.TimerfdSet(1, 1, false)
			must(t, err)
		}
		n, err := Poll(w.task, PollFDs{[]PollFD{{File: f, Events: EPOLLIN}}}, Never)
		if n != 1 || err != nil {
			t.Fatalf("poll: %d, %v", n, err)
		}
		start := time.Now()
		time.Sleep(2 * time.Millisecond)
		h.mu.Lock()
		gen, count := h.gen, h.count
		h.mu.Unlock()
		if count != 1 || gen == last {
			t.Errorf("%d expirations counted, generation %d after %d", count, gen, last)
		}
		last = gen
		buf := make([]byte, 8)
		if _, err := f.Read(w.task, buf); err != nil {
			t.Fatal(err)
		}
		if n := binary.LittleEndian.Uint64(buf); n != 1+2e6 {
			t.Errorf("%d expirations in %v", n, time.Since(start))
		}
	}
	if _, _, err := f.TimerfdSet(1, Never, false); err != nil { // no overflow at the next expiry
		t.Fatal(err)
	}
	Poll(w.task, PollFDs{[]PollFD{{File: f, Events: EPOLLIN}}}, Never)
	if value, _, err := f.TimerfdGet(); value < Never/2 || err != nil {
		t.Errorf("TimerfdGet: %d, %v", value, err)
	}
}

// fakeProcess is a PidTarget.
type fakeProcess struct {
	mu     sync.Mutex
	exited bool
	fn     func()
}

func (p *fakeProcess) PID() int { return 42 }
func (p *fakeProcess) Exited() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.exited
}
func (p *fakeProcess) OnExit(fn func()) func() {
	p.tell(fn)
	return func() { p.tell(nil) }
}

func (p *fakeProcess) tell(fn func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fn = fn
}

func TestPidfd(t *testing.T) { inBubble(t, testPidfd) }

func testPidfd(t *testing.T, w *world) {
	p := &fakeProcess{}
	f := sure(w.Pidfd(w.task, p, 0))
	if f.Readiness() != 0 {
		t.Error("ready while the process lives")
	}
	time.AfterFunc(time.Millisecond, func() {
		p.mu.Lock()
		p.exited = true
		told := p.fn
		p.mu.Unlock()
		told()
	})
	if n, err := Poll(w.task, PollFDs{[]PollFD{{File: f, Events: EPOLLIN}}}, Never); n != 1 || err != nil {
		t.Errorf("poll: %d, %v", n, err)
	}
	if got, err := f.Pid(); got != PidTarget(p) || err != nil {
		t.Errorf("Pid: %v, %v", got, err)
	}
	f.Release()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fn != nil {
		t.Error("knote left behind")
	}
}
