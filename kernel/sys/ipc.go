package sys

import (
	"fmt"
	"math"
	"syscall"

	"grim/arch"
	"grim/kernel/ipc"
	"grim/mm/vm"
	"grim/proc"
)

// ipcCaller returns the caller as package ipc needs it. Its sleeps end at the deadline.
func (c ctx) ipcCaller(deadline int64) *ipc.Caller {
	return &ipc.Caller{
		Cred: c.t.Cred(), PID: c.t.Process().PID(), Payer: c.t.Process().Account().User(), Now: c.s.cfg.Wall() / second,
		Sleep: func(ch <-chan struct{}) error {
			err := c.t.Sleep(ch, deadline)
			if err != nil && err != syscall.ETIMEDOUT {
				err = proc.ERESTARTNOHAND
			}
			return err
		},
	}
}

// Commands of semctl(2), msgctl(2) and shmctl(2).
const (
	ipcRmid = 0
	ipcSet  = 1
	ipcStat = 2
	ipcInfo = 3

	msgStat    = 11
	msgInfo    = 12
	msgStatAny = 13

	shmLock    = 11
	shmUnlock  = 12
	shmStat    = 13
	shmInfo    = 14
	shmStatAny = 15

	semGetpid  = 11
	semGetval  = 12
	semGetall  = 13
	semGetncnt = 14
	semGetzcnt = 15
	semSetval  = 16
	semSetall  = 17
	semStat    = 18
	semInfo    = 19
	semStatAny = 20
)

// ipcPerm is struct ipc64_perm, 48 bytes on both architectures.
type ipcPerm struct {
	Key                  int32
	UID, GID, CUID, CGID uint32
	Mode                 uint32
	Seq, Pad             uint16
	Pad2                 uint32
	Unused               [2]uint64
}

func ipcPermOf(p *ipc.Perm) ipcPerm {
	return ipcPerm{Key: p.Key, UID: p.UID, GID: p.GID, CUID: p.CUID, CGID: p.CGID, Mode: p.Mode, Seq: p.Seq}
}

func (p *ipcPerm) perm() *ipc.Perm { return &ipc.Perm{UID: p.UID, GID: p.GID, Mode: p.Mode} }

// semidDS is struct semid64_ds of arm64. amd64 has an unused word after each time.
type semidDS struct {
	Perm         ipcPerm
	Otime, Ctime int64
	Nsems        uint64
	Unused       [2]uint64
}

type semidDSAMD64 struct {
	Perm        ipcPerm
	Otime, Pad  int64
	Ctime, Pad2 int64
	Nsems       uint64
	Unused      [2]uint64
}

func sysSemget(c ctx) (uint64, error) {
	id, err := c.s.ipc.Semget(c.ipcCaller(0), int32(c.int(0)), c.int(1), c.int(2))
	return uint64(id), err
}

func sysSemop(c ctx) (uint64, error) { return c.semop(math.MaxInt64) }

func sysSemtimedop(c ctx) (uint64, error) {
	deadline, err := c.deadline(c.va(3))
	if err != nil {
		return 0, err
	}
	return c.semop(deadline)
}

func (c ctx) semop(deadline int64) (uint64, error) {
	n := c.uint32(2)
	switch {
	case n < 1 || c.int(0) < 0:
		return 0, syscall.EINVAL
	case n > ipc.MaxOps:
		return 0, syscall.E2BIG
	}
	raw := make([]byte, 6*n)
	if err := c.mem().CopyIn(raw, c.va(1)); err != nil {
		return 0, err
	}
	ops := make([]ipc.SemOp, n)
	for i := range ops {
		b := raw[6*i:]
		ops[i] = ipc.SemOp{Num: le.Uint16(b), Op: int16(le.Uint16(b[2:])), Flags: int16(le.Uint16(b[4:]))}
	}
	undo, err := c.s.ipc.Semop(c.ipcCaller(deadline), c.int(0), ops)
	if undo && err == nil {
		s, pid := c.s, c.t.Process().PID()
		c.t.Process().AtExit("sem", func() { s.ipc.SemExit(pid, s.cfg.Wall()/second) })
	}
	if err == proc.ERESTARTNOHAND { // semop(2) is never restarted
		err = syscall.EINTR
	}
	return 0, err
}

