package overlay

import "path"

// action is what the overlay does to one file of the Go distribution.
type action int

const (
	// drop hides the file from the build.
	drop action = iota
	// retag replaces the file's build constraint, so that a file for another operating
	// system is used.
	retag
	// edit replaces one piece of text by another.
	edit
)

func (a action) String() string {
	return [...]string{"drop", "retag", "edit"}[a]
}

// rule is one change to a file below GOROOT/src. The reason is part of the rule, for the
// reader who ports it to a new version of Go.
type rule struct {
	action action
	file   string // below GOROOT/src, slash separated
	arch   string // GOARCH the rule is for; empty: all
	since  int    // the minor number of the first release of Go it is for; 0: any
	old    string // edit: the old text, which must occur exactly once
	new    string // edit: the new text
	reason string
}

// runtimeFiles expands one reason to several files of package runtime.
func runtimeFiles(a action, arch, reason string, names ...string) []rule {
	var rs []rule
	for _, n := range names {
		rs = append(rs, rule{action: a, file: path.Join("runtime", n), arch: arch, reason: reason})
	}
	return rs
}

// rules returns every change, in no particular order.
func rules() []rule {
	var rs []rule
	rs = append(rs, dropped()...)
	rs = append(rs, retagged()...)
	rs = append(rs, edits()...)
	return rs
}

// dropped lists the files that use the Linux kernel. The retagged files and the files in
// runtime/ take their place.
func dropped() []rule {
	var rs []rule
	both := func(reason string, names ...string) {
		rs = append(rs, runtimeFiles(drop, "", reason, names...)...)
	}
	both("threads, memory and start-up by Linux system calls; ours: grim_os.go",
		"os_linux.go", "os_linux64.go", "os_linux_generic.go", "os_unix.go", "stubs2.go", "stubs3.go",
		"stubs_linux.go", "mem_linux.go", "nbpipe_pipe2.go", "retry.go", "linkname_unix.go")
	both("Unix signals; faults come in by grim_fault.go",
		"signal_unix.go", "sigqueue.go", "sigtab_linux_generic.go", "cgo_sigaction.go")
	both("files, credentials and limits of a Linux process",
		"cgroup_linux.go", "create_file_unix.go", "fds_unix.go", "security_linux.go",
		"security_unix.go", "runtime_clearenv.go", "set_vma_name_linux.go", "cgo_mmap.go")
	both("wipes stacks from a signal handler", "secret.go")
	both("a vDSO page mapped by Linux",
		"vdso_elf64.go", "vdso_linux.go", "badlinkname_linux.go", "vgetrandom_linux.go")
	both("mutexes sleep on futexes", "lock_futex.go")
	both("memory comes by mmap; ours grows by sbrk", "mem_nonsbrk.go")
	both("a summary tree for 48-bit heaps needs demand paging", "mpagealloc_64bit.go")
	both("no epoll", "netpoll_epoll.go")
	for _, r := range runtimeFiles(drop, "", "start-up of a C library made from Go code, on a thread of its own", "libinit.go") {
		r.since = 27
		rs = append(rs, r)
	}
	both("walltime is Go code here: grim_clock.go", "timestub2.go")
	for _, a := range Archs {
		rs = append(rs, runtimeFiles(drop, a, "Linux entry, system calls and signal frames; ours: *_grim_"+a+".s",
			"rt0_linux_"+a+".s", "sys_linux_"+a+".s", "signal_linux_"+a+".go",
			"signal_"+a+".go", "defs_linux_"+a+".go", "vdso_linux_"+a+".go")...)
		rs = append(rs, rule{action: drop, arch: a, file: "internal/runtime/syscall/linux/asm_linux_" + a + ".s",
			reason: "a trap into ourselves; Syscall6 is answered by grim_syscall.go"})
	}
	rs = append(rs, runtimeFiles(drop, "amd64", "times read from the vDSO in assembly", "time_linux_amd64.s", "timeasm.go", "os_linux_noauxv.go")...)
	rs = append(rs, runtimeFiles(drop, "arm64", "HWCAP from a Linux auxiliary vector; ours: grim_arm64.go", "os_linux_arm64.go")...)
	return rs
}

