package reserv

import "grim/arch"

// none is the number of no reservation.
const none = -1

// resv is one reservation. Its number is the number of its block of memory, and it is the
// element of Pool.records with that number. So records are neither allocated nor searched
// for, and a link between records is a number, which needs no write barrier. All fields are
// under Pool.mu.
type resv struct {
	set       *Set // nil: not in use
	va        arch.VA
	populated [arch.BlockPages / 64]uint64
	count     int32 // bits in populated
	faults    int32 // page faults that it has served
	next      int32 // page after the last run: a fault here is sequential
	window    int32 // length of the last sequential run, in pages

	hashNext, hashPrev int32 // chain of a bucket; hashPrev is none in the first
	setNext, setPrev   int32
	lruNext, lruPrev   int32 // ring through Pool.lru
}

// bucket is the hash bucket for a reservation of s for block.
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

// reserve makes a reservation of s for block and returns its number, or none if no 2 MB
// block of memory is free.
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
		// The block before was filled sequentially: go on with the largest window.
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

// enqueue puts reservation i into the ring as the most recently populated.
func (p *Pool) enqueue(i int32) {
	r, lru := &p.records[i], &p.records[p.lru]
	r.lruPrev, r.lruNext = lru.lruPrev, p.lru
	p.records[lru.lruPrev].lruNext = i
	lru.lruPrev = i
}

// dequeue takes a reservation out of the ring.
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

// end ends reservation i: it takes it off every list, frees its unpopulated frames, and
// returns how many they were.
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

// release is end without the list of the set, which the caller sees to.
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
