package fs

import (
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// EpollEvent is EPOLL* bits and the user's data.
type EpollEvent struct {
	Events uint32
	Data   uint64
}

// epoll is an epoll instance (epoll(7)).
//
// An item is queued on its file's wait queue. A wake-up puts it on the ready
// list; EpollWait asks the files on that list what holds now. Level-triggered
// items go back to the end of the list after each report, edge-triggered ones
// wait for the next wake-up.
type epoll struct {
	plain
	q WaitQueue // who waits for this instance

	// scanMu is held by the one thread that goes through the ready list, so that
	// an item that is being looked at is not missing from the list for another.
	// It is taken before the locks of the files looked at.
	scanMu sync.Mutex

	// ctlMu makes changes of the set of items one at a time, so that an item is
	// on its file's queue exactly while it is in items. Taken before all others.
	ctlMu sync.Mutex

	mu    sync.Mutex // taken inside of any WaitQueue.mu
	items map[epollKey]*epollItem
	list  []*epollItem // ready, in the order they became so
}

// epollKey: the same file under two numbers is two items (epoll(7), Q1).
type epollKey struct {
	file *File
	fd   int
}

type epollItem struct {
	ep *epoll
	epollKey
	w waiter

	// under epoll.mu
	ev     EpollEvent
	listed bool
	dead   bool // removed; whoever finds it on the list skips it
}

// modes are the bits of Events that are not conditions.
const epollModes = unix.EPOLLET | unix.EPOLLONESHOT | unix.EPOLLWAKEUP | unix.EPOLLEXCLUSIVE

// Epoll is epoll_create1(2); EPOLL_CLOEXEC is the descriptor table's business.
func (s *FS) Epoll() *File {
	ep := &epoll{items: map[epollKey]*epollItem{}}
	return s.newFile(s.newAnon("anon_inode:[eventpoll]", 0o600), ep, place{nil, "anon_inode:[eventpoll]"}, unix.O_RDWR)
}

func (ep *epoll) read(call, []byte, int64) (int, error)  { return 0, syscall.EINVAL }
func (ep *epoll) write(call, []byte, int64) (int, error) { return 0, syscall.EINVAL }
func (ep *epoll) queue() *WaitQueue                      { return &ep.q }

// ready is EPOLLIN if EpollWait would return something.
func (ep *epoll) ready() uint32 {
	ep.scanMu.Lock()
	defer ep.scanMu.Unlock()
	for _, it := range ep.listed() {
		now := it.file.h.ready()
		ep.mu.Lock()
		now &= it.ev.Events &^ epollModes
		ep.mu.Unlock()
		if now != 0 {
			return EPOLLIN | EPOLLRDNORM
		}
	}
	return 0
}

// listed is a copy of the ready list, to look at without mu. Precondition:
// scanMu held.
func (ep *epoll) listed() []*epollItem {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	return append([]*epollItem(nil), ep.list...)
}

// wake is the items' waiter.wake.
func (it *epollItem) wake(events uint32) {
	ep := it.ep
	ep.mu.Lock()
	// A one-shot item that has fired has no conditions left that could match.
	ring := !it.dead && it.ev.Events&events != 0 && ep.push(it)
	ep.mu.Unlock()
	if ring {
		ep.q.Wake(EPOLLIN | EPOLLRDNORM)
	}
}

// push puts it on the ready list; false if it was there. Precondition: mu held.
func (ep *epoll) push(it *epollItem) bool {
	if it.listed {
		return false
	}
	it.listed = true
	ep.list = append(ep.list, it)
	return true
}

// EpollCtl is epoll_ctl(2): op is EPOLL_CTL_ADD, _MOD or _DEL for target, known
// to the caller as fd. EEXIST, ENOENT, EPERM (a file that is always ready),
// ELOOP, EINVAL.
func (f *File) EpollCtl(op int, fd int, target *File, ev EpollEvent) error {
	ep, ok := f.h.(*epoll)
	if !ok || f == target {
		return syscall.EINVAL
	}
	if target.h.queue() == nil {
		return syscall.EPERM
	}
	key := epollKey{target, fd}
	// Errors and hang-ups are always reported; an item without any condition is
	// one that has fired (EPOLLONESHOT), so these are what keeps it armed.
	ev.Events |= always
	if inner, ok := target.h.(*epoll); ok && op == unix.EPOLL_CTL_ADD {
		nestMu.Lock()
		defer nestMu.Unlock()
		if inner.reaches(ep, 1) {
			return syscall.ELOOP
		}
	}
	ep.ctlMu.Lock()
	defer ep.ctlMu.Unlock()
	switch op {
	case unix.EPOLL_CTL_ADD:
		return ep.addItem(key, ev)
	case unix.EPOLL_CTL_MOD:
		return ep.modify(key, ev)
	case unix.EPOLL_CTL_DEL:
		return ep.removeItem(key)
	}
	return syscall.EINVAL
}

// nestMu makes checking for cycles and adding an edge one step.
var nestMu sync.Mutex

// maxNest is how many epoll instances may watch each other in a row (epoll_ctl(2), ELOOP).
const maxNest = 5

// addItem, modify and removeItem. Precondition: ctlMu held.
func (ep *epoll) addItem(key epollKey, ev EpollEvent) error {
	it := &epollItem{ep: ep, epollKey: key, ev: ev}
	it.w.wake = it.wake
	ep.mu.Lock()
	if ep.items[key] != nil {
		ep.mu.Unlock()
		return syscall.EEXIST
	}
	ep.items[key] = it
	ep.mu.Unlock()

	f := key.file
	f.watchMu.Lock()
	if f.watch == nil {
		f.watch = map[*epollItem]struct{}{}
	}
	f.watch[it] = struct{}{}
	f.watchMu.Unlock()

	// All wake-ups reach the item, so that MOD need not queue it again.
	f.h.queue().add(&it.w, ^uint32(0))
	ep.arm(it)
	return nil
}

// reaches says whether ep watches target, directly or through others, or nests
// too deep. Precondition: nestMu held.
func (ep *epoll) reaches(target *epoll, depth int) bool {
	if ep == target || depth >= maxNest {
		return true
	}
	ep.mu.Lock()
	var inner []*epoll
	for k := range ep.items {
		if e, ok := k.file.h.(*epoll); ok {
			inner = append(inner, e)
		}
	}
	ep.mu.Unlock()
	for _, e := range inner {
		if e.reaches(target, depth+1) {
			return true
		}
	}
	return false
}

// arm lists an item that is ready already: nobody will wake it for that.
func (ep *epoll) arm(it *epollItem) {
	if now := it.file.h.ready(); now != 0 {
		it.wake(now)
	}
}

func (ep *epoll) modify(key epollKey, ev EpollEvent) error {
	ep.mu.Lock()
	it := ep.items[key]
	if it == nil {
		ep.mu.Unlock()
		return syscall.ENOENT
	}
	it.ev = ev
	ep.mu.Unlock()
	ep.arm(it)
	return nil
}

func (ep *epoll) removeItem(key epollKey) error {
	ep.mu.Lock()
	it := ep.items[key]
	delete(ep.items, key)
	ep.mu.Unlock()
	if it == nil {
		return syscall.ENOENT
	}
	it.forget()
	key.file.watchMu.Lock()
	delete(key.file.watch, it)
	key.file.watchMu.Unlock()
	return nil
}

// forget takes the item off its file's queue and off the ready list.
func (it *epollItem) forget() {
	it.w.remove()
	it.ep.mu.Lock()
	defer it.ep.mu.Unlock()
	it.dead = true
	it.ep.unlist(it)
}

// unlist takes it off the ready list. Precondition: mu held.
func (ep *epoll) unlist(it *epollItem) {
	if !it.listed {
		return
	}
	it.listed = false
	for i, o := range ep.list {
		if o == it {
			ep.list = append(ep.list[:i], ep.list[i+1:]...)
			return
		}
	}
}

// unwatch removes a file that is being closed from every epoll instance.
func (f *File) unwatch() {
	f.watchMu.Lock()
	watch := f.watch
	f.watch = nil
	f.watchMu.Unlock()
	for it := range watch {
		it.ep.mu.Lock()
		won := it.ep.items[it.epollKey] == it // else removeItem forgets it
		delete(it.ep.items, it.epollKey)
		it.ep.mu.Unlock()
		if won {
			it.forget()
		}
	}
}

// close removes the instance from every file it watches.
func (ep *epoll) close() {
	ep.ctlMu.Lock()
	defer ep.ctlMu.Unlock()
	ep.mu.Lock()
	var keys []epollKey
	for k := range ep.items {
		keys = append(keys, k)
	}
	ep.mu.Unlock()
	for _, k := range keys {
		ep.removeItem(k)
	}
}

// EpollWait fills evs with what is ready and returns how many; it waits for one
// until the monotonic deadline (in the past: only looks). EINTR.
func (f *File) EpollWait(t Task, evs []EpollEvent, deadline int64) (int, error) {
	ep, ok := f.h.(*epoll)
	if !ok || len(evs) == 0 {
		return 0, syscall.EINVAL
	}
	for {
		if n := ep.collect(evs); n > 0 || deadline <= 0 {
			return n, nil
		}
		err := await(t, ep, EPOLLIN, deadline)
		switch {
		case timedOut(err):
			return ep.collect(evs), nil
		case err != nil:
			return 0, err
		}
	}
}

// collect goes once through the ready list.
func (ep *epoll) collect(evs []EpollEvent) int {
	ep.scanMu.Lock()
	defer ep.scanMu.Unlock()
	n := 0
	for _, it := range ep.listed() {
		if n == len(evs) {
			break
		}
		// Off the list before looking: a wake-up after the look lists it again.
		ep.mu.Lock()
		ep.unlist(it)
		ep.mu.Unlock()
		if ep.report(it, &evs[n]) {
			n++
		}
	}
	return n
}

// report says what holds for an item, and lists it again if it is
// level-triggered.
func (ep *epoll) report(it *epollItem, out *EpollEvent) bool {
	now := it.file.h.ready()
	ep.mu.Lock()
	defer ep.mu.Unlock()
	events := now & it.ev.Events &^ epollModes
	if it.dead || events == 0 {
		return false
	}
	*out = EpollEvent{events, it.ev.Data}
	switch {
	case it.ev.Events&unix.EPOLLONESHOT != 0:
		it.ev.Events &= epollModes // until EPOLL_CTL_MOD
		ep.unlist(it)
	case it.ev.Events&unix.EPOLLET == 0:
		ep.push(it)
	}
	return true
}
