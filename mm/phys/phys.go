// Package phys owns physical memory: which 4 KB frame is free, who holds a
// reference to it, and which frames are known to be zero.
//
// Memory is kept in 2 MB superblocks. A superblock is wholly free (and on the
// free-block list) or has a 512-bit map of its free frames and their number, so
// that freeing a frame sets a bit, freeing a run ORs a few words, and a
// superblock whose frames are all back is a free 2 MB block again without any
// merging.
//
// A 2 MB block that is used as a whole has one reference count for its 512
// frames ("whole"), so that mapping, sharing and freeing it costs the same as
// one frame. The first Ref or Unref of a single frame in it splits the count;
// Join makes it whole again.
//
// A page that was never shared has no count at all. The leaf entry that maps it is its only
// reference, and has a bit that says so (sole.go).
//
// Locks: Memory.mu guards the maps, lists and the stock of zeroed frames. It is the
// innermost lock: no other lock is taken under it. It is held for a few dozen instructions,
// and never while blocking or clearing memory. Reference counts of frames are atomic and
// need no lock. Reclaim functions are called with no lock of this package held, but the
// allocating caller may hold locks of its own.
//
// A broken rule (double free, reference to a free frame, a stocked frame that is
// not zero) is a kernel panic that names the frame, its count and its owner.
package phys

import (
	"fmt"
	"sync"
	"sync/atomic"
	"unsafe"

	"grim/arch"
)

// Frame is a physical page number, PA >> 12. 0 means no frame: frame 0 is never
// handed out.
type Frame uint32

// PA is the frame's physical address.
func (f Frame) PA() arch.PA { return arch.PA(f) << arch.PageShift }

// FrameOf is the frame that holds pa. It also takes a page-table entry of either
// architecture, and is then the frame that the entry points to: entries have the frame
// number from bit 12 on, and conversion to Frame keeps its 32 bits.
func FrameOf(pa arch.PA) Frame { return Frame(pa >> arch.PageShift) }

// frameOf is the frame that entry e points to.
func frameOf(e arch.PTE) Frame { return FrameOf(arch.PA(e)) }

// Owner says what a frame is used for. It is recorded for messages, Owners and
// Audit; no decision depends on it.
type Owner uint8

const (
	Free Owner = iota
	Anon
	FileCache
	Table
	Root
	UArea
	Kernel
	Pipe
	Reserve // in a 2 MB reservation and not handed out yet (Owners and Refuse only)
	owners
)

var ownerNames = [owners]string{"free", "anon", "file cache", "table", "root", "u-area", "kernel", "pipe", "reservation"}

func (o Owner) String() string {
	if o < owners {
		return ownerNames[o]
	}
	return fmt.Sprintf("owner %d", uint8(o))
}

// Range is [Start, End) of physical memory.
type Range struct{ Start, End arch.PA }

// Info is a frame's record. If the frame is a table page, its pmap keeps facts about the
// entries here, under the pmap's lock.
type Info struct {
	refs   int32 // atomic; 0 if free, in a whole block, reserved, stocked, or sole
	owner  Owner
	Sole   uint8  // leaf tables: not 0 if an entry may have the bit of a sole frame
	Used   uint16 // table pages: number of entries that are not zero
	Groups uint64 // table pages: bit g is set if entries 8g to 8g+7 may be in use. Others: a Fetch, atomic
}

// zeroStock is how many zeroed frames are kept: enough for the tables of a
// burst of process creations, 1 MB.
const zeroStock = 256

// Memory is the frame allocator of a machine.
type Memory struct {
	direct unsafe.Pointer // [I] address of PA 0 in the direct map
	base   Frame          // [I] first frame of block 0, 2 MB aligned
	total  int            // [I] frames of RAM
	info   []Info         // [I] slice; by frame - base
	ops    arch.PageOps   // [I] after start-up

	mu      sync.Mutex
	blocks  []block // by (frame - base) / 512
	partial int32   // blocks with some frames free, none: -1
	whole   int32   // wholly free blocks
	nfree   int     // free frames, stock excluded
	nblocks int     // wholly free blocks
	walked  Walked
	zero    [zeroStock]Frame
	nzero   int
	refuse  func(o Owner, s Sort) bool // tests: see Refuse; nil: nothing is refused

	shortages atomic.Uint64 // see Shortages

	reclaim []func(want int) (got int) // [I] after start-up
}

// New makes an allocator for ranges of RAM that are page aligned, ascending, free for all
// uses, and do not overlap. direct is the address at which PA 0 is mapped. The page at PA 0
// is left out.
func New(direct unsafe.Pointer, ram []Range) (*Memory, error) {
	if len(ram) == 0 {
		return nil, fmt.Errorf("phys: no memory given")
	}
	var last arch.PA
	for _, r := range ram {
		if (r.Start|r.End)&(arch.PageSize-1) != 0 || r.Start >= r.End || r.Start < last {
			return nil, fmt.Errorf("phys: bad memory range [%#x, %#x) after %#x: want page aligned, ascending", r.Start, r.End, last)
		}
		last = r.End
	}
	if last > 1<<(32+arch.PageShift) {
		return nil, fmt.Errorf("phys: memory up to %#x: at most 16 TB of physical addresses", last)
	}
	first := ram[0].Start &^ (arch.BlockSize - 1)
	n := int((last - first + arch.BlockSize - 1) >> arch.BlockShift)
	m := &Memory{
		direct: direct, base: FrameOf(first),
		info: make([]Info, n*arch.BlockPages), blocks: make([]block, n),
		partial: -1, whole: -1,
		ops: arch.PageOps{Clear: clearPage, Copy: copyPage},
	}
	for i := range m.blocks {
		m.blocks[i].next, m.blocks[i].prev = -1, -1
	}
	for _, r := range ram {
		m.addRange(int(FrameOf(r.Start)-m.base), int(FrameOf(r.End-1)-m.base)+1)
	}
	m.total = m.nfree
	return m, nil
}

