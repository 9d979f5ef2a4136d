package reserv

import "grim/arch"

// bucket is where a reservation of s for block is chained.
func (p *Pool) bucket(s *Set, block arch.VA) **resv {
	// Fibonacci hashing: neighbouring blocks and sets go to different buckets.
	h := (uint64(block>>arch.BlockShift) + s.id<<20) * 0x9e3779b97f4a7c15
	return &p.buckets[h>>32&uint64(len(p.buckets)-1)]
}

// find returns the reservation of s for block; nil if there is none.
// Preconditions, here and below: p.mu held.
func (p *Pool) find(s *Set, block arch.VA) *resv {
	for r := *p.bucket(s, block); r != nil; r = r.hashNext {
		if r.va == block && r.set == s {
			return r
		}
	}
	return nil
}

// reserve makes a reservation of s for block; nil if no 2 MB are free.
func (p *Pool) reserve(s *Set, block arch.VA) *resv {
	base, ok := p.m.Reservation()
	if !ok {
		return nil
	}
	r := p.spare
	if r != nil {
		p.spare = r.hashNext
	} else {
		r = new(resv)
	}
	b := p.bucket(s, block)
	*r = resv{set: s, va: block, base: base, next: -1, hashNext: *b, setNext: s.head}
	if s.row == block {
		// The block before was filled in a row: go on at full width.
		r.next, r.window = 0, maxWindow
	}
	*b = r
	if s.head != nil {
		s.head.setPrev = r
	}
	s.head = r
	s.n++
	p.unpopulated += arch.BlockPages
	r.lruPrev, r.lruNext = r, r
	p.touch(r)
	return r
}

// touch makes r the most recently populated.
func (p *Pool) touch(r *resv) {
	r.lruPrev.lruNext, r.lruNext.lruPrev = r.lruNext, r.lruPrev
	last := p.lru.lruPrev
	r.lruPrev, r.lruNext = last, &p.lru
	last.lruNext, p.lru.lruPrev = r, r
}

// end takes r off every list, frees its unpopulated frames and says how many.
func (p *Pool) end(r *resv) (freed int) {
	s := r.set
	b := p.bucket(s, r.va)
	for *b != r {
		b = &(*b).hashNext
	}
	*b = r.hashNext
	r.lruPrev.lruNext, r.lruNext.lruPrev = r.lruNext, r.lruPrev
	if r.setPrev != nil {
		r.setPrev.setNext = r.setNext
	} else {
		s.head = r.setNext
	}
	if r.setNext != nil {
		r.setNext.setPrev = r.setPrev
	}
	s.n--
	freed = p.m.Unreserve(r.base, &r.populated, r.count)
	p.unpopulated -= freed
	*r = resv{hashNext: p.spare}
	p.spare = r
	return freed
}
