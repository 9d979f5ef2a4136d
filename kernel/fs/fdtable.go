package fs

import (
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"grim/mm/charge"
)

// MaxFDs is the largest RLIMIT_NOFILE (/proc/sys/fs/nr_open). Linux has 1<<20.
const MaxFDs = 1 << 16

// FDTable maps descriptors to open file descriptions. The threads of a process share a
// table, and so do processes made with CLONE_FILES.
type FDTable struct {
	users atomic.Int32
	yield func() // lets others run; nil: does nothing. [I] once the table is in use

	mu    sync.Mutex
	payer *charge.User // holds a reference, from Init to the last CloseAll
	// slots are the first slots, at most chunkSlots. The others are in chunks, of which
	// those are nil that never held a file: so a table grows without a copy of what it has,
	// which would keep other threads waiting.
	slots  []fdSlot
	chunks []*fdChunk
	made   int // chunks that are not nil

	free  int // all numbers below are in use
	limit int
	fixed bool // CloseAll is done: no file may be added any more

	recorded atomic.Bool // [a] the table's users may have record locks, or had some

	// few holds the slots as long as they fit: most processes have standard input, output
	// and error, and a file or two.
	few [6]fdSlot
}

type fdSlot struct {
	file    *File // nil: free
	cloexec bool
}

// chunkSlots is how many slots are in a chunk, a page of memory.
const chunkSlots = 256

type fdChunk [chunkSlots]fdSlot

// slotCost is the charge for each of the first slots once they do not fit into few, in bytes
// of kernel heap, and chunkCost that for a chunk. The table itself is part of a thread's
// cost.
const (
	slotCost  = int64(unsafe.Sizeof(fdSlot{}))
	chunkCost = int64(unsafe.Sizeof(fdChunk{}) + unsafe.Sizeof((*fdChunk)(nil)))
)

// NewFDTable makes an empty table with one user. A user is a process, or several processes
// that share the table through one reference. limit is RLIMIT_NOFILE. payer is charged for
// the slots.
func NewFDTable(limit int, payer *charge.User) *FDTable {
	return new(FDTable).Init(limit, payer)
}

// Init makes a table that has been allocated what NewFDTable returns, and returns it.
func (d *FDTable) Init(limit int, payer *charge.User) *FDTable {
	d.payer = payer.Ref()
	d.limit = min(limit, MaxFDs)
	d.slots = d.few[:0]
	d.users.Store(1)
	return d
}

// PayFor transfers the table's charge to payer.
func (d *FDTable) PayFor(payer *charge.User) {
	d.mu.Lock()
	if old := d.payer; old != payer && !d.fixed {
		d.payer = payer
		payer.PayFor(charge.FDTable, d.chargedLocked(), old)
		payer.Ref()
		old.Release()
	}
	d.mu.Unlock()
}

// Charged returns the table's charge, in bytes of kernel memory.
func (d *FDTable) Charged() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.chargedLocked()
}

// chargedLocked returns the charge for the slots; it is 0 while they fit into few.
// Precondition: mu held.
func (d *FDTable) chargedLocked() int64 {
	n := int64(d.made) * chunkCost
	if first := cap(d.slots); first > len(d.few) {
		n += int64(first) * slotCost
	}
	return n
}

// Share adds a user (CLONE_FILES) and returns d. The user's CloseAll removes it.
func (d *FDTable) Share() *FDTable {
	d.users.Add(1)
	return d
}

// Shared reports whether more than one user has the table. Only a user can make
// another one.
func (d *FDTable) Shared() bool { return d.users.Load() > 1 }

// Get returns the file at fd with a reference, which the caller must Release. EBADF.
func (d *FDTable) Get(fd int) (*File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.slotLocked(fd)
	if s == nil {
		return nil, syscall.EBADF
	}
	return s.file.Ref(), nil
}

// slotLocked returns the slot of an open descriptor, or nil. Precondition: mu held.
func (d *FDTable) slotLocked(fd int) *fdSlot {
	if uint(fd) < uint(len(d.slots)) { // at, without calls
		if s := &d.slots[fd]; s.file != nil {
			return s
		}
		return nil
	}
	if s := d.at(fd); s != nil && s.file != nil {
		return s
	}
	return nil
}

