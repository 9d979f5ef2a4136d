// Package proc creates, runs and ends processes and threads: fork, exec, exit, the reaper,
// wait, signals, futexes, process groups and sessions. It knows no system-call numbers and
// no files. It reaches both through the interfaces in Config and Files.
//
// A user thread is one goroutine (Thread.main). It enters user mode through
// arch.Machine.Run, which returns at the next trap, and handles the trap in Go. A thread
// ends only in that loop, with nothing above it on the goroutine's stack. To end a thread,
// other code sets a bit in Thread.todo and wakes the thread. Every sleep then returns an
// error, which system calls return like any other error, and the loop calls exit1. There is
// no panic and no Goexit, and no lock or deferred call is left behind.
//
// Lock order, outermost first:
//
//	Kernel.treeMu               parents, children, zombies, groups, sessions
//	    Process.mu              threads, flags, exit status, signals, usage
//	        Timer.mu            a POSIX timer; realTimer.mu, ITIMER_REAL, likewise
//	        queues of signalfds (OnSignal), which only wake
//	        sigActions.mu       a table of signal actions, maybe shared
//	            pidTable.mu     the pid table
//	futexBucket.mu              waiters of the words that hash there
//	    pmap.mu (mm/pmap)       the word is read while the bucket is locked
//	Process.noteMu              knotes; taken alone or inside Process.mu
//	deadQueue.mu                deadproc only; taken alone or inside any of the above
//	workerPool.mu               parked workers; taken alone
//
// Two Process.mu are never held at once. Two futex buckets are held at once by requeue and
// FUTEX_WAKE_OP only, in order of address. No lock of this package is held while blocking,
// except on another of these locks.
//
// The exit design of a process (package exit) decides in which context, and when, its
// memory is taken apart. exit1, bury and settle call it.
//
// Invariant: a zombie has no vmspace, no threads, no files and no signals. Only its
// identity, exit status and usage remain (E10), unless its exit design leaves more for
// wait(2) to free.
package proc
