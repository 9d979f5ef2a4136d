package sys

import (
	"syscall"

	"golang.org/x/sys/unix"

	"grim/arch"
	"grim/kernel/fs"
	"grim/mm/vm"
	"grim/proc"
	"grim/proc/cred"
	"grim/proc/elf"
)

// Release is the release in uname(2). C libraries compare its first numbers with the oldest
// Linux on which they work. So it names the Linux whose calls are offered.
const Release = "6.1.0-grim"

func sysUname(c ctx) (uint64, error) {
	var u unix.Utsname
	copy(u.Sysname[:], "Linux")
	c.s.uts.mu.Lock()
	copy(u.Nodename[:], c.s.uts.host)
	copy(u.Domainname[:], c.s.uts.domain)
	c.s.uts.mu.Unlock()
	copy(u.Release[:], Release)
	copy(u.Version[:], c.s.cfg.Version)
	copy(u.Machine[:], c.s.tab.machine)
	return 0, put(c, c.va(0), &u)
}

func sysSysinfo(c ctx) (uint64, error) {
	total, free := c.s.cfg.Memory()
	si := sysinfo{
		Uptime:   c.s.now() / second,
		TotalRAM: total,
		FreeRAM:  free,
		Procs:    uint16(c.s.k.Counts().Processes),
		Unit:     1,
	}
	return 0, put(c, c.va(0), &si)
}

func rusageOf(u proc.Usage) unix.Rusage {
	return unix.Rusage{
		Utime:  timevalOf(u.UserTime),
		Stime:  timevalOf(u.SystemTime),
		Maxrss: int64(u.MaxRSS >> 10),
		Minflt: u.Faults,
		Nvcsw:  u.Voluntary,
		Nivcsw: u.Involuntary,
	}
}

func sysGetrusage(c ctx) (uint64, error) {
	u, err := c.t.Usage(c.int(0))
	if err != nil {
		return 0, err
	}
	ru := rusageOf(u)
	return 0, put(c, c.va(1), &ru)
}

func sysTimes(c ctx) (uint64, error) {
	const tick = second / elf.ClockTicks
	if va := c.va(0); va != 0 {
		self, err := c.t.Usage(proc.UsageSelf)
		if err != nil {
			return 0, err
		}
		kids, err := c.t.Usage(proc.UsageChildren)
		if err != nil {
			return 0, err
		}
		tms := [4]int64{self.UserTime / tick, self.SystemTime / tick, kids.UserTime / tick, kids.SystemTime / tick}
		if err := put(c, va, &tms); err != nil {
			return 0, err
		}
	}
	return uint64(c.s.now() / tick), nil
}

// limit implements prlimit(2) for process p. It returns the old limit. If set is not nil,
// it sets the limit, in p and in the objects that enforce it.
func (c ctx) limit(p *proc.Process, which int, set *proc.Rlimit) (proc.Rlimit, error) {
	old, err := p.Limit(which)
	if err != nil || set == nil {
		return old, err
	}
	if which == unix.RLIMIT_NOFILE && set.Max > fs.MaxFDs {
		return old, syscall.EPERM
	}
	if err := p.SetLimit(which, *set, c.t.Cred().Has(cred.SysResource)); err != nil {
		return old, err
	}
	if which == unix.RLIMIT_NOFILE {
		settle(func() uint64 {
			l, _ := p.Limit(which)
			return l.Cur
		}, func(n uint64) {
			if fl, ok := p.Files().(*files); ok {
				fl.fds.SetLimit(int(n))
			}
			if p == c.t.Process() { // the thread may have a limit of its own
				c.files().fds.SetLimit(int(n))
			}
		})
		return old, nil
	}
	if vs := p.VM(); vs != nil {
		setMemoryLimits(vs, p, p.Cred())
		vs.Release()
	}
	return old, nil
}

// setMemoryLimits sets the limits of vs to p's.
func setMemoryLimits(vs *vm.VMSpace, p *proc.Process, who *proc.Cred) {
	settle(func() vm.Limits { return memoryLimits(vs.Limits(), p, who) }, vs.SetLimits)
}

