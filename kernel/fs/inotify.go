package fs

import (
	"encoding/binary"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
	"grim/mm/charge"
)

// inotify is a queue of events about the files that it watches (inotify(7)).
//
// A watch is in its inotify's maps and on its inode's list. All of them belong to
// FS.watchMu, which is taken before inotify.mu. Events are queued while locks of names are held. So
// while either of the two is held, no other lock is taken but the lock of the wait queue.
//
// An inode has at most one watch of each inotify, and a user has few inotifies. That bounds
// how long an event of a file takes, for which nothing gives way.
type inotify struct {
	plain
	fs    *FS
	q     WaitQueue
	payer *charge.User

	wds   map[int32]*watch  // [FS.watchMu] its watches by watch descriptor
	files map[*inode]*watch // [FS.watchMu] the same by file
	last  int32             // [FS.watchMu] the watch descriptor given out last

	mu         sync.Mutex
	head, tail *inEvent // [mu] the events, oldest first
	n          int      // [mu] how many there are
	bytes      int      // [mu] size of a read of all events
	paid       int64    // [mu] what has been charged for them
}

// watch is a watched file.
type watch struct {
	in         *inotify // [I]
	wd         int32    // [I]
	i          *inode   // [I]
	mask       uint32   // [FS.watchMu]
	prev, next *watch   // [FS.watchMu] neighbours on the list of i
}

// inEvent is an event that waits to be read.
type inEvent struct {
	inWhat
	next *inEvent
}

// inWhat is what an event tells.
type inWhat struct {
	wd           int32
	mask, cookie uint32
	name         string
}

const (
	inHeader = 16 // sizeof(struct inotify_event)
	// maxInEvents is how many events may wait. The next event then says that some are lost.
	maxInEvents  = 16384
	maxInotifies = 128 // of a user: fs.inotify.max_user_instances
	watchCost    = 256 // a watch, with its places in two maps
	eventCost    = 64  // an event, without its name

	inAll    = unix.IN_ALL_EVENTS
	inOnAdd  = unix.IN_DONT_FOLLOW | unix.IN_ONLYDIR | unix.IN_MASK_ADD | unix.IN_MASK_CREATE
	inKept   = inAll | unix.IN_EXCL_UNLINK | unix.IN_ONESHOT
	inAlways = unix.IN_IGNORED | unix.IN_Q_OVERFLOW | unix.IN_UNMOUNT | unix.IN_ISDIR
)

// Inotify implements inotify_init1(2). Flags: IN_NONBLOCK. EMFILE: the user has too many.
func (s *FS) Inotify(t Task, flags int) (*File, error) {
	h := &inotify{fs: s, payer: s.payer(t), wds: map[int32]*watch{}, files: map[*inode]*watch{}}
	s.watchMu.Lock()
	full := s.inotifies[h.payer] >= maxInotifies && t != nil
	if !full {
		s.inotifies[h.payer]++
	}
	s.watchMu.Unlock()
	if full {
		return nil, syscall.EMFILE
	}
	f, err := s.anonFile(t, "", h, "anon_inode:inotify", unix.O_RDONLY|flags&unix.O_NONBLOCK)
	if err != nil {
		h.uncount()
	}
	return f, err
}

// uncount takes h out of the number of its user's inotifies.
func (h *inotify) uncount() {
	s := h.fs
	s.watchMu.Lock()
	if s.inotifies[h.payer]--; s.inotifies[h.payer] == 0 {
		delete(s.inotifies, h.payer)
	}
	s.watchMu.Unlock()
}

// Watch implements inotify_add_watch(2) of the inotify f. EINVAL: f is another file.
func (f *File) Watch(at At, path string, mask uint32) (int, error) {
	h, ok := f.h.(*inotify)
	if !ok || mask&inAll == 0 || mask&unix.IN_MASK_ADD != 0 && mask&unix.IN_MASK_CREATE != 0 {
		return 0, syscall.EINVAL
	}
	flags := 0
	if mask&unix.IN_DONT_FOLLOW != 0 {
		flags = unix.AT_SYMLINK_NOFOLLOW
	}
	t, err := f.fs.node(at, path, flags)
	if err != nil {
		return 0, err
	}
	defer t.done()
	i := t.node.base()
	if mask&unix.IN_ONLYDIR != 0 && i.typ != syscall.S_IFDIR {
		return 0, syscall.ENOTDIR
	}
	if err := i.allows(at.cred(), mayRead); err != nil {
		return 0, err
	}
	return h.add(i, mask)
}

