package sys

import (
	"math"
	"syscall"

	"golang.org/x/sys/unix"

	"grim/proc"
)

// Operations of futex(2), include/uapi/linux/futex.h.
const (
	futexWait       = 0
	futexWake       = 1
	futexRequeue    = 3
	futexCmpRequeue = 4
	futexWakeOp     = 5
	futexWaitBitset = 9
	futexWakeBitset = 10

	futexPrivate  = 128
	futexRealtime = 256
)

func sysFutex(c ctx) (uint64, error) {
	op := c.int(1)
	private := op&futexPrivate != 0
	realtime := op&futexRealtime != 0
	op &^= futexPrivate | futexRealtime
	if realtime && op != futexWait && op != futexWaitBitset {
		return 0, syscall.ENOSYS
	}
	va, val := c.va(0), c.uint32(2)
	switch op {
	case futexWait:
		return c.futexWait(val, proc.FutexAny, private, false, false)
	case futexWaitBitset:
		return c.futexWait(val, c.uint32(5), private, true, realtime)
	case futexWake:
		return woken(c.t.FutexWake(va, int(int32(val)), proc.FutexAny, private))
	case futexWakeBitset:
		return woken(c.t.FutexWake(va, int(int32(val)), c.uint32(5), private))
	case futexRequeue, futexCmpRequeue:
		var cmp *uint32
		if op == futexCmpRequeue {
			v := c.uint32(5)
			cmp = &v
		}
		wake, move := int(int32(val)), c.int(3)
		if wake < 0 || move < 0 {
			return 0, syscall.EINVAL
		}
		w, m, err := c.t.FutexRequeue(va, wake, move, c.va(4), cmp, private)
		return uint64(w + m), err
	case futexWakeOp:
		return woken(c.t.FutexWakeOp(va, int(int32(val)), c.va(4), c.int(3), c.uint32(5), private))
	}
	return 0, syscall.ENOSYS // FUTEX_FD does not exist any more; priority inheritance is not implemented
}

func woken(n int, err error) (uint64, error) { return uint64(n), err }

// futexWait waits. For FUTEX_WAIT_BITSET the timeout is absolute, on the clock that
// realtime selects. For FUTEX_WAIT it is relative.
func (c ctx) futexWait(val, bits uint32, private, absolute, realtime bool) (uint64, error) {
	deadline, again := c.t.SavedDeadline()
	timeout := c.va(3) != 0
	if !again {
		deadline = math.MaxInt64
		if timeout {
			ts, err := get[unix.Timespec](c, c.va(3))
			if err != nil {
				return 0, err
			}
			ns, err := nanoseconds(ts)
			if err != nil {
				return 0, err
			}
			if absolute && realtime {
				ns = max(ns-c.s.cfg.Wall(), 0)
			}
			if deadline = ns; !absolute || realtime {
				deadline = addTime(c.s.now(), ns)
			}
		}
	}
	err := c.t.FutexWait(c.va(0), val, bits, deadline, private)
	if err == proc.ERESTARTSYS && timeout {
		err = c.t.SaveDeadline(deadline)
	}
	return 0, err
}
