// Package ipc is System V's semaphores, message queues and shared memory (sysvipc(7)).
//
// Objects have a key, which processes agree on, and a number, which names one object
// for good: the slot in a table, and how often the tables' slots have been given out.
// A caller brings its credentials, its process number, its user, who pays, and a way to
// sleep; the memory of a segment is a vm.Object that the caller maps.
//
// One mutex guards all objects. Nothing sleeps while it is held; charges are taken under
// it, and the list of a segment's mappings is counted. What an operation does under it is
// bounded: MaxSems, MaxOps, and the number of messages that a queue's bytes allow.
package ipc

import (
	"sync"
	"syscall"

	"grim/mm/charge"
	"grim/proc/cred"
)

// Commands and flags that all kinds have (include/uapi/linux/ipc.h).
const (
	Private = 0
	Create  = 0o1000
	Excl    = 0o2000
	NoWait  = 0o4000
)

// maxIDs is IPCMNI: objects of each kind. A number is sequence*maxIDs + slot.
const maxIDs = 32768

// Caller is who makes a call.
type Caller struct {
	Cred  *cred.Cred
	PID   int
	Payer *charge.User
	Now   int64 // seconds since 1970
	// Sleep waits until ch can be received from: EINTR, or ETIMEDOUT.
	Sleep func(ch <-chan struct{}) error
}

// Perm is struct ipc_perm: who may use an object.
type Perm struct {
	Key                  int32
	UID, GID, CUID, CGID uint32
	Mode                 uint32
	Seq                  uint16

	id    int
	gone  bool
	payer *charge.User
	cost  int64
}

// object is a semaphore set, a queue or a segment.
type object interface{ perm() *Perm }

func (p *Perm) perm() *Perm { return p }

// ID is the object's number.
func (p *Perm) ID() int { return p.id }

// allows is EACCES if c may not do what the bits in mode, for owner, group or others,
// ask for.
func (p *Perm) allows(c *Caller, mode uint32) error {
	want := (mode>>6 | mode>>3 | mode) & 7
	have := p.Mode
	switch who := c.Cred; {
	case who.EUID == p.CUID || who.EUID == p.UID:
		have >>= 6
	case inGroup(who, p.CGID) || inGroup(who, p.GID):
		have >>= 3
	}
	if want&^have&7 != 0 && !c.Cred.Has(cred.IPCOwner) {
		return syscall.EACCES
	}
	return nil
}

func inGroup(c *cred.Cred, gid uint32) bool { return c.EGID == gid || c.InGroup(gid) }

// owned is EPERM if c may not change or remove the object.
func (p *Perm) owned(c *Caller) error {
	if c.Cred.EUID == p.UID || c.Cred.EUID == p.CUID || c.Cred.Has(cred.SysAdmin) {
		return nil
	}
	return syscall.EPERM
}

// Set is IPC_SET's part that all kinds have.
func (p *Perm) set(n *Perm) {
	p.UID, p.GID = n.UID, n.GID
	p.Mode = p.Mode&^0o777 | n.Mode&0o777
}

// table is the objects of one kind.
type table struct {
	slots []object // by slot; nil: free
	seq   int
	used  int
}

// System is the machine's objects.
type System struct {
	mu   sync.Mutex
	sems table
	msgs table
	shms table
}

// get is semget(2) and its like: the object of a key, which fits says is large enough,
// or a new one. ENOENT, EEXIST, EACCES, ENOSPC, and fits' and make's errors. mu is held.
func (t *table) get(c *Caller, key int32, flags int, cost int64, fits func(object) error, make func() (object, error)) (object, error) {
	if key != Private {
		for _, o := range t.slots {
			if o == nil || o.perm().Key != key {
				continue
			}
			if flags&(Create|Excl) == Create|Excl {
				return nil, syscall.EEXIST
			}
			if err := fits(o); err != nil {
				return nil, err
			}
			return o, o.perm().allows(c, uint32(flags))
		}
		if flags&Create == 0 {
			return nil, syscall.ENOENT
		}
	}
	slot := 0
	for slot < len(t.slots) && t.slots[slot] != nil {
		slot++
	}
	if slot == maxIDs {
		return nil, syscall.ENOSPC
	}
	if !c.Payer.Take(charge.IPC, cost) {
		return nil, syscall.ENOSPC
	}
	o, err := make()
	if err != nil {
		c.Payer.Give(charge.IPC, cost)
		return nil, err
	}
	if slot == len(t.slots) {
		t.slots = append(t.slots, nil)
	}
	t.slots[slot] = o
	p := o.perm()
	*p = Perm{Key: key, UID: c.Cred.EUID, GID: c.Cred.EGID, CUID: c.Cred.EUID, CGID: c.Cred.EGID,
		Mode: p.Mode | uint32(flags)&0o777, Seq: uint16(t.seq), id: t.seq*maxIDs + slot, payer: c.Payer, cost: cost}
	t.seq = (t.seq + 1) % (1 << 15)
	t.used++
	return o, nil
}

// find is the object of a number: EINVAL, EIDRM for one whose slot is another's now.
func (t *table) find(id int) (object, error) {
	if id < 0 || id%maxIDs >= len(t.slots) || t.slots[id%maxIDs] == nil {
		return nil, syscall.EINVAL
	}
	o := t.slots[id%maxIDs]
	if o.perm().id != id {
		return nil, syscall.EIDRM
	}
	return o, nil
}

// at is the object of a slot, for ..._STAT: EINVAL.
func (t *table) at(slot int) (object, error) {
	if slot < 0 || slot >= len(t.slots) || t.slots[slot] == nil {
		return nil, syscall.EINVAL
	}
	return t.slots[slot], nil
}

// highest is the highest slot in use; 0 if there is none.
func (t *table) highest() int {
	for i := len(t.slots) - 1; i > 0; i-- {
		if t.slots[i] != nil {
			return i
		}
	}
	return 0
}

// drop forgets an object.
func (t *table) drop(o object) {
	p := o.perm()
	t.slots[p.id%maxIDs] = nil
	t.used--
	p.gone = true
	p.payer.Give(charge.IPC, p.cost)
	for len(t.slots) > 0 && t.slots[len(t.slots)-1] == nil {
		t.slots = t.slots[:len(t.slots)-1]
	}
}
