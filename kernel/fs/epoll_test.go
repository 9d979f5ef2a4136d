package fs

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// add adds f to ep with its index as data.
func add(t *testing.T, ep, f *File, data int, events uint32) {
	t.Helper()
	must(t, ep.EpollCtl(unix.EPOLL_CTL_ADD, data, f, EpollEvent{events, uint64(data)}))
}

// An item that was listed and reported, and is not ready any more, must not hide its next
// event. Each of these cases slept for ever when the wake-up of a listed item woke no
// thread.
func TestEpollStaleItem(t *testing.T) { inBubble(t, testEpollStaleItem) }

func testEpollStaleItem(t *testing.T, w *world) {
	e, err := w.Eventfd(w.task, 0, unix.EFD_NONBLOCK)
	must(t, err)
	defer e.Release()
	inner, outer := sure(w.Epoll(w.task)), sure(w.Epoll(w.task))
	defer inner.Release()
	defer outer.Release()
	add(t, inner, e, 1, EPOLLIN)
	add(t, outer, inner, 2, EPOLLIN|unix.EPOLLET)
	evs, buf := make([]EpollEvent, 1), make([]byte, 8)
	stale := func() {
		e.Write(w.task, word(1))
		if n, _ := inner.EpollWait(w.task, evs, 0); n != 1 {
			t.Fatal("not ready")
		}
		e.Read(w.task, buf)
		outer.EpollWait(w.task, evs, 0)
	}
	// soon does wait, which an event must end that comes while it sleeps.
	soon := func(what string, wait func(task Task)) {
		t.Log(what)
		time.AfterFunc(time.Millisecond, func() { e.Write(newTask(), word(1)) })
		wait(newTask())
	}

	stale()
	soon("poll of an epoll descriptor", func(task Task) {
		Poll(task, PollFDs{[]PollFD{{File: inner, Events: EPOLLIN}}}, Never)
	})
	e.Read(w.task, buf)
	stale()
	soon("epoll in epoll", func(task Task) { outer.EpollWait(task, make([]EpollEvent, 1), Never) })
	e.Read(w.task, buf)
	stale()
	soon("epoll_wait", func(task Task) { inner.EpollWait(task, make([]EpollEvent, 1), Never) })
	e.Read(w.task, buf)

	// Edge-triggered outside, level-triggered inside, and the reader does not read
	// everything: the next event is reported all the same.
	e.Write(w.task, word(1))
	outer.EpollWait(w.task, evs, 0)
	inner.EpollWait(w.task, evs, 0)
	soon("an event of an item that is listed", func(task Task) { outer.EpollWait(task, make([]EpollEvent, 1), Never) })
}

// If the caller's memory is bad, the events stay as ready as before, and one-shot items
// armed.
func TestEpollGiveBack(t *testing.T) {
	w := newWorld(t)
	ep := sure(w.Epoll(w.task))
	defer ep.Release()
	for i, mode := range []uint32{EPOLLIN, EPOLLIN | unix.EPOLLET, EPOLLIN | unix.EPOLLONESHOT} {
		e, err := w.Eventfd(w.task, 1, 0)
		must(t, err)
		defer e.Release()
		add(t, ep, e, i, mode)
	}
	bad := func(arrive int) func([]EpollEvent) (int, error) {
		return func(evs []EpollEvent) (int, error) { return min(arrive, len(evs)), syscall.EFAULT }
	}
	_, err := ep.EpollWaitTo(w.task, 3, 0, bad(0))
	want(t, "no event arrives", err, syscall.EFAULT)
	if n, err := ep.EpollWaitTo(w.task, 3, 0, bad(1)); n != 1 || err != nil {
		t.Errorf("one event arrives: %d, %v", n, err)
	}
	if got := collectAll(t, ep); len(got) != 3 {
		t.Errorf("after two failures: %v", got)
	}
	if got := collectAll(t, ep); len(got) != 1 {
		t.Errorf("then: %v, want the level-triggered one", got)
	}
}

// Of several exclusive waiters, one that really waits is woken: the one that was added
// first. EPOLLEXCLUSIVE has its own rules.
func TestEpollExclusive(t *testing.T) { inBubble(t, testEpollExclusive) }

