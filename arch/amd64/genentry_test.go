package amd64

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// The committed file is the generator's output. Once it was not: the two had different
// build constraints.
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
