package ipc

import (
	"slices"
	"syscall"

	"grim/mm/charge"
	"grim/proc/cred"
)

// Limits of queues (/proc/sys/kernel/msgmax, msgmnb).
const (
	MaxMsg   = 8192
	MaxBytes = 16384
)

// Flags of msgrcv(2).
const (
	MsgNoError = 0o10000
	MsgExcept  = 0o20000
	MsgCopy    = 0o40000
)

// Msg is a message.
type Msg struct {
	Type int64
	Text []byte

	payer *charge.User
}

const msgCost = 128 // a message, without its text

// Queue is a message queue.
type Queue struct {
	Perm
	Stime, Rtime, Ctime int64
	Bytes, Limit        int
	Lspid, Lrpid        int

	msgs    []*Msg
	waiters []chan struct{}
}

// N returns how many messages the queue has.
func (q *Queue) N() int { return len(q.msgs) }

// Msgget is msgget(2).
func (s *System) Msgget(c *Caller, key int32, flags int) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, err := s.msgs.get(c, key, flags, 512, func(object) error { return nil }, func() (object, error) {
		return &Queue{Ctime: c.Now, Limit: MaxBytes}, nil
	})
	if err != nil {
		return 0, err
	}
	return o.perm().id, nil
}

func (s *System) queue(id int) (*Queue, error) {
	o, err := s.msgs.find(id)
	if err != nil {
		return nil, err
	}
	return o.(*Queue), nil
}

// wake wakes all threads that wait for the queue; they look at it again. Precondition: mu
// held.
func (q *Queue) wake() {
	for _, ch := range q.waiters {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}

// wait sleeps until the queue has changed. It releases mu while it sleeps. EIDRM: the queue
// was removed. Precondition: mu held.
func (s *System) wait(c *Caller, q *Queue) error {
	ch := make(chan struct{}, 1)
	q.waiters = append(q.waiters, ch)
	s.mu.Unlock()
	err := c.Sleep(ch)
	s.mu.Lock()
	if i := slices.Index(q.waiters, ch); i >= 0 {
		q.waiters = slices.Delete(q.waiters, i, i+1)
	}
	if q.gone {
		return syscall.EIDRM
	}
	return err
}

// Msgsnd implements msgsnd(2). The queue keeps m.Text.
func (s *System) Msgsnd(c *Caller, id int, m *Msg, flags int) error {
	if id < 0 || m.Type < 1 || len(m.Text) > MaxMsg {
		return syscall.EINVAL
	}
	cost := int64(len(m.Text)) + msgCost
	if !c.Payer.Take(charge.IPC, cost) {
		return syscall.ENOMEM
	}
	m.payer = c.Payer
	err := s.send(c, id, m, flags)
	if err != nil {
		c.Payer.Give(charge.IPC, cost)
	}
	return err
}

func (s *System) send(c *Caller, id int, m *Msg, flags int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, err := s.queue(id)
	if err != nil {
		return err
	}
	for {
		if err := q.allows(c, 0o222); err != nil {
			return err
		}
		if q.Bytes+len(m.Text) <= q.Limit && len(q.msgs) < q.Limit {
			break
		}
		if flags&NoWait != 0 {
			return syscall.EAGAIN
		}
		if err := s.wait(c, q); err != nil {
			return err
		}
	}
	q.msgs = append(q.msgs, m)
	q.Bytes += len(m.Text)
	q.Stime, q.Lspid = c.Now, c.PID
	q.wake()
	return nil
}

// pick returns the index of the message that msgrcv(2) takes for typ and flags, or -1 if
// there is none.
func (q *Queue) pick(typ int64, flags int) int {
	best := -1
	for i, m := range q.msgs {
		switch {
		case flags&MsgCopy != 0:
			if int64(i) == typ {
				return i
			}
		case typ == 0, typ > 0 && (m.Type == typ) == (flags&MsgExcept == 0):
			return i
		case typ < 0 && m.Type <= -typ && (best < 0 || m.Type < q.msgs[best].Type):
			best = i
		}
	}
	return best
}

// Msgrcv implements msgrcv(2): it takes a message of up to size bytes. Errors: ENOMSG,
// E2BIG, EIDRM, EINTR.
func (s *System) Msgrcv(c *Caller, id, size int, typ int64, flags int) (*Msg, error) {
	if id < 0 || size < 0 || flags&MsgCopy != 0 && (flags&MsgExcept != 0 || flags&NoWait == 0) {
		return nil, syscall.EINVAL
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	q, err := s.queue(id)
	if err != nil {
		return nil, err
	}
	for {
		if err := q.allows(c, 0o444); err != nil {
			return nil, err
		}
		if i := q.pick(typ, flags); i >= 0 {
			m := q.msgs[i]
			if len(m.Text) > size && flags&MsgNoError == 0 {
				return nil, syscall.E2BIG
			}
			if flags&MsgCopy != 0 {
				return m, nil
			}
			q.msgs = slices.Delete(q.msgs, i, i+1)
			q.Bytes -= len(m.Text)
			q.Rtime, q.Lrpid = c.Now, c.PID
			m.payer.Give(charge.IPC, int64(len(m.Text))+msgCost)
			q.wake()
			return m, nil
		}
		if flags&NoWait != 0 {
			return nil, syscall.ENOMSG
		}
		if err := s.wait(c, q); err != nil {
			return nil, err
		}
	}
}

// MsgStat implements IPC_STAT, MSG_STAT and MSG_STAT_ANY. See SemStat.
func (s *System) MsgStat(c *Caller, id int, slot, any bool) (Queue, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, err := s.msgs.find(id)
	if slot {
		o, err = s.msgs.at(id)
	}
	if err != nil {
		return Queue{}, err
	}
	if !any {
		if err := o.perm().allows(c, 0o444); err != nil {
			return Queue{}, err
		}
	}
	return *o.(*Queue), nil
}

// MsgSetPerm implements IPC_SET. EPERM: limit is larger than MaxBytes and the caller lacks
// the capability.
func (s *System) MsgSetPerm(c *Caller, id int, n *Perm, limit int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, err := s.queue(id)
	if err == nil {
		err = q.owned(c)
	}
	if err == nil && limit > MaxBytes && !c.Cred.Has(cred.SysResource) {
		err = syscall.EPERM
	}
	if err != nil {
		return err
	}
	q.Perm.set(n)
	q.Limit, q.Ctime = limit, c.Now
	q.wake()
	return nil
}

// MsgRemove implements IPC_RMID.
func (s *System) MsgRemove(c *Caller, id int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, err := s.queue(id)
	if err == nil {
		err = q.owned(c)
	}
	if err != nil {
		return err
	}
	s.msgs.drop(q)
	for _, m := range q.msgs {
		m.payer.Give(charge.IPC, int64(len(m.Text))+msgCost)
	}
	q.msgs = nil
	q.wake()
	return nil
}

// MsgInfo returns the highest slot in use, and the numbers of queues, messages and bytes.
func (s *System) MsgInfo() (highest, queues, msgs, bytes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.msgs.slots {
		if o != nil {
			msgs += o.(*Queue).N()
			bytes += o.(*Queue).Bytes
		}
	}
	return s.msgs.highest(), s.msgs.used, msgs, bytes
}
