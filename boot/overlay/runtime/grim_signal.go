//go:build grim_overlay

// The functions for Unix signals and threads that the runtime and the packages above it
// call. There are no signals: a fault in kernel code is handled by grim_fault.go, and
// package proc handles signals of user processes.

package runtime

import _ "unsafe" // for go:linkname

type (
	sigset       struct{}
	gsignalStack struct{}
)

// preemptMSupported is false: goroutines are preempted only where they call or block.
const preemptMSupported = false

func initsig(bool)                {}
func sigsave(*sigset)             {}
func msigrestore(sigset)          {}
func clearSignalHandlers()        {}
func sigblock(bool)               {}
func preemptM(*m)                 {}
func setProcessCPUProfiler(int32) {}
func setThreadCPUProfiler(int32)  {}

//go:linkname os_sigpipe os.sigpipe
func os_sigpipe() {}

//go:linkname os_ignoreSIGSYS os.ignoreSIGSYS
func os_ignoreSIGSYS() {}

//go:linkname os_restoreSIGSYS os.restoreSIGSYS
func os_restoreSIGSYS() {}

// A library may import package os/signal. Its channels stay silent.

//go:linkname signal_recv os/signal.signal_recv
func signal_recv() uint32 {
	gopark(nil, nil, waitReasonIOWait, traceBlockForever, 1)
	return 0
}

//go:linkname signal_enable os/signal.signal_enable
func signal_enable(uint32) {}

//go:linkname signal_disable os/signal.signal_disable
func signal_disable(uint32) {}

//go:linkname signal_ignore os/signal.signal_ignore
func signal_ignore(uint32) {}

//go:linkname signal_ignored os/signal.signal_ignored
func signal_ignored(uint32) bool { return true }

//go:linkname signalWaitUntilIdle os/signal.signalWaitUntilIdle
func signalWaitUntilIdle() {}

//go:linkname syscall_runtime_doAllThreadsSyscall syscall.runtime_doAllThreadsSyscall
func syscall_runtime_doAllThreadsSyscall(trap, a1, a2, a3, a4, a5, a6 uintptr) (r1, r2, err uintptr) {
	return ^uintptr(0), 0, _ENOSYS
}