func testEpollExclusive(t *testing.T, w *world) {
	e, err := w.Eventfd(w.task, 0, unix.EFD_NONBLOCK)
	must(t, err)
	defer e.Release()
	const n = 4
	var woken atomic.Int32
	var wg sync.WaitGroup
	var eps [n]*File
	for i := range eps {
		eps[i] = sure(w.Epoll(w.task))
		defer eps[i].Release()
		add(t, eps[i], e, 1, EPOLLIN|unix.EPOLLEXCLUSIVE)
	}
	for _, ep := range eps[1:] { // no thread waits for the first
		wg.Add(1)
		go func() {
			defer wg.Done()
			if k, _ := ep.EpollWait(newTask(), make([]EpollEvent, 1), Never); k == 1 {
				woken.Add(1)
				e.Read(newTask(), make([]byte, 8))
			}
		}()
	}
	synctest.Wait() // until all of them sleep
	for i := range n - 1 {
		e.Write(w.task, word(1))
		synctest.Wait()
		if got := int(woken.Load()); got != i+1 {
			t.Fatalf("%d threads woken after %d events", got, i+1)
		}
	}
	wg.Wait()
	ctl := func(op int, f *File, events uint32) error {
		return eps[0].EpollCtl(op, 1, f, EpollEvent{events, 0})
	}
	want(t, "MOD of an exclusive item", ctl(unix.EPOLL_CTL_MOD, e, EPOLLIN), syscall.EINVAL)
	want(t, "MOD to exclusive", ctl(unix.EPOLL_CTL_MOD, e, EPOLLIN|unix.EPOLLEXCLUSIVE), syscall.EINVAL)
	want(t, "exclusive and one-shot", eps[0].EpollCtl(unix.EPOLL_CTL_ADD, 2, e, EpollEvent{EPOLLIN | unix.EPOLLEXCLUSIVE | unix.EPOLLONESHOT, 0}), syscall.EINVAL)
	want(t, "an exclusive instance", ctl(unix.EPOLL_CTL_ADD, eps[1], EPOLLIN|unix.EPOLLEXCLUSIVE), syscall.EINVAL)
}

// Wake-ups that would multiply through many instances are refused.
func TestEpollPaths(t *testing.T) {
	w := newWorld(t)
	e, err := w.Eventfd(w.task, 0, 0)
	must(t, err)
	defer e.Release()
	inner := sure(w.Epoll(w.task))
	defer inner.Release()
	add(t, inner, e, 1, EPOLLIN)
	for i := range maxPaths[2] + 1 {
		ep := sure(w.Epoll(w.task))
		defer ep.Release()
		err := ep.EpollCtl(unix.EPOLL_CTL_ADD, 1, inner, EpollEvent{EPOLLIN, 0})
		if i < maxPaths[2] {
			must(t, err)
		} else {
			want(t, "one way too many", err, syscall.EINVAL)
			if ep.h.(*epoll).items.next(0) != nil {
				t.Error("the item stayed")
			}
		}
	}
}

// modelItem is an item of the model: the events for which it is armed, and whether an event
// has come since it was last found not ready, or reported with EPOLLET.
type modelItem struct {
	events uint32
	listed bool
}

// epollModel models epoll(7), for sources that are ready for reading or not, one inner
// instance that watches them, and one outer instance that watches the inner.
type epollModel struct {
	ready [4]bool
	item  map[int]*modelItem // by source
	outer *modelItem         // nil: the inner one is not watched
}

func (m *epollModel) event(i int) {
	if it := m.item[i]; it != nil && it.events&EPOLLIN != 0 {
		it.listed = true
		if m.outer != nil && m.outer.events&EPOLLIN != 0 {
			m.outer.listed = true
		}
	}
}

func (m *epollModel) innerReady() bool {
	for i, it := range m.item {
		if it.listed && it.events&EPOLLIN != 0 && m.ready[i] {
			return true
		}
	}
	return false
}

func (it *modelItem) report(ready bool) bool {
	hit := it.listed && ready && it.events&EPOLLIN != 0
	it.listed = hit && it.events&(unix.EPOLLET|unix.EPOLLONESHOT) == 0
	if hit && it.events&unix.EPOLLONESHOT != 0 {
		it.events &= epollModes
	}
	return hit
}

func (m *epollModel) wait() string {
	var got [4]bool
	for i, it := range m.item {
		got[i] = it.report(m.ready[i])
	}
	return fmt.Sprint(got)
}

// TestEpollModel does random calls on two nested instances and on the model. It fails if a
// listed item gets no event, if an edge-triggered item is put back, if modify does not call
// arm, and if ready drops an item that is ready.
func TestEpollModel(t *testing.T) {
	for seed := range uint64(60) {
		w := newWorld(t)
		m := &epollModel{item: map[int]*modelItem{}}
		var src [4]*File
		for i := range src {
			src[i], _ = w.Eventfd(w.task, 0, unix.EFD_NONBLOCK)
		}
		inner, outer := sure(w.Epoll(w.task)), sure(w.Epoll(w.task))
		r := rand.New(rand.NewPCG(seed, 3))
		buf := make([]byte, 8)
		for step := range 400 {
			i := r.IntN(4)
			mode := uint32(EPOLLIN) | []uint32{0, unix.EPOLLET, unix.EPOLLONESHOT}[r.IntN(3)]
			what := ""
			fail := func(got, want any) {
				t.Helper()
				if got != want {
					t.Fatalf("seed %d, step %d, %s %d: %v, want %v", seed, step, what, i, got, want)
				}
			}
			switch r.IntN(9) {
			case 0, 1:
				what = "write"
				src[i].Write(w.task, word(1))
				m.ready[i] = true
				m.event(i)
			case 2:
				what = "read"
				src[i].Read(w.task, buf)
				m.ready[i] = false
			case 3:
				what = "add or mod"
				op := unix.EPOLL_CTL_ADD
				if m.item[i] != nil {
					op = unix.EPOLL_CTL_MOD
				} else {
					m.item[i] = &modelItem{}
				}
				must(t, inner.EpollCtl(op, i, src[i], EpollEvent{mode, uint64(i)}))
				m.item[i].events = mode
				if m.ready[i] {
					m.event(i)
				}
			case 4:
				what = "del"
				if err := inner.EpollCtl(unix.EPOLL_CTL_DEL, i, src[i], EpollEvent{}); (err == nil) != (m.item[i] != nil) {
					t.Fatal(err)
				}
				delete(m.item, i)
			case 5:
				what = "watch"
				op := unix.EPOLL_CTL_ADD
				if m.outer != nil {
					op = unix.EPOLL_CTL_MOD
				} else {
					m.outer = &modelItem{}
				}
				must(t, outer.EpollCtl(op, 9, inner, EpollEvent{mode, 9}))
				m.outer.events = mode
				if m.innerReady() {
					m.outer.listed = true
				}
			case 6:
				what = "poll"
				fail(inner.Readiness()&EPOLLIN != 0, m.innerReady())
			case 7:
				what = "wait"
				var got [4]bool
				for k := range collectAll(t, inner) {
					got[k] = true
				}
				fail(fmt.Sprint(got), m.wait())
			case 8:
				what = "outer wait"
				hit := m.outer != nil && m.outer.report(m.innerReady())
				fail(len(collectAll(t, outer)) == 1, hit)
			}
		}
		for _, f := range append(src[:], inner, outer) {
			f.Release()
		}
		if t.Failed() {
			return
		}
	}
}

