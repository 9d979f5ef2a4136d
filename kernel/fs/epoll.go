package fs

import (
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
	"grim/mm/charge"
)

// EpollEvent is EPOLL* bits and the user's data.
type EpollEvent struct {
	Events uint32
	Data   uint64
}

// epoll is an epoll instance (epoll(7)).
//
// An item is queued on its file's wait queue. The ready list holds the items that
// may be ready. An item moves on and off it in five ways, and no event is lost:
//
//   - Event: a wake-up that the item asks for lists it, and wakes whoever waits for
//     the instance, even if the item was listed already. (It may have been listed
//     for an event that somebody else has used up, and whoever waits now may have
//     looked at it then.)
//   - Armed: ADD and MOD set the events first and look at the file then; if it is
//     ready, that counts as an event. A change of the file between the two is an
//     event by itself.
//   - Looked at, not ready: the item is off the list before the file is asked, so
//     an event after the question lists it again.
//   - Looked at, ready: a level-triggered item goes to the end of the list. Nobody
//     need be woken for that: scanMu is held from the moment it left the list, so
//     whoever looks for it meanwhile waits, and finds it. An edge-triggered one
//     stays off until its next event, a one-shot one until MOD.
//   - Not delivered: the caller's memory is bad. The item is listed again, armed as
//     it was, which counts as an event.
//
// A thread that waits queues itself, then looks through the whole list, and sleeps
// only if nothing in it was ready. Then the list is empty, so each item that is
// listed while the thread sleeps had its event after the thread was queued, and
// that event has woken it.
type epoll struct {
	plain
	fs   *FS
	file *File     // the instance's only one: it cannot be opened again
	q    WaitQueue // who waits for this instance

	payer *charge.User // [I] of the items

	// scanMu is held by the one thread that goes through the ready list, so that
	// an item that is being looked at is not missing from the list for another.
	// It is taken before the locks of the files looked at, and an outer instance's
	// before an inner one's.
	scanMu sync.Mutex

	// ctlMu makes changes of the set of items one at a time, so that an item is
	// on its file's queue exactly while it is in items. Taken before all others.
	ctlMu sync.Mutex

	mu          sync.Mutex // taken inside of any WaitQueue.mu
	items       map[epollKey]*epollItem
	first, last *epollItem // ready list, in the order they became so
	length      int
	round       uint64 // number of the present look through the list
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
	ev         EpollEvent
	listed     bool
	dead       bool // removed: it is not listed any more
	prev, next *epollItem
	round      uint64 // of the last look at it
}

// modes are the bits of Events that are not conditions.
const epollModes = unix.EPOLLET | unix.EPOLLONESHOT | unix.EPOLLWAKEUP | unix.EPOLLEXCLUSIVE

// Epoll is epoll_create1(2); EPOLL_CLOEXEC is the descriptor table's business.
func (s *FS) Epoll(t Task) (f *File, err error) {
	const name = "anon_inode:[eventpoll]"
	ep := &epoll{fs: s, items: map[epollKey]*epollItem{}, payer: s.payer(t)}
	ep.file, err = s.anonFile(t, name, ep, name, unix.O_RDWR)
	return ep.file, err
}

func (ep *epoll) read(call, []byte, int64) (int, error)  { return 0, syscall.EINVAL }
func (ep *epoll) write(call, []byte, int64) (int, error) { return 0, syscall.EINVAL }
func (ep *epoll) queue() *WaitQueue                      { return &ep.q }

// ready is EPOLLIN if EpollWait would return something. Items that are not ready
// leave the list, so that each is looked at once for an event.
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

