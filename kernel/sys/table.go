package sys

import (
	"fmt"

	"grim/arch"
	"grim/kernel/fs"
)

//go:generate go run ./gen

// maxNumber is above every system-call number of both architectures. It is a power of two,
// because Syscall masks with it.
const maxNumber = 512

const _ = -uint(maxNumber & (maxNumber - 1)) // does not compile if it is not a power of two

// sysent is one system call.
type sysent struct {
	name  string
	nargs int
	fn    handler
	note  string // what is missing; empty: complete
}

// table is the part of the layer for an architecture: its numbers, and the structures and
// conventions that differ from the other architecture.
type table struct {
	ent   [maxNumber]*sysent // by number; nil: not offered
	names []string

	putStat      func(b *[statSizeAMD64]byte, st *fs.Stat) int
	epollSize    int
	machine      string // uname(2)
	minSigStack  uint64 // MINSIGSTKSZ
	redZone      arch.VA
	tlsBeforeTID bool // argument order of clone(2)
	frame        sigframe
	blameSP      bool   // the SIGSEGV of a bad signal frame has the frame's address
	sigPage      []byte // code for the return from a handler; nil: programs bring it
}

// name returns Linux's name of a number.
func (t *table) name(n int) string {
	if n < len(t.names) {
		return t.names[n]
	}
	return ""
}

// sigReturnARM64 is "mov x8, #139; svc #0": rt_sigreturn(2), as in Linux's vDSO. glibc and
// Go use it, musl has its own.
var sigReturnARM64 = []byte{0x68, 0x11, 0x80, 0xd2, 0x01, 0x00, 0x00, 0xd4}

// newTable makes the table of the architecture in cfg.
func newTable(cfg *Config) (*table, error) {
	var t *table
	switch cfg.ABI.Name {
	case "amd64":
		t = &table{
			names: namesAMD64[:], putStat: putStatAMD64, epollSize: epollSizeAMD64,
			machine: "x86_64", minSigStack: 2048, redZone: 128,
			frame: amd64Sigframe{cfg.FPU},
		}
	case "arm64":
		t = &table{
			names: namesARM64[:], putStat: putStatARM64, epollSize: epollSizeARM64,
			machine: "aarch64", minSigStack: 5120, tlsBeforeTID: true,
			frame: arm64Sigframe{}, blameSP: true, sigPage: sigReturnARM64,
		}
	default:
		return nil, fmt.Errorf("sys: no system-call table for %q: have amd64 and arm64", cfg.ABI.Name)
	}
	numbers := make(map[string]int, len(t.names))
	for n, name := range t.names {
		numbers[name] = n
	}
	for i := range sysents {
		e := &sysents[i]
		if n, ok := numbers[e.name]; ok {
			t.ent[n] = e
		}
	}
	return t, nil
}

