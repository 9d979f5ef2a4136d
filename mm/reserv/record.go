package reserv

import "grim/arch"

// none is the number of no reservation.
const none = -1

// resv is one reservation. It is known by the number of its block of memory, so
// that records are neither allocated nor searched for, and links cost no write
// barrier. All fields under Pool.mu.
type resv struct {
	set       *Set // nil: not in use
	va        arch.VA
	populated [arch.BlockPages / 64]uint64
	count     int32 // bits in populated
	faults    int32 // that it has answered
	next      int32 // page after the last run: a fault here is in a row
	window    int32 // pages of the last run in a row

	hashNext, hashPrev int32 // chain of a bucket; hashPrev none: the first
	setNext, setPrev   int32
	lruNext, lruPrev   int32 // ring through Pool.lru
}

// bucket is where a reservation of s for block is chained.
func (p *Pool) bucket(s *Set, block arch.VA) *int32 {
	// Fibonacci hashing: neighbouring blocks and sets go to different buckets.
	h := (uint64(block>>arch.BlockShift) + s.id<<20) * 0x9e3779b97f4a7c15
	return &p.buckets[h>>32&uint64(len(p.buckets)-1)]
}

// find returns the number of the reservation of s for block, or none.
// Preconditions, here and below: p.mu held.
func (p *Pool) find(s *Set, block arch.VA) int32 {
	for i := *p.bucket(s, block); i >= 0; {
		r := &p.records[i]
		if r.va == block && r.set == s {
			return i
		}
		i = r.hashNext
	}
	return none
}

// reserve makes a reservation of s for block; none if no 2 MB are free.
func (p *Pool) reserve(s *Set, block arch.VA) int32 {
	base, ok := p.m.Reservation()
	if !ok {
		return none
	}
	i := int32(p.m.BlockNumber(base))
	r := &p.records[i]
	b := p.bucket(s, block)
	*r = resv{set: s, va: block, next: none, hashNext: *b, hashPrev: none, setNext: s.head, setPrev: none}
	if s.row == block {
		// The block before was filled in a row: go on at full width.
		r.next, r.window = 0, maxWindow
	}
	if *b >= 0 {
		p.records[*b].hashPrev = i
	}
	*b = i
	if s.head >= 0 {
		p.records[s.head].setPrev = i
	}
	s.head = i
	s.n++
	p.unpopulated += arch.BlockPages
	p.enqueue(i)
	return i
}

// enqueue puts reservation i at the young end of the ring, dequeue takes it out.
func (p *Pool) enqueue(i int32) {
	r, lru := &p.records[i], &p.records[p.lru]
	r.lruPrev, r.lruNext = lru.lruPrev, p.lru
	p.records[lru.lruPrev].lruNext = i
	lru.lruPrev = i
}

func (p *Pool) dequeue(r *resv) {
	p.records[r.lruPrev].lruNext = r.lruNext
	p.records[r.lruNext].lruPrev = r.lruPrev
}

// touch makes reservation i the most recently populated.
func (p *Pool) touch(i int32) {
	if r := &p.records[i]; r.lruNext != p.lru {
		p.dequeue(r)
		p.enqueue(i)
	}
}

// end takes reservation i off every list, frees its unpopulated frames and says
// how many.
func (p *Pool) end(i int32) (freed int) {
	r := &p.records[i]
	s := r.set
	if r.setPrev >= 0 {
		p.records[r.setPrev].setNext = r.setNext
	} else {
		s.head = r.setNext
	}
	if r.setNext >= 0 {
		p.records[r.setNext].setPrev = r.setPrev
	}
	s.n--
	return p.release(i)
}

// release is end but for the list of the set.
func (p *Pool) release(i int32) (freed int) {
	r := &p.records[i]
	if r.hashPrev >= 0 {
		p.records[r.hashPrev].hashNext = r.hashNext
	} else {
		*p.bucket(r.set, r.va) = r.hashNext
	}
	if r.hashNext >= 0 {
		p.records[r.hashNext].hashPrev = r.hashPrev
	}
	p.dequeue(r)
	r.set = nil
	freed = p.m.Unreserve(p.m.BlockFrame(int(i)), &r.populated, int(r.count))
	p.unpopulated -= freed
	return freed
}
