package overlay

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestModule checks that the copy of the module has every edit and none of the dropped
// files, and that go.mod replaces the module by the copy.
func TestModule(t *testing.T) {
	m, err := FindModule()
	if err != nil {
		t.Fatal(err)
	}
	for _, arch := range Archs {
		t.Run(arch, func(t *testing.T) {
			to := filepath.Join(t.TempDir(), "tamago")
			if err := GenerateModule(m, arch, "../..", to); err != nil {
				t.Fatal(err)
			}
			for _, e := range moduleEdits() {
				b, err := os.ReadFile(filepath.Join(to, e.file))
				switch {
				case e.arch != "" && e.arch != arch:
				case os.IsNotExist(err) && dropped1(e.file, arch):
				case err != nil:
					t.Error(err)
				case strings.Count(string(b), e.new) < 1:
					t.Errorf("%s has not seen the edit", e.file)
				}
			}
			for _, d := range moduleDrops {
				if _, err := os.Stat(filepath.Join(to, d.file)); d.arch == arch && !os.IsNotExist(err) {
					t.Errorf("%s is dropped but there: %v", d.file, err)
				}
			}
			mod, err := os.ReadFile(filepath.Join(to, "..", "go.mod"))
			if err != nil || !strings.Contains(string(mod), "\nreplace "+m.Path+" "+m.Version+" => ./") {
				t.Errorf("go.mod: %v\n%s", err, mod)
			}
			if _, err := os.Stat(filepath.Join(to, "..", "go.sum")); err != nil {
				t.Error(err)
			}
		})
	}
}

func dropped1(file, arch string) bool {
	for _, d := range moduleDrops {
		if d.file == file && d.arch == arch {
			return true
		}
	}
	return false
}

// TestModuleAnchor checks that a file of the module that has changed, or is missing, gives
// an error that names the module, its version, the file and the text.
func TestModuleAnchor(t *testing.T) {
	m, err := FindModule()
	if err != nil {
		t.Fatal(err)
	}
	other := Module{Path: m.Path, Version: "v9.9.9", Dir: filepath.Join(t.TempDir(), "m")}
	if err := copySources(m.Dir, other.Dir); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(other.Dir, "dma", "block.go")
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(strings.Replace(string(b), "b.addr+off", "b.where+off", 1)), 0o666); err != nil {
		t.Fatal(err)
	}
	check := func(want ...string) {
		t.Helper()
		err := GenerateModule(other, "amd64", "../..", filepath.Join(t.TempDir(), "tamago"))
		var e *ModuleError
		if !errors.As(err, &e) {
			t.Fatalf("%v, want a ModuleError", err)
		}
		for _, w := range want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%q does not say %q", err, w)
			}
		}
	}
	check("tamago", "v9.9.9", "dma/block.go", "unsafe.Add(ptr, b.addr", "2 times instead of 3")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	check("tamago", "v9.9.9", "no file dma/block.go")
}
