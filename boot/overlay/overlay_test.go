package overlay

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func config(t *testing.T, arch string) Config {
	t.Helper()
	c := Config{Arch: arch, Out: t.TempDir()}
	if err := c.GoEnv(); err != nil {
		t.Fatal(err)
	}
	return c
}

// targetEnv is the environment for the go command of a GOROOT that Generate made.
func targetEnv(root, arch string) []string {
	return append(os.Environ(), "GOROOT="+root, "GOTOOLCHAIN=local", "GOOS=linux", "GOARCH="+arch, "GOARM64=v8.0", "GOAMD64=v1", "CGO_ENABLED=0")
}

// TestGenerate checks that the generated GOROOT has all of Grim's files and all changed
// files in their places, and none of the dropped files.
func TestGenerate(t *testing.T) {
	for _, arch := range Archs {
		t.Run(arch, func(t *testing.T) {
			c := config(t, arch)
			root, err := Generate(c)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range rules() {
				if !r.applies(arch, Minor(c.Version)) {
					continue
				}
				b, err := os.ReadFile(filepath.Join(root, "src", r.file))
				if r.action == drop {
					if !os.IsNotExist(err) {
						t.Errorf("%s is dropped but there: %v", r.file, err)
					}
				} else if err != nil {
					t.Error(err)
				} else if r.action == retag && !strings.Contains(string(b), "//go:build tamago\n") || !strings.Contains(string(b), r.new) {
					t.Errorf("%s has not seen the %v", r.file, r.action)
				}
			}
			for dir, dest := range ownDirs {
				files, _ := own.ReadDir(dir)
				for _, f := range files {
					b, err := os.ReadFile(filepath.Join(root, "src", dest, f.Name()))
					// Package early is plain Go, so that the host tests it.
					if err != nil || dir != "early" && !strings.HasPrefix(string(b), "//go:build tamago\n") {
						t.Errorf("%s has no constraint tamago in its first line: %v", f.Name(), err)
					}
				}
			}
			for _, whole := range []string{"src/fmt/print.go", "pkg/tool", "bin/go"} {
				if _, err := os.Stat(filepath.Join(root, whole)); err != nil {
					t.Errorf("what is left alone: %v", err)
				}
			}
			again, err := Generate(c)
			if err != nil || again != root {
				t.Errorf("again: %q, %v", again, err)
			}
		})
	}
}

