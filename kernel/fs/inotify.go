package fs

import (
	"encoding/binary"
	"slices"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
	"grim/mm/charge"
)

// inotify is a queue of events about the files that it watches (inotify(7)).
//
// A watch is on its inotify's list (mu) and on its inode's list (FS.watchMu). watchMu is
// taken before inotify.mu. Events are queued while locks of names are held. So while either
// of the two is held, no other lock is taken but the lock of the wait queue.
type inotify struct {
	plain
	fs    *FS
	q     WaitQueue
	payer *charge.User

	mu     sync.Mutex
	wds    map[int32]*watch // [mu]
	last   int32            // [mu] the watch descriptor given out last
	events []inEvent        // [mu]
	bytes  int              // [mu] size of a read of all events
}

// watch is a watched file.
type watch struct {
	in   *inotify // [I]
	wd   int32    // [I]
	i    *inode   // [I]
	mask uint32   // [inotify.mu]
}

// inEvent is an event that waits to be read.
type inEvent struct {
	wd           int32
	mask, cookie uint32
	name         string
}

const (
	inHeader = 16 // sizeof(struct inotify_event)
	// maxInEvents is how many events may wait. The next event then says that some are lost.
	maxInEvents = 16384
	watchCost   = 192 // a watch
	eventCost   = 64  // an event, without its name

	inAll    = unix.IN_ALL_EVENTS
	inOnAdd  = unix.IN_DONT_FOLLOW | unix.IN_ONLYDIR | unix.IN_MASK_ADD | unix.IN_MASK_CREATE
	inKept   = inAll | unix.IN_EXCL_UNLINK | unix.IN_ONESHOT
	inAlways = unix.IN_IGNORED | unix.IN_Q_OVERFLOW | unix.IN_UNMOUNT | unix.IN_ISDIR
)

// Inotify implements inotify_init1(2). Flags: IN_NONBLOCK.
func (s *FS) Inotify(t Task, flags int) (*File, error) {
	h := &inotify{fs: s, payer: s.payer(t), wds: map[int32]*watch{}}
	return s.anonFile(t, "", h, "anon_inode:inotify", unix.O_RDONLY|flags&unix.O_NONBLOCK)
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
	var list []*watch
	if p := i.watches.Load(); p != nil {
		list = *p
	}
	for _, w := range list {
		if w.in != h {
			continue
		}
		if mask&unix.IN_MASK_CREATE != 0 {
			return 0, syscall.EEXIST
		}
		h.mu.Lock()
		if mask&unix.IN_MASK_ADD != 0 {
			w.mask |= mask & inKept
		} else {
			w.mask = mask & inKept
		}
		h.mu.Unlock()
		return int(w.wd), nil
	}
	if i.refs.Load() == 0 {
		return 0, syscall.ENOENT
	}
	if !h.payer.Take(charge.OpenFile, watchCost) {
		return 0, syscall.ENOSPC
	}
	h.mu.Lock()
	h.last++
	w := &watch{in: h, wd: h.last, i: i, mask: mask & inKept}
	h.wds[w.wd] = w
	h.mu.Unlock()
	list = append(slices.Clone(list), w)
	i.watches.Store(&list)
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
	h.mu.Lock()
	w := h.wds[int32(wd)]
	h.mu.Unlock()
	if w == nil {
		return syscall.EINVAL
	}
	h.fs.unwatchLocked(w, true)
	return nil
}

// unwatchLocked ends a watch. Precondition: watchMu held.
func (s *FS) unwatchLocked(w *watch, tell bool) {
	if p := w.i.watches.Load(); p != nil {
		list := slices.DeleteFunc(slices.Clone(*p), func(x *watch) bool { return x == w })
		if len(list) == 0 {
			w.i.watches.Store(nil)
		} else {
			w.i.watches.Store(&list)
		}
	}
	h := w.in
	h.mu.Lock()
	delete(h.wds, w.wd)
	if tell {
		h.putLocked(inEvent{wd: w.wd, mask: unix.IN_IGNORED})
	}
	h.mu.Unlock()
	s.watchers.Add(-1)
	h.payer.Give(charge.OpenFile, watchCost)
	if tell {
		h.q.Wake(EPOLLIN | EPOLLRDNORM)
	}
}

// close ends all watches.
func (h *inotify) close() {
	s := h.fs
	s.watchMu.Lock()
	for {
		h.mu.Lock()
		var w *watch
		for _, w = range h.wds {
			break
		}
		h.mu.Unlock()
		if w == nil {
			break
		}
		s.unwatchLocked(w, false)
	}
	s.watchMu.Unlock()
	h.mu.Lock()
	for _, e := range h.events {
		h.payer.Give(charge.OpenFile, eventCost+int64(len(e.name)))
	}
	h.events = nil
	h.mu.Unlock()
}

// size returns the size of the event in a read. The name is padded with NULs.
func (e *inEvent) size() int {
	if e.name == "" {
		return inHeader
	}
	return inHeader + (len(e.name)+1+inHeader-1)/inHeader*inHeader
}

// putLocked queues an event, unless the last queued event is the same. Precondition: mu
// held.
func (h *inotify) putLocked(e inEvent) {
	n := len(h.events)
	if n > 0 && h.events[n-1] == e {
		return
	}
	if n >= maxInEvents || !h.payer.Take(charge.OpenFile, eventCost+int64(len(e.name))) {
		lost := inEvent{wd: -1, mask: unix.IN_Q_OVERFLOW}
		if n > 0 && h.events[n-1] == lost || !h.payer.Take(charge.OpenFile, eventCost) {
			return
		}
		e = lost
	}
	h.events = append(h.events, e)
	h.bytes += e.size()
}

// watched reports whether any file is watched. Without inotify, this check is all that
// events cost.
func (s *FS) watched() bool { return s.watchers.Load() != 0 }

// tellInode queues an event for the watches of i. name is set if i is a directory and the
// event is about a name in it.
func (s *FS) tellInode(i *inode, mask, cookie uint32, name string) {
	p := i.watches.Load()
	if p == nil {
		return
	}
	var once []*watch
	for _, w := range *p {
		h := w.in
		h.mu.Lock()
		wanted := w.mask&mask&inAll != 0 && h.wds[w.wd] == w
		if wanted {
			h.putLocked(inEvent{w.wd, mask, cookie, name})
			if w.mask&unix.IN_ONESHOT != 0 {
				once = append(once, w)
			}
		}
		h.mu.Unlock()
		if wanted {
			h.q.Wake(EPOLLIN | EPOLLRDNORM)
		}
	}
	if once == nil {
		return
	}
	s.watchMu.Lock()
	for _, w := range once {
		w.in.mu.Lock()
		there := w.in.wds[w.wd] == w
		w.in.mu.Unlock()
		if there {
			s.unwatchLocked(w, true)
		}
	}
	s.watchMu.Unlock()
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
	if p := i.watches.Load(); p != nil {
		for _, w := range *p {
			s.unwatchLocked(w, true)
		}
	}
	s.watchMu.Unlock()
}

func (h *inotify) queue() *WaitQueue { return &h.q }

func (h *inotify) ready() uint32 {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.events) > 0 {
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
	k := 0
	for ; k < len(h.events); k++ {
		e := &h.events[k]
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
		h.payer.Give(charge.OpenFile, eventCost+int64(len(e.name)))
		n += size
		h.bytes -= size
	}
	h.events = h.events[k:]
	if len(h.events) == 0 {
		h.events = nil
	}
	return n, len(h.events) > 0
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
