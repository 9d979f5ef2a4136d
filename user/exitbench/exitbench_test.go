package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// The program runs on Linux. Every case prints a line of figures, so no sequence in it is
// wrong, and no part needs the runtime, which is not there.
func TestOnLinux(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the program makes Linux system calls")
	}
	// The test itself uses no code of the program, so the test cache would not notice a
	// change. Reading the sources makes it notice.
	for _, pattern := range []string{"*.[gs]*", "../bare/*"} {
		files, err := filepath.Glob(pattern)
		if err != nil || files == nil {
			t.Fatalf("%s: %v, %v", pattern, files, err)
		}
		for _, f := range files {
			if _, err := os.ReadFile(f); err != nil {
				t.Fatal(err)
			}
		}
	}
	bin := filepath.Join(t.TempDir(), "exitbench")
	build := exec.Command("go", "build", "-ldflags", "-E grim/user/bare.start", "-o", bin, ".")
	build.Env = append(build.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	names, err := exec.Command(bin, "-list").Output()
	if n := strings.Count(string(names), "\n"); err != nil || n < 28 {
		t.Fatalf("-list: %d cases, want 28 and more; %v", n, err)
	}
	for name := range strings.FieldsSeq(string(names)) {
		if needs := needsCPUs(name); runtime.NumCPU() < needs {
			t.Logf("%s: skipped: it needs %d CPUs", name, needs)
			continue
		}
		out, err := exec.Command(bin, "-n", "1", "-c", name).CombinedOutput()
		text := string(out)
		if err != nil || !strings.Contains(text, "\ncase="+name+" n=1 min=") || !strings.HasSuffix(text, "exitbench done\n") {
			t.Errorf("%s: %v\n%s", name, err, text)
		}
	}
}

// needsCPUs returns the minimum number of CPUs for a case.
func needsCPUs(name string) int {
	switch {
	case strings.HasSuffix(name, "_4"):
		return 4
	case name == "wake_pingpong":
		return 2
	}
	return 1
}
