package fs

import (
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
	"grim/mm/charge"
)

// EpollEvent is a set of EPOLL* bits, and the user's data.
type EpollEvent struct {
	Events uint32
	Data   uint64
}

// epoll is an epoll instance (epoll(7)).
//
// An item is on its file's wait queue. The ready list holds the items that may be ready. An
// item moves on and off the list in five ways, and no event is lost:
//
//   - Event: a wake-up that the item asks for lists the item, and wakes the threads that wait
//     for the instance. It wakes them even if the item was listed already: the item may have
//     been listed for an event that another thread has used up, and the waiting threads may
//     have looked at it then.
//   - Armed: ADD and MOD set the events first and look at the file afterwards. If the file
//     is ready, that counts as an event. A change of the file between the two steps is an
//     event by itself.
//   - Looked at, not ready: the item leaves the list before its file is asked, so an event
//     after the question lists it again.
//   - Looked at, ready: a level-triggered item goes to the end of the list. No thread needs
//     to be woken for that: scanMu has been held since the item left the list, so a thread
//     that looks for the item waits for scanMu, and finds it. An edge-triggered item stays
//     off the list until its next event, a one-shot item until MOD.
//   - Not delivered: the caller's memory is bad. The item is listed again, with the events
//     that it had before, which counts as an event.
//
// A thread that waits queues itself first, then looks through the whole list, and sleeps
// only if no item was ready. At that time the list is empty. So each item that is listed
// while the thread sleeps had its event after the thread was queued, and that event has
// woken the thread.
type epoll struct {
	plain
	fs   *FS
	file *File     // the instance's only description: it cannot be opened again
	q    WaitQueue // the threads and instances that wait for this instance

	payer *charge.User // [I] pays for the items

	// scanMu is held by the one thread that goes through the ready list. Without it, an
	// item that one thread is looking at would be missing from the list for another thread.
	// It is taken before the locks of the files looked at, and an outer instance's scanMu
	// before an inner one's.
	scanMu sync.Mutex

	// ctlMu serializes changes of the set of items, so that an item is on its file's queue
	// exactly while it is in items. Taken before all others.
	ctlMu sync.Mutex

	mu          sync.Mutex // taken inside of any WaitQueue.mu
	items       epollItems
	first, last *epollItem // ready list, in the order in which they became ready
	length      int
	round       uint64 // number of the present pass through the list
}

// epollKey identifies an item. The same file under two numbers is two items (epoll(7),
// Q1).
type epollKey struct {
	file *File
	fd   int
}

type epollItem struct {
	ep *epoll
	epollKey
	w waiter

	sameFD *epollItem // next item of the same number; under epoll.mu

	// Neighbours in the list File.watch; under the file's watchMu.
	watched              bool
	prevWatch, nextWatch *epollItem

	// under epoll.mu
	ev         EpollEvent
	listed     bool
	dead       bool // removed: it must not be listed any more
	prev, next *epollItem
	round      uint64 // the last round that looked at it
}

// epollModes are the bits of Events that are not conditions.
const epollModes = unix.EPOLLET | unix.EPOLLONESHOT | unix.EPOLLWAKEUP | unix.EPOLLEXCLUSIVE

// Epoll implements epoll_create1(2), without EPOLL_CLOEXEC.
func (s *FS) Epoll(t Task) (f *File, err error) {
	const name = "anon_inode:[eventpoll]"
	ep := &epoll{fs: s, payer: s.payer(t)}
	ep.file, err = s.anonFile(t, name, ep, name, unix.O_RDWR)
	return ep.file, err
}

func (ep *epoll) read(call, []byte, int64) (int, error)  { return 0, syscall.EINVAL }
func (ep *epoll) write(call, []byte, int64) (int, error) { return 0, syscall.EINVAL }
func (ep *epoll) queue() *WaitQueue                      { return &ep.q }

