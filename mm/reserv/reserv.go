// Package reserv keeps 2 MB reservations of frames for anonymous memory.
//
// The first fault in a 2 MB block of addresses that lies inside one anonymous
// mapping sets a free 2 MB block of frames aside. Faults there take the frame
// that lies as far into the block as the page; faults in a row take more than one
// at a time (fill-ahead). Only pages handed out are used memory: the others go
// back when the reservation is broken, by unmapping, fork, exit, or when memory
// runs short, the least recently used first. When all 512 have been handed out,
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

// maxWindow bounds the fill-ahead, in pages. The window doubles with each fault
// in a row, so that at most as much is filled ahead as was touched.
const maxWindow = 32

// Pool holds the machine's reservations.
type Pool struct {
	m       *phys.Memory // [I]
	enabled bool         // [I]

	mu          sync.Mutex
	buckets     []*resv // by Set and block, chained by hashNext
	lru         resv    // ring: lru.lruNext is the least recently populated
	spare       *resv   // records to use again, chained by hashNext
	sets        uint64
	unpopulated int
}

// resv is one reservation. All fields under Pool.mu.
type resv struct {
	set       *Set
	va        arch.VA // of the block
	base      phys.Frame
	populated [arch.BlockPages / 64]uint64
	count     int // bits in populated
	next      int // page after the last run: a fault here is in a row
	window    int // pages of the last run

	hashNext         *resv
	lruPrev, lruNext *resv
	setPrev, setNext *resv
}

// Set holds one address space's reservations. Call Init first. All methods may be
// called at any time by anyone; the caller's map lock keeps them in order.
type Set struct {
	p    *Pool
	id   uint64
	head *resv   // by setNext
	n    int     // in the list
	row  arch.VA // block after the one filled up last: a fault here is in a row
}

// NewPool makes a pool and lets m break reservations when memory runs short. With
// enabled false (hugepages=off) there are none, and Alloc hands out single frames.
func NewPool(m *phys.Memory, enabled bool) *Pool {
	// One bucket for each 2 MB of memory: there are no more reservations.
	n := 1 << bits.Len(uint(m.Total()/arch.BlockPages))
	p := &Pool{m: m, enabled: enabled, buckets: make([]*resv, n)}
	p.lru.lruNext, p.lru.lruPrev = &p.lru, &p.lru
	m.AddReclaim(p.reclaim)
	return p
}

// Init makes s an empty set of p.
func (s *Set) Init(p *Pool) {
	p.mu.Lock()
	p.sets++
	*s = Set{p: p, id: p.sets}
	p.mu.Unlock()
}

// Run is what Alloc hands out: N frames F, F+1, ..., all zero, one reference to
// each, for N pages from VA on.
type Run struct {
	VA   arch.VA
	F    phys.Frame
	N    int
	Full bool // the reservation is used up: enter the run, then pmap.Promote(VA)
}

// Alloc gets memory for a fault at va (page aligned) where nothing is mapped,
// inside the anonymous mapping [lo, hi), and for up to max-1 pages after it (max
// >= 1). The pages after it may be mapped to other frames only if the range was
// not broken as Break asks. ENOMEM.
func (s *Set) Alloc(va, lo, hi arch.VA, max int) (Run, error) {
	if s.p.enabled {
		if run, ok := s.reserved(va, lo, hi, max); ok {
			return run, nil
		}
	}
	f, err := s.p.m.AllocZero(phys.Anon)
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
	r := p.find(s, block)
	if r == nil {
		if r = p.reserve(s, block); r == nil {
			p.mu.Unlock()
			return Run{}, false
		}
	}
	i := va.Index(0)
	if r.populated[i>>6]>>(i&63)&1 != 0 {
		p.mu.Unlock()
		return Run{}, false // handed out before and unmapped since
	}
	n := r.take(i, max)
	p.unpopulated -= n
	run := Run{VA: va, F: r.base + phys.Frame(i), N: n}
	if r.count == arch.BlockPages {
		run.Full = true
		s.row = block + arch.BlockSize
		p.end(r)
	} else {
		p.touch(r)
	}
	p.mu.Unlock()
	p.m.Populate(run.F, n, phys.Anon)
	return run, true
}

// take marks the run that starts at page i as populated and returns its length.
func (r *resv) take(i, max int) int {
	if i == r.next {
		r.window = min(2*r.window, maxWindow)
	} else {
		r.window = 1
	}
	end := min(i+min(r.window, max), arch.BlockPages)
	n := 0
	for k := i; k < end && r.populated[k>>6]>>(k&63)&1 == 0; k++ {
		r.populated[k>>6] |= 1 << (k & 63)
		n++
	}
	r.count += n
	r.next = i + n
	return n
}

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
			if r := p.find(s, va); r != nil {
				p.end(r)
			}
		}
		return
	}
	for r := s.head; r != nil; {
		next := r.setNext
		if r.va < end && r.va+arch.BlockSize > start {
			p.end(r)
		}
		r = next
	}
}

// BreakAll ends all reservations of s (exit, exec, fork).
func (s *Set) BreakAll() {
	s.p.mu.Lock()
	for s.head != nil {
		s.p.end(s.head)
	}
	s.row = 0
	s.p.mu.Unlock()
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
	for got < want && p.lru.lruNext != &p.lru {
		got += p.end(p.lru.lruNext)
	}
	return got
}