// add watches i, or changes the mask of its watch. Errors: EEXIST, ENOSPC, ENOENT.
func (h *inotify) add(i *inode, mask uint32) (int, error) {
	s := h.fs
	s.watchMu.Lock()
	defer s.watchMu.Unlock()
	if w := h.files[i]; w != nil {
		switch {
		case mask&unix.IN_MASK_CREATE != 0:
			return 0, syscall.EEXIST
		case mask&unix.IN_MASK_ADD != 0:
			w.mask |= mask & inKept
		default:
			w.mask = mask & inKept
		}
		return int(w.wd), nil
	}
	if i.refs.Load() == 0 {
		return 0, syscall.ENOENT
	}
	if !h.payer.Take(charge.OpenFile, watchCost) {
		return 0, syscall.ENOSPC
	}
	h.last++
	w := &watch{in: h, wd: h.last, i: i, mask: mask & inKept, next: i.watches.Load()}
	if w.next != nil {
		w.next.prev = w
	}
	i.watches.Store(w)
	h.wds[w.wd], h.files[i] = w, w
	s.watchers.Add(1)
	return int(w.wd), nil
}

// Unwatch implements inotify_rm_watch(2). EINVAL.
func (f *File) Unwatch(wd int) error {
	h, ok := f.h.(*inotify)
	if !ok {
		return syscall.EINVAL
	}
	h.fs.watchMu.Lock()
	defer h.fs.watchMu.Unlock()
	w := h.wds[int32(wd)]
	if w == nil {
		return syscall.EINVAL
	}
	h.fs.unwatchLocked(w, true)
	return nil
}

// unwatchLocked ends a watch. Precondition: watchMu held.
func (s *FS) unwatchLocked(w *watch, tell bool) {
	h := w.in
	if w.prev != nil {
		w.prev.next = w.next
	} else {
		w.i.watches.Store(w.next)
	}
	if w.next != nil {
		w.next.prev = w.prev
	}
	delete(h.wds, w.wd)
	delete(h.files, w.i)
	s.watchers.Add(-1)
	h.payer.Give(charge.OpenFile, watchCost)
	if tell {
		h.put(inWhat{wd: w.wd, mask: unix.IN_IGNORED})
	}
}

// inCloseTurn is how many watches end between two pauses.
const inCloseTurn = 16

// close ends all watches.
func (h *inotify) close() {
	s := h.fs
	s.watchMu.Lock()
	n := 0
	for _, w := range h.wds { // nobody adds watches any more
		s.unwatchLocked(w, false)
		if n++; n%inCloseTurn == 0 {
			s.watchMu.Unlock()
			s.cfg.Yield()
			s.watchMu.Lock()
		}
	}
	s.watchMu.Unlock()
	h.uncount()
	h.mu.Lock()
	h.payer.Give(charge.OpenFile, h.paid)
	h.head, h.tail, h.n, h.bytes, h.paid = nil, nil, 0, 0, 0
	h.mu.Unlock()
}

// size returns the size of the event in a read. The name is padded with NULs.
func (e *inWhat) size() int {
	if e.name == "" {
		return inHeader
	}
	return inHeader + (len(e.name)+1+inHeader-1)/inHeader*inHeader
}

// put queues an event, unless the last queued event is the same, and wakes readers.
func (h *inotify) put(e inWhat) {
	h.mu.Lock()
	h.putLocked(e)
	h.mu.Unlock()
	h.q.Wake(EPOLLIN | EPOLLRDNORM)
}

// putLocked is put without the wake-up. Precondition: mu held.
func (h *inotify) putLocked(e inWhat) {
	if h.tail != nil && h.tail.inWhat == e {
		return
	}
	cost := eventCost + int64(len(e.name))
	if h.n >= maxInEvents || !h.payer.Take(charge.OpenFile, cost) {
		e, cost = inWhat{wd: -1, mask: unix.IN_Q_OVERFLOW}, eventCost
		if h.tail != nil && h.tail.inWhat == e || !h.payer.Take(charge.OpenFile, cost) {
			return
		}
	}
	x := &inEvent{inWhat: e}
	if h.tail == nil {
		h.head = x
	} else {
		h.tail.next = x
	}
	h.tail = x
	h.n++
	h.bytes += e.size()
	h.paid += cost
}

// watched reports whether any file is watched. Without inotify, this check is all that
// events cost.
func (s *FS) watched() bool { return s.watchers.Load() != 0 }