// ready returns EPOLLIN if EpollWait would return an event. Items that are not ready leave
// the list, so each item is looked at once for an event.
func (ep *epoll) ready() uint32 {
	ep.scanMu.Lock()
	defer ep.scanMu.Unlock()
	for turn := 1; ; turn++ {
		ep.mu.Lock()
		it := ep.first
		if it == nil {
			ep.mu.Unlock()
			return 0
		}
		ep.unlist(it)
		ep.mu.Unlock()
		now := it.file.h.ready()
		ep.mu.Lock()
		found := !it.dead && now&it.ev.Events&^epollModes != 0
		if found {
			ep.push(it)
		}
		ep.mu.Unlock()
		if found {
			return EPOLLIN | EPOLLRDNORM
		}
		if turn%pollTurn == 0 {
			ep.fs.cfg.Yield()
		}
	}
}

// wake is waiter.wake of an item on its file's queue.
func (it *epollItem) wake(events uint32) bool {
	ep := it.ep
	ep.mu.Lock()
	// A one-shot item that has fired has no condition bits, so nothing matches.
	match := !it.dead && it.ev.Events&events != 0
	if match {
		ep.push(it)
	}
	ep.mu.Unlock()
	if !match {
		return false
	}
	attended := ep.q.waiting()
	ep.q.Wake(EPOLLIN | EPOLLRDNORM)
	return attended
}

// push puts it at the end of the ready list, unless it is on the list. Precondition: mu
// held.
func (ep *epoll) push(it *epollItem) {
	if it.listed {
		return
	}
	it.listed = true
	it.prev, it.next = ep.last, nil
	if ep.last != nil {
		ep.last.next = it
	} else {
		ep.first = it
	}
	ep.last = it
	ep.length++
}

// unlist takes it off the ready list, if it is there. Precondition: mu held.
func (ep *epoll) unlist(it *epollItem) {
	if !it.listed {
		return
	}
	it.listed = false
	if it.prev != nil {
		it.prev.next = it.next
	} else {
		ep.first = it.next
	}
	if it.next != nil {
		it.next.prev = it.prev
	} else {
		ep.last = it.prev
	}
	it.prev, it.next = nil, nil
	ep.length--
}

// exclusiveBits are the bits that may be combined with EPOLLEXCLUSIVE (epoll_ctl(2)).
const exclusiveBits = EPOLLIN | EPOLLOUT | always | unix.EPOLLWAKEUP | unix.EPOLLET | unix.EPOLLEXCLUSIVE

// EpollCtl implements epoll_ctl(2). op is EPOLL_CTL_ADD, _MOD or _DEL. target is the file
// that the caller knows as fd. Errors: EEXIST, ENOENT, EPERM (the file is always ready),
// ELOOP, EINVAL, ENOSPC.
func (f *File) EpollCtl(op int, fd int, target *File, ev EpollEvent) error {
	if target.h.queue() == nil {
		return syscall.EPERM
	}
	ep, ok := f.h.(*epoll)
	if !ok || f == target {
		return syscall.EINVAL
	}
	inner, nests := target.h.(*epoll)
	if ev.Events&unix.EPOLLEXCLUSIVE != 0 && (op == unix.EPOLL_CTL_MOD ||
		op == unix.EPOLL_CTL_ADD && (nests || ev.Events&^exclusiveBits != 0)) {
		return syscall.EINVAL
	}
	key := epollKey{target, fd}
	// Errors and hang-ups are always reported. So every armed item has a condition bit, and
	// an item without condition bits is a one-shot item that has fired.
	ev.Events |= always
	if op == unix.EPOLL_CTL_ADD && (nests || f.watched()) {
		nestMu.Lock()
		defer nestMu.Unlock()
		if nests && (inner.reaches(ep) || inner.below(0)+1+f.above(0) > maxNest-1) {
			return syscall.ELOOP
		}
	}
	ep.ctlMu.Lock()
	defer ep.ctlMu.Unlock()
	switch op {
	case unix.EPOLL_CTL_ADD:
		if err := ep.addItem(key, ev); err != nil {
			return err
		}
		if (nests || f.watched()) && !target.pathsAllowed() {
			ep.removeItem(key)
			return syscall.EINVAL
		}
		return nil
	case unix.EPOLL_CTL_MOD:
		return ep.modify(key, ev)
	case unix.EPOLL_CTL_DEL:
		return ep.removeItem(key)
	}
	return syscall.EINVAL
}

