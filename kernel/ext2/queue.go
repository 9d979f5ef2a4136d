package ext2

import (
	"errors"
	"slices"
	"syscall"
)

// buf is a block of metadata in memory.
type buf struct {
	block      uint64
	data       []byte
	pos        stage // the last stage that it waits in; 0: it is as on disk
	pinned     bool
	checked    bool // its checksum has been checked
	prev, next *buf // lru
}

// bufList is a list of the clean buffers, the most recently used first.
type bufList struct {
	head buf
	n    int
}

func (l *bufList) init() { l.head.prev, l.head.next = &l.head, &l.head }

func (l *bufList) push(b *buf) {
	b.prev, b.next = &l.head, l.head.next
	b.next.prev, b.prev.next = b, b
	l.n++
}

func (l *bufList) remove(b *buf) {
	if b.next == nil {
		return
	}
	b.prev.next, b.next.prev = b.next, b.prev
	b.prev, b.next = nil, nil
	l.n--
}

// cacheBytes bounds the clean buffers.
const cacheBytes = 2 << 20

// stage is the number of a set of block writes that may be done in any order. Stages are
// written in order, with a flush between them. Stage 0 is before all that wait.
type stage int64

// queue holds the changes that are not on disk yet.
type queue struct {
	first  stage // the first stage that can wait; those before it are on disk
	stages map[stage]*stageSet
	last   stage // the last stage that has a block

	maps map[uint64]bool // blocks of bitmaps and descriptors; written after all stages

	// Blocks and inodes that have been freed. They cannot be used again before the stage of
	// the change that freed them is on disk.
	blocks      []freedRange
	freed       int64
	freedInodes []freedInode
	dirty       int // number of buffers that wait in a stage
}

type stageSet struct {
	bufs   map[uint64]*buf   // buffers whose last stage this is
	frozen map[uint64][]byte // contents, in this stage, of blocks that are also in a later stage
}

type freedRange struct {
	start, n uint64
	at       stage
}

type freedInode struct {
	ino uint32
	at  stage
}

func (q *queue) init() {
	q.first = 1
	q.stages = map[stage]*stageSet{}
	q.maps = map[uint64]bool{}
}

// waits reports whether something waits to be written.
func (q *queue) waits() bool { return len(q.stages) > 0 || len(q.maps) > 0 }

// block returns the buffer of a block. It reads the block if there is no buffer.
// Preconditions: mu held.
func (f *FS) block(n uint64) (*buf, error) {
	if b := f.bufs[n]; b != nil {
		if b.next != nil {
			f.lru.remove(b)
			f.lru.push(b)
		}
		return b, nil
	}
	b := &buf{block: n, data: make([]byte, f.bs)}
	if _, err := f.d.ReadAt(b.data, int64(n)*f.bs); err != nil {
		return nil, ioError(err)
	}
	f.bufs[n] = b
	f.lru.push(b)
	return b, nil
}

// ioError returns EIO for any error of a device but EROFS.
func ioError(err error) error {
	if errors.Is(err, syscall.EROFS) {
		return syscall.EROFS
	}
	return syscall.EIO
}

// fresh returns the buffer of a block that was just allocated. It is all zeros.
// Preconditions: mu held.
func (f *FS) fresh(n uint64) *buf {
	f.forget(n)
	b := &buf{block: n, data: make([]byte, f.bs), checked: true}
	f.bufs[n] = b
	f.lru.push(b)
	return b
}

// forget drops the buffer of a block that no longer holds metadata, and what waits to be
// written to the block. Preconditions: mu held.
func (f *FS) forget(n uint64) {
	b := f.bufs[n]
	if b == nil {
		return
	}
	if b.pos != 0 {
		f.queue.dirty--
		delete(f.queue.stages[b.pos].bufs, n)
	}
	for _, s := range f.queue.stages {
		delete(s.frozen, n)
	}
	f.lru.remove(b)
	delete(f.bufs, n)
}

// trim drops clean buffers above the limit. It is called at the start of an operation, when
// nothing uses a buffer. Preconditions: mu held.
func (f *FS) trim() {
	for f.lru.n > cacheBytes/int(f.bs) {
		b := f.lru.head.prev
		f.lru.remove(b)
		delete(f.bufs, b.block)
	}
}

// touch announces a change of b that must come after the given stages. It puts b into a
// stage, which it returns. It must be called before the change is made. Preconditions: mu
// held, the file system is writable.
func (f *FS) touch(b *buf, after ...stage) stage {
	q := &f.queue
	at := max(q.first, b.pos)
	for _, a := range after {
		at = max(at, a+1)
	}
	if b.pos == at {
		return at
	}
	if b.pos != 0 {
		old := q.stages[b.pos]
		delete(old.bufs, b.block)
		old.frozen[b.block] = slices.Clone(b.data)
	} else {
		f.lru.remove(b)
		q.dirty++
	}
	b.pos = at
	s := q.stages[at]
	if s == nil {
		s = &stageSet{bufs: map[uint64]*buf{}, frozen: map[uint64][]byte{}}
		q.stages[at] = s
	}
	s.bufs[b.block] = b
	q.last = max(q.last, at)
	return at
}

