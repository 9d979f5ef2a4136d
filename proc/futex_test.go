package proc

import "grim/arch"

func (u *user) futexWait(va arch.VA, val uint32) error {
	_, err := u.Sys(func(t *Thread) (uint64, error) { return 0, t.FutexWait(va, val, FutexAny, Forever, true) })
	return err
}

func (u *user) futexWake(va arch.VA, n int) int {
	return int(u.must(func(t *Thread) (uint64, error) {
		n, err := t.FutexWake(va, n, FutexAny, true)
		return uint64(n), err
	}))
}
