package qemu

import (
	"strings"
	"testing"
	"time"
)

// A boot passes in only one way. Each way to fail has its own line.
func TestVerdict(t *testing.T) {
	const good = "ok 1 - a\nok 2 - b [shared]\n2 passed, 0 failed\n"
	for _, c := range []struct {
		name, output string
		status       int
		timedOut     bool
		want         string // "" = passed
	}{
		{"passed", good, 33, false, ""},
		{"crlf", strings.ReplaceAll(good, "\n", "\r\n"), 33, false, ""},
		{"bad status", good, 1, false, "status is 1, want 33"},
		{"failed", "ok 1 - a\nnot ok 2 - b\n1 passed, 1 failed\n", 35, false, "1 failed: b"},
		{"failed but counted as passed", "not ok 1 - a\n1 passed, 0 failed\n", 33, false, "1 failed: a"},
		{"miscounted", "ok 1 - a\n2 passed, 0 failed\n", 33, false, "says 2 passed, but 1 lines say ok"},
		{"unnamed failure", "1 passed, 1 failed\n", 33, false, "1 failed, and no line says which"},
		{"early", "ok 1 - a\n", 0, false, "ended early, with status 0"},
		{"hang", "ok 1 - a\n", -1, true, "hang: not finished after 5s"},
		{"stop", "grim: warning: x\ngrim: boot: no memory\n", 3, false, "the kernel stopped: boot: no memory"},
		{"a program's panic", "panic: x\n" + good, 33, false, ""},
		{"panic", "ok 1 - a\npanic: runtime error\n", 5, false, "kernel panic: panic: runtime error"},
		{"fatal", "fatal error: out of memory\n", 5, false, "kernel panic: fatal error: out of memory"},
	} {
		var v Verdict
		for line := range strings.Lines(c.output) {
			v.Line(line)
		}
		err := v.Error("amd64", c.status, 5*time.Second, c.timedOut)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
}
