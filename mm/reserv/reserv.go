// Package reserv keeps 2 MB reservations of frames for anonymous memory.
//
// A reservation begins with the first page fault in a 2 MB block of addresses that lies
// inside one anonymous mapping: a free 2 MB block of frames is set aside for it. Each page
// gets the frame that lies as far into the block of frames as the page lies into the block
// of addresses. A fault may be given more pages than the one it asks for (fill-ahead), if
// the faults are sequential, or if there have been many all over the block.
//
// Only frames that have been handed out count as used memory. The others are given back
// when the reservation is broken: by unmapping, fork or exit, or when memory is short, the
// least recently populated reservation first. When all 512 frames have been handed out the
// reservation ends, and the caller turns the pages into one block (pmap.Promote).
//
// Locks: Pool.mu guards all reservations of the machine. It is held for a few hundred
// instructions at most; phys.Memory.mu is taken under it. It may be taken under a map's or
// a pmap's lock, as reclaim does. No allocation that may call reclaim runs under it.
package reserv

import (
	"math/bits"
	"sync"

	"grim/arch"
	"grim/mm/phys"
)

// maxWindow is the largest fill-ahead, in pages.
//
// With sequential faults the window doubles at each fault, so that no more is filled ahead
// than has been touched. With other faults the window is a power of two, aligned to its
// size, and smaller than the number of faults in the block so far. A program that touches
// one page of a block so gets one page, for two it gets two, for 16 at most 86; after 42 the
// block is full, and can become a block mapping. Without fill-ahead a program that uses its
// memory at random would take a fault for each page, and keep a table of 4 KB pages, which
// costs TLB misses and makes fork and exit slower.
const maxWindow = 32

// plenty is the part of memory, one eighth, that must be free for filling ahead when faults
// are not sequential.
const plenty = 8

// Pool holds the machine's reservations.
type Pool struct {
	m       *phys.Memory // [I]
	enabled bool         // [I]
	lru     int32        // [I] the record that heads the ring: its lruNext is the least recently populated

	mu          sync.Mutex
	records     []resv  // by number of the block of memory; the last is the ring's head
	buckets     []int32 // by Set and block, chained by hashNext
	sets        uint64
	unpopulated int
}

// Set holds the reservations of one address space. Init comes first. Any goroutine may call
// the methods; the lock of the address space's map decides their order.
type Set struct {
	p    *Pool
	id   uint64
	head int32   // by setNext
	n    int     // in the list
	row  arch.VA // block after the one that was filled last: a fault here is sequential
}

// NewPool makes a pool, whose reservations m breaks when memory is short. If enabled is
// false (hugepages=off) there are no reservations, and Alloc hands out single frames.
func NewPool(m *phys.Memory, enabled bool) *Pool {
	// There is a bucket for each 2 MB of memory, as there are at most so many reservations.
	blocks := m.NumBlocks()
	n := 1 << bits.Len(uint(m.Total()/arch.BlockPages))
	p := &Pool{m: m, enabled: enabled, buckets: make([]int32, n), records: make([]resv, blocks+1), lru: int32(blocks)}
	for i := range p.buckets {
		p.buckets[i] = none
	}
	p.records[p.lru].lruNext, p.records[p.lru].lruPrev = p.lru, p.lru
	m.AddReclaim(p.reclaim)
	return p
}

// Init makes s an empty set of p.
func (s *Set) Init(p *Pool) {
	p.mu.Lock()
	p.sets++
	*s = Set{p: p, id: p.sets, head: none}
	p.mu.Unlock()
}

// Run is the result of Alloc: N frames F, F+1, ..., all zero and sole (package phys), for N
// pages from VA on.
type Run struct {
	VA   arch.VA
	F    phys.Frame
	N    int
	Full bool // the reservation is used up: enter the run, then call pmap.Promote(VA)
}

// Alloc gets memory for a page fault at va, which is page aligned, lies inside the anonymous
// mapping [lo, hi), and has nothing mapped. It may add memory for up to max-1 pages around
// va (max is at least 1), all in the 2 MB block of va. Nothing is mapped at these pages
// either if the caller has called Break where it must. ENOMEM.
func (s *Set) Alloc(va, lo, hi arch.VA, max int) (Run, error) {
	if s.p.enabled {
		if run, ok := s.reserved(va, lo, hi, max); ok {
			return run, nil
		}
	}
	f, err := s.p.m.AllocSole()
	return Run{VA: va, F: f, N: 1}, err
}

