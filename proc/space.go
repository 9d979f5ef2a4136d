package proc

import (
	"sync/atomic"

	"grim/arch"
	"grim/mm/phys"
	"grim/mm/vm"
)

// space is a vmspace as processes use it. The vmspace's own reference count
// says who may hold it (a /proc reader, the reaper); users says who may still
// run in it. The difference is what makes a purge safe: the process that takes
// users to 0 knows that nobody runs, faults or copies there any more, whoever
// else still holds the object (E9).
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

// borrow adds a process (vfork, CLONE_VM). The caller is a user itself.
func (s *space) borrow() *space {
	s.users.Add(1)
	s.vs.Ref()
	return s
}

// leave ends one process's use and reports whether it was the last: then the
// memory is the caller's alone to purge. The reference stays with the caller.
func (s *space) leave() (last bool) {
	n := s.users.Add(-1)
	if n < 0 {
		panic("proc: space.leave: more processes left the vmspace than used it")
	}
	return n == 0
}

// discard throws a space away that no thread ever ran in, or that exec left.
func (s *space) discard() {
	if s.leave() {
		s.vs.Purge(nil)
	}
	s.vs.Release()
}

// allocUArea takes a frame for a thread's u-area.
func (k *Kernel) allocUArea(t *Thread) error {
	f, err := k.mem.Alloc(phys.UArea)
	if err != nil {
		return err
	}
	t.frame = f
	t.U = (*arch.UArea)(k.mem.Pointer(f))
	return nil
}

// freeUArea gives it back. Only the reaper may, for a dead thread (E3), or who
// made a thread that never ran.
func (k *Kernel) freeUArea(t *Thread) {
	if t.frame == 0 {
		panic("proc: freeUArea: thread has none (freed twice?)")
	}
	f := t.frame
	t.frame, t.U = 0, nil
	k.mem.Unref(f)
}