// settle calls apply with what read returns, until that has not changed meanwhile. So of two
// threads that change a value and then apply it, both apply the last one.
func settle[T comparable](read func() T, apply func(T)) {
	for v := read(); ; {
		apply(v)
		now := read()
		if now == v {
			return
		}
		v = now
	}
}

// memoryLimits returns l with the limits of p, whose credentials are who.
func memoryLimits(l vm.Limits, p *proc.Process, who *proc.Cred) vm.Limits {
	l = p.MemoryLimits(l)
	if who.Has(cred.IPCLock) {
		l.Memlock = vm.Unlimited // CAP_IPC_LOCK
	}
	return l
}

func sysPrlimit64(c ctx) (uint64, error) {
	p, err := c.process(c.int(0))
	if err != nil {
		return 0, err
	}
	if mine, its := c.t.Cred(), p.Cred(); p != c.t.Process() && !mine.Has(cred.SysResource) &&
		!(mine.UID == its.UID && mine.UID == its.EUID && mine.UID == its.SUID &&
			mine.GID == its.GID && mine.GID == its.EGID && mine.GID == its.SGID) {
		return 0, syscall.EPERM
	}
	var set *proc.Rlimit
	if va := c.va(2); va != 0 {
		l, err := get[proc.Rlimit](c, va)
		if err != nil {
			return 0, err
		}
		set = &l
	}
	old, err := c.limit(p, c.int(1), set)
	if err != nil || c.va(3) == 0 {
		return 0, err
	}
	return 0, put(c, c.va(3), &old)
}

func sysGetrlimit(c ctx) (uint64, error) {
	l, err := c.limit(c.t.Process(), c.int(0), nil)
	if err != nil {
		return 0, err
	}
	return 0, put(c, c.va(1), &l)
}

func sysSetrlimit(c ctx) (uint64, error) {
	l, err := get[proc.Rlimit](c, c.va(1))
	if err != nil {
		return 0, err
	}
	_, err = c.limit(c.t.Process(), c.int(0), &l)
	return 0, err
}

// process returns the process that a pid argument names, by its own number or by the number
// of one of its threads. 0 is the caller's process.
func (c ctx) process(pid int) (*proc.Process, error) {
	if pid == 0 || pid == c.t.Process().PID() {
		return c.t.Process(), nil
	}
	if p := c.s.k.Holder(pid); p != nil {
		return p, nil
	}
	return nil, syscall.ESRCH
}

// flag returns the result of a call that answers yes or no.
func flag(on bool) (uint64, error) {
	if on {
		return 1, nil
	}
	return 0, nil
}

func sysPrctl(c ctx) (uint64, error) {
	p, arg := c.t.Process(), c.arg(1)
	switch c.int(0) {
	case unix.PR_SET_NAME:
		var name [16]byte
		s, err := c.mem().CopyInString(c.va(1), len(name)-1)
		if err == syscall.ENAMETOOLONG {
			err = c.mem().CopyIn(name[:len(name)-1], c.va(1))
			s = string(name[:len(name)-1])
		}
		if err != nil {
			return 0, err
		}
		c.t.SetName(s)
		return 0, nil
	case unix.PR_GET_NAME:
		var name [16]byte
		copy(name[:], c.t.Name())
		return 0, put(c, c.va(1), &name)
	case unix.PR_GET_DUMPABLE:
		return flag(p.Dumpable())
	case unix.PR_SET_DUMPABLE:
		if arg > 1 {
			return 0, syscall.EINVAL
		}
		p.SetDumpable(arg == 1)
		return 0, nil
	case unix.PR_SET_NO_NEW_PRIVS:
		if arg != 1 || c.arg(2)|c.arg(3)|c.arg(4) != 0 {
			return 0, syscall.EINVAL
		}
		c.t.SetNoNewPrivs()
		return 0, nil
	case unix.PR_GET_NO_NEW_PRIVS:
		if arg|c.arg(2)|c.arg(3)|c.arg(4) != 0 {
			return 0, syscall.EINVAL
		}
		return flag(c.t.NoNewPrivs())
	case unix.PR_SET_CHILD_SUBREAPER:
		p.SetAdopts(arg != 0)
		return 0, nil
	case unix.PR_GET_CHILD_SUBREAPER:
		on, _ := flag(p.Adopts())
		word := int32(on)
		return 0, put(c, c.va(1), &word)
	case unix.PR_SET_PDEATHSIG:
		if arg > proc.NumSignals {
			return 0, syscall.EINVAL
		}
		return 0, c.t.SetParentDeath(syscall.Signal(arg))
	case unix.PR_GET_PDEATHSIG:
		sig := int32(c.t.ParentDeath())
		return 0, put(c, c.va(1), &sig)
	}
	if v, err, ok := c.prctlKept(); ok {
		return v, err
	}
	if v, err, ok := c.prctlCaps(); ok {
		return v, err
	}
	return 0, syscall.EINVAL
}

