// Package proc creates, runs and ends processes and threads: fork, exec, exit,
// the reaper, wait, signals, futexes, process groups and sessions. It knows no
// system-call numbers and no files; both reach it through the interfaces in
// Config and Files.
//
// A user thread is one goroutine (Thread.main): it enters user mode through
// arch.Machine.Run, which returns at the next trap, and handles the trap in Go.
// A thread ends in that loop and nowhere else, with nothing above it on the
// goroutine's stack: whoever ends a thread sets a bit in Thread.todo and wakes
// it, every sleep returns an error then, system calls return it upwards like
// any other error, and the loop calls exit1. There is no panic, no Goexit and
// no lock or deferred call left behind on the way.
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
//
// Two Process.mu are never held at once, nor two futex buckets but by requeue,
// in order of address. No lock of this package is held while blocking, other
// than on another of these locks.
//
// Who takes an exiting process's memory apart, and when, is its exit design's to say:
// package exit. exit1, bury and settle call it.
//
// Invariant: a zombie has no vmspace, no threads, no files and no signals; only
// its identity, exit status and usage remain (E10), unless its exit design says that
// wait(2) frees the rest.
package proc
