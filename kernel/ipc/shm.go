package ipc

import (
	"syscall"

	"grim/mm/vm"
)

// Segment is shared memory. The segment has a reference on its object until it is removed,
// and each mapping has one. The memory is freed with the last reference.
type Segment struct {
	Perm
	Size                int64
	Atime, Dtime, Ctime int64
	Cpid, Lpid          int

	object *vm.FileObject
}

// ShmLocked is SHM_LOCKED, a bit of the mode.
const ShmLocked = 0o2000

// Attached returns how many mappings of the segment's start there are.
func (g *Segment) Attached() int { return g.object.Mapped().CountAt(0) }

// Shmget implements shmget(2). memory makes the object of a segment, which has whole pages.
func (s *System) Shmget(c *Caller, key int32, size int64, flags int, memory func() (*vm.FileObject, error)) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, err := s.shms.get(c, key, flags, 512, func(o object) error {
		if size > o.(*Segment).Size {
			return syscall.EINVAL
		}
		return nil
	}, func() (object, error) {
		if size < 1 {
			return nil, syscall.EINVAL
		}
		mem, err := memory()
		if err != nil {
			return nil, err
		}
		return &Segment{Size: size, Ctime: c.Now, Cpid: c.PID, object: mem}, nil
	})
	if err != nil {
		return 0, err
	}
	g := o.(*Segment)
	g.object.SetInode(uint64(g.id))
	return g.id, nil
}

// Shmat implements shmat(2). It returns the segment's object and its size. The caller maps
// the object; it gets a reference of its own.
func (s *System) Shmat(c *Caller, id int, write bool) (*vm.FileObject, int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, err := s.shms.find(id)
	if err != nil {
		return nil, 0, err
	}
	g, mode := o.(*Segment), uint32(0o444)
	if write {
		mode = 0o666
	}
	if err := g.allows(c, mode); err != nil {
		return nil, 0, err
	}
	g.Atime, g.Lpid = c.Now, c.PID
	g.object.Ref()
	return g.object, g.Size, nil
}

// Shmdt records a detach.
func (s *System) Shmdt(c *Caller, id int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o, err := s.shms.find(id); err == nil {
		g := o.(*Segment)
		g.Dtime, g.Lpid = c.Now, c.PID
	}
}

// ShmStat implements IPC_STAT, SHM_STAT and SHM_STAT_ANY, as SemStat does. It also returns
// how often the segment is attached.
func (s *System) ShmStat(c *Caller, id int, slot, any bool) (Segment, int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, err := s.shms.find(id)
	if slot {
		o, err = s.shms.at(id)
	}
	if err != nil {
		return Segment{}, 0, err
	}
	if !any {
		if err := o.perm().allows(c, 0o444); err != nil {
			return Segment{}, 0, err
		}
	}
	g := o.(*Segment)
	return *g, g.Attached(), nil
}

// ShmSetPerm implements IPC_SET.
func (s *System) ShmSetPerm(c *Caller, id int, n *Perm) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, err := s.shms.find(id)
	if err == nil {
		err = o.perm().owned(c)
	}
	if err == nil {
		o.perm().set(n)
		o.(*Segment).Ctime = c.Now
	}
	return err
}

// ShmLock implements SHM_LOCK and SHM_UNLOCK. It only sets the mode, as memory is never
// swapped out.
func (s *System) ShmLock(c *Caller, id int, on bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, err := s.shms.find(id)
	if err == nil {
		err = o.perm().owned(c)
	}
	if err != nil {
		return err
	}
	o.perm().Mode &^= ShmLocked
	if on {
		o.perm().Mode |= ShmLocked
	}
	return nil
}

// ShmRemove implements IPC_RMID. The number is invalid at once. The memory is freed with
// the last mapping.
func (s *System) ShmRemove(c *Caller, id int) error {
	s.mu.Lock()
	o, err := s.shms.find(id)
	if err == nil {
		err = o.perm().owned(c)
	}
	if err != nil {
		s.mu.Unlock()
		return err
	}
	s.shms.drop(o)
	s.mu.Unlock()
	o.(*Segment).object.Unref()
	return nil
}

// ShmInfo returns the highest slot in use, and the numbers of segments and pages.
func (s *System) ShmInfo() (highest, segments int, pages int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.shms.slots {
		if o != nil {
			pages += (o.(*Segment).Size + 4095) / 4096
		}
	}
	return s.shms.highest(), s.shms.used, pages
}
