package proc

import (
	"sync/atomic"

	"grim/arch"
	"grim/mm/phys"
	"grim/mm/vm"
)

// space is a vmspace as processes use it. The vmspace's own reference count counts holders
// (a /proc reader, the reaper); users counts the processes that may run in it. The
// difference makes a purge safe: the process that takes users to 0 knows that no thread
// runs, faults or copies there any more, whatever else still holds a reference (E9).
type space struct {
	vs    *vm.VMSpace
	users atomic.Int32 // processes that may use the memory
}

func newSpace(vs *vm.VMSpace) *space { return new(space).init(vs) }

func (s *space) init(vs *vm.VMSpace) *space {
	s.vs = vs
	s.users.Store(1)
	return s
}

// borrow adds a process (vfork, CLONE_VM). The caller's process must be a user.
func (s *space) borrow() *space {
	s.users.Add(1)
	s.vs.Ref()
	return s
}

// leave ends one process's use, and reports whether it was the last. Then only the caller
// may purge the memory. The caller keeps its reference.
func (s *space) leave() (last bool) {
	n := s.users.Add(-1)
	if n < 0 {
		panic("proc: space.leave: more processes left the vmspace than used it")
	}
	return n == 0
}

// discard discards a space in which no thread ever ran, or which exec has left.
func (s *space) discard() {
	if s.leave() {
		s.vs.Purge(nil)
	}
	s.vs.Release()
}

// allocUArea allocates a frame for a thread's u-area.
func (k *Kernel) allocUArea(t *Thread) error {
	f, err := k.mem.Alloc(phys.UArea)
	if err != nil {
		return err
	}
	t.frame = f
	t.U = (*arch.UArea)(k.mem.Pointer(f))
	return nil
}

// freeUArea frees it. Only bury may call it, for a dead thread (E3), or the maker of a
// thread that has never run.
func (k *Kernel) freeUArea(t *Thread) {
	if t.frame == 0 {
		panic("proc: freeUArea: thread has none (freed twice?)")
	}
	f := t.frame
	t.frame, t.U = 0, nil
	k.mem.Unref(f)
}
