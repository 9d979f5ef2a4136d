package amd64

import "math/bits"

// timerTicks converts a time from now in nanoseconds to a count for the 32-bit
// one-shot timer: at least 1, which is "at once" (0 would disarm), and at most
// what it holds; the caller finds that it fired early and sets it again. mult
// is ticks for 2^32 ns.
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

// outside is how far a counter's value lies before (negative) or behind two values of
// another CPU's that were read before and after it; 0: between them.
func outside(v, before, after uint64) int64 {
	switch {
	case int64(v-before) < 0:
		return int64(v - before)
	case int64(v-after) > 0:
		return int64(v - after)
	}
	return 0
}

// clockSample is a moment in the terms of two counters.
type clockSample struct {
	tsc  uint64
	ref  uint64 // of the reference clock, counting up
	apic uint32 // of the local APIC's timer, counting down
}

// frequencies works out the TSC's and the APIC timer's from two samples of
// which the reference ran at refHz.
func frequencies(a, b clockSample, refHz float64) (tsc, apic uint64) {
	seconds := float64(b.ref-a.ref) / refHz
	return uint64(float64(b.tsc-a.tsc)/seconds + 0.5), uint64(float64(a.apic-b.apic)/seconds + 0.5)
}