// addItem adds an item for key. Precondition, also of modify and removeItem: ctlMu held.
func (ep *epoll) addItem(key epollKey, ev EpollEvent) error {
	if !ep.payer.Take(charge.Epoll, itemCost) {
		return syscall.ENOSPC
	}
	it := &epollItem{ep: ep, epollKey: key, ev: ev}
	it.w.wake, it.w.yield = it.wake, ep.fs.cfg.Yield
	it.w.exclusive = ev.Events&unix.EPOLLEXCLUSIVE != 0
	ep.mu.Lock()
	err := error(syscall.EEXIST)
	if ep.items.get(key) == nil {
		err = ep.items.add(it)
	}
	ep.mu.Unlock()
	if err != nil {
		ep.payer.Give(charge.Epoll, itemCost)
		return err
	}

	f := key.file
	f.watchMu.Lock()
	f.addWatch(it)
	f.watchMu.Unlock()

	// The queue wakes the item for all events, so that MOD need not queue it again.
	f.h.queue().add(&it.w, ^uint32(0))
	ep.arm(it)
	return nil
}

// arm lists an item whose file is ready already: no wake-up will come for that.
func (ep *epoll) arm(it *epollItem) {
	if now := it.file.h.ready(); now != 0 {
		it.wake(now)
	}
}

func (ep *epoll) modify(key epollKey, ev EpollEvent) error {
	ep.mu.Lock()
	it := ep.items.get(key)
	if it == nil {
		ep.mu.Unlock()
		return syscall.ENOENT
	}
	if it.w.exclusive {
		ep.mu.Unlock()
		return syscall.EINVAL
	}
	it.ev = ev
	ep.mu.Unlock()
	ep.arm(it)
	return nil
}

func (ep *epoll) removeItem(key epollKey) error {
	ep.mu.Lock()
	it := ep.items.remove(key)
	ep.mu.Unlock()
	if it == nil {
		return syscall.ENOENT
	}
	it.forget()
	key.file.watchMu.Lock()
	key.file.removeWatch(it)
	key.file.watchMu.Unlock()
	return nil
}

// forget takes the item off its file's queue and off the ready list. It is the last use of
// an item, which has been taken out of ep.items.
func (it *epollItem) forget() {
	defer it.ep.payer.Give(charge.Epoll, itemCost)
	it.w.remove()
	it.ep.mu.Lock()
	defer it.ep.mu.Unlock()
	it.dead = true
	it.ep.unlist(it)
}

// unwatch removes a file that is being closed from all epoll instances.
func (f *File) unwatch() {
	for steps := 1; ; steps++ {
		f.watchMu.Lock()
		it := f.watch
		if it != nil {
			f.removeWatch(it)
		}
		f.watchMu.Unlock()
		if it == nil {
			return
		}
		it.ep.mu.Lock()
		won := it.ep.items.get(it.epollKey) == it // if false, removeItem forgets the item
		if won {
			it.ep.items.remove(it.epollKey)
		}
		it.ep.mu.Unlock()
		if won {
			it.forget()
		}
		if steps%pollTurn == 0 {
			it.ep.fs.cfg.Yield()
		}
	}
}

// close removes the instance's items from all files that it watches.
func (ep *epoll) close() {
	ep.ctlMu.Lock()
	defer ep.ctlMu.Unlock()
	steps := 0
	for fd := 0; ; {
		ep.mu.Lock()
		it := ep.items.next(fd)
		ep.mu.Unlock()
		if it == nil {
			break
		}
		fd = it.fd
		ep.removeItem(it.epollKey)
		if steps++; steps%pollTurn == 0 {
			ep.fs.cfg.Yield()
		}
	}
	ep.mu.Lock()
	ep.items.free(ep.payer)
	ep.mu.Unlock()
}

