package qemu

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Verdict is what a boot's serial output said.
type Verdict struct {
	Passed, Failed int      // from the closing line
	FailedNames    []string // of the "not ok" lines
	Panic          string   // the first line of a kernel panic
	Stop           string   // why the kernel stopped before it could run anything
	closed         bool     // the closing line was seen
	okLines        int
}

var (
	tapLine     = regexp.MustCompile(`^(not )?ok \d+ - (.*)$`)
	closingLine = regexp.MustCompile(`^(\d+) passed, (\d+) failed$`)
	stopLine    = regexp.MustCompile(`^grim: ((boot|init): .*)$`)
	panicLine   = regexp.MustCompile(`^(panic: |fatal error: |fatal fault |kernel panic|kernel fault)`)
)

// Line reads one line of serial output.
func (v *Verdict) Line(s string) {
	s = strings.TrimRight(s, "\r\n")
	if m := tapLine.FindStringSubmatch(s); m != nil {
		if m[1] == "" {
			v.okLines++
		} else {
			v.FailedNames = append(v.FailedNames, m[2])
		}
	}
	if m := closingLine.FindStringSubmatch(s); m != nil {
		v.Passed, _ = strconv.Atoi(m[1])
		v.Failed, _ = strconv.Atoi(m[2])
		v.closed = true
	}
	if m := stopLine.FindStringSubmatch(s); m != nil {
		v.Stop = m[1]
	}
	if v.Panic == "" && panicLine.MatchString(s) {
		v.Panic = s
	}
}

// Left says that nothing went wrong, but for QEMU having ended before the kernel closed
// its report: somebody has stopped it.
func (v *Verdict) Left() bool {
	return v.Panic == "" && v.Stop == "" && len(v.FailedNames) == 0 && !v.closed
}

// Error is nil only if the boot closed with all tests passed, counted right,
// and QEMU ended with the machine's status for success. Otherwise it is one
// line that says which of the ways to fail this was.
func (v *Verdict) Error(arch string, status int, limit time.Duration, timedOut bool) error {
	switch {
	case v.Panic != "" && !v.closed: // with a closing line it was a program's, on the console
		return fmt.Errorf("kernel panic: %s", v.Panic)
	case v.Stop != "":
		return fmt.Errorf("the kernel stopped: %s", v.Stop)
	case timedOut:
		return fmt.Errorf("hang: not finished after %v (TIMEOUT= sets the limit)", limit)
	case len(v.FailedNames) > 0:
		return fmt.Errorf("%d failed: %s", len(v.FailedNames), strings.Join(v.FailedNames, ", "))
	case !v.closed:
		return fmt.Errorf("QEMU ended early, with status %d and no closing line", status)
	case v.Failed != 0:
		return fmt.Errorf("%d failed, and no line says which", v.Failed)
	case v.okLines != v.Passed:
		return fmt.Errorf("the closing line says %d passed, but %d lines say ok", v.Passed, v.okLines)
	case status != exitPassed[arch]:
		return fmt.Errorf("QEMU's status is %d, want %d", status, exitPassed[arch])
	}
	return nil
}