// Threads wait in every way: epoll_wait on an inner and an outer instance, poll on either,
// one-shot items armed again after each event. Tokens come in bursts. Each token must be
// consumed, by threads that sleep without a time limit.
func TestEpollStorm(t *testing.T) { inBubble(t, testEpollStorm) }

func testEpollStorm(t *testing.T, w *world) {
	const files, tokens = 5, 300
	var src [files]*File
	inner, outer, shot := sure(w.Epoll(w.task)), sure(w.Epoll(w.task)), [2]*File{sure(w.Epoll(w.task)), sure(w.Epoll(w.task))}
	stop, err := w.Eventfd(w.task, 0, unix.EFD_NONBLOCK)
	must(t, err)
	for i := range src {
		src[i], err = w.Eventfd(w.task, 0, unix.EFD_NONBLOCK|unix.EFD_SEMAPHORE)
		must(t, err)
		add(t, inner, src[i], i, EPOLLIN|[]uint32{0, unix.EPOLLET}[i%2])
		for _, s := range shot {
			add(t, s, src[i], i, EPOLLIN|unix.EPOLLONESHOT)
		}
	}
	add(t, outer, inner, 0, EPOLLIN)
	for _, ep := range []*File{inner, outer, shot[0], shot[1]} {
		add(t, ep, stop, 99, EPOLLIN)
	}
	var sum atomic.Int64
	take := func(task Task, i uint64) {
		buf := make([]byte, 8)
		for {
			if n, _ := src[i].Read(task, buf); n != 8 {
				return
			}
			if sum.Add(1) == files*tokens {
				stop.Write(task, word(1))
			}
		}
	}
	var wg sync.WaitGroup
	run := func(wait func(task Task) bool) {
		for range 2 {
			wg.Add(1)
			go func() {
				defer wg.Done()
				task := newTask()
				for sum.Load() < files*tokens && wait(task) {
				}
			}()
		}
	}
	drain := func(ep *File, limit int64, again bool) func(task Task) bool {
		return func(task Task) bool {
			evs := make([]EpollEvent, 2)
			n, err := ep.EpollWait(task, evs, limit)
			if err != nil {
				t.Error(err)
				return false
			}
			for _, ev := range evs[:n] {
				if ev.Data == 99 {
					return false
				}
				take(task, ev.Data)
				if again {
					ep.EpollCtl(unix.EPOLL_CTL_MOD, int(ev.Data), src[ev.Data], EpollEvent{EPOLLIN | unix.EPOLLONESHOT, ev.Data})
				}
			}
			return true
		}
	}
	run(drain(inner, Never, false))
	run(drain(shot[0], Never, true))
	run(drain(shot[1], Never, true))
	run(func(task Task) bool {
		evs := make([]EpollEvent, 1)
		if n, _ := outer.EpollWait(task, evs, Never); n == 1 && evs[0].Data == 99 {
			return false
		}
		return drain(inner, 0, false)(task)
	})
	run(func(task Task) bool {
		Poll(task, PollFDs{[]PollFD{{File: inner, Events: EPOLLIN}}}, Never)
		return drain(inner, 0, false)(task)
	})
	for i := range src {
		wg.Add(1)
		go func() {
			defer wg.Done()
			r := rand.New(rand.NewPCG(uint64(i), 1))
			for range tokens {
				src[i].Write(newTask(), word(1))
				if r.IntN(4) == 0 {
					time.Sleep(time.Duration(r.IntN(200)) * time.Microsecond)
				}
			}
		}()
	}
	wg.Wait()
	for _, f := range append(src[:], inner, outer, shot[0], shot[1], stop) {
		f.Release()
	}
}
