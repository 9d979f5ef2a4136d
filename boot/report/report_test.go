package main

import (
	"fmt"
	"strings"
	"testing"
)

// TestSummary: the end of the loader's output, warnings, failures and the closing line are
// there. Tests that passed are only counted.
func TestSummary(t *testing.T) {
	log := strings.Repeat("U-Boot says\r\n", 100) + "Starting kernel ...\r\n\r\ngrim: warning: w\r\nGrim, arm64, go1.26.8\r\n" +
		"ok 1 - frames/counts\r\nnot ok 2 - frames/zero\r\n    a reason\r\nok 3 - x\r\n2 passed, 1 failed\r\n"
	s := summary([]byte(log))
	for _, want := range []string{"Starting kernel", "    grim: warning: w\n", "not ok 2 - frames/zero\n        a reason\n", "2 lines ok; 2 passed, 1 failed\n"} {
		if !strings.Contains(s, want) {
			t.Errorf("%q is not in:\n%s", want, s)
		}
	}
	if strings.Contains(s, "ok 1") || strings.Contains(s, "\r") || strings.Count(s, "U-Boot says") != loaderLines-2 {
		t.Errorf("too much in:\n%s", s)
	}
	if s := summary([]byte("U-Boot\nStarting kernel ...\n")); !strings.Contains(s, "the kernel has said nothing") {
		t.Errorf("silent kernel:\n%s", s)
	}
	long := "Grim, arm64\n"
	for i := range 1000 {
		long += fmt.Sprintf("line %d\n", i)
	}
	s = summary([]byte(long))
	if n := strings.Count(s, "\n"); n > 2*lastLines+20 || !strings.Contains(s, "line 999\n") || !strings.Contains(s, "it did not come to its end") {
		t.Errorf("%d lines:\n%s", n, s)
	}
}