func sysSemctl(c ctx) (uint64, error) {
	id, num, cmd, who := c.int(0), c.int(1), c.int(2), c.ipcCaller(0)
	k := c.s.ipc
	if id < 0 || cmd < 0 {
		return 0, syscall.EINVAL
	}
	switch cmd {
	case ipcInfo, semInfo:
		highest, sets, sems := k.SemInfo()
		info := [10]int32{1024000000, 32000, 1024000000, 1024000000, 32000, ipc.MaxOps, ipc.MaxOps, 20, 32767, 32767}
		if cmd == semInfo {
			info[7], info[9] = int32(sets), int32(sems)
		}
		return uint64(highest), put(c, c.va(3), &info)
	case ipcStat, semStat, semStatAny:
		set, err := k.SemStat(who, id, cmd != ipcStat, cmd == semStatAny)
		if err != nil {
			return 0, err
		}
		r := uint64(0)
		if cmd != ipcStat {
			r = uint64(set.ID())
		}
		if c.s.tab.machine == "x86_64" {
			return r, put(c, c.va(3), &semidDSAMD64{Perm: ipcPermOf(&set.Perm), Otime: set.Otime, Ctime: set.Ctime, Nsems: uint64(set.N())})
		}
		return r, put(c, c.va(3), &semidDS{Perm: ipcPermOf(&set.Perm), Otime: set.Otime, Ctime: set.Ctime, Nsems: uint64(set.N())})
	case ipcSet:
		p, err := get[ipcPerm](c, c.va(3)) // the structure begins with struct ipc64_perm
		if err != nil {
			return 0, err
		}
		return 0, k.SemSetPerm(who, id, p.perm())
	case ipcRmid:
		return 0, k.SemRemove(who, id)
	case semGetpid, semGetval, semGetncnt, semGetzcnt:
		what := map[int]int{semGetpid: ipc.SemPID, semGetval: ipc.SemVal, semGetncnt: ipc.SemWaitMore, semGetzcnt: ipc.SemWaitZero}[cmd]
		v, err := k.SemGet(who, id, num, what)
		return uint64(v), err
	case semGetall:
		all, err := k.SemAll(who, id)
		if err != nil {
			return 0, err
		}
		raw := make([]byte, 0, 2*len(all))
		for _, v := range all {
			raw = le.AppendUint16(raw, v)
		}
		return 0, c.mem().CopyOut(c.va(3), raw)
	case semSetval:
		return 0, k.SemPut(who, id, num, []int{c.int(3)})
	case semSetall:
		set, err := k.SemStat(who, id, false, true)
		if err != nil {
			return 0, err
		}
		raw := make([]byte, 2*set.N())
		if err := c.mem().CopyIn(raw, c.va(3)); err != nil {
			return 0, err
		}
		vals := make([]int, set.N())
		for i := range vals {
			vals[i] = int(le.Uint16(raw[2*i:]))
		}
		return 0, k.SemPut(who, id, 0, vals)
	}
	return 0, syscall.EINVAL
}

func sysMsgget(c ctx) (uint64, error) {
	id, err := c.s.ipc.Msgget(c.ipcCaller(0), int32(c.int(0)), c.int(1))
	return uint64(id), err
}

func sysMsgsnd(c ctx) (uint64, error) {
	n := int64(c.arg(2))
	typ, err := get[int64](c, c.va(1))
	if err != nil {
		return 0, err
	}
	if n < 0 || n > ipc.MaxMsg || typ < 1 || c.int(0) < 0 {
		return 0, syscall.EINVAL
	}
	text := make([]byte, n)
	if n > 0 {
		if err := c.mem().CopyIn(text, c.va(1)+8); err != nil {
			return 0, err
		}
	}
	return 0, c.s.ipc.Msgsnd(c.ipcCaller(math.MaxInt64), c.int(0), &ipc.Msg{Type: typ, Text: text}, c.int(3))
}

func sysMsgrcv(c ctx) (uint64, error) {
	size := int64(c.arg(2))
	if size < 0 {
		return 0, syscall.EINVAL
	}
	m, err := c.s.ipc.Msgrcv(c.ipcCaller(math.MaxInt64), c.int(0), int(min(size, math.MaxInt32)), int64(c.arg(3)), c.int(4))
	if err != nil {
		return 0, err
	}
	if err := put(c, c.va(1), &m.Type); err != nil {
		return 0, err
	}
	n := min(len(m.Text), int(size))
	if n == 0 {
		return 0, nil
	}
	return uint64(n), c.mem().CopyOut(c.va(1)+8, m.Text[:n])
}

