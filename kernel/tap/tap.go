// Package tap writes test results to the serial console: a TAP line for each test, before
// it the reasons of a failure as comments, and at the end the closing line.
package tap

import (
	"fmt"
	"io"
	"strings"
	"sync"
)

// Report counts results. Its methods may be called by several goroutines.
type Report struct {
	mu             sync.Mutex
	w              io.Writer
	passed, failed int
}

// New makes a report that writes to w.
func New(w io.Writer) *Report { return &Report{w: w} }

// Result reports one test. The test has passed if reasons is empty.
func (r *Report) Result(name string, reasons []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, reason := range reasons {
		for line := range strings.Lines(reason) {
			fmt.Fprintf(r.w, "# %s: %s\n", name, strings.TrimSuffix(line, "\n"))
		}
	}
	verdict := "ok"
	if len(reasons) > 0 {
		r.failed++
		verdict = "not ok"
	} else {
		r.passed++
	}
	fmt.Fprintf(r.w, "%s %d - %s\n", verdict, r.passed+r.failed, name)
}

// Close writes the closing line and reports whether all tests passed.
func (r *Report) Close() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Fprintf(r.w, "%d passed, %d failed\n", r.passed, r.failed)
	return r.failed == 0
}
