//go:build grim_overlay

package runtime

// Clock parameters, read by assembly: nanotime is
//
//	timeOffset + (counter-timeBase)*timeMult>>timeShift
//
// with a 128-bit product, counter being the TSC or CNTVCT_EL0. Until SetClock
// is called the counter is taken to run at 1 GHz.
var (
	timeBase   uint64
	timeMult   uint64 = 1 << timeShift
	timeOffset int64  = 1 // the runtime refuses to start at 0
)

const timeShift = 32

// wallBase is the Unix time in nanoseconds at which nanotime was 0.
var wallBase int64

// nanotime1 returns monotonic time by the parameters above. It is in assembly, like
// Nanotime.
func nanotime1() int64

// counter reads the TSC or CNTVCT_EL0; in assembly.
func counter() uint64

// Nanotime returns the monotonic clock. Every step of an exit reads it, so it is assembly
// with Go's own calling convention, without a wrapper.
func Nanotime() int64

func walltime() (sec int64, nsec int32) {
	t := wallBase + nanotime()
	return t / 1e9, int32(t % 1e9)
}

// SetClock sets the frequency of the CPU's counter. Time neither jumps nor goes back:
// nanotime continues from its present value. hz must not be 0.
func SetClock(hz uint64) {
	// 1e9<<32 < 2^62. Rounding down makes the clock late by 2^-30 at most for
	// a counter of 4 GHz: a second in 34 years.
	mult := 1e9 << timeShift / hz
	c := counter()
	now := nanotime()
	timeBase, timeMult, timeOffset = c, mult, now
}

// SetWallTime sets the wall clock to ns nanoseconds since 1970.
func SetWallTime(ns int64) {
	wallBase = ns - nanotime()
}

// div128 divides hi:lo by y, bit by bit. hi must be less than y.
func div128(hi, lo, y uint64) (quo, rem uint64) {
	rem = hi
	for i := 0; i < 64; i++ {
		carry := rem >> 63
		rem = rem<<1 | lo>>63
		lo <<= 1
		quo <<= 1
		if carry != 0 || rem >= y {
			rem -= y
			quo |= 1
		}
	}
	return quo, rem
}

// TicksAt returns the counter's value at the monotonic time t, rounded up. A timer that
// compares with the counter is set to that value.
func TicksAt(t int64) uint64 {
	base, mult, offset := timeBase, timeMult, timeOffset
	if t <= offset {
		return base
	}
	d := uint64(t - offset)
	hi, lo := d>>32, d<<32 // d << TimeShift
	if hi >= mult {
		return ^uint64(0)
	}
	q, r := div128(hi, lo, mult)
	if r != 0 {
		q++
	}
	if base+q < base {
		return ^uint64(0)
	}
	return base + q
}