// at returns the slot of a number, or nil if the table has none yet. Precondition: mu held.
func (d *FDTable) at(fd int) *fdSlot {
	if uint(fd) < uint(len(d.slots)) {
		return &d.slots[fd]
	}
	if c := d.chunk(fd); c != nil {
		return &c[fd%chunkSlots]
	}
	return nil
}

// chunk returns the chunk of a number that is not among the first, or nil. Precondition: mu
// held.
func (d *FDTable) chunk(fd int) *fdChunk {
	if i := fd/chunkSlots - 1; i >= 0 && i < len(d.chunks) {
		return d.chunks[i]
	}
	return nil
}

// end returns a number above those of all slots. Precondition: mu held.
func (d *FDTable) end() int {
	if n := len(d.chunks); n > 0 {
		return (n + 1) * chunkSlots
	}
	return len(d.slots)
}

// after returns the next number above fd that may have a slot. Precondition: mu held.
func (d *FDTable) after(fd int) int {
	if fd >= len(d.slots) && d.chunk(fd) == nil {
		return (fd/chunkSlots + 1) * chunkSlots
	}
	return fd + 1
}

// Install puts f at the lowest free number that is at least min. It takes over the caller's
// reference, also in case of an error: EMFILE, ENOMEM, or EINVAL if min is out of range
// (fcntl F_DUPFD).
func (d *FDTable) Install(f *File, min int, cloexec bool) (int, error) {
	fd, err := d.install(f, min, cloexec)
	if err != nil {
		f.Release()
	}
	return fd, err
}

func (d *FDTable) install(f *File, min int, cloexec bool) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if min < 0 || min > 0 && min >= d.limit {
		return 0, syscall.EINVAL
	}
	free := d.free
	fd := max(min, free)
	for d.slotLocked(fd) != nil {
		if fd++; fd%scanTurn == 0 {
			d.mu.Unlock()
			d.giveWay(closeTurn - 1)
			d.mu.Lock()
			if d.free < free { // a lower number has become free
				free = d.free
				fd = max(min, free)
			}
		}
	}
	if fd >= d.limit || d.fixed {
		return 0, syscall.EMFILE
	}
	if err := d.putLocked(fd, fdSlot{f, cloexec}); err != nil {
		return 0, err
	}
	if min <= d.free {
		d.free = fd + 1
	}
	return fd, nil
}

// putLocked fills a slot and grows the table if necessary. It returns nil or ENOMEM.
// Precondition: mu held.
func (d *FDTable) putLocked(fd int, s fdSlot) error {
	if err := d.growLocked(fd); err != nil {
		return err
	}
	*d.at(fd) = s
	return nil
}

// growLocked makes a slot for the number, and charges it unless it fits into few. ENOMEM.
// Precondition: mu held.
func (d *FDTable) growLocked(fd int) error {
	if d.at(fd) != nil {
		return nil
	}
	if err := d.growFirst(min(fd+1, chunkSlots)); err != nil || fd < chunkSlots {
		return err
	}
	if !d.payer.Take(charge.FDTable, chunkCost) {
		return syscall.ENOMEM
	}
	i := fd/chunkSlots - 1
	if i >= len(d.chunks) {
		d.chunks = append(d.chunks, make([]*fdChunk, i+1-len(d.chunks))...)
	}
	d.chunks[i] = new(fdChunk)
	d.made++
	return nil
}

// growFirst makes sure that there are n of the first slots. Precondition: mu held.
func (d *FDTable) growFirst(n int) error {
	if n <= len(d.slots) {
		return nil
	}
	if old := cap(d.slots); n > old {
		room := min(max(n, 2*old), max(n, d.limit), chunkSlots)
		if !d.payer.Take(charge.FDTable, int64(room)*slotCost) {
			return syscall.ENOMEM
		}
		slots := make([]fdSlot, len(d.slots), room)
		copy(slots, d.slots)
		if old > len(d.few) {
			d.payer.Give(charge.FDTable, int64(old)*slotCost)
		}
		d.slots = slots
	}
	d.slots = d.slots[:n]
	return nil
}

// giveSlots returns the charge for the slots. Precondition: mu held.
func (d *FDTable) giveSlots() {
	if n := d.chargedLocked(); n != 0 {
		d.payer.Give(charge.FDTable, n)
	}
}

// Close implements close(2): EBADF.
func (d *FDTable) Close(fd int) error {
	d.mu.Lock()
	f := d.takeLocked(fd)
	d.mu.Unlock()
	if f == nil {
		return syscall.EBADF
	}
	d.let(f)
	return nil
}

