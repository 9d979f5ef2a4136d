package pmap

// WithLock calls fn while System.mu is held.
func (s *System) WithLock(fn func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fn()
}
