package overlay

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
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

// TestGenerate: the JSON names files that exist, on both sides.
func TestGenerate(t *testing.T) {
	for _, arch := range Archs {
		t.Run(arch, func(t *testing.T) {
			c := config(t, arch)
			name, err := Generate(c)
			if err != nil {
				t.Fatal(err)
			}
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			var o struct{ Replace map[string]string }
			if err := json.Unmarshal(text, &o); err != nil {
				t.Fatal(err)
			}
			for from, to := range o.Replace {
				_, err := os.Stat(from)
				added := os.IsNotExist(err)
				if to == "" {
					if added {
						t.Errorf("%s is dropped but not there", from)
					}
					continue
				}
				b, err := os.ReadFile(to)
				if err != nil {
					t.Error(err)
				}
				// Package early is plain Go, so that the host tests it.
				if added && !strings.Contains(to, "/runtime/early/") && !strings.HasPrefix(string(b), "//go:build tamago\n") {
					t.Errorf("%s is our own but has no constraint tamago in its first line", to)
				}
			}
			again, err := Generate(c)
			if err != nil || again != name {
				t.Errorf("again: %q, %v", again, err)
			}
		})
	}
}

// fakeRoot copies the files that the rules change, and only those, into a
// GOROOT of its own.
func fakeRoot(t *testing.T, c Config) Config {
	t.Helper()
	fake := c
	fake.GOROOT = t.TempDir()
	fake.Version = "go9.99"
	fake.Out = t.TempDir()
	for _, r := range rules() {
		if r.arch != "" && r.arch != c.Arch {
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

// TestChangedAnchor changes what each rule relies on, one at a time, and wants
// a message that names the version of Go, the file and the anchor.
func TestChangedAnchor(t *testing.T) {
	fake := fakeRoot(t, config(t, "amd64"))
	if _, err := Generate(fake); err != nil {
		t.Fatalf("untouched: %v", err)
	}
	for _, r := range rules() {
		if r.arch != "" && r.arch != "amd64" {
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
			} else if m := err.Error(); !strings.Contains(m, "go9.99") || !strings.Contains(m, r.file) || changed != nil && !strings.Contains(m, anchor) {
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

// TestClash: a version of Go that has a file by the name of one of ours.
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

// TestShadow: go vet works on a package that imports runtime/goos.
func TestShadow(t *testing.T) {
	if testing.Short() {
		t.Skip("runs go vet")
	}
	for _, arch := range Archs {
		c := config(t, arch)
		c.Out = filepath.Join("..", "..", "build", "test", arch, "vet")
		if _, err := Generate(c); err != nil {
			t.Fatal(err)
		}
		root, err := Shadow(c)
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("go", "vet", "-tags", "tamago", "./selftest")
		cmd.Env = append(os.Environ(), "GOROOT="+root, "GOOS=linux", "GOARCH="+arch, "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", arch, err, out)
		}
	}
}