// Remove closes fd if it still leads to f. It undoes an Install, of which another thread may
// not know: that thread may have closed the descriptor, and the number may lead to a file of
// its own.
func (d *FDTable) Remove(fd int, f *File) {
	d.mu.Lock()
	s := d.slotLocked(fd)
	ours := s != nil && s.file == f
	if ours {
		d.takeLocked(fd)
	}
	d.mu.Unlock()
	if ours {
		d.let(f)
	}
}

// let drops the table's reference on a file that has lost its descriptor. The record locks
// of the table's users end as soon as one of the file's descriptors is closed.
func (d *FDTable) let(f *File) {
	if d.recorded.Load() {
		f.DropRecords(d)
	}
	f.Release()
}

// takeLocked empties a slot and returns its file, or nil. Precondition: mu held.
func (d *FDTable) takeLocked(fd int) *File {
	s := d.slotLocked(fd)
	if s == nil {
		return nil
	}
	f := s.file
	*s = fdSlot{}
	d.free = min(d.free, fd)
	return f
}

// Dup implements dup(2) (with min 0), F_DUPFD and F_DUPFD_CLOEXEC.
func (d *FDTable) Dup(fd, min int, cloexec bool) (int, error) {
	f, err := d.Get(fd)
	if err != nil {
		return 0, err
	}
	return d.Install(f, min, cloexec)
}

// DupTo implements dup2(2) and dup3(2), except for dup3's EINVAL if the numbers are equal:
// it only checks fd then. EBADF.
func (d *FDTable) DupTo(fd, to int, cloexec bool) error {
	old, err := d.dupTo(fd, to, cloexec)
	if old != nil {
		d.let(old)
	}
	return err
}

func (d *FDTable) dupTo(fd, to int, cloexec bool) (old *File, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.slotLocked(fd)
	switch {
	case s == nil, to < 0, to >= d.limit, d.fixed:
		return nil, syscall.EBADF
	case fd == to:
		return nil, nil
	}
	f := s.file
	if err := d.growLocked(to); err != nil { // this may move the slots
		return nil, err
	}
	old = d.takeLocked(to)
	*d.at(to) = fdSlot{f.Ref(), cloexec}
	return old, nil
}

// Cloexec implements F_GETFD.
func (d *FDTable) Cloexec(fd int) (bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.slotLocked(fd)
	if s == nil {
		return false, syscall.EBADF
	}
	return s.cloexec, nil
}

// SetCloexec implements F_SETFD.
func (d *FDTable) SetCloexec(fd int, on bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.slotLocked(fd)
	if s == nil {
		return syscall.EBADF
	}
	s.cloexec = on
	return nil
}

// CloseRange implements close_range(2) for [first, last]: it closes the descriptors, or
// marks them close-on-exec.
func (d *FDTable) CloseRange(first, last uint, cloexec bool) {
	d.closeIf(func(fd int, s *fdSlot) bool {
		if uint(fd) < first || uint(fd) > last {
			return false
		}
		if cloexec {
			s.cloexec = true
		}
		return !cloexec
	})
}

// CloseOnExec closes the descriptors that execve(2) closes.
func (d *FDTable) CloseOnExec() {
	d.closeIf(func(_ int, s *fdSlot) bool { return s.cloexec })
}

// closeIf closes the descriptors for which pick returns true. It releases the files without
// mu, as a release may take other locks and free memory.
func (d *FDTable) closeIf(pick func(fd int, s *fdSlot) bool) {
	var files [slotsTurn]*File
	for fd := 0; ; {
		n := 0
		d.mu.Lock()
		end := d.end()
		for turn := 0; turn < slotsTurn && fd < end; turn++ {
			if s := d.slotLocked(fd); s != nil && pick(fd, s) {
				files[n] = d.takeLocked(fd)
				n++
			}
			fd = d.after(fd)
		}
		d.mu.Unlock()
		for i, f := range files[:n] {
			d.let(f)
			files[i] = nil
			d.giveWay(i)
		}
		if fd >= end {
			return
		}
		d.giveWay(closeTurn - 1)
	}
}

const (
	// slotsTurn is how many slots are looked at between two pauses. It is scanTurn if only
	// a free slot is sought. closeTurn is how many files are closed between two pauses.
	slotsTurn = 64
	scanTurn  = 512
	closeTurn = 8
)

