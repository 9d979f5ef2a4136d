// Package reserv keeps 2 MB reservations of frames for anonymous memory.
//
// The first fault in a 2 MB block of addresses that lies inside one anonymous
// mapping sets a free 2 MB block of frames aside. Faults there take the frame
// that lies as far into the block as the page; faults in a row, and the later of
// many faults all over the block, take more than one at a time (fill-ahead). Only
// pages handed out are used memory: the others go back when the reservation is
// broken, by unmapping, fork, exit, or when memory runs short, the least recently
// used first. When all 512 have been handed out,
// the reservation is over and the caller makes the pages one block
// (pmap.Promote).
//
// Locks: Pool.mu guards every reservation of the machine, held for a few hundred
// instructions at most, with phys.Memory.mu inside. It may be taken with a map's
// or pmap's lock held (that is where reclaim comes from); nothing that allocates
// frames with reclaim runs under it.
package reserv

import (
	"math/bits"
	"sync"

	"grim/arch"
	"grim/mm/phys"
)

// maxWindow bounds the fill-ahead, in pages.
//
// In a row the window doubles with each fault: at most as much is filled ahead as
// was touched. Elsewhere it is a power of two, at its own multiple, and smaller than
// the number of faults in the block: one page of a block costs one page, two cost
// two, 16 cost at most 86, and 42 fill it, where each page would fault otherwise. A
// page table full of 4 KB pages is what a program that uses its memory at random
// pays for on every TLB miss, and in every fork and exit.
const maxWindow = 32

// plenty is the part of memory that must be free for filling ahead where nobody was
// seen to go: 1/8.
const plenty = 8

// Pool holds the machine's reservations.
type Pool struct {
	m       *phys.Memory // [I]
	enabled bool         // [I]
	lru     int32        // [I] the record that heads the ring: its lruNext is the least recently populated

	mu          sync.Mutex
	records     []resv  // by number of the block of memory, and one more for lru
	buckets     []int32 // by Set and block, chained by hashNext
	sets        uint64
	unpopulated int
}

// Set holds one address space's reservations. Call Init first. All methods may be
// called at any time by anyone; the caller's map lock keeps them in order.
type Set struct {
	p    *Pool
	id   uint64
	head int32   // by setNext
	n    int     // in the list
	row  arch.VA // block after the one filled up last: a fault here is in a row
}

// NewPool makes a pool and lets m break reservations when memory runs short. With
// enabled false (hugepages=off) there are none, and Alloc hands out single frames.
func NewPool(m *phys.Memory, enabled bool) *Pool {
	// One bucket for each 2 MB of memory: there are no more reservations.
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

// Run is what Alloc hands out: N frames F, F+1, ..., all zero and sole (package phys),
// for N pages from VA on.
type Run struct {
	VA   arch.VA
	F    phys.Frame
	N    int
	Full bool // the reservation is used up: enter the run, then pmap.Promote(VA)
}

// Alloc gets memory for a fault at va (page aligned) where nothing is mapped,
// inside the anonymous mapping [lo, hi), and for up to max-1 pages around it (max
// >= 1), all in its 2 MB block if there are any. These may be mapped to other frames
// only if the range was not broken as Break asks. ENOMEM.
func (s *Set) Alloc(va, lo, hi arch.VA, max int) (Run, error) {
	if s.p.enabled {
		if run, ok := s.reserved(va, lo, hi, max); ok {
			return run, nil
		}
	}
	f, err := s.p.m.AllocSole()
	return Run{VA: va, F: f, N: 1}, err
}

// reserved is Alloc from a reservation; false if there is none to be had.
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
		return Run{}, false // handed out before and unmapped since
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

// take marks a run of at most max pages with page i in it as populated.
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

// Break ends the reservations that overlap [start, end): to be called before a
// part of a mapping is unmapped, moved or gets other rights.
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

// BreakAll ends all reservations of s (exit, exec, fork). It is cheapest when the
// pages that were handed out are back already.
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

// Unpopulated is how many frames are set aside and not handed out.
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
