package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// notOnHost are tests that would harm the host or depend on it.
var notOnHost = map[string]string{
	"mem-exhaustion":      "fills the machine's memory",
	"exit-memory-returns": "reads the whole machine's free memory",
	"grind":               "makes random system calls",
	"sched-each-cpu":      "depends on what else the host's CPUs do",
}

// TestOnLinux runs each user-mode test on the host's kernel: whatever a test requires of
// Grim must be what Linux does.
func TestOnLinux(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "utest")
	build := exec.Command("go", "build", "-o", bin, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, c := range tests {
		t.Run(c.name, func(t *testing.T) {
			if why := notOnHost[c.name]; why != "" {
				t.Skip(why)
			}
			cmd := exec.Command(bin, c.name)
			cmd.WaitDelay = time.Second
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// TestInGrim: the host is no Grim guest, so grind refuses to start on it. (The test does not
// start it.)
func TestInGrim(t *testing.T) {
	if inGrim() {
		t.Error("the host counts as a Grim guest")
	}
}