// touchMap announces a change of a bitmap or a descriptor. They have no place in the order,
// as e2fsck repairs them whatever they say.
func (f *FS) touchMap(b *buf) {
	f.queue.maps[b.block] = true
	f.lru.remove(b)
}

// maxDirty is how many blocks may wait. With more, the next operation commits first.
const maxDirty = 512

// begin starts an operation that changes the file system. On success it holds mu. EROFS.
func (f *FS) begin() error {
	f.mu.Lock()
	if f.queue.dirty > maxDirty {
		f.mu.Unlock()
		if err := f.commit(); err != nil {
			return err
		}
		f.mu.Lock()
	}
	if err := f.writable(); err != nil {
		f.mu.Unlock()
		return err
	}
	f.trim()
	return nil
}

// Sync returns when all changes made before its call are on disk.
func (f *FS) Sync() error { return f.commit() }

type blockWrite struct {
	block uint64
	data  []byte
}

// commit writes all stages in order, and then the bitmaps, the descriptors and the
// superblock.
func (f *FS) commit() error {
	f.commitMu.Lock()
	defer f.commitMu.Unlock()
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return syscall.EROFS
	}
	if f.broken != nil {
		f.mu.Unlock()
		return syscall.EIO
	}
	q := &f.queue
	if !q.waits() {
		f.mu.Unlock()
		return f.flush() // only of data
	}
	upTo := q.last
	var work [][]blockWrite
	// clean are the buffers that will be as on disk when all is written. Until then they stay
	// out of lru: another operation would drop them, and read old blocks from the disk.
	var clean []*buf
	for at := q.first; at <= upTo; at++ {
		s := q.stages[at]
		if s == nil {
			continue
		}
		var ws []blockWrite
		for n, data := range s.frozen {
			ws = append(ws, blockWrite{n, data})
		}
		for n, b := range s.bufs {
			ws = append(ws, blockWrite{n, slices.Clone(b.data)})
			b.pos = 0
			q.dirty--
			clean = append(clean, b)
		}
		delete(q.stages, at)
		work = append(work, ws)
	}
	q.first = upTo + 1
	var maps []blockWrite
	for n := range q.maps {
		if b := f.bufs[n]; b != nil {
			maps = append(maps, blockWrite{n, slices.Clone(b.data)})
			clean = append(clean, b)
		}
	}
	clear(q.maps)
	f.mu.Unlock()

	err := f.flush() // data that the metadata point to
	for _, ws := range work {
		if err == nil {
			err = f.writeBlocks(ws)
		}
		if err == nil {
			err = f.flush()
		}
	}
	if err == nil {
		err = f.writeBlocks(maps)
	}
	if err == nil {
		err = f.writeSuper()
	}
	if err == nil {
		err = f.flush()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil {
		// The disk is consistent. The buffers in memory are newer than the disk.
		return f.fail(syscall.EIO, "writing metadata failed: %v", err)
	}
	for _, b := range clean { // those that have not changed again, nor been forgotten
		if b.pos == 0 && !b.pinned && b.next == nil && !q.maps[b.block] && f.bufs[b.block] == b {
			f.lru.push(b)
		}
	}
	f.settle(upTo)
	return nil
}

func (f *FS) flush() error {
	if f.opts.ReadOnly {
		return nil
	}
	return f.d.Flush()
}

// writeBlocks writes blocks. It writes adjacent blocks together.
func (f *FS) writeBlocks(ws []blockWrite) error {
	slices.SortFunc(ws, func(a, b blockWrite) int {
		if a.block < b.block {
			return -1
		}
		return 1
	})
	for len(ws) > 0 {
		n := 1
		p := ws[0].data
		for n < len(ws) && n < 16 && ws[n].block == ws[0].block+uint64(n) {
			p = append(p, ws[n].data...)
			n++
		}
		if _, err := f.d.WriteAt(p, int64(ws[0].block)*f.bs); err != nil {
			return err
		}
		ws = ws[n:]
	}
	return nil
}

// settle makes blocks and inodes usable that were freed in stages up to upTo.
// Preconditions: mu held.
func (f *FS) settle(upTo stage) {
	q := &f.queue
	var err error
	q.blocks = slices.DeleteFunc(q.blocks, func(r freedRange) bool {
		if r.at > upTo || err != nil {
			return false
		}
		err = f.release(r.start, r.n)
		q.freed -= int64(r.n)
		return true
	})
	q.freedInodes = slices.DeleteFunc(q.freedInodes, func(r freedInode) bool {
		if r.at > upTo || err != nil {
			return false
		}
		err = f.releaseInode(r.ino)
		return true
	})
	for _, m := range []map[uint32]stage{f.after, f.own, f.tables} {
		for k, at := range m {
			if at <= upTo {
				delete(m, k)
			}
		}
	}
}
