package amd64

import "math/bits"

// timerTicks converts ns nanoseconds from now to a count for the 32-bit one-shot timer. The
// count is at least 1, which fires at once (0 would disarm), and at most what the timer
// holds: it then fires early, and the caller sets it again. mult is the number of ticks in
// 2^32 ns.
func timerTicks(ns int64, mult uint64) uint32 {
	if ns <= 0 {
		return 1
	}
	hi, lo := bits.Mul64(uint64(ns), mult)
	if hi>>32 != 0 {
		return 1<<32 - 1
	}
	t := hi<<32 | lo>>32
	return uint32(min(max(t, 1), 1<<32-1))
}

// outside returns how far v lies before (negative) or after the interval from before to
// after, or 0 if it lies in it. before and after are values of another CPU's counter, read
// before and after v.
func outside(v, before, after uint64) int64 {
	switch {
	case int64(v-before) < 0:
		return int64(v - before)
	case int64(v-after) > 0:
		return int64(v - after)
	}
	return 0
}

// clockSample is the state of three counters at one moment.
type clockSample struct {
	tsc  uint64
	ref  uint64 // of the reference clock, counting up
	apic uint32 // of the local APIC's timer, counting down
}

// frequencies returns the frequencies of the TSC and of the APIC timer, from two samples
// between which the reference ran at refHz.
func frequencies(a, b clockSample, refHz float64) (tsc, apic uint64) {
	seconds := float64(b.ref-a.ref) / refHz
	return uint64(float64(b.tsc-a.tsc)/seconds + 0.5), uint64(float64(a.apic-b.apic)/seconds + 0.5)
}
