package main

import (
	"os/exec"
	"strings"
	"testing"
)

// The example in the text is a sixth design. Package proc builds with it, and its tests
// pass under it. Broken by an example with a step missing in Order.
func TestExample(t *testing.T) {
	path, err := overlay("../..", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "test", "-overlay", path, "-v", "-run", "^(TestExitOrder|TestE1SlowPager|TestE9Borrowed|TestE10Zombie|TestLastThread)$/^halfway$", "grim/proc")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, out)
	}
	for _, name := range []string{"TestExitOrder", "TestE1SlowPager", "TestE9Borrowed", "TestE10Zombie", "TestLastThread"} {
		if !strings.Contains(string(out), "--- PASS: "+name+"/halfway") {
			t.Errorf("%s was not run under the example\n%s", name, out)
		}
	}
}
