// Package ipc implements System V's semaphores, message queues and shared memory
// (sysvipc(7)).
//
// An object has a key, on which processes agree, and a number. The number names one object
// permanently: it is made of the slot in a table, and of a count of the slots given out. A
// caller passes its credentials, its process number, the user who pays, and a way to sleep.
// The memory of a segment is a vm.Object, which the caller maps.
//
// One mutex guards all objects. No thread sleeps while it holds the mutex. While it is
// held, charges are taken, and the list of a segment's mappings is counted. The work of an
// operation under the mutex is bounded by MaxSems, MaxOps, and the number of messages that
// a queue's bytes allow.
package ipc

import (
	"sync"
	"syscall"

	"grim/mm/charge"
	"grim/proc/cred"
)

// Commands and flags of all kinds of object (include/uapi/linux/ipc.h).
const (
	Private = 0
	Create  = 0o1000
	Excl    = 0o2000
	NoWait  = 0o4000
)

// maxIDs is IPCMNI: the maximum number of objects of a kind. An object's number is
// sequence*maxIDs + slot.
const maxIDs = 32768

// Caller describes the thread that makes a call.
type Caller struct {
	Cred  *cred.Cred
	PID   int
	Payer *charge.User
	Now   int64 // seconds since 1970
	// Sleep waits until ch can be received from. Errors: EINTR, ETIMEDOUT.
	Sleep func(ch <-chan struct{}) error
}

// Perm is struct ipc_perm: the owner and the permissions of an object.
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

// ID returns the object's number.
func (p *Perm) ID() int { return p.id }

// allows returns EACCES if c does not have all permissions of mode. The permissions may be
// given as the bits of owner, group or others.
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

// owned returns EPERM if c may not change or remove the object.
func (p *Perm) owned(c *Caller) error {
	if c.Cred.EUID == p.UID || c.Cred.EUID == p.CUID || c.Cred.Has(cred.SysAdmin) {
		return nil
	}
	return syscall.EPERM
}

// set sets the fields that IPC_SET changes for all kinds of object.
func (p *Perm) set(n *Perm) {
	p.UID, p.GID = n.UID, n.GID
	p.Mode = p.Mode&^0o777 | n.Mode&0o777
}

// table has the objects of one kind.
type table struct {
	slots []object // by slot; nil: the slot is free
	seq   int
	used  int
}

// System has the machine's objects.
type System struct {
	mu   sync.Mutex
	sems table
	msgs table
	shms table
}

// get implements semget(2), msgget(2) and shmget(2). It returns the object with the key,
// after a check by fits, or a new object from make. Errors: ENOENT, EEXIST, EACCES, ENOSPC,
// and those of fits and make. Precondition: mu held.
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

// find returns the object with a number. EINVAL: there is none. EIDRM: its slot has another
// object now.
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

// at returns the object of a slot, for the ..._STAT commands. EINVAL: there is none.
func (t *table) at(slot int) (object, error) {
	if slot < 0 || slot >= len(t.slots) || t.slots[slot] == nil {
		return nil, syscall.EINVAL
	}
	return t.slots[slot], nil
}

// highest returns the highest slot in use, or 0 if there is none.
func (t *table) highest() int {
	for i := len(t.slots) - 1; i > 0; i-- {
		if t.slots[i] != nil {
			return i
		}
	}
	return 0
}

// drop removes an object from the table.
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
