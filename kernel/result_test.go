package kernel

import (
	"syscall"
	"testing"
)

// Broken by: Signaled not asked.
func TestResultString(t *testing.T) {
	for status, want := range map[syscall.WaitStatus]string{0: "status 0", 3 << 8: "status 3", 9: "killed: killed", 11 | 0x80: "killed: segmentation fault"} {
		if got := (Result{Status: status}).String(); got != want {
			t.Errorf("%#x is %q, want %q", uint32(status), got, want)
		}
	}
}