// TestGOROOTs builds a program with the overlay for each place where users have their Go:
// unpacked from an archive, in the folders of a distribution's package, and in the module
// cache, where the go command puts the toolchains that it fetches. In the module cache the
// flag -overlay failed ("must not be replaced").
func TestGOROOTs(t *testing.T) {
	if testing.Short() {
		t.Skip("builds package runtime")
	}
	c := config(t, "amd64")
	program := t.TempDir()
	for name, text := range map[string]string{
		"go.mod": "module m\n\ngo 1.26\n",
		"m.go":   "package main\n\nimport \"runtime/goos\"\n\nfunc main() { goos.Exit(0) }\n",
	} {
		if err := os.WriteFile(filepath.Join(program, name), []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	// links makes a folder with links to the entries of the GOROOT, except those named.
	links := func(dir string, except ...string) {
		entries, err := os.ReadDir(c.GOROOT)
		if err == nil {
			err = os.MkdirAll(dir, 0o777)
		}
		for _, e := range entries {
			if err == nil && !slices.Contains(except, e.Name()) {
				err = os.Symlink(filepath.Join(c.GOROOT, e.Name()), filepath.Join(dir, e.Name()))
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	tmp := t.TempDir()
	cache := filepath.Join(tmp, "mod")
	fetched := filepath.Join(cache, "golang.org", "toolchain@v0.0.1-"+c.Version+".linux-amd64")
	links(fetched)
	packaged := filepath.Join(tmp, "usr", "lib", "go-1")
	links(packaged, "src")
	links(filepath.Join(tmp, "usr", "share", "go-1"))
	if err := os.Symlink("../../share/go-1/src", filepath.Join(packaged, "src")); err != nil {
		t.Fatal(err)
	}
	for _, g := range []struct{ name, root string }{{"archive", c.GOROOT}, {"distribution", packaged}, {"fetched", fetched}} {
		t.Run(g.name, func(t *testing.T) {
			c := c
			c.GOROOT, c.Out = g.root, t.TempDir()
			root, err := Generate(c)
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(filepath.Join(root, "bin", "go"), "build", "-trimpath", "-tags", "tamago", "-o", os.DevNull)
			cmd.Dir = program
			cmd.Env = append(targetEnv(root, "amd64"), "GOMODCACHE="+cache)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// fakeRoot makes a GOROOT with copies of the files that the rules change, and with no other
// files.
func fakeRoot(t *testing.T, c Config) Config {
	t.Helper()
	fake := c
	fake.GOROOT = t.TempDir()
	fake.Version = fmt.Sprintf("go1.%d.99", Minor(c.Version))
	fake.Out = t.TempDir()
	for _, r := range rules() {
		if !r.applies(c.Arch, Minor(c.Version)) {
			continue
		}
		b, err := os.ReadFile(c.goFile(r.file))
		if err != nil {
			t.Fatal(err)
		}
		to := fake.goFile(r.file)
		if err := os.MkdirAll(filepath.Dir(to), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, b, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return fake
}

// TestChangedAnchor changes the text that each rule relies on, one rule at a time. The
// error must name the version of Go, the file and the anchor.
func TestChangedAnchor(t *testing.T) {
	fake := fakeRoot(t, config(t, "amd64"))
	if _, err := Generate(fake); err != nil {
		t.Fatalf("untouched: %v", err)
	}
	for _, r := range rules() {
		if !r.applies("amd64", Minor(fake.Version)) {
			continue
		}
		name := fake.goFile(r.file)
		whole, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		anchor, second := r.old, r.old
		if r.action == retag {
			anchor, second = "//go:build", "//go:build linux\n"
		}
		try := func(how string, changed []byte, found int) {
			t.Helper()
			if changed == nil {
				os.Remove(name)
			} else if err := os.WriteFile(name, changed, 0o666); err != nil {
				t.Fatal(err)
			}
			_, err := Generate(fake)
			var a *AnchorError
			if !errors.As(err, &a) || a.File != r.file || a.Found != found {
				t.Errorf("%v %s %s: error %v", r.action, r.file, how, err)
			} else if m := err.Error(); !strings.Contains(m, fake.Version) || !strings.Contains(m, r.file) || changed != nil && !strings.Contains(m, anchor) {
				t.Errorf("message lacks version, file or anchor: %s", m)
			}
		}
		try("file gone", nil, 0)
		if anchor != "" {
			try("anchor gone", []byte(strings.ReplaceAll(string(whole), anchor, "\n")), 0)
			try("anchor twice", append(append([]byte{}, whole...), "\n"+second...), 2)
		}
		if err := os.WriteFile(name, whole, 0o666); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRules(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range rules() {
		if r.reason == "" {
			t.Errorf("%v %s has no reason", r.action, r.file)
		}
		if key := r.action.String() + r.file + r.old; seen[key] {
			t.Errorf("%v %s twice", r.action, r.file)
		} else {
			seen[key] = true
		}
		if r.action == edit && (r.old == "" || r.old == r.new) {
			t.Errorf("edit of %s changes nothing", r.file)
		}
	}
}

func TestNoPort(t *testing.T) {
	c := config(t, "riscv64")
	if _, err := Generate(c); err == nil || !strings.Contains(err.Error(), `"riscv64"`) {
		t.Errorf("error %v", err)
	}
}

// TestClash uses a version of Go that has a file with the name of one of Grim's files.
func TestClash(t *testing.T) {
	fake := fakeRoot(t, config(t, "amd64"))
	name := fake.goFile("runtime/grim_os.go")
	if err := os.WriteFile(name, []byte("package runtime\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := Generate(fake); err == nil || !strings.Contains(err.Error(), "already has a file src/runtime/grim_os.go") {
		t.Errorf("error %v", err)
	}
}

// TestVet checks that go vet works on a package that imports runtime/goos. go vet reads
// source files by itself.
func TestVet(t *testing.T) {
	if testing.Short() {
		t.Skip("runs go vet")
	}
	for _, arch := range Archs {
		c := config(t, arch)
		c.Out = filepath.Join("..", "..", "build", "test", arch, "vet")
		root, err := Generate(c)
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(filepath.Join(root, "bin", "go"), "vet", "-tags", "tamago", "./selftest")
		cmd.Env = targetEnv(root, arch)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", arch, err, out)
		}
	}
}