// retagged lists files for systems without some Linux facility, which can be used
// unchanged.
func retagged() []rule {
	return runtimeFiles(retag, "", "the variant for systems that lack the Linux facility",
		"cgroup_stubs.go", "create_file_nounix.go", "fds_nonunix.go", "lock_sema.go",
		"mem_sbrk.go", "mpagealloc_32bit.go", "netpoll_fake.go", "runtime_noclearenv.go",
		"secret_nosecret.go", "security_nonunix.go", "set_vma_name_stub.go",
		"stubs_nonlinux.go", "timestub.go", "vdso_in_none.go", "vgetrandom_unsupported.go")
}

// edits lists changes inside of files that are kept.
func edits() []rule {
	e := func(file, old, new, reason string) rule {
		return rule{action: edit, file: file, old: old, new: new, reason: reason}
	}
	const pinned = "an M belongs to its CPU: a goroutine tied to one would keep all others from that CPU"
	const own = "an M runs its own P only: grim_cpus.go"
	return []rule{
		e("runtime/proc.go", "const haveSysmon = GOARCH != \"wasm\"\n", "const haveSysmon = false\n",
			"sysmon is a thread without a CPU"),
		e("runtime/proc.go", "func startTemplateThread() {\n\tif GOARCH == \"wasm\" {",
			"func startTemplateThread() {\n\tif true {", "the template thread is a thread without a CPU"),
		e("runtime/proc.go", "func dolockOSThread() {\n\tif GOARCH == \"wasm\" {",
			"func dolockOSThread() {\n\tif true {", pinned),
		e("runtime/proc.go", "func dounlockOSThread() {\n\tif GOARCH == \"wasm\" {",
			"func dounlockOSThread() {\n\tif true {", pinned),
		e("runtime/proc.go", "func wakep() {\n", "func wakep() {\n\tif !severalCPUs {\n\t\treturn\n\t}\n",
			"with one CPU no other M could be woken: 150 instructions for each goroutine made ready"),
		e("runtime/proc.go", "func checkdead() {\n\tassertLockHeld(&sched.lock)\n", "func checkdead() {\n\tassertLockHeld(&sched.lock)\n\tif true {\n\t\treturn\n\t}\n",
			"goroutines that wait for interrupts are not dead"),
		e("runtime/proc.go", "\tsched.midle.push(unsafe.Pointer(mp))\n\tsched.nmidle++\n\tcheckdead()\n", "", "an idle M is found by its P: "+own),
		e("runtime/proc.go", "\tnmp := mget()\n", "\tnmp := mOf(pp)\n", own),
		e("runtime/proc.go", "\t\tid := mReserveID()\n\t\tunlock(&sched.lock)\n", "\t\tid := int64(pp.id)\n\t\tunlock(&sched.lock)\n", own),
		e("runtime/proc.go", "\tif nmp.spinning {\n\t\tthrow(\"startm: m is spinning\")\n\t}\n", "", "it may still be on its way into stopm"),
		e("runtime/proc.go", "\tif spinning && !runqempty(pp) {\n\t\tthrow(\"startm: p has runnable gs\")\n\t}\n", "",
			"wakeSelf and rejoin may have added some while the P is handed over"),
		e("runtime/proc.go", "\tnmp.spinning = spinning\n", "\tnmp.startSpinning = spinning\n", "see cpuM.startSpinning"),
		e("runtime/proc.go", "\tmPark()\n\tacquirep(gp.m.nextp.ptr())\n\tgp.m.nextp = 0\n}\n\nfunc mspinning",
			"\tmPark()\n\tacquirep(gp.m.nextp.ptr())\n\tgp.m.nextp = 0\n\tgp.m.spinning, gp.m.startSpinning = gp.m.startSpinning, false\n}\n\nfunc mspinning",
			"see cpuM.startSpinning"),
		e("runtime/proc.go", "\t\tif !sched.runq.empty() {\n\t\t\tpp, _ := pidlegetSpinning(0)\n", "\t\tif !sched.runq.empty() {\n\t\t\tpp, _ := pidlegetOwn(0)\n", own),
		e("runtime/proc.go", "\t\t\tlock(&sched.lock)\n\t\t\tpp, _ := pidlegetSpinning(0)\n\t\t\tif pp == nil {\n\t\t\t\t// Can't get a P",
			"\t\t\tlock(&sched.lock)\n\t\t\tpp, _ := pidlegetOwn(0)\n\t\t\tif pp == nil {\n\t\t\t\t// Can't get a P", own),
		e("runtime/proc.go", "\tpp, now := pidlegetSpinning(0)\n", "\tpp, now := pidlegetOwn(0)\n", own),
		e("runtime/proc.go", "\t\tif oldm := pp.oldm.get(); oldm != nil {\n\t\t\t// Returns nil if oldm is not idle.\n\t\t\tmp = mgetSpecific(oldm)\n\t\t}\n",
			"\t\tmp = mOf(pp)\n", own),
		e("runtime/proc.go", "\t\trunnablePsNeedM = pp.link.ptr()\n\n\t\tmp := mget()\n", "\t\trunnablePsNeedM = pp.link.ptr()\n\n\t\tmp := mOf(pp)\n", own),
		e("runtime/proc.go", "\t\t\tidlePs = pp.link.ptr()\n\t\t\tmp := mget()\n", "\t\t\tidlePs = pp.link.ptr()\n\t\t\tmp := mOf(pp)\n", own),
		e("runtime/proc.go", "\t\t\tnewm(nil, p, -1)\n", "\t\t\tnewm(nil, p, int64(p.id))\n", own),
		e("runtime/proc.go", "\tif old < 0 || nprocs <= 0 {\n", "\tif old < 0 || nprocs < old {\n", "a CPU is not given up"),
		e("runtime/proc.go", "\t\tpp.status = _Pidle\n\t\tif runqempty(pp) {\n", "\t\tif claimUser(pp) {\n\t\t\tcontinue\n\t\t}\n\t\tpp.status = _Pidle\n\t\tif mp := mOf(pp); runqempty(pp) && (mp == nil || !mp.rejoins) {\n",
			"a CPU in user mode, or whose thread waits to go on, is not idle: grim_user.go"),
		e("runtime/proc.go", "\tp1 := procresize(procs)\n\tsched.gcwaiting.Store(false)\n", "\tp1 := procresize(procs)\n\tsched.gcwaiting.Store(false)\n\tbackToUser()\n",
			"see above"),
		e("runtime/proc.go", "func dropg() {\n", "func dropg() {\n\tif severalCPUs {\n\t\tleaveThread()\n\t}\n",
			"a thread's address space is left by the CPU that the thread leaves"),
		e("runtime/proc.go", "\t\tmp.g0 = malg(16384 * sys.StackGuardMultiplier)\n", "\t\tmp.g0 = newG0(mp)\n",
			"a system stack with a guard page: grim_cpus.go"),
		e("runtime/proc.go", "\t\t\tthread.takeP()\n\t\t\tthread.resume()\n\t\t\thandoffp(p2)\n", "\t\t\tthread.safePoint()\n",
			"no other M may run the P meanwhile: grim_user.go"),
		e("runtime/proc.go", "func runqempty(pp *p) bool {\n", "func runqempty(pp *p) bool {\n\tif !pp.queuesEmpty() {\n\t\treturn false\n\t}\n",
			"the P's other queues: grim_sched.go"),
		e("runtime/proc.go", "func runqdrain(pp *p) (drainQ gQueue) {\n", "func runqdrain(pp *p) (drainQ gQueue) {\n\tdrainReady(pp, &drainQ)\n", "see above"),
		e("runtime/proc.go", "func runqsteal(pp, p2 *p, stealRunNextG bool) *g {\n", "func runqsteal(pp, p2 *p, stealRunNextG bool) *g {\n\tif gp := stealReady(p2); gp != nil {\n\t\treturn gp\n\t}\n",
			"see above"),
		e("runtime/proc.go", "\trunqput(mp.p.ptr(), gp, next)\n\twakep()\n\treleasem(mp)\n", "\treadyOn(mp.p.ptr(), gp, next)\n\treleasem(mp)\n", "which CPU is woken: grim_place.go"),
		e("runtime/runtime2.go", "type p struct {\n", "type p struct {\n\tgrim perP\n\n", "see above"),
		e("runtime/runtime2.go", "\tvalgrindStackID uintptr\n}\n", "\tvalgrindStackID uintptr\n\n\tgrim Place\n}\n", "how a goroutine is scheduled: grim_place.go"),
		e("runtime/proc.go", "\tif !runqempty(pp) {\n\t\tthrow(\"pidleput: P has non-empty run queue\")\n\t}\n", "",
			"another CPU may have added a goroutine that must run here; sleepIdle looks again"),
		e("runtime/proc.go", "!idlepMaskSnapshot.read(uint32(id)) && !runqempty(p2)", "!idlepMaskSnapshot.read(uint32(id)) && runsHere(p2)",
			"goroutines that may not run on this CPU are no work for it: grim_place.go"),
		e("runtime/proc.go", "\t\trunqput(pp, gp, true)\n\t} else {\n\t\tlock(&sched.lock)\n\t\tglobrunqput(gp)\n",
			"\t\trunqput(pp, gp, true)\n\t} else if gp.grim != 0 {\n\t\trunqput(pp, gp, false)\n\t} else {\n\t\tlock(&sched.lock)\n\t\tglobrunqput(gp)\n",
			"any CPU takes from the global queue: grim_place.go"),
		e("runtime/netpoll.go", "\treturn netpollInited.Load() != 0\n", "\treturn false\n", "each idle CPU waits for its own P's timers: grim_cpus.go"),
		e("runtime/time.go", "\treleasem(mp)\n\tif wake {\n\t\twakeNetPoller(when)\n\t}\n", "\tif _ = when; wake {\n\t\tmp.p.ptr().grim.timerStarted()\n\t}\n\treleasem(mp)\n",
			"the P is that of the calling CPU, which is not idle, but may be about to enter user mode"),
		e("runtime/time.go", "\twake := false\n\tpending := t.when > 0\n", "\tvar wake *timers\n\tpending := t.when > 0\n", "the timers' own CPU is woken"),
		e("runtime/time.go", "\t\t\twake = true\n\t\t\t// Force", "\t\t\tif t != scavenger.timer {\n\t\t\t\twake = t.ts\n\t\t\t}\n\t\t\t// Force",
			"see above; the scavenger can wait, and a collection interrupts no user mode"),
		e("runtime/time.go", "\tif wake {\n\t\twakeNetPoller(when)\n\t}\n\n\treturn pending\n", "\tif wake != nil {\n\t\ttimerMoved(wake)\n\t}\n\n\treturn pending\n", "see above"),
		e("runtime/proc.go", "\tif isSystemGoroutine(newg, false) {\n\t\tsched.ngsys.Add(1)\n", "\tif startsSystem(newg) {\n\t\tsched.ngsys.Add(1)\n",
			"to know a system goroutine by its name takes 240 instructions, at each start and end; most are user threads"),
		e("runtime/proc.go", "\tif isSystemGoroutine(gp, false) {\n\t\tsched.ngsys.Add(-1)\n", "\tif startsSystem(gp) {\n\t\tsched.ngsys.Add(-1)\n",
			"see above"),
		e("runtime/proc.go", "func Gosched() {\n\tcheckTimeouts()\n\tmcall(gosched_m)\n}\n",
			"func Gosched() {\n\tpauseOthers()\n\tmcall(goyield_m)\n}\n",
			"the global queue, where it puts the caller, is emptied into the P's as a whole: those that came later would be behind it for good"),
		e("runtime/proc.go", "func goschedImpl(gp *g, preempted bool) {\n", "func goschedImpl(gp *g, preempted bool) {\n\tpauseOthers()\n",
			"who gives way may wait for another CPU, in a loop"),
		e("runtime/stack.go", "\tpreempt := stackguard0 == stackPreempt\n", "\tpreempt := stackguard0 == stackPreempt || gp.syscallsp != 0\n",
			"between EnterUser and LeaveUser there is room on the stack, so a function is here because of a request to yield, which the collector may have taken back meanwhile (suspendG); to grow the stack would wait for ever for the status _Grunning"),
		e("runtime/proc.go", "func goschedIfBusy() {\n\tgp := getg()\n", "func goschedIfBusy() {\n\tpauseOthers()\n\tgp := getg()\n",
			"bgsweep waits for another CPU's sweep in a loop with this call. An emulator that runs the CPUs in turn gives the loop 100 ms at each turn"),
		e("runtime/proc.go", "func runqput(pp *p, gp *g, next bool) {\n", "func stockRunqput(pp *p, gp *g, next bool) {\n",
			"ours has other queues: grim_sched.go"),
		e("runtime/proc.go", "\t// local runq\n\tif gp, inheritTime := runqget(pp); gp != nil {\n\t\treturn gp, inheritTime, false\n\t}\n",
			"\tif gp := nextReady(pp); gp != nil {\n\t\treturn gp, false, false\n\t}\n", "see above"),
		{action: edit, file: "runtime/asm_arm64.s", arch: "arm64",
			old: "TEXT runtime·procyieldAsm(SB),NOSPLIT,$0-0\n", new: "TEXT runtime·procyieldAsm(SB),NOSPLIT,$0-0\n\tYIELD\n",
			reason: "QEMU that runs the CPUs in turn (-icount) goes on with the next one at YIELD, but not at ISB: who waits would wait for long"},
		e("runtime/panic.go", "\t\tlock(&paniclk)\n", "\t\tlock(&paniclk)\n\t\tStopOthers()\n",
			"what the other CPUs do must not change, nor what they print come between: grim_crash.go"),
		e("runtime/panic.go", "\tif panicking.Add(-1) != 0 {\n", "\tif panicking.Add(-1) != 0 && !othersStopped {\n",
			"another M that panics too has been stopped, and will not print"),
		e("runtime/lock_spinbit.go", "\tgp.m.mLockProfile.store()\n", "", "nobody reads the contention profile"),
		e("runtime/lock_spinbit.go", "\t\t\tsemasleep(-1)\n", "\t\t\tmutexSleep()\n", "an M in semasleep may want a mutex: grim_cpus.go"),
		e("runtime/lock_spinbit.go", "\t\t\t\tsemawakeup(wakem)\n", "\t\t\t\tmutexWake(wakem)\n", "see above"),
		e("runtime/lock_sema.go", "func beforeIdle(int64, int64) (*g, bool) {\n\treturn nil, false\n}\n", "",
			"ours sleeps the CPU: grim_idle.go"),
		e("runtime/lock_sema.go", "func checkTimeouts() {}\n", "", "ours is beside beforeIdle in grim_idle.go"),
		e("runtime/malloc.go",
			"\theapAddrBits = (_64bit*(1-goarch.IsWasm)*(1-goos.IsIos*goarch.IsArm64))*48 + (1-_64bit+goarch.IsWasm)*(32-(goarch.IsMips+goarch.IsMipsle)) + 40*goos.IsIos*goarch.IsArm64\n",
			"\theapAddrBits = 32\n",
			"the heap lies in the top 4 GB; a smaller span keeps the arena index and page summaries small enough to be allocated at once"),
		e("runtime/malloc.go",
			"\tlogHeapArenaBytes = (6+20)*(_64bit*(1-goos.IsWindows)*(1-goarch.IsWasm)*(1-goos.IsIos*goarch.IsArm64)) + (2+20)*(_64bit*goos.IsWindows) + (2+20)*(1-_64bit) + (9+10)*goarch.IsWasm + (2+20)*goos.IsIos*goarch.IsArm64\n",
			"\tlogHeapArenaBytes = 2 + 20\n",
			"arenas are backed by frames at once, so 64 MB ones would not fit small machines"),
		e("runtime/malloc.go",
			"\tarenaBaseOffset = 0xffff800000000000*goarch.IsAmd64 + 0x0a00000000000000*goos.IsAix\n",
			"\tarenaBaseOffset = 0xffffffff00000000\n",
			"where the 32-bit heap window starts"),
		e("runtime/mem_sbrk.go", "\treturn sbrk(n)\n", "\treturn takeRecords(n)\n",
			"what is not an arena must not lie between arenas: grim_mem.go"),
		e("runtime/tagptr_64bit.go", "\tif GOARCH == \"amd64\" {\n", "\tif GOARCH == \"amd64\" || GOARCH == \"arm64\" {\n",
			"kernel addresses are negative on arm64 too"),
		e("syscall/syscall_linux.go", "\truntime_entersyscall()\n\t// N.B. Calling RawSyscall here", "\t// N.B. Calling RawSyscall here",
			"a call answered in the kernel is an ordinary function call: it needs its P and a growable stack"),
		e("syscall/syscall_linux.go", "\tr1, r2, err = RawSyscall6(trap, a1, a2, a3, 0, 0, 0)\n\truntime_exitsyscall()\n",
			"\tr1, r2, err = RawSyscall6(trap, a1, a2, a3, 0, 0, 0)\n", "see above"),
		e("syscall/syscall_linux.go", "\truntime_entersyscall()\n\tr1, r2, err = RawSyscall6(trap, a1, a2, a3, a4, a5, a6)\n\truntime_exitsyscall()\n",
			"\tr1, r2, err = RawSyscall6(trap, a1, a2, a3, a4, a5, a6)\n", "see above"),
		e("syscall/syscall_linux.go", "func rawSyscallNoError(trap, a1, a2, a3 uintptr) (r1, r2 uintptr)\n",
			"func rawSyscallNoError(trap, a1, a2, a3 uintptr) (r1, r2 uintptr) {\n\tr1, r2, _ = RawSyscall6(trap, a1, a2, a3, 0, 0, 0)\n\treturn\n}\n",
			"a trap into ourselves: gVisor's package log asks for a pid when it is initialized"),
		{action: edit, file: "syscall/asm_linux_amd64.s", arch: "amd64", old: "TEXT ·rawSyscallNoError(SB)", new: "TEXT ·trapNoError(SB)", reason: "see above"},
		{action: edit, file: "syscall/asm_linux_arm64.s", arch: "arm64", old: "TEXT ·rawSyscallNoError(SB)", new: "TEXT ·trapNoError(SB)", reason: "see above"},
		e("crypto/internal/fips140/drbg/entropy_fips140.go", "var memory entropy.ScratchBuffer\n", "",
			"32 MB of the image for FIPS 140 mode, which is never on; TamaGo's package rng imports crypto/aes"),
		e("crypto/internal/fips140/drbg/entropy_fips140.go", "\tseed, err := entropy.Seed(&memory)\n",
			"\tmemory := new(entropy.ScratchBuffer)\n\tseed, err := entropy.Seed(memory)\n", "see above"),
		e("crypto/internal/fips140/drbg/entropy_fips140.go", "\t\tseed, err = entropy.Seed(&memory)\n",
			"\t\tseed, err = entropy.Seed(memory)\n", "see above"),
		e("internal/runtime/syscall/linux/syscall_linux.go", "\t\"unsafe\"\n)\n", "\t\"unsafe\"\n)\n\n//go:linkname Syscall6\n",
			"the body comes from package runtime; without the directive the compiler wants it here"),
	}
}