// addRange makes frames [from, to), counted from base, free. It leaves out frame 0.
func (m *Memory) addRange(from, to int) {
	if m.base == 0 && from == 0 {
		from = 1
	}
	for from < to {
		end := min(to, from&^(arch.BlockPages-1)+arch.BlockPages)
		mask := allFrames
		if end-from < arch.BlockPages {
			mask = blockMap{}
			for i := from; i < end; i++ {
				mask.set(i & (arch.BlockPages - 1))
			}
		}
		m.release(int32(from/arch.BlockPages), &mask, allWords)
		from = end
	}
}

// AddReclaim adds a reclaim function. Before an allocation fails, the reclaim functions are
// called in the order in which they were added, to free at least want frames; each returns
// how many it freed. A reclaim function must not allocate, and must not wait for a lock that
// an allocating caller may hold. AddReclaim is called before the first allocation.
func (m *Memory) AddReclaim(f func(want int) (got int)) { m.reclaim = append(m.reclaim, f) }

// Pointer is where f's memory is in the direct map.
func (m *Memory) Pointer(f Frame) unsafe.Pointer {
	// Safety: the direct map covers every frame that New was given.
	return unsafe.Add(m.direct, uintptr(f)<<arch.PageShift)
}

// Bytes is f's memory.
func (m *Memory) Bytes(f Frame) []byte {
	return unsafe.Slice((*byte)(m.Pointer(f)), arch.PageSize)
}

// Table is f's memory as a table page.
func (m *Memory) Table(f Frame) *[arch.Entries]arch.PTE {
	return (*[arch.Entries]arch.PTE)(m.Pointer(f))
}

// SetPageOps sets the functions that clear and copy pages on this machine. It is called
// before the first allocation.
func (m *Memory) SetPageOps(o arch.PageOps) {
	if o.Clear != nil {
		m.ops.Clear = o.Clear
	}
	if o.Copy != nil {
		m.ops.Copy = o.Copy
	}
}

func clearPage(p unsafe.Pointer)       { clear(pageAt(p)) }
func copyPage(dst, src unsafe.Pointer) { copy(pageAt(dst), pageAt(src)) }

// pageAt is the page at p. Safety: PageOps are called with pages of the direct map.
func pageAt(p unsafe.Pointer) []byte { return unsafe.Slice((*byte)(p), arch.PageSize) }

// Rows is a table page by rows of eight entries: a row for each bit of Info.Groups.
type Rows [arch.Entries / 8][8]arch.PTE

// Rows is f's memory as a table page.
func (m *Memory) Rows(f Frame) *Rows { return (*Rows)(m.Pointer(f)) }

// FirstUsed is the place of the first entry of a row that is not zero, or 8 if all are zero.
// It is written out because every table page that is copied or freed is searched with it:
// two instructions an entry are a third of a loop's.
func FirstUsed(row *[8]arch.PTE) int {
	switch {
	case row[0] != 0:
		return 0
	case row[1] != 0:
		return 1
	case row[2] != 0:
		return 2
	case row[3] != 0:
		return 3
	case row[4] != 0:
		return 4
	case row[5] != 0:
		return 5
	case row[6] != 0:
		return 6
	case row[7] != 0:
		return 7
	}
	return 8
}

// Zero clears f.
func (m *Memory) Zero(f Frame) { m.ops.Clear(m.Pointer(f)) }

// CopyFrame fills dst with what src holds.
func (m *Memory) CopyFrame(dst, src Frame) { m.ops.Copy(m.Pointer(dst), m.Pointer(src)) }

// Info is f's record, for the table facts.
func (m *Memory) Info(f Frame) *Info { return &m.info[f-m.base] }

// Contains reports whether f lies between the first and the last frame of memory.
func (m *Memory) Contains(f Frame) bool { return f >= m.base && int(f-m.base) < len(m.info) }

// Total is the number of frames of RAM.
func (m *Memory) Total() int { return m.total }

// FreeFrames is the number of free frames, the stock of zeroed frames included.
func (m *Memory) FreeFrames() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.nfree + m.nzero
}

// Stats of the allocator; frames, FreeBlocks in 2 MB blocks. Free includes Zeroed.
type Stats struct{ Total, Free, Zeroed, FreeBlocks int }

// Stats returns current figures.
func (m *Memory) Stats() Stats {
	m.mu.Lock()
	defer m.mu.Unlock()
	return Stats{Total: m.total, Free: m.nfree + m.nzero, Zeroed: m.nzero, FreeBlocks: m.nblocks}
}