// sysents are the system calls that are offered, by topic. A name for which only one
// architecture has a number is only in the table of that architecture.
var sysents = []sysent{
	// Reading and writing.
	{"read", 3, sysRead, ""},
	{"write", 3, sysWrite, ""},
	{"readv", 3, sysReadv, ""},
	{"writev", 3, sysWritev, ""},
	{"pread64", 4, sysPread, ""},
	{"pwrite64", 4, sysPwrite, ""},
	{"preadv", 4, sysPreadv, ""},
	{"pwritev", 4, sysPwritev, ""},
	{"lseek", 3, sysLseek, ""},
	{"preadv2", 6, sysPreadv2, "no RWF_NOWAIT"},
	{"pwritev2", 6, sysPwritev2, "no RWF_NOWAIT, no RWF_APPEND"},
	{"sendfile", 4, sysSendfile, ""},
	{"splice", 6, sysSplice, "copies"},
	{"tee", 4, sysTee, "copies"},
	{"vmsplice", 4, sysVmsplice, "copies"},
	{"copy_file_range", 6, sysCopyFileRange, ""},
	{"ioctl", 3, sysIoctl, "terminals, and what files answer"},

	// Descriptors.
	{"open", 3, sysOpen, ""},
	{"openat", 4, sysOpenat, ""},
	{"openat2", 4, sysOpenat2, ""},
	{"creat", 2, sysCreat, ""},
	{"close", 1, sysClose, ""},
	{"close_range", 3, sysCloseRange, ""},
	{"dup", 1, sysDup, ""},
	{"dup2", 2, sysDup2, ""},
	{"dup3", 3, sysDup3, ""},
	{"pipe", 1, sysPipe, ""},
	{"pipe2", 2, sysPipe2, ""},
	{"eventfd", 1, sysEventfd, ""},
	{"eventfd2", 2, sysEventfd2, ""},
	{"signalfd", 3, sysSignalfd, ""},
	{"signalfd4", 4, sysSignalfd4, ""},
	{"memfd_create", 2, sysMemfdCreate, "no huge pages"},
	{"fcntl", 3, sysFcntl, "no leases"},
	{"flock", 2, sysFlock, ""},

	// Names and attributes.
	{"stat", 2, sysStat, ""},
	{"lstat", 2, sysLstat, ""},
	{"fstat", 2, sysFstat, ""},
	{"newfstatat", 4, sysNewfstatat, ""},
	{"statx", 5, sysStatx, ""},
	{"statfs", 2, sysStatfs, ""},
	{"fstatfs", 2, sysFstatfs, ""},
	{"access", 2, sysAccess, ""},
	{"faccessat", 3, sysFaccessat, ""},
	{"faccessat2", 4, sysFaccessat2, ""},
	{"getdents64", 3, sysGetdents64, ""},
	{"getdents", 3, sysGetdents, ""},
	{"mkdir", 2, sysMkdir, ""},
	{"mkdirat", 3, sysMkdirat, ""},
	{"mknod", 3, sysMknod, ""},
	{"mknodat", 4, sysMknodat, ""},
	{"rmdir", 1, sysRmdir, ""},
	{"unlink", 1, sysUnlink, ""},
	{"unlinkat", 3, sysUnlinkat, ""},
	{"symlink", 2, sysSymlink, ""},
	{"symlinkat", 3, sysSymlinkat, ""},
	{"link", 2, sysLink, ""},
	{"linkat", 5, sysLinkat, ""},
	{"rename", 2, sysRename, ""},
	{"renameat", 4, sysRenameat, ""},
	{"renameat2", 5, sysRenameat2, ""},
	{"readlink", 3, sysReadlink, ""},
	{"readlinkat", 4, sysReadlinkat, ""},
	{"chmod", 2, sysChmod, ""},
	{"fchmod", 2, sysFchmod, ""},
	{"fchmodat", 3, sysFchmodat, ""},
	{"fchmodat2", 4, sysFchmodat2, ""},
	{"chown", 3, sysChown, ""},
	{"lchown", 3, sysLchown, ""},
	{"fchown", 3, sysFchown, ""},
	{"fchownat", 5, sysFchownat, ""},
	{"utimensat", 4, sysUtimensat, ""},
	{"utime", 2, sysUtime, ""},
	{"utimes", 2, sysUtimes, ""},
	{"futimesat", 3, sysFutimesat, ""},
	{"ustat", 2, sysUstat, ""},
	{"truncate", 2, sysTruncate, ""},
	{"ftruncate", 2, sysFtruncate, ""},
	{"fallocate", 4, sysFallocate, ""},
	{"fsync", 1, sysFsync, ""},
	{"fdatasync", 1, sysFsync, ""},
	{"syncfs", 1, sysSyncfs, ""},
	{"sync", 0, sysSync, ""},
	{"sync_file_range", 4, sysSyncFileRange, ""},
	{"fadvise64", 4, sysFadvise64, "advice is checked, not taken"},
	{"getxattr", 4, xattr(xattrPath), "no file system has attributes"},
	{"lgetxattr", 4, xattr(xattrLink), "no file system has attributes"},
	{"fgetxattr", 4, xattr(xattrFD), "no file system has attributes"},
	{"setxattr", 5, xattr(xattrPath), "no file system has attributes"},
	{"lsetxattr", 5, xattr(xattrLink), "no file system has attributes"},
	{"fsetxattr", 5, xattr(xattrFD), "no file system has attributes"},
	{"removexattr", 2, xattr(xattrPath), "no file system has attributes"},
	{"lremovexattr", 2, xattr(xattrLink), "no file system has attributes"},
	{"fremovexattr", 2, xattr(xattrFD), "no file system has attributes"},
	{"listxattr", 3, listXattr(xattrPath), "no file system has attributes"},
	{"llistxattr", 3, listXattr(xattrLink), "no file system has attributes"},
	{"flistxattr", 3, listXattr(xattrFD), "no file system has attributes"},
	{"chdir", 1, sysChdir, ""},
	{"fchdir", 1, sysFchdir, ""},
	{"chroot", 1, sysChroot, ""},
	{"getcwd", 2, sysGetcwd, ""},
	{"umask", 1, sysUmask, ""},

	{"inotify_init", 0, sysInotifyInit, ""},
	{"inotify_init1", 1, sysInotifyInit1, ""},
	{"inotify_add_watch", 3, sysInotifyAddWatch, ""},
	{"inotify_rm_watch", 2, sysInotifyRmWatch, ""},

	// Sockets.
	{"socket", 3, sysSocket, ""},
	{"socketpair", 4, sysSocketpair, ""},
	{"bind", 3, sysBind, ""},
	{"listen", 2, sysListen, ""},
	{"accept", 3, sysAccept, ""},
	{"accept4", 4, sysAccept4, ""},
	{"connect", 3, sysConnect, ""},
	{"getsockname", 3, sysGetsockname, ""},
	{"getpeername", 3, sysGetpeername, ""},
	{"sendto", 6, sysSendto, ""},
	{"recvfrom", 6, sysRecvfrom, ""},
	{"sendmsg", 3, sysSendmsg, ""},
	{"recvmsg", 3, sysRecvmsg, ""},
	{"sendmmsg", 4, sysSendmmsg, ""},
	{"recvmmsg", 5, sysRecvmmsg, ""},
	{"shutdown", 2, sysShutdown, ""},
	{"getsockopt", 5, sysGetsockopt, ""},
	{"setsockopt", 5, sysSetsockopt, ""},

	// Waiting for files.
	{"poll", 3, sysPoll, ""},
	{"ppoll", 5, sysPpoll, ""},
	{"select", 5, sysSelect, ""},
	{"pselect6", 6, sysPselect6, ""},
	{"epoll_create", 1, sysEpollCreate, ""},
	{"epoll_create1", 1, sysEpollCreate1, ""},
	{"epoll_ctl", 4, sysEpollCtl, ""},
	{"epoll_wait", 4, sysEpollWait, ""},
	{"epoll_pwait", 6, sysEpollPwait, ""},
	{"epoll_pwait2", 6, sysEpollPwait2, ""},

	// Memory.
	{"mmap", 6, sysMmap, "no huge pages, no MAP_32BIT"},
	{"munmap", 2, sysMunmap, ""},
	{"mprotect", 3, sysMprotect, ""},
	{"mremap", 5, sysMremap, ""},
	{"madvise", 3, sysMadvise, ""},
	{"msync", 3, sysMsync, ""},
	{"brk", 1, sysBrk, ""},
	{"mlock", 2, sysMlock, ""},
	{"mlock2", 3, sysMlock2, "MLOCK_ONFAULT faults in at once"},
	{"munlock", 2, sysMunlock, ""},
	{"mlockall", 1, sysMlockall, ""},
	{"munlockall", 0, sysMunlockall, ""},
	{"mincore", 3, sysMincore, ""},
	{"membarrier", 3, sysMembarrier, "global and private barriers"},

	// Processes and threads.
	{"getpid", 0, sysGetpid, ""},
	{"gettid", 0, sysGettid, ""},
	{"getppid", 0, sysGetppid, ""},
	{"getpgid", 1, sysGetpgid, ""},
	{"getpgrp", 0, sysGetpgrp, ""},
	{"setpgid", 2, sysSetpgid, ""},
	{"getsid", 1, sysGetsid, ""},
	{"setsid", 0, sysSetsid, ""},
	{"fork", 0, sysFork, ""},
	{"vfork", 0, sysVfork, ""},
	{"clone", 5, sysClone, "no namespaces"},
	{"clone3", 2, sysClone3, "no namespaces, no set_tid, no cgroup"},
	{"execve", 3, sysExecve, "static programs and scripts"},
	{"execveat", 5, sysExecveat, "static programs and scripts"},
	{"exit", 1, sysExit, ""},
	{"exit_group", 1, sysExitGroup, ""},
	{"wait4", 4, sysWait4, ""},
	{"waitid", 5, sysWaitid, ""},
	{"pidfd_open", 2, sysPidfdOpen, ""},
	{"pidfd_send_signal", 4, sysPidfdSendSignal, ""},
	{"pidfd_getfd", 3, sysPidfdGetfd, ""},
	{"process_vm_readv", 6, sysProcessVMReadv, ""},
	{"process_vm_writev", 6, sysProcessVMWritev, ""},
	{"kcmp", 5, sysKcmp, "no epoll targets"},
	{"set_tid_address", 1, sysSetTidAddress, ""},
	{"set_robust_list", 2, sysSetRobustList, ""},
	{"get_robust_list", 3, sysGetRobustList, "the caller's own"},
	{"futex", 6, sysFutex, "no priority inheritance"},
	{"rseq", 4, sysRseq, ""},
	{"sched_yield", 0, sysSchedYield, ""},
	{"arch_prctl", 2, sysArchPrctl, "FS and GS base"},
	{"prctl", 5, sysPrctl, "names, dumpable, no_new_privs, subreapers, parent death"},
	{"personality", 1, sysPersonality, "kept; only ADDR_NO_RANDOMIZE has an effect"},

	// Signals.
	{"rt_sigaction", 4, sysRtSigaction, ""},
	{"rt_sigprocmask", 4, sysRtSigprocmask, ""},
	{"rt_sigreturn", 0, sysRtSigreturn, ""},
	{"rt_sigpending", 2, sysRtSigpending, ""},
	{"rt_sigsuspend", 2, sysRtSigsuspend, ""},
	{"rt_sigtimedwait", 4, sysRtSigtimedwait, ""},
	{"rt_sigqueueinfo", 3, sysRtSigqueueinfo, ""},
	{"rt_tgsigqueueinfo", 4, sysRtTgsigqueueinfo, ""},
	{"sigaltstack", 2, sysSigaltstack, ""},
	{"pause", 0, sysPause, ""},
	{"kill", 2, sysKill, ""},
	{"tkill", 2, sysTkill, ""},
	{"tgkill", 3, sysTgkill, ""},

	// Clocks and timers.
	{"clock_gettime", 2, sysClockGettime, ""},
	{"clock_getres", 2, sysClockGetres, ""},
	{"clock_settime", 2, sysClockSettime, ""},
	{"settimeofday", 2, sysSettimeofday, "no time zone"},
	{"clock_nanosleep", 4, sysClockNanosleep, ""},
	{"nanosleep", 2, sysNanosleep, ""},
	{"gettimeofday", 2, sysGettimeofday, ""},
	{"time", 1, sysTime, ""},
	{"times", 1, sysTimes, ""},
	{"alarm", 1, sysAlarm, ""},
	{"setitimer", 3, sysSetitimer, ""},
	{"getitimer", 2, sysGetitimer, ""},
	{"timer_create", 3, sysTimerCreate, "CPU clocks of the own process alone"},
	{"timer_settime", 4, sysTimerSettime, ""},
	{"timer_gettime", 2, sysTimerGettime, ""},
	{"timer_getoverrun", 1, sysTimerGetoverrun, ""},
	{"timer_delete", 1, sysTimerDelete, ""},
	{"timerfd_create", 2, sysTimerfdCreate, ""},
	{"timerfd_settime", 4, sysTimerfdSettime, ""},
	{"timerfd_gettime", 2, sysTimerfdGettime, ""},

	// System V IPC.
	{"semget", 3, sysSemget, ""},
	{"semop", 3, sysSemop, ""},
	{"semtimedop", 4, sysSemtimedop, ""},
	{"semctl", 4, sysSemctl, ""},
	{"msgget", 2, sysMsgget, ""},
	{"msgsnd", 4, sysMsgsnd, ""},
	{"msgrcv", 5, sysMsgrcv, ""},
	{"msgctl", 3, sysMsgctl, ""},
	{"shmget", 3, sysShmget, "no huge pages"},
	{"shmat", 3, sysShmat, ""},
	{"shmdt", 1, sysShmdt, ""},
	{"shmctl", 3, sysShmctl, "a removed segment cannot be attached any more"},

	// Users and groups.
	{"getuid", 0, sysGetuid, ""},
	{"geteuid", 0, sysGeteuid, ""},
	{"getgid", 0, sysGetgid, ""},
	{"getegid", 0, sysGetegid, ""},
	{"setuid", 1, sysSetuid, ""},
	{"setgid", 1, sysSetgid, ""},
	{"setreuid", 2, sysSetreuid, ""},
	{"setregid", 2, sysSetregid, ""},
	{"setresuid", 3, sysSetresuid, ""},
	{"setresgid", 3, sysSetresgid, ""},
	{"getresuid", 3, sysGetresuid, ""},
	{"getresgid", 3, sysGetresgid, ""},
	{"setfsuid", 1, sysSetfsuid, ""},
	{"setfsgid", 1, sysSetfsgid, ""},
	{"getgroups", 2, sysGetgroups, ""},
	{"setgroups", 2, sysSetgroups, ""},
	{"capget", 2, sysCapget, ""},
	{"capset", 2, sysCapset, ""},

	// The machine, limits, scheduling.
	{"uname", 1, sysUname, ""},
	{"sysinfo", 1, sysSysinfo, ""},
	{"sethostname", 2, sysSethostname, ""},
	{"setdomainname", 2, sysSetdomainname, ""},
	{"getrusage", 2, sysGetrusage, ""},
	{"getrlimit", 2, sysGetrlimit, ""},
	{"setrlimit", 2, sysSetrlimit, ""},
	{"prlimit64", 4, sysPrlimit64, ""},
	{"sched_getaffinity", 3, sysSchedGetaffinity, ""},
	{"sched_setaffinity", 3, sysSchedSetaffinity, ""},
	{"sched_get_priority_max", 1, sysSchedPriorityMax, ""},
	{"sched_get_priority_min", 1, sysSchedPriorityMin, ""},
	{"sched_getscheduler", 1, sysSchedGetscheduler, ""},
	{"sched_setscheduler", 3, sysSchedSetscheduler, ""},
	{"sched_getparam", 2, sysSchedGetparam, ""},
	{"sched_setparam", 2, sysSchedSetparam, ""},
	{"sched_getattr", 4, sysSchedGetattr, ""},
	{"sched_setattr", 3, sysSchedSetattr, "no SCHED_DEADLINE"},
	{"sched_rr_get_interval", 2, sysSchedRRGetInterval, ""},
	{"getpriority", 2, sysGetpriority, ""},
	{"setpriority", 3, sysSetpriority, ""},
	{"ioprio_get", 2, sysIoprioGet, ""},
	{"ioprio_set", 3, sysIoprioSet, "kept, not obeyed"},
	{"getcpu", 3, sysGetcpu, ""},
	{"getrandom", 3, sysGetrandom, ""},
	{"mount", 5, sysMount, "disks with ext2 and ext4"},
	{"umount2", 2, sysUmount2, "without flags"},
	{"reboot", 4, sysReboot, "power off and restart"},
}
