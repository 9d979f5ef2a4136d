package overlay

import "path"

// action is what the overlay does to one file of the Go distribution.
type action int

const (
	// drop hides the file from the build.
	drop action = iota
	// retag replaces the file's build constraint, so that a file made for
	// another operating system is built for us.
	retag
	// edit replaces one piece of text by another.
	edit
)

func (a action) String() string {
	return [...]string{"drop", "retag", "edit"}[a]
}

// rule is one change to a file below GOROOT/src. The reason is part of the
// rule, because the next reader of it is somebody porting it to a new version
// of Go.
type rule struct {
	action action
	file   string // below GOROOT/src, slash separated
	arch   string // GOARCH the rule is for; empty: all
	since  int    // the minor number of the first release of Go it is for; 0: any
	old    string // edit: the anchor, which must occur exactly once
	new    string // edit: what takes its place
	reason string
}

// for expands one reason to several files of package runtime.
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

// dropped lists what talks to the Linux kernel. Its place is taken by the
// retagged files and by our own in runtime/.
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

// retagged lists files written for systems without the Linux facility in
// question that serve us as they are.
func retagged() []rule {
	return runtimeFiles(retag, "", "the variant for systems that lack the Linux facility",
		"cgroup_stubs.go", "create_file_nounix.go", "fds_nonunix.go", "lock_sema.go",
		"mem_sbrk.go", "mpagealloc_32bit.go", "netpoll_fake.go", "runtime_noclearenv.go",
		"secret_nosecret.go", "security_nonunix.go", "set_vma_name_stub.go",
		"stubs_nonlinux.go", "timestub.go", "vdso_in_none.go", "vgetrandom_unsupported.go")
}

// edits lists changes inside files that are kept.
func edits() []rule {
	e := func(file, old, new, reason string) rule {
		return rule{action: edit, file: file, old: old, new: new, reason: reason}
	}
	const oneM = "one M: a goroutine tied to the only thread would keep all others from running"
	return []rule{
		e("runtime/proc.go", "const haveSysmon = GOARCH != \"wasm\"\n", "const haveSysmon = false\n",
			"sysmon is a second thread"),
		e("runtime/proc.go", "func startTemplateThread() {\n\tif GOARCH == \"wasm\" {",
			"func startTemplateThread() {\n\tif grimOneM {", "the template thread is a second thread"),
		e("runtime/proc.go", "func dolockOSThread() {\n\tif GOARCH == \"wasm\" {",
			"func dolockOSThread() {\n\tif grimOneM {", oneM),
		e("runtime/proc.go", "func dounlockOSThread() {\n\tif GOARCH == \"wasm\" {",
			"func dounlockOSThread() {\n\tif grimOneM {", oneM),
		e("runtime/proc.go", "func wakep() {\n", "func wakep() {\n\tif grimOneM {\n\t\treturn\n\t}\n",
			"no other M could be woken: 150 instructions for each goroutine made ready"),
		e("runtime/proc.go", "\tif isSystemGoroutine(newg, false) {\n\t\tsched.ngsys.Add(1)\n", "\tif startsSystem(newg) {\n\t\tsched.ngsys.Add(1)\n",
			"to know a system goroutine by its name takes 240 instructions, at each start and end; most are user threads"),
		e("runtime/proc.go", "\tif isSystemGoroutine(gp, false) {\n\t\tsched.ngsys.Add(-1)\n", "\tif startsSystem(gp) {\n\t\tsched.ngsys.Add(-1)\n",
			"see above"),
		e("runtime/proc.go", "func Gosched() {\n\tcheckTimeouts()\n\tmcall(gosched_m)\n}\n",
			"func Gosched() {\n\tcheckTimeouts()\n\tmcall(goyield_m)\n}\n",
			"the global queue, where it puts the caller, is emptied into the P's as a whole: those that came later would be behind it for good"),
		e("runtime/proc.go", "func runqput(pp *p, gp *g, next bool) {\n", "func runqput(pp *p, gp *g, next bool) {\n\tif grimOneM && next {\n\t\twoken.pushBack(gp)\n\t\treturn\n\t}\n",
			"who was woken runs before who gave way: grim_sched.go"),
		e("runtime/proc.go", "\t// local runq\n\tif gp, inheritTime := runqget(pp); gp != nil {\n\t\treturn gp, inheritTime, false\n\t}\n",
			"\tif gp := nextReady(pp); gp != nil {\n\t\treturn gp, false, false\n\t}\n", "see above"),
		{action: edit, file: "runtime/asm_arm64.s", arch: "arm64",
			old: "TEXT runtime·procyieldAsm(SB),NOSPLIT,$0-0\n", new: "TEXT runtime·procyieldAsm(SB),NOSPLIT,$0-0\n\tYIELD\n",
			reason: "QEMU that runs the CPUs in turn (-icount) goes on with the next one at YIELD, but not at ISB: who waits would wait for long"},
		e("runtime/panic.go", "\t\tlock(&paniclk)\n", "\t\tlock(&paniclk)\n\t\tStopOthers()\n",
			"what the other CPUs do must not change, nor what they print come between: grim_crash.go"),
		e("runtime/panic.go", "\tif panicking.Add(-1) != 0 {\n", "\tif panicking.Add(-1) != 0 && !othersStopped {\n",
			"another M that panics too has been stopped, and will not print"),
		e("runtime/lock_spinbit.go", "\tgp.m.mLockProfile.store()\n", "",
			"nobody contends on one M, so there is no contention profile to keep"),
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
		e("runtime/tagptr_64bit.go", "\tif GOARCH == \"amd64\" {\n", "\tif GOARCH == \"amd64\" || GOARCH == \"arm64\" {\n",
			"kernel addresses are negative on arm64 too"),
		e("syscall/syscall_linux.go", "\truntime_entersyscall()\n\t// N.B. Calling RawSyscall here", "\t// N.B. Calling RawSyscall here",
			"a call answered in the kernel is an ordinary function call: it needs its P and a growable stack"),
		e("syscall/syscall_linux.go", "\tr1, r2, err = RawSyscall6(trap, a1, a2, a3, 0, 0, 0)\n\truntime_exitsyscall()\n",
			"\tr1, r2, err = RawSyscall6(trap, a1, a2, a3, 0, 0, 0)\n", "see above"),
		e("syscall/syscall_linux.go", "\truntime_entersyscall()\n\tr1, r2, err = RawSyscall6(trap, a1, a2, a3, a4, a5, a6)\n\truntime_exitsyscall()\n",
			"\tr1, r2, err = RawSyscall6(trap, a1, a2, a3, a4, a5, a6)\n", "see above"),
		e("internal/runtime/syscall/linux/syscall_linux.go", "\t\"unsafe\"\n)\n", "\t\"unsafe\"\n)\n\n//go:linkname Syscall6\n",
			"the body comes from package runtime; without the directive the compiler wants it here"),
	}
}
