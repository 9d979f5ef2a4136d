package sys

import "testing"

// While a thread applies a limit, another one sets and applies the next. The first does not
// undo that. Broken by: settle that applies once.
func TestSettle(t *testing.T) {
	limit, applied, turns := 1, 0, 0
	settle(func() int { return limit }, func(n int) {
		if turns++; turns == 1 {
			limit, applied = 2, 2 // the other thread
		}
		applied = n
	})
	if applied != limit {
		t.Errorf("the limit is %d, applied is %d", limit, applied)
	}
}
