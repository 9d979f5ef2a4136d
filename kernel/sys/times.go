package sys

import (
	"math"
	"syscall"

	"golang.org/x/sys/unix"
)

const second = 1_000_000_000 // nanoseconds

// timespecOf splits ns so that 0 <= Nsec < 1e9, also for times before 1970.
func timespecOf(ns int64) unix.Timespec {
	s, n := ns/second, ns%second
	if n < 0 {
		s, n = s-1, n+second
	}
	return unix.Timespec{Sec: s, Nsec: n}
}

func timevalOf(ns int64) unix.Timeval {
	ts := timespecOf(ns)
	return unix.Timeval{Sec: ts.Sec, Usec: ts.Nsec / 1000}
}

// nanoseconds converts a user's timespec. EINVAL: it is negative or not normalized. Times
// beyond the end of the clock become the largest time, which every caller takes for
// "never".
func nanoseconds(ts unix.Timespec) (int64, error) {
	if ts.Sec < 0 || ts.Nsec < 0 || ts.Nsec >= second {
		return 0, syscall.EINVAL
	}
	if ts.Sec >= math.MaxInt64/second {
		return math.MaxInt64, nil
	}
	return ts.Sec*second + ts.Nsec, nil
}

func nanosecondsOfTimeval(tv unix.Timeval) (int64, error) {
	if tv.Usec < 0 || tv.Usec >= 1e6 {
		return 0, syscall.EINVAL
	}
	return nanoseconds(unix.Timespec{Sec: tv.Sec, Nsec: tv.Usec * 1000})
}

// addTime returns now+d, at most the largest time: now+never is never.
func addTime(now, d int64) int64 {
	if d > math.MaxInt64-now {
		return math.MaxInt64
	}
	return now + d
}
