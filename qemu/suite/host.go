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

// hostTests runs every package's tests with the race detector and counts the
// top-level ones. A package that does not build counts as one failure.
func hostTests(ctx context.Context) tally {
	start := time.Now()
	fmt.Println("host tests: every package, race detector on")
	cmd := exec.CommandContext(ctx, "go", "test", "-race", "-json", "./...")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		fmt.Printf("host tests: %v\n", err)
		return tally{failed: 1}
	}
	var t tally
	text := map[string]*strings.Builder{}
	packages := 0
	sc := bufio.NewScanner(out)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		var e event
		if json.Unmarshal(sc.Bytes(), &e) != nil {
			fmt.Println(sc.Text())
			continue
		}
		if e.Output != "" {
			if text[e.Package] == nil {
				text[e.Package] = &strings.Builder{}
			}
			text[e.Package].WriteString(e.Output)
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
			delete(text, e.Package)
		case e.Test == "" && e.Action == "fail":
			fmt.Printf("  FAIL  %s\n", e.Package)
			if b := text[e.Package]; b != nil {
				fmt.Println(tail(b.String(), 40))
			}
		}
	}
	if err := cmd.Wait(); err != nil && t.failed == 0 {
		t.failed = 1 // a package that did not build, or a test that crashed
	}
	fmt.Printf("host tests: %d packages, %d tests passed, %d failed, %s\n", packages, t.passed, t.failed, since(start))
	return t
}
