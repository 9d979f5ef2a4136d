package phys

import (
	"fmt"
	"math/bits"
	"sync/atomic"

	"grim/arch"
)

// Ref adds a reference to f. The caller must hold a reference, or a lock under which another
// holder's reference stays.
func (m *Memory) Ref(f Frame) {
	p := &m.info[f-m.base].refs
	for {
		r := atomic.LoadInt32(p)
		if r <= 0 {
			m.split(f, "ref")
			continue
		}
		if atomic.CompareAndSwapInt32(p, r, r+1) {
			return
		}
	}
}

// Refs is the number of references to f. If the caller holds a reference and the number is
// 1, it stays 1: no other code can add one.
func (m *Memory) Refs(f Frame) int32 {
	if r := atomic.LoadInt32(&m.info[f-m.base].refs); r != 0 {
		return r
	}
	i, _ := m.blockOf(f)
	m.mu.Lock()
	defer m.mu.Unlock()
	switch b := &m.blocks[i]; {
	case b.isWhole:
		return b.wholeRefs
	case m.isSole(int(f - m.base)):
		return 1
	}
	return atomic.LoadInt32(&m.info[f-m.base].refs)
}

// Owner is what f is used for.
func (m *Memory) Owner(f Frame) Owner {
	i, _ := m.blockOf(f)
	m.mu.Lock()
	defer m.mu.Unlock()
	if b := &m.blocks[i]; b.isWhole {
		return b.owner
	}
	return m.ownerOf(int(f - m.base))
}

// Unref gives up one reference to f. If it was the last one, f is freed, and Unref returns
// true.
func (m *Memory) Unref(f Frame) (freed bool) {
	if p := &m.info[f-m.base].refs; atomic.LoadInt32(p) == 1 {
		// The only reference is the caller's, so only the caller can change the count.
		atomic.StoreInt32(p, 0)
	} else if !m.drop(f) {
		return false
	}
	m.mu.Lock()
	m.releaseOne(f)
	m.mu.Unlock()
	return true
}

// drop gives up one reference to f and reports whether it was the last one. The caller must
// free the frame then.
func (m *Memory) drop(f Frame) (last bool) {
	p := &m.info[f-m.base].refs
	for {
		r := atomic.LoadInt32(p)
		if r <= 0 {
			m.split(f, "unref")
			continue
		}
		if atomic.CompareAndSwapInt32(p, r, r-1) {
			return r == 1
		}
	}
}

// dropLast gives up the only reference to f. Other references are a panic.
func (m *Memory) dropLast(f Frame) {
	if !m.drop(f) {
		panic(fmt.Sprintf("phys: frame %#x (%v) freed by its only user has %d more references", uint32(f), m.Owner(f), m.Refs(f)))
	}
}

// split ends the common count of f's whole block: each frame gets a count of its own. If f
// is not in a whole block, it has no references, and split panics: op names the operation
// that was wrong.
func (m *Memory) split(f Frame, op string) {
	i, _ := m.blockOf(f)
	m.mu.Lock()
	b := &m.blocks[i]
	if !b.isWhole {
		fi := &m.info[f-m.base]
		r := atomic.LoadInt32(&fi.refs)
		m.mu.Unlock()
		if r > 0 {
			return // another CPU split it in between
		}
		panic(fmt.Sprintf("phys: %s of frame %#x that has %d references (last owner %v; an entry's alone: %v)",
			op, uint32(f), r, fi.owner, m.isSole(int(f-m.base))))
	}
	first := int(m.first(i) - m.base)
	for k := first; k < first+arch.BlockPages; k++ {
		fi := &m.info[k]
		fi.owner, fi.Used = b.owner, 0
		atomic.StoreUint64(&fi.Groups, 0)
		atomic.StoreInt32(&fi.refs, b.wholeRefs)
	}
	b.isWhole, b.wholeRefs = false, 0
	m.mu.Unlock()
}

// Join gives the 2 MB aligned block at f a common count again if the caller holds the only
// reference to each of its 512 frames. It reports whether the block is whole now.
func (m *Memory) Join(f Frame) bool {
	i, k := m.blockOf(f)
	if k != 0 {
		return false
	}
	x := int(f - m.base)
	o := m.ownerOf(x)
	if atomic.LoadInt32(&m.info[x].refs) == 0 && !m.isSole(x) {
		return m.Refs(f) == 1 // whole already, or not in use at all
	}
	if !m.joinSole(i) {
		return false
	}
	m.mu.Lock()
	b := &m.blocks[i]
	b.isWhole, b.wholeRefs, b.owner = true, 1, o
	m.mu.Unlock()
	return true
}

// RefBlock adds a reference to each frame of the 2 MB block at f.
func (m *Memory) RefBlock(f Frame) {
	i, _ := m.blockOf(f)
	m.mu.Lock()
	if b := &m.blocks[i]; b.isWhole {
		b.wholeRefs++
		m.mu.Unlock()
		return
	}
	m.mu.Unlock()
	for k := range Frame(arch.BlockPages) {
		m.Ref(f + k)
	}
}

// UnrefBlock gives up one reference to each frame of the 2 MB block at f. Its cost is
// constant while the block is whole.
func (m *Memory) UnrefBlock(f Frame) {
	i, _ := m.blockOf(f)
	m.mu.Lock()
	b := &m.blocks[i]
	if b.isWhole {
		if b.wholeRefs--; b.wholeRefs == 0 {
			m.freeWhole(i)
		}
		m.mu.Unlock()
		return
	}
	m.mu.Unlock()
	var mask blockMap
	n := 0
	for k := range arch.BlockPages {
		if m.drop(f + Frame(k)) {
			mask.set(k)
			n++
		}
	}
	if n > 0 {
		m.mu.Lock()
		m.release(i, &mask, allWords)
		m.mu.Unlock()
	}
}

