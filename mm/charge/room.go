package charge

// Charges know nothing of garbage, of fragmentation and of stacks that have grown. So the
// room that the heap really has is looked at too: each time gateStep more bytes of Heap have
// been charged.

// gateStep is how many bytes may be charged between two looks at the heap's room.
const gateStep = 1 << 16

// Room is the kernel's heap.
type Room interface {
	// Free returns how many bytes user programs may still take: what is free without the
	// kernel's reserve. It is negative if an object of n bytes does not fit, or if part of
	// the reserve is used.
	Free(n int64) int64
	// Allocated returns how much has been allocated since the last collection began.
	Allocated() int64
	// Worth is how much garbage there must be, at least, for a collection that a charge
	// asks for. Without it a program whose charges are refused could keep a CPU busy.
	Worth() int64
	// Collect collects garbage.
	Collect()
}

// hasRoom reports whether the heap has room for a charge of n bytes. used is what the user
// holds, n included. If there is too little room, it collects garbage first, unless there can
// be nearly none.
//
// A user must leave free a part of what it holds itself, by the rule of greed. So a user
// that has much is refused while there is room for others. With a bound that is the same for
// all, the first user to reach it would take the room of everybody.
func (s *System) hasRoom(n, used int64) bool {
	if s.room == nil {
		return true
	}
	now := s.used[Heap].Load()
	for {
		peak := s.peak.Load()
		if now <= peak || s.peak.CompareAndSwap(peak, now) {
			break
		}
	}
	if s.room.Free(n) >= used/greed {
		return true
	}
	// Collected is only what has been given back. The estimate of it has two parts: peak-now,
	// which is how much less is charged than at the peak since the last collection; and what
	// was allocated since that collection, which may have been given back as well. Each part
	// alone may be enough.
	if s.room.Allocated()+s.peak.Load()-now < s.room.Worth() {
		return false
	}
	s.room.Collect()
	s.peak.Store(now)
	return s.room.Free(n) >= used/greed
}