func sysGetcpu(c ctx) (uint64, error) {
	place := [2]uint32{uint32(c.s.k.Machine().CPU()), 0} // the CPU, and its node
	for i := range 2 {
		if va := c.va(i); va != 0 {
			if err := put(c, va, &place[i]); err != nil {
				return 0, err
			}
		}
	}
	return 0, nil
}

// addrNoRandomize is ADDR_NO_RANDOMIZE (personality(2)).
const addrNoRandomize = 0x0040000

// sysPersonality keeps every value, as Linux does. Only ADDR_NO_RANDOMIZE has an effect
// here.
func sysPersonality(c ctx) (uint64, error) {
	p := c.t.Process()
	old := p.Personality()
	if v := c.uint32(0); v != 0xffffffff { // 0xffffffff only asks for the value
		p.SetPersonality(v)
	}
	return uint64(old), nil
}

// randomTurn is how many bytes the generator makes between two pauses.
const randomTurn = fs.RandomTurn

// sysGetrandom fills the buffer from the kernel's generator, one turn at a time.
func sysGetrandom(c ctx) (uint64, error) {
	if err := onlyFlags(c.int(2), unix.GRND_NONBLOCK|unix.GRND_RANDOM|unix.GRND_INSECURE); err != nil {
		return 0, err
	}
	s, err := c.buffer(0)
	if err != nil {
		return 0, err
	}
	buf := fs.NewBuffer(min(s.n, randomTurn))
	defer buf.Put()
	done := uint64(0)
	for done < s.n && (done == 0 || !c.t.Interrupted()) {
		b := buf.B[:min(s.n-done, uint64(len(buf.B)), randomTurn)]
		c.s.cfg.Random(b)
		k, err := c.copyOut(s.va+arch.VA(done), b)
		done += uint64(k)
		if err == nil {
			err = c.t.Pause()
		}
		if err != nil {
			return partial(done, err)
		}
	}
	return done, nil
}

// sysReboot implements reboot(2): process 1 stops or restarts the machine with it.
func sysReboot(c ctx) (uint64, error) {
	if c.uint32(0) != unix.LINUX_REBOOT_MAGIC1 {
		return 0, syscall.EINVAL
	}
	if c.uint32(1) != unix.LINUX_REBOOT_MAGIC2 {
		return 0, syscall.EINVAL
	}
	if !c.t.Cred().Has(cred.SysBoot) {
		return 0, syscall.EPERM
	}
	switch c.uint32(2) {
	case unix.LINUX_REBOOT_CMD_CAD_ON, unix.LINUX_REBOOT_CMD_CAD_OFF:
		return 0, nil
	case unix.LINUX_REBOOT_CMD_RESTART:
		c.s.cfg.Reboot(true)
		return 0, nil
	case unix.LINUX_REBOOT_CMD_HALT, unix.LINUX_REBOOT_CMD_POWER_OFF:
		c.s.cfg.Reboot(false)
		return 0, nil
	}
	return 0, syscall.EINVAL
}
