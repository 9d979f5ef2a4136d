package qemu

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Verdict is the result of a boot, from its serial output.
type Verdict struct {
	Passed, Failed int      // numbers in the closing line
	FailedNames    []string // from the "not ok" lines
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

// Left reports that nothing went wrong, except that QEMU ended before the kernel closed its
// report: the user has stopped it.
func (v *Verdict) Left() bool {
	return v.Panic == "" && v.Stop == "" && len(v.FailedNames) == 0 && !v.closed
}

// Error returns nil only if the boot closed with all tests passed, with the right count,
// and QEMU ended with the machine's status for success. Otherwise it returns one line that
// names the failure.
func (v *Verdict) Error(arch string, status int, limit time.Duration, timedOut bool) error {
	switch {
	case v.Panic != "" && !v.closed: // after a closing line, it was a program's text on the console
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
