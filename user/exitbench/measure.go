package main

import (
	"unsafe"

	"grim/user/bare"
)

// warmup is how many repetitions of a case come first and are not counted.
const warmup = 5

// sample has the ticks of the present case.
var sample [200]uint64

// prefault writes to the memory that the measurement needs.
func prefault() { bare.Touch(unsafe.Pointer(&sample), unsafe.Sizeof(sample), page) }

// reps returns how often a case of n repetitions runs.
func reps(n int) int { return min(n, limit) }

// report sorts the first n samples and prints the case's line. If extra is not empty, it
// prints extra and value at the end.
func report(name string, n int, extra string, value int) {
	for i := 1; i < n; i++ {
		v, j := sample[i], i
		for ; j > 0 && sample[j-1] > v; j-- {
			sample[j] = sample[j-1]
		}
		sample[j] = v
	}
	sum := uint64(0)
	for _, v := range sample[:n] {
		sum += v
	}
	median := (sample[(n-1)/2] + sample[n/2]) / 2

	bare.Put("case=")
	bare.Put(name)
	bare.PutField("n", n)
	bare.PutField("min", int(sample[0]))
	bare.PutField("median", int(median))
	bare.PutField("max", int(sample[n-1]))
	bare.Put(" unit=" + unit + " mean=")
	bare.PutCents(int(sum * 100 / uint64(n)))
	if freq != 0 {
		bare.PutField("median_ns", int(median*1e9/uint64(freq)))
	}
	if extra != "" {
		bare.PutField(extra, value)
	}
	bare.Flush()
}

// failed prints that a case could not be measured, and why.
func failed(name, what string, v int) {
	bare.Put("case=")
	bare.Put(name)
	bare.Put(" failed")
	bare.PutField(what, v)
	bare.Flush()
}

// waited checks the result of a wait. It prints a failure unless the child ended with
// status 0.
func waited(name string, pid, ret int, status uint32) bool {
	switch {
	case pid < 0:
		failed(name, "fork", pid)
	case ret != pid:
		failed(name, "wait4", ret)
	case status != 0:
		failed(name, "status", int(status))
	default:
		return true
	}
	return false
}

// calibrate prints the length of a tick, and how long after the machine's start the first
// process ran (if the counter starts with the machine).
func calibrate(start int) {
	bare.Flush() // firmware may have left the console's line unfinished
	bare.Put("exitbench arch=" + arch + " unit=" + unit)
	freq = int(bare.Frequency())
	if freq != 0 {
		bare.PutField("counter_hz", freq)
	}
	bare.PutField("start", start)
	bare.Flush()

	// Compare the counter with the clock for 50 ms, or 50 M ticks if the rate is unknown.
	span := 50_000_000
	if freq != 0 {
		span = freq / 20
	}
	if c0 := bare.Monotonic(); c0 >= 0 {
		t0 := bare.Now()
		for int(bare.Now()-t0) < span {
		}
		ns, ticks := int(bare.Monotonic()-c0), int(bare.Now()-t0)
		bare.Put("cal clock_gettime")
		bare.PutField("ticks", ticks)
		bare.PutField("ns", ns)
		bare.Flush()
		if freq == 0 { // to the nearest MHz
			freq = (ticks*1000 + ns/2) / ns * 1e6
		}
	}
	// Compare the counter with a loop of known length.
	const iterations = 100_000
	best := ^uint64(0)
	for range 20 {
		t0 := bare.Now()
		spin(iterations)
		best = min(best, bare.Now()-t0)
	}
	bare.Put("cal loop")
	bare.PutField("insns", 2*iterations)
	bare.PutField("ticks", int(best))
	bare.Flush()
}