// wake is the items' waiter.wake.
func (it *epollItem) wake(events uint32) bool {
	ep := it.ep
	ep.mu.Lock()
	// A one-shot item that has fired has no conditions left that could match.
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

// push puts it at the end of the ready list, unless it is there. Precondition: mu
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

// unlist takes it off the ready list. Precondition: mu held.
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

// exclusiveBits may go with EPOLLEXCLUSIVE (epoll_ctl(2)).
const exclusiveBits = EPOLLIN | EPOLLOUT | always | unix.EPOLLWAKEUP | unix.EPOLLET | unix.EPOLLEXCLUSIVE

// EpollCtl is epoll_ctl(2): op is EPOLL_CTL_ADD, _MOD or _DEL for target, known
// to the caller as fd. EEXIST, ENOENT, EPERM (a file that is always ready),
// ELOOP, EINVAL.
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
	// Errors and hang-ups are always reported; an item without any condition is
	// one that has fired (EPOLLONESHOT), so these are what keeps it armed.
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

// addItem, modify and removeItem. Precondition: ctlMu held.
func (ep *epoll) addItem(key epollKey, ev EpollEvent) error {
	if !ep.payer.Take(charge.Epoll, itemCost) {
		return syscall.ENOSPC
	}
	it := &epollItem{ep: ep, epollKey: key, ev: ev}
	it.w.wake, it.w.yield = it.wake, ep.fs.cfg.Yield
	it.w.exclusive = ev.Events&unix.EPOLLEXCLUSIVE != 0
	ep.mu.Lock()
	if ep.items[key] != nil {
		ep.mu.Unlock()
		ep.payer.Give(charge.Epoll, itemCost)
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

// forget takes the item off its file's queue and off the ready list. It is the last
// use of an item that has been taken off ep.items.
func (it *epollItem) forget() {
	defer it.ep.payer.Give(charge.Epoll, itemCost)
	it.w.remove()
	it.ep.mu.Lock()
	defer it.ep.mu.Unlock()
	it.dead = true
	it.ep.unlist(it)
}

// unwatch removes a file that is being closed from every epoll instance.
func (f *File) unwatch() {
	f.watchMu.Lock()
	watch := f.watch
	f.watch = nil
	f.watchMu.Unlock()
	steps := 0
	for it := range watch {
		if steps++; steps%pollTurn == 0 {
			it.ep.fs.cfg.Yield()
		}
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
	for i, k := range keys {
		ep.removeItem(k)
		if i%pollTurn == pollTurn-1 {
			ep.fs.cfg.Yield()
		}
	}
}

// EpollWait fills evs with what is ready and returns how many; it waits for one
// until the monotonic deadline (in the past: only looks). EINTR.
func (f *File) EpollWait(t Task, evs []EpollEvent, deadline int64) (int, error) {
	return f.EpollWaitTo(t, len(evs), deadline, func(found []EpollEvent) (int, error) {
		return copy(evs, found), nil
	})
}

// EpollWaitTo is EpollWait for up to n events, which it gives to store. store says
// how many arrived; the others are as ready as before. Its error counts only if
// none did.
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

// epollGot is what a look through the list has found.
type epollGot struct {
	evs   []EpollEvent
	items []epollTaken
}

// epollTaken is an item that was reported, and the events it was armed for.
type epollTaken struct {
	it     *epollItem
	events uint32
}

// pollTurn is how many files are asked between two pauses.
const pollTurn = 32

// collect goes once through the ready list, until got is full.
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

// collectSome looks at up to n items of the list that this round has not seen;
// false if there are no more, or got is full.
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

// report asks an item's file what holds, adds that to got, and lists the item
// again if it is level-triggered. Precondition: scanMu held, the item taken off the
// list.
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

// giveBack makes items ready again that were reported to nobody.
func (ep *epoll) giveBack(items []epollTaken) {
	if len(items) == 0 {
		return
	}
	ep.mu.Lock()
	for _, x := range items {
		if x.it.dead {
			continue
		}
		if x.it.ev.Events&^epollModes == 0 { // one-shot, and no MOD since
			x.it.ev.Events = x.events
		}
		ep.push(x.it)
	}
	ep.mu.Unlock()
	ep.q.Wake(EPOLLIN | EPOLLRDNORM)
}
