package proc

import (
	"math"
	"math/bits"
	"syscall"
	"unsafe"

	"grim/mm/charge"
)

// sigQueue holds pending signals: each standard signal once, real-time signals as often as
// they were sent. Preconditions of its methods: the mu of the process that it belongs to is
// held.
//
// If the process's user may not queue more signals, a signal is pending all the same, as a
// bit without siginfo, wherever that is better than an error; see add.
type sigQueue struct {
	set        Sigset
	head, tail *queuedSignal // in order of arrival
}

// queuedSignal is a pending signal for which its receiver's user has been charged.
type queuedSignal struct {
	info Siginfo
	next *queuedSignal
}

// signalCost is what a queued signal is charged, in bytes.
const signalCost = int64(unsafe.Sizeof(queuedSignal{}))

// rlimitSigpending is RLIMIT_SIGPENDING, which package syscall does not have.
const rlimitSigpending = 11

// add queues a signal for p, or for a thread of p. The user of the process may have
// RLIMIT_SIGPENDING signals queued in all processes together; standard signals from the
// kernel and from kill(2) do not count against that limit. Above the limit, or without
// memory, a real-time signal with a value gives EAGAIN. Any other signal becomes a bit: its
// receiver learns that it came, and nothing else.
func (q *sigQueue) add(p *Process, info *Siginfo) error {
	s := info.Signo
	if s < SIGRTMIN && q.set.Has(s) {
		return nil
	}
	limit := p.limits[rlimitSigpending].Cur
	if s < SIGRTMIN && info.Code >= 0 {
		limit = math.MaxUint64
	}
	if !p.account.TakeOne(charge.Signal, signalCost, limit) {
		if s >= SIGRTMIN && info.Code != SI_USER {
			return syscall.EAGAIN
		}
		q.set |= SigBit(s)
		return nil
	}
	n := &queuedSignal{info: *info}
	if q.tail != nil {
		q.tail.next = n
	} else {
		q.head = n
	}
	q.tail = n
	q.set |= SigBit(s)
	return nil
}

// take removes and returns the signal in among that comes first: synchronous signals first,
// then the lowest number, and of one number the oldest.
func (q *sigQueue) take(p *Process, among Sigset) (Siginfo, bool) {
	m := q.set & among
	if m == 0 {
		return Siginfo{}, false
	}
	if s := m & synchronous; s != 0 {
		m = s
	}
	sig := syscall.Signal(bits.TrailingZeros64(uint64(m)) + 1)
	var before, found, more *queuedSignal
	steps := 0
	for prev, n := (*queuedSignal)(nil), q.head; n != nil; prev, n = n, n.next {
		p.k.glance(&steps)
		if n.info.Signo != sig {
			continue
		}
		if found != nil {
			more = n
			break
		}
		before, found = prev, n
	}
	if more == nil {
		q.set &^= SigBit(sig)
	}
	if found == nil { // only the bit was set
		return Siginfo{Signo: sig, Code: SI_USER}, true
	}
	q.remove(p, before, found)
	return found.info, true
}

// drop removes all signals in a set.
func (q *sigQueue) drop(p *Process, gone Sigset) {
	if q.set&gone == 0 {
		return
	}
	var prev *queuedSignal
	steps := 0
	for n := q.head; n != nil; n = n.next {
		p.k.turn(&steps)
		if gone.Has(n.info.Signo) {
			q.remove(p, prev, n)
		} else {
			prev = n
		}
	}
	q.set &^= gone
}

// remove takes n, which follows prev, off the list, and gives back its charge. n.next stays
// as it is.
func (q *sigQueue) remove(p *Process, prev, n *queuedSignal) {
	if prev != nil {
		prev.next = n.next
	} else {
		q.head = n.next
	}
	if q.tail == n {
		q.tail = prev
	}
	p.account.GiveOne(charge.Signal, signalCost)
}
