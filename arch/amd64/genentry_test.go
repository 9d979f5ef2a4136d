package amd64

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// The generator's output is the file that is committed. It was not: the two had
// another build constraint.
func TestGeneratedEntry(t *testing.T) {
	generator, err := filepath.Abs("genentry.go")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cmd := exec.Command("go", "run", generator)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	got, err := os.ReadFile(filepath.Join(dir, "entry_amd64.s"))
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("entry_amd64.s")
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("entry_amd64.s is not what genentry.go writes (%v): go run genentry.go", err)
	}
}