// msqidDS is struct msqid64_ds.
type msqidDS struct {
	Perm                 ipcPerm
	Stime, Rtime, Ctime  int64
	Cbytes, Qnum, Qbytes uint64
	Lspid, Lrpid         int32
	Unused               [2]uint64
}

func sysMsgctl(c ctx) (uint64, error) {
	id, cmd, who := c.int(0), c.int(1), c.ipcCaller(0)
	k := c.s.ipc
	if id < 0 || cmd < 0 {
		return 0, syscall.EINVAL
	}
	switch cmd {
	case ipcInfo, msgInfo:
		highest, queues, msgs, bytes := k.MsgInfo()
		info := [8]int32{32000, 32000, ipc.MaxMsg, ipc.MaxBytes, 32000, 16, 32000, 0xffff}
		if cmd == msgInfo {
			info[0], info[1], info[6] = int32(queues), int32(msgs), int32(bytes)
		}
		return uint64(highest), put(c, c.va(2), &info)
	case ipcStat, msgStat, msgStatAny:
		q, err := k.MsgStat(who, id, cmd != ipcStat, cmd == msgStatAny)
		if err != nil {
			return 0, err
		}
		r := uint64(0)
		if cmd != ipcStat {
			r = uint64(q.ID())
		}
		return r, put(c, c.va(2), &msqidDS{Perm: ipcPermOf(&q.Perm), Stime: q.Stime, Rtime: q.Rtime, Ctime: q.Ctime,
			Cbytes: uint64(q.Bytes), Qnum: uint64(q.N()), Qbytes: uint64(q.Limit), Lspid: int32(q.Lspid), Lrpid: int32(q.Lrpid)})
	case ipcSet:
		ds, err := get[msqidDS](c, c.va(2))
		if err != nil {
			return 0, err
		}
		return 0, k.MsgSetPerm(who, id, ds.Perm.perm(), int(min(ds.Qbytes, math.MaxInt32)))
	case ipcRmid:
		return 0, k.MsgRemove(who, id)
	}
	return 0, syscall.EINVAL
}

// Flags of shmget(2) and shmat(2).
const (
	shmHugeTLB = 0o4000
	shmRdonly  = 0o10000
	shmRnd     = 0o20000
	shmRemap   = 0o40000
	shmExec    = 0o100000
)

// maxSegment is the largest size of a segment, which is the largest size of a file object.
const maxSegment = 1 << 46

func sysShmget(c ctx) (uint64, error) {
	size := c.arg(1)
	if size > maxSegment {
		return 0, syscall.EINVAL
	}
	key := int32(c.int(0))
	payer := c.t.Process().Account().User()
	id, err := c.s.ipc.Shmget(c.ipcCaller(0), key, int64(size), c.int(2)&^shmHugeTLB, func() (*vm.FileObject, error) {
		if c.int(2)&shmHugeTLB != 0 {
			return nil, syscall.ENOMEM
		}
		o, err := vm.NewUserFile(c.s.cfg.VM, fmt.Sprintf("/SYSV%08x (deleted)", uint32(key)), nil, payer)
		if err != nil {
			return nil, err
		}
		c.s.fs.CountPages(o)
		if err := o.Truncate(int64(arch.VA(size).PageUp())); err != nil {
			o.Unref()
			return nil, err
		}
		return o, nil
	})
	return uint64(id), err
}

func sysShmat(c ctx) (uint64, error) {
	addr, flags := c.va(1), c.int(2)
	if addr%arch.PageSize != 0 {
		if flags&shmRnd == 0 {
			return 0, syscall.EINVAL
		}
		if addr &^= arch.PageSize - 1; addr == 0 && flags&shmRemap != 0 {
			return 0, syscall.EINVAL
		}
	}
	if addr == 0 && flags&shmRemap != 0 || c.int(0) < 0 {
		return 0, syscall.EINVAL
	}
	prot, fl := arch.Read|arch.Write, vm.Shared
	if flags&shmRdonly != 0 {
		prot, fl = arch.Read, fl|vm.MayNotWrite
	}
	if flags&shmExec != 0 {
		prot |= arch.Exec
	}
	o, size, err := c.s.ipc.Shmat(c.ipcCaller(0), c.int(0), flags&shmRdonly == 0)
	if err != nil {
		return 0, err
	}
	defer o.Unref()
	n := uint64(arch.VA(size).PageUp())
	if addr != 0 {
		if fl |= vm.FixedNoReplace; flags&shmRemap != 0 {
			fl = fl&^vm.FixedNoReplace | vm.Fixed
		}
		if err := c.mayPlace(addr, n, fl); err != nil {
			return 0, syscall.EINVAL
		}
	}
	va, err := c.memory().Map(addr, n, prot, fl, o, 0)
	if err == syscall.EEXIST {
		err = syscall.EINVAL
	}
	return uint64(va), err
}

