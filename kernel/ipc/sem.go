package ipc

import (
	"slices"
	"syscall"
)

// Limits of semaphores (/proc/sys/kernel/sem).
const (
	MaxSems = 32000 // in a set: SEMMSL
	MaxOps  = 500   // in a call: SEMOPM
	maxVal  = 32767 // SEMVMX
)

// SemUndo is SEM_UNDO.
const SemUndo = 0x1000

// SemOp is struct sembuf.
type SemOp struct {
	Num   uint16
	Op    int16
	Flags int16
}

type sem struct {
	val int
	pid int
}

// SemSet is a set of semaphores.
type SemSet struct {
	Perm
	Otime, Ctime int64

	sems    []sem
	waiters []*semWait
	undos   map[int][]int // by process: the numbers that its exit adds to the semaphores; nil: none
}

// N returns how many semaphores the set has.
func (s *SemSet) N() int { return len(s.sems) }

// semWait is a thread that waits in semop(2). Protected by System.mu.
type semWait struct {
	ops  []SemOp
	pid  int
	on   int // index of the operation for which it waits
	done bool
	err  error
	ch   chan struct{}
}

// Semget is semget(2).
func (s *System) Semget(c *Caller, key int32, n, flags int) (int, error) {
	if n < 0 || n > MaxSems {
		return 0, syscall.EINVAL
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o, err := s.sems.get(c, key, flags, int64(n)*16+256, func(o object) error {
		if n > o.(*SemSet).N() {
			return syscall.EINVAL
		}
		return nil
	}, func() (object, error) {
		if n == 0 {
			return nil, syscall.EINVAL
		}
		return &SemSet{sems: make([]sem, n), Ctime: c.Now}, nil
	})
	if err != nil {
		return 0, err
	}
	return o.perm().id, nil
}

// semSet returns the set with a number. Precondition: mu held.
func (s *System) semSet(id int) (*SemSet, error) {
	o, err := s.sems.find(id)
	if err != nil {
		return nil, err
	}
	return o.(*SemSet), nil
}

// try does all operations, or none. It returns the index of the operation that must wait,
// or -1. Errors: ERANGE; EAGAIN if that operation has NoWait. Precondition: mu held.
func (s *SemSet) try(ops []SemOp, pid int) (blocked int, err error) {
	undo := func(n int) {
		for i := n - 1; i >= 0; i-- {
			s.sems[ops[i].Num].val -= int(ops[i].Op)
		}
	}
	for i, op := range ops {
		m := &s.sems[op.Num]
		switch v := m.val + int(op.Op); {
		case op.Op == 0 && m.val != 0, v < 0:
			undo(i)
			if op.Flags&NoWait != 0 {
				return i, syscall.EAGAIN
			}
			return i, nil
		case v > maxVal:
			undo(i)
			return i, syscall.ERANGE
		default:
			m.val = v
		}
	}
	for _, op := range ops {
		s.sems[op.Num].pid = pid
		if op.Flags&SemUndo != 0 && op.Op != 0 {
			if s.undos == nil {
				s.undos = map[int][]int{}
			}
			if s.undos[pid] == nil {
				s.undos[pid] = make([]int, len(s.sems))
			}
			s.undos[pid][op.Num] -= int(op.Op)
		}
	}
	return -1, nil
}

// settle ends the waits whose operations can be done now. Precondition: mu held.
func (s *SemSet) settle(now int64) {
	for again := true; again; {
		again = false
		for i := 0; i < len(s.waiters); i++ {
			w := s.waiters[i]
			on, err := s.try(w.ops, w.pid)
			if on >= 0 && err == nil {
				w.on = on
				continue
			}
			if err == nil {
				s.Otime = now
				again = true
			}
			s.waiters = slices.Delete(s.waiters, i, i+1)
			i--
			w.finish(err)
		}
	}
}

func (w *semWait) finish(err error) {
	w.done, w.err = true, err
	w.ch <- struct{}{}
}

// Semop implements semop(2). undo says that SemExit must be called when the process exits.
// Errors: EFBIG, EAGAIN, EIDRM, EINTR, ERANGE.
func (s *System) Semop(c *Caller, id int, ops []SemOp) (undo bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	set, err := s.semSet(id)
	if err != nil {
		return false, err
	}
	mode := uint32(0o444)
	for _, op := range ops {
		if int(op.Num) >= len(set.sems) {
			return false, syscall.EFBIG
		}
		if op.Op != 0 {
			mode = 0o222
		}
		undo = undo || op.Flags&SemUndo != 0
	}
	if err := set.allows(c, mode); err != nil {
		return false, err
	}
	on, err := set.try(ops, c.PID)
	if err != nil {
		return undo, err
	}
	if on < 0 {
		set.Otime = c.Now
		set.settle(c.Now)
		return undo, nil
	}
	w := &semWait{ops: ops, pid: c.PID, on: on, ch: make(chan struct{}, 1)}
	set.waiters = append(set.waiters, w)
	s.mu.Unlock()
	err = c.Sleep(w.ch)
	s.mu.Lock()
	if w.done {
		return undo, w.err
	}
	if i := slices.Index(set.waiters, w); i >= 0 {
		set.waiters = slices.Delete(set.waiters, i, i+1)
	}
	if err == syscall.ETIMEDOUT {
		err = syscall.EAGAIN
	}
	return undo, err
}

// SemExit undoes a process's operations with SemUndo, when the process exits.
func (s *System) SemExit(pid int, now int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.sems.slots {
		if o == nil {
			continue
		}
		set := o.(*SemSet)
		adj := set.undos[pid]
		if adj == nil {
			continue
		}
		delete(set.undos, pid)
		for i, a := range adj {
			if a != 0 {
				set.sems[i].val = min(max(set.sems[i].val+a, 0), maxVal)
				set.sems[i].pid = pid
			}
		}
		set.Otime = now
		set.settle(now)
	}
}

// SemStat implements IPC_STAT, where id is a number. With slot it implements SEM_STAT,
// where id is a slot. any skips the permission check (SEM_STAT_ANY).
func (s *System) SemStat(c *Caller, id int, slot, any bool) (SemSet, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, err := s.sems.find(id)
	if slot {
		o, err = s.sems.at(id)
	}
	if err != nil {
		return SemSet{}, err
	}
	if !any {
		if err := o.perm().allows(c, 0o444); err != nil {
			return SemSet{}, err
		}
	}
	set := o.(*SemSet)
	return SemSet{Perm: set.Perm, Otime: set.Otime, Ctime: set.Ctime, sems: set.sems}, nil
}

// SemSetPerm implements IPC_SET, SemRemove IPC_RMID.
func (s *System) SemSetPerm(c *Caller, id int, n *Perm) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	set, err := s.semSet(id)
	if err == nil {
		err = set.owned(c)
	}
	if err == nil {
		set.Perm.set(n)
		set.Ctime = c.Now
	}
	return err
}