// giveWay lets others run after every closeTurn steps of a loop; i is the number of the
// step. Precondition: no lock is held.
func (d *FDTable) giveWay(i int) {
	if d.yield != nil && uint(i)%closeTurn == closeTurn-1 {
		d.yield()
	}
}

// GiveWay sets the function that lets others run while many descriptors are copied or
// closed. It must be called before the table is used.
func (d *FDTable) GiveWay(yield func()) { d.yield = yield }

// CloseAll removes one user of the table. The last CloseAll closes every descriptor, and later
// Installs fail.
func (d *FDTable) CloseAll() {
	switch users := d.users.Add(-1); {
	case users > 0:
		return
	case users < 0:
		panic("fs: descriptor table closed more often than used")
	}
	d.mu.Lock()
	slots, chunks := d.slots, d.chunks
	d.giveSlots()
	d.slots, d.chunks, d.made, d.fixed = nil, nil, 0, true
	d.payer.Release()
	d.mu.Unlock()
	d.letAll(slots)
	for i, c := range chunks {
		if c != nil {
			d.letAll(c[:])
			chunks[i] = nil
		}
	}
}

// letAll closes the files of slots that are not in the table any more.
func (d *FDTable) letAll(slots []fdSlot) {
	for i := range slots {
		if f := slots[i].file; f != nil {
			slots[i].file = nil
			d.let(f)
		}
		d.giveWay(i)
	}
}

// Fork copies the table to c, a new table, and returns c. It has the same numbers, the same
// open file descriptions, one user, and is charged to payer. Fork returns nil if payer may
// not have the slots. A large table is copied in turns: between them, other threads may
// change the slots that are not copied yet.
func (d *FDTable) Fork(c *FDTable, payer *charge.User) *FDTable {
	d.mu.Lock()
	c.Init(d.limit, payer)
	c.yield = d.yield
	c.free = d.free
	n := len(d.slots)
	for n > 0 && d.slots[n-1].file == nil {
		n--
	}
	err := c.growFirst(n)
	if err == nil {
		for i := range n {
			s := d.slots[i]
			if s.file != nil {
				s.file.Ref()
			}
			c.slots[i] = s
		}
		if len(d.chunks) == 0 {
			d.mu.Unlock()
			return c
		}
	}
	for fd := chunkSlots; err == nil; {
		for turn := 0; turn < forkTurn && err == nil && fd < d.end(); turn++ {
			if s := d.slotLocked(fd); s == nil {
				c.free = min(c.free, fd) // closed since the fork began
			} else if err = c.putLocked(fd, *s); err == nil {
				s.file.Ref()
			}
			fd = d.after(fd)
		}
		if err == nil && fd >= d.end() {
			c.free = min(c.free, d.free) // descriptors may have been closed meanwhile
			d.mu.Unlock()
			d.giveWay(closeTurn - 1)
			return c
		}
		d.mu.Unlock()
		d.giveWay(closeTurn - 1)
		d.mu.Lock()
	}
	d.mu.Unlock()
	c.CloseAll()
	return nil
}

// forkTurn is how many slots Fork copies between two pauses.
const forkTurn = 64

// Limit returns RLIMIT_NOFILE.
func (d *FDTable) Limit() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.limit
}

// SetLimit changes RLIMIT_NOFILE. Descriptors above it stay open.
func (d *FDTable) SetLimit(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.limit = max(0, min(n, MaxFDs))
}

// next returns the lowest open number that is at least fd. It returns false if there is
// none.
func (d *FDTable) next(fd int) (int, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for fd = max(fd, 0); fd < d.end(); fd = d.after(fd) {
		if d.slotLocked(fd) != nil {
			return fd, true
		}
		if fd%scanTurn == scanTurn-1 {
			d.mu.Unlock()
			d.giveWay(closeTurn - 1)
			d.mu.Lock()
		}
	}
	return 0, false
}

// FDs returns the open numbers, ascending.
func (d *FDTable) FDs() []int {
	d.mu.Lock()
	defer d.mu.Unlock()
	var fds []int
	for fd := 0; fd < d.end(); fd = d.after(fd) {
		if d.slotLocked(fd) != nil {
			fds = append(fds, fd)
		}
	}
	return fds
}

// size returns how many slots the table has.
func (d *FDTable) size() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.end()
}
