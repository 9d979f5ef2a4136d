package phys

// Sort says how memory is asked for.
type Sort uint8

// The sorts of allocations.
const (
	Single Sort = iota // a frame, whatever its contents
	Zeroed             // a frame that is all zero
	Block              // 512 frames, of Reserve if it is to be a reservation
)

func (s Sort) String() string { return [...]string{"frame", "zeroed frame", "block"}[s] }

func sortOf(zeroed bool) Sort {
	if zeroed {
		return Zeroed
	}
	return Single
}

// Refuse makes f decide which allocations fail with ENOMEM, without asking for
// reclaim; nil: none does. f is called for each allocation, with a lock held: it must
// not use the memory. For tests of what happens when memory runs out.
func (m *Memory) Refuse(f func(o Owner, s Sort) bool) {
	m.mu.Lock()
	m.refuse = f
	m.mu.Unlock()
}

// FailAfter refuses every allocation after the next n; negative: it refuses none.
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