// EpollWait fills evs with the events of ready files and returns their number. If there are
// none it waits until the monotonic deadline; it does not wait if the deadline is 0 or
// less. EINTR.
func (f *File) EpollWait(t Task, evs []EpollEvent, deadline int64) (int, error) {
	return f.EpollWaitTo(t, len(evs), deadline, func(found []EpollEvent) (int, error) {
		return copy(evs, found), nil
	})
}

// EpollWaitTo is EpollWait for up to n events, which it gives to store. store returns how
// many events arrived; the others stay as ready as before. store's error counts only if
// none arrived.
func (f *File) EpollWaitTo(t Task, n int, deadline int64, store func([]EpollEvent) (int, error)) (int, error) {
	ep, ok := f.h.(*epoll)
	if !ok || n <= 0 {
		return 0, syscall.EINVAL
	}
	got := epollGot{evs: make([]EpollEvent, 0, n), items: make([]epollTaken, 0, n)}
	for late := false; ; {
		if err := ep.collect(t, &got); err != nil {
			return 0, err
		}
		if len(got.evs) > 0 {
			k, err := store(got.evs)
			ep.giveBack(got.items[k:])
			return partial(k, err)
		}
		if deadline <= 0 || late {
			return 0, nil
		}
		err := await(t, ep, EPOLLIN, deadline)
		switch {
		case timedOut(err):
			late = true
		case err != nil:
			return 0, err
		}
	}
}

// epollGot is the result of a pass through the list.
type epollGot struct {
	evs   []EpollEvent
	items []epollTaken
}

// epollTaken is an item that was reported, with the events for which it was armed.
type epollTaken struct {
	it     *epollItem
	events uint32
}

// pollTurn is how many files are asked between two pauses.
const pollTurn = 32

// collect goes once through the ready list. It stops early if got is full.
func (ep *epoll) collect(t Task, got *epollGot) error {
	ep.mu.Lock()
	ep.round++
	round, left := ep.round, ep.length
	ep.mu.Unlock()
	for ; left > 0; left -= pollTurn {
		if !ep.collectSome(min(left, pollTurn), round, got) {
			break
		}
		if err := (call{task: t}).pause(); err != nil {
			if len(got.evs) == 0 {
				return err
			}
			break
		}
	}
	return nil
}

// collectSome looks at up to n items of the list that this round has not looked at. It
// returns false if there are no more, or got is full.
func (ep *epoll) collectSome(n int, round uint64, got *epollGot) bool {
	ep.scanMu.Lock()
	defer ep.scanMu.Unlock()
	for ; n > 0; n-- {
		ep.mu.Lock()
		it := ep.first
		if it == nil || it.round == round || len(got.evs) == cap(got.evs) {
			ep.mu.Unlock()
			return false
		}
		ep.unlist(it) // before looking
		it.round = round
		ep.mu.Unlock()
		ep.report(it, got)
	}
	return true
}

// report adds the events of the item's file to got, if there are any. It lists the item
// again if it is level-triggered. Precondition: scanMu held, the item taken off the list.
func (ep *epoll) report(it *epollItem, got *epollGot) {
	now := it.file.h.ready()
	ep.mu.Lock()
	defer ep.mu.Unlock()
	events := now & it.ev.Events &^ epollModes
	if it.dead || events == 0 {
		return
	}
	got.evs = append(got.evs, EpollEvent{events, it.ev.Data})
	got.items = append(got.items, epollTaken{it, it.ev.Events})
	switch {
	case it.ev.Events&unix.EPOLLONESHOT != 0:
		it.ev.Events &= epollModes // until EPOLL_CTL_MOD
		ep.unlist(it)
	case it.ev.Events&unix.EPOLLET == 0:
		ep.push(it)
	}
}

// giveBack makes items ready again whose events did not reach the caller.
func (ep *epoll) giveBack(items []epollTaken) {
	if len(items) == 0 {
		return
	}
	ep.mu.Lock()
	for _, x := range items {
		if x.it.dead {
			continue
		}
		if x.it.ev.Events&^epollModes == 0 { // one-shot, and not modified since
			x.it.ev.Events = x.events
		}
		ep.push(x.it)
	}
	ep.mu.Unlock()
	ep.q.Wake(EPOLLIN | EPOLLRDNORM)
}
