package phys

import (
	"fmt"
	"math/bits"
	"sync/atomic"

	"grim/arch"
)

// Ref takes one more reference to f. The caller must hold one, or a lock that
// keeps one in place.
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

// Refs is how many references f has. 1 is a stable answer to the holder of that
// reference: nobody else can take another.
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

// Unref gives up one reference to f and says whether it was the last, in which
// case f is free now.
func (m *Memory) Unref(f Frame) (freed bool) {
	if p := &m.info[f-m.base].refs; atomic.LoadInt32(p) == 1 {
		// The only reference is ours, so nobody else can change it.
		atomic.StoreInt32(p, 0)
	} else if !m.drop(f) {
		return false
	}
	m.mu.Lock()
	m.releaseOne(f)
	m.mu.Unlock()
	return true
}

// drop is Unref that leaves a frame without references to the caller to free.
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

// dropLast is drop by a caller who must hold the only reference.
func (m *Memory) dropLast(f Frame) {
	if !m.drop(f) {
		panic(fmt.Sprintf("phys: frame %#x (%v) freed by its only user has %d more references", uint32(f), m.Owner(f), m.Refs(f)))
	}
}

// split gives the frames of f's whole block counts of their own. Panics when f
// is not in a whole block: then f had no references, and op is wrong.
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

// Join makes a 2 MB aligned block whole again if the caller holds the only
// reference to each of its 512 frames, and says whether it does.
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

// RefBlock takes one more reference to each frame of the 2 MB block at f.
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

// UnrefBlock gives up one reference to each frame of the 2 MB block at f; at a
// constant cost while the block is whole.
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

// BlockRefs is how many references each frame of the block at f has, if all have
// the same number; else 0.
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

// InUse tells whether somebody holds a reference to f.
func (m *Memory) InUse(f Frame) bool { return m.Contains(f) && m.Refs(f) > 0 }

// Fetch is what instruction fetch knows of a frame's contents: the state that
// FetchOf read, for SetSynced.
type Fetch uint64

// fetchSynced is the bit of a Fetch that is set once instruction fetch sees the
// contents. The bits above count the changes since, so that a synchronisation that
// began before a change cannot be taken for one after it.
const fetchSynced Fetch = 1

// Synced tells whether instruction fetch sees the contents that f had at FetchOf.
func (s Fetch) Synced() bool { return s&fetchSynced != 0 }

// FetchOf is the state of f (arm64: data and instruction caches are not coherent).
// If it is not Synced, synchronise the caches first and call SetSynced afterwards:
// another CPU that finds the frame synced maps it executable at once. A frame of a
// whole block and a sole one are never synced: their records are of an earlier time.
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

// Modified tells that the kernel wrote to f, which may be mapped executable: the
// next Enter or Protect that maps it so synchronises instruction fetch again.
func (m *Memory) Modified(f Frame) {
	p := &m.info[f-m.base].Groups
	for {
		old := atomic.LoadUint64(p)
		if atomic.CompareAndSwapUint64(p, old, (old|uint64(fetchSynced))+1) {
			return
		}
	}
}

// Sharing says how ShareLeaf changes entries. Both sides lose the bits Lose and
// gain Gain, the copy loses Drop too. Entry Skip is left as it is; -1: none.
type Sharing struct {
	Lose, Gain, Drop arch.PTE
	Skip             int
}

// ShareLeaf copies those of entries [lo, hi) of leaf table src that are not zero to
// dst, with one more reference to the frame of each; none is sole (CountTable). At most used entries of src
// are not zero, all of them in groups (Info.Used, Info.Groups); the caller holds
// the lock that keeps them. n entries were copied; changed has the bits that differ
// from before in any of src. It stops at an entry of dst that is not zero, and says
// where: hi at the end.
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
			// Not 0 meanwhile: the reference that e stands for is there.
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
