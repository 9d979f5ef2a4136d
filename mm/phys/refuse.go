package phys

// Sort is the sort of an allocation, for Refuse.
type Sort uint8

// The sorts of allocations.
const (
	Single Sort = iota // a frame with any contents
	Zeroed             // a frame that is all zero
	Block              // 512 frames; the owner is Reserve for a reservation
)

func (s Sort) String() string { return [...]string{"frame", "zeroed frame", "block"}[s] }

func sortOf(zeroed bool) Sort {
	if zeroed {
		return Zeroed
	}
	return Single
}

// Refuse makes allocations fail with ENOMEM, for tests of what happens when memory runs out.
// f is called for each allocation, and decides. It is called with the allocator's lock held,
// and so must not use the allocator. Refused allocations do not call the reclaim functions.
// A nil f refuses none.
func (m *Memory) Refuse(f func(o Owner, s Sort) bool) {
	m.mu.Lock()
	m.refuse = f
	m.mu.Unlock()
}

// FailAfter refuses every allocation after the next n. If n is negative it refuses none.
func (m *Memory) FailAfter(n int) {
	if n < 0 {
		m.Refuse(nil)
		return
	}
	m.Refuse(func(Owner, Sort) bool {
		n--
		return n < 0
	})
}