// freeWhole makes a whole block without references free. Preconditions: m.mu held.
func (m *Memory) freeWhole(i int32) {
	b := &m.blocks[i]
	if b.nfree != 0 {
		m.badRelease(i, 0, allFrames[0])
	}
	b.isWhole = false
	if debugOwners {
		for k := range Frame(arch.BlockPages) {
			m.info[m.first(i)+k-m.base].owner = b.owner
		}
		m.retire(i, &allFrames)
	}
	b.free, b.nfree, b.cursor = allFrames, arch.BlockPages, 0
	m.nfree += arch.BlockPages
	m.relist(i, 0)
}

var allFrames = blockMap{^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0)}

// BlockRefs is the number of references to each frame of the block at f if they all have the
// same number, and else 0.
func (m *Memory) BlockRefs(f Frame) int32 {
	n := m.Refs(f)
	i, _ := m.blockOf(f)
	m.mu.Lock()
	whole := m.blocks[i].isWhole
	m.mu.Unlock()
	if whole {
		return n
	}
	for k := range Frame(arch.BlockPages) {
		if atomic.LoadInt32(&m.info[f+k-m.base].refs) != n {
			return 0
		}
	}
	return n
}

// InUse reports whether f has references.
func (m *Memory) InUse(f Frame) bool { return m.Contains(f) && m.Refs(f) > 0 }

// Fetch says whether instruction fetch sees a frame's contents. FetchOf reads it, and
// SetSynced takes it back to find out whether the contents have changed since.
type Fetch uint64

// fetchSynced is the bit of a Fetch that is set when instruction fetch sees the contents.
// The bits above it count changes of the contents. So a synchronisation that began before a
// change is not taken for one that began after it.
const fetchSynced Fetch = 1

// Synced reports whether instruction fetch sees the contents that the frame had at FetchOf.
func (s Fetch) Synced() bool { return s&fetchSynced != 0 }

// FetchOf reads the Fetch of f. On arm64 the data and instruction caches are not coherent: if
// the frame is not Synced, the caller synchronises the caches, then calls SetSynced, and
// only then maps the frame executable. A frame of a whole block and a sole frame are never
// synced, because their records are out of date.
func (m *Memory) FetchOf(f Frame) Fetch {
	fi := &m.info[f-m.base]
	if atomic.LoadInt32(&fi.refs) <= 0 {
		return 0
	}
	return Fetch(atomic.LoadUint64(&fi.Groups))
}

// SetSynced records that the caches were synchronised after FetchOf returned old.
// It does nothing if the contents have changed since.
func (m *Memory) SetSynced(f Frame, old Fetch) {
	atomic.CompareAndSwapUint64(&m.info[f-m.base].Groups, uint64(old), uint64(old|fetchSynced))
}

// Modified notes that the kernel has written to f, which may be mapped executable. The next
// Enter or Protect that maps f executable synchronises instruction fetch again.
func (m *Memory) Modified(f Frame) {
	p := &m.info[f-m.base].Groups
	for {
		old := atomic.LoadUint64(p)
		if atomic.CompareAndSwapUint64(p, old, (old|uint64(fetchSynced))+1) {
			return
		}
	}
}

// Sharing says how ShareLeaf changes entries. Both the original and the copy lose the bits
// Lose and gain the bits Gain. The copy loses the bits Drop as well. The entry at place Skip
// is left out; -1 leaves out none.
type Sharing struct {
	Lose, Gain, Drop arch.PTE
	Skip             int
}

// ShareLeaf copies the entries [lo, hi) of leaf table src that are not zero to dst, and adds
// a reference to the frame of each. The caller holds src's lock, and has called CountTable,
// so that no frame is sole. used and groups are those of src: Info.Used and Info.Groups.
//
// It returns the number of entries copied, and in changed all bits that became different in
// src. It stops at an entry of dst that is not zero. at is the place of that entry, or hi at
// the end.
func (m *Memory) ShareLeaf(dst, src *Rows, groups uint64, used, lo, hi int, how *Sharing) (n int, changed arch.PTE, at int) {
	info, base := m.info, int(m.base)
	for groups = groups >> (lo >> 3 & 63) << (lo >> 3 & 63); groups != 0; groups &= groups - 1 {
		g := bits.TrailingZeros64(groups)
		from, to := &src[g&63], &dst[g&63]
		for i := FirstUsed(from); i < len(from); i++ {
			e := from[i]
			if e == 0 {
				continue
			}
			k := g<<3 + i
			if k < lo || k == how.Skip {
				continue
			}
			if k >= hi {
				return n, changed, hi
			}
			if to[i] != 0 {
				return n, changed, k
			}
			p := &info[int(frameOf(e))-base].refs
			if atomic.LoadInt32(p) <= 0 {
				m.split(frameOf(e), "ref")
			}
			// The count cannot become 0 before this: entry e is a reference.
			atomic.AddInt32(p, 1)
			ne := e&^how.Lose | how.Gain
			changed |= ne ^ e
			from[i] = ne
			to[i] = ne &^ how.Drop
			if n++; n == used {
				return n, changed, hi
			}
		}
	}
	return n, changed, hi
}