// sysShmdt unmaps the segment that shmat(2) has mapped at an address. Error: EINVAL.
func sysShmdt(c ctx) (uint64, error) {
	at := c.va(0)
	list := c.mem().EntriesFrom(at, 1)
	if len(list) == 0 || list[0].Start != at || list[0].Off != 0 || len(list[0].Name) < 5 || list[0].Name[:5] != "/SYSV" {
		return 0, syscall.EINVAL
	}
	id, name := list[0].Inode, list[0].Name
	c.s.ipc.Shmdt(c.ipcCaller(0), int(id))
	for next := at; ; { // mprotect(2) may have split the mapping
		list := c.mem().EntriesFrom(next, 1)
		if len(list) == 0 || list[0].Name != name || list[0].Inode != id || list[0].Off != int64(list[0].Start-at) {
			return 0, nil
		}
		if err := c.mem().Unmap(list[0].Start, uint64(list[0].End-list[0].Start)); err != nil {
			return 0, err
		}
		next = list[0].End
		if err := c.t.Pause(); err != nil {
			return 0, err
		}
	}
}

// shmidDS is struct shmid64_ds.
type shmidDS struct {
	Perm                ipcPerm
	Size                uint64
	Atime, Dtime, Ctime int64
	Cpid, Lpid          int32
	Nattch              uint64
	Unused              [2]uint64
}

func sysShmctl(c ctx) (uint64, error) {
	id, cmd, who := c.int(0), c.int(1), c.ipcCaller(0)
	k := c.s.ipc
	if id < 0 || cmd < 0 {
		return 0, syscall.EINVAL
	}
	switch cmd {
	case ipcInfo:
		highest, _, _ := k.ShmInfo()
		return uint64(highest), put(c, c.va(2), &[9]uint64{maxSegment, 1, 4096, 4096, maxSegment / arch.PageSize})
	case shmInfo:
		highest, segments, pages := k.ShmInfo()
		type info struct {
			Used, Pad                             int32
			Total, RSS, Swap, Attempts, Successes uint64
		}
		return uint64(highest), put(c, c.va(2), &info{Used: int32(segments), Total: uint64(pages)})
	case ipcStat, shmStat, shmStatAny:
		g, attached, err := k.ShmStat(who, id, cmd != ipcStat, cmd == shmStatAny)
		if err != nil {
			return 0, err
		}
		r := uint64(0)
		if cmd != ipcStat {
			r = uint64(g.ID())
		}
		return r, put(c, c.va(2), &shmidDS{Perm: ipcPermOf(&g.Perm), Size: uint64(g.Size), Atime: g.Atime, Dtime: g.Dtime,
			Ctime: g.Ctime, Cpid: int32(g.Cpid), Lpid: int32(g.Lpid), Nattch: uint64(attached)})
	case ipcSet:
		p, err := get[ipcPerm](c, c.va(2))
		if err != nil {
			return 0, err
		}
		return 0, k.ShmSetPerm(who, id, p.perm())
	case shmLock, shmUnlock:
		return 0, k.ShmLock(who, id, cmd == shmLock)
	case ipcRmid:
		return 0, k.ShmRemove(who, id)
	}
	return 0, syscall.EINVAL
}

// ipcTexts makes the files of the limits in /proc/sys/kernel.
func (s *System) ipcTexts() {
	for path, text := range map[string]string{
		"sys/kernel/msgmax": fmt.Sprint(ipc.MaxMsg), "sys/kernel/msgmnb": fmt.Sprint(ipc.MaxBytes), "sys/kernel/msgmni": "32000",
		"sys/kernel/sem":    fmt.Sprintf("%d\t1024000000\t%d\t32000", ipc.MaxSems, ipc.MaxOps),
		"sys/kernel/shmmax": fmt.Sprint(uint64(maxSegment)), "sys/kernel/shmall": fmt.Sprint(uint64(maxSegment / arch.PageSize)),
		"sys/kernel/shmmni": "4096", "sys/kernel/shm_rmid_forced": "0",
	} {
		b := []byte(text + "\n")
		s.fs.ProcFile(path, func() []byte { return b })
	}
}