// tellInode queues an event for the watches of i. name is set if i is a directory and the
// event is about a name in it.
func (s *FS) tellInode(i *inode, mask, cookie uint32, name string) {
	if i.watches.Load() == nil {
		return
	}
	s.watchMu.Lock()
	defer s.watchMu.Unlock()
	for w := i.watches.Load(); w != nil; {
		next := w.next
		if w.mask&mask&inAll != 0 {
			w.in.put(inWhat{w.wd, mask, cookie, name})
			if w.mask&unix.IN_ONESHOT != 0 {
				s.unwatchLocked(w, true)
			}
		}
		w = next
	}
}

func dirBit(n node, mask uint32) uint32 {
	if _, ok := n.(directory); ok {
		return mask | unix.IN_ISDIR
	}
	return mask
}

// tell queues an event of a file for its watches, and for the watches of the directory
// where it was found.
func (s *FS) tell(n node, at place, mask uint32) {
	if !s.watched() {
		return
	}
	mask = dirBit(n, mask)
	if at.dir != nil && at.name != "" {
		s.tellInode(at.dir.base(), mask, 0, at.name)
	}
	s.tellInode(n.base(), mask, 0, "")
}

// tellName queues an event of a name in a directory.
func (s *FS) tellName(d *dir, name string, n node, mask uint32) {
	if s.watched() {
		s.tellInode(d.base(), dirBit(n, mask), 0, name)
	}
}

// tellSelf queues an event of a file for its own watches only.
func (s *FS) tellSelf(n node, mask uint32) {
	if s.watched() {
		s.tellInode(n.base(), dirBit(n, mask), 0, "")
	}
}

// tellMoved queues the events of a rename.
func (s *FS) tellMoved(from *dir, fn string, to *dir, tn string, n node) {
	if !s.watched() {
		return
	}
	cookie := s.lastMove.Add(1)
	s.tellInode(from.base(), dirBit(n, unix.IN_MOVED_FROM), cookie, fn)
	s.tellInode(to.base(), dirBit(n, unix.IN_MOVED_TO), cookie, tn)
	s.tellInode(n.base(), dirBit(n, unix.IN_MOVE_SELF), 0, "")
}

// watchesEnd ends all watches of an inode that is gone for good.
func (s *FS) watchesEnd(i *inode) {
	s.tellInode(i, unix.IN_DELETE_SELF, 0, "")
	s.watchMu.Lock()
	for w := i.watches.Load(); w != nil; w = i.watches.Load() {
		s.unwatchLocked(w, true)
	}
	s.watchMu.Unlock()
}

func (h *inotify) queue() *WaitQueue { return &h.q }

func (h *inotify) ready() uint32 {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.head != nil {
		return EPOLLIN | EPOLLRDNORM
	}
	return 0
}

func (h *inotify) write(call, []byte, int64) (int, error) { return 0, syscall.EBADF }

// read returns as many whole events as fit. EINVAL: the first does not fit.
func (h *inotify) read(c call, p []byte, _ int64) (int, error) {
	for {
		n, more := h.take(p)
		switch {
		case n > 0:
			return n, nil
		case more:
			return 0, syscall.EINVAL
		case c.nonblock:
			return 0, syscall.EAGAIN
		}
		if err := await(c.task, h, EPOLLIN, Never); err != nil {
			return 0, err
		}
	}
}

func (h *inotify) take(p []byte) (n int, more bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for h.head != nil {
		e := h.head
		size := e.size()
		if size > len(p)-n {
			break
		}
		b := p[n : n+size]
		clear(b)
		binary.LittleEndian.PutUint32(b[0:], uint32(e.wd))
		binary.LittleEndian.PutUint32(b[4:], e.mask)
		binary.LittleEndian.PutUint32(b[8:], e.cookie)
		binary.LittleEndian.PutUint32(b[12:], uint32(size-inHeader))
		copy(b[inHeader:], e.name)
		cost := eventCost + int64(len(e.name))
		h.payer.Give(charge.OpenFile, cost)
		n += size
		h.n--
		h.bytes -= size
		h.paid -= cost
		if h.head = e.next; h.head == nil {
			h.tail = nil
		}
	}
	return n, h.head != nil
}

func (h *inotify) ioctl(c call, mem UserMemory, req uint32, arg uint64) (uint64, error) {
	if req != fionread {
		return 0, syscall.ENOTTY
	}
	h.mu.Lock()
	n := h.bytes
	h.mu.Unlock()
	return putInt(mem, arg, n)
}