// reserved is Alloc from a reservation. It returns false if there is none and none can be
// made.
func (s *Set) reserved(va, lo, hi arch.VA, max int) (Run, bool) {
	p := s.p
	block := va.BlockDown()
	if block < lo || hi < arch.BlockSize || block > hi-arch.BlockSize {
		return Run{}, false
	}
	p.mu.Lock()
	k := p.find(s, block)
	if k < 0 {
		if k = p.reserve(s, block); k < 0 {
			p.mu.Unlock()
			return Run{}, false
		}
	}
	r := &p.records[k]
	i := va.Index(0)
	if r.populated[i>>6]>>(i&63)&1 != 0 {
		p.mu.Unlock()
		return Run{}, false // the frame was handed out before, and the page unmapped since
	}
	from, n := p.take(r, i, max)
	p.unpopulated -= n
	run := Run{VA: block + arch.VA(from)<<arch.PageShift, F: p.m.BlockFrame(int(k)) + phys.Frame(from), N: n}
	if r.count == arch.BlockPages {
		run.Full = true
		s.row = block + arch.BlockSize
		p.end(k)
	} else {
		p.touch(k)
	}
	p.mu.Unlock()
	p.m.Populate(run.F, n)
	return run, true
}

// take chooses a run of at most max pages that includes page i, and marks it as populated.
// Preconditions: p.mu held.
func (p *Pool) take(r *resv, i, max int) (from, n int) {
	r.faults++
	lo, hi := i, i+1
	switch {
	case int32(i) == r.next:
		r.window = min(2*r.window, maxWindow)
		hi = i + min(int(r.window), max)
	case r.faults > 2 && max >= maxWindow && p.m.FreeFrames() > p.m.Total()/plenty:
		r.window = 1
		w := min(1<<(bits.Len32(uint32(r.faults-1))-1), maxWindow)
		lo = i &^ (w - 1)
		hi = lo + w
	default:
		r.window = 1
	}
	hi = min(hi, arch.BlockPages)
	for from = i; from > lo && !r.has(from-1); from-- {
	}
	to := i + 1
	for to < hi && !r.has(to) {
		to++
	}
	for k := from; k < to; k++ {
		r.populated[k>>6] |= 1 << (k & 63)
	}
	r.count += int32(to - from)
	r.next = int32(to)
	return from, to - from
}

func (r *resv) has(k int) bool { return r.populated[k>>6]>>(k&63)&1 != 0 }

// Break ends the reservations that overlap [start, end). It must be called before a part of
// a mapping is unmapped, moved, or given other rights.
func (s *Set) Break(start, end arch.VA) {
	p := s.p
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.n == 0 || start >= end {
		return
	}
	if blocks := uint64((end-1)>>arch.BlockShift-start>>arch.BlockShift) + 1; blocks <= uint64(s.n) {
		for va := start.BlockDown(); va < end; va += arch.BlockSize {
			if i := p.find(s, va); i >= 0 {
				p.end(i)
			}
		}
		return
	}
	for i := s.head; i >= 0; {
		r := &p.records[i]
		next := r.setNext
		if r.va < end && r.va+arch.BlockSize > start {
			p.end(i)
		}
		i = next
	}
}

// BreakAll ends all reservations of s, for exit, exec and fork. It is cheapest if the frames
// that were handed out have been freed before.
func (s *Set) BreakAll() {
	p := s.p
	p.mu.Lock()
	for i := s.head; i >= 0; {
		next := p.records[i].setNext
		p.release(i)
		i = next
	}
	s.head, s.n, s.row = none, 0, 0
	p.mu.Unlock()
}

// Unpopulated is the number of frames that are set aside and have not been handed out.
func (p *Pool) Unpopulated() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.unpopulated
}

// reclaim breaks reservations, the least recently populated first, until want
// frames are free.
func (p *Pool) reclaim(want int) (got int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for got < want {
		oldest := p.records[p.lru].lruNext
		if oldest == p.lru {
			break
		}
		got += p.end(oldest)
	}
	return got
}
