package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// event is a line of `go test -json` (cmd/test2json).
type event struct {
	Action, Package, Test, Output string
	Elapsed                       float64
}

// output collects text, by name.
type output map[string]*strings.Builder

func (o output) add(name, s string) {
	if s == "" {
		return
	}
	if o[name] == nil {
		o[name] = &strings.Builder{}
	}
	o[name].WriteString(s)
}

// take returns the collected text of a name and forgets it.
func (o output) take(name string) string {
	b := o[name]
	if b == nil {
		return ""
	}
	delete(o, name)
	return b.String()
}

// hostTests runs every package's tests with the race detector and counts the top-level
// tests. A package that does not build counts as one failure.
func hostTests(ctx context.Context) tally {
	start := time.Now()
	fmt.Println("host tests: every package, race detector on")
	cmd := exec.CommandContext(ctx, "go", "test", "-race", "-json", "./...")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	var t tally
	if err != nil {
		t.fail("host tests: %v", err)
		return t
	}
	text := output{}   // of each test, and of each package outside of its tests
	failed := output{} // of each package's failed tests
	packages := 0
	sc := bufio.NewScanner(out)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		var e event
		if json.Unmarshal(sc.Bytes(), &e) != nil {
			fmt.Println(sc.Text())
			continue
		}
		text.add(e.Package+" "+e.Test, e.Output)
		if e.Test != "" && e.Action == "fail" {
			reason := text.take(e.Package + " " + e.Test)
			failed.add(e.Package, reason)
			t.failures = append(t.failures, head(e.Package+" "+reason, 12))
		}
		subtest := strings.Contains(e.Test, "/")
		switch {
		case e.Test != "" && !subtest && e.Action == "pass":
			t.passed++
		case e.Test != "" && !subtest && e.Action == "fail":
			t.failed++
		case e.Test == "" && e.Action == "pass":
			packages++
			fmt.Printf("  ok    %-28s %5.1f s\n", e.Package, e.Elapsed)
		case e.Test == "" && e.Action == "fail":
			fmt.Printf("  FAIL  %s\n", e.Package)
			fmt.Println(tail(failed.take(e.Package)+text.take(e.Package+" "), 60))
		}
	}
	if err := cmd.Wait(); err != nil && t.failed == 0 {
		t.fail("host tests: a package that did not build, or a test that crashed: %v", err)
	}
	fmt.Printf("host tests: %d packages, %d tests passed, %d failed, %s\n", packages, t.passed, t.failed, since(start))
	return t
}