func (s *System) SemRemove(c *Caller, id int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	set, err := s.semSet(id)
	if err == nil {
		err = set.owned(c)
	}
	if err != nil {
		return err
	}
	s.sems.drop(set)
	for _, w := range set.waiters {
		w.finish(syscall.EIDRM)
	}
	set.waiters = nil
	return nil
}

// SemInfo returns the highest slot in use, and the numbers of sets and semaphores.
func (s *System) SemInfo() (highest, sets, sems int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.sems.slots {
		if o != nil {
			sems += o.(*SemSet).N()
		}
	}
	return s.sems.highest(), s.sems.used, sems
}

// Values that SemGet returns of a semaphore.
const (
	SemPID = iota
	SemVal
	SemWaitMore // GETNCNT
	SemWaitZero // GETZCNT
)

// SemGet implements GETPID, GETVAL, GETNCNT and GETZCNT.
func (s *System) SemGet(c *Caller, id, num, what int) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	set, err := s.semSet(id)
	if err == nil {
		err = set.allows(c, 0o444)
	}
	if err != nil {
		return 0, err
	}
	if num < 0 || num >= len(set.sems) {
		return 0, syscall.EINVAL
	}
	switch what {
	case SemPID:
		return set.sems[num].pid, nil
	case SemVal:
		return set.sems[num].val, nil
	}
	n := 0
	for _, w := range set.waiters {
		if op := w.ops[w.on]; int(op.Num) == num && (op.Op == 0) == (what == SemWaitZero) {
			n++
		}
	}
	return n, nil
}

// SemAll implements GETALL.
func (s *System) SemAll(c *Caller, id int) ([]uint16, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	set, err := s.semSet(id)
	if err == nil {
		err = set.allows(c, 0o444)
	}
	if err != nil {
		return nil, err
	}
	out := make([]uint16, len(set.sems))
	for i := range out {
		out[i] = uint16(set.sems[i].val)
	}
	return out, nil
}

// SemPut implements SETVAL and SETALL: it sets the semaphores from num on, one or all.
func (s *System) SemPut(c *Caller, id, num int, vals []int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	set, err := s.semSet(id)
	if err == nil {
		err = set.allows(c, 0o222)
	}
	if err != nil {
		return err
	}
	if num < 0 || num+len(vals) > len(set.sems) {
		return syscall.EINVAL
	}
	for _, v := range vals {
		if v < 0 || v > maxVal {
			return syscall.ERANGE
		}
	}
	for i, v := range vals {
		set.sems[num+i] = sem{v, c.PID}
		for _, adj := range set.undos {
			adj[num+i] = 0
		}
	}
	set.Ctime = c.Now
	set.settle(c.Now)
	return nil
}
