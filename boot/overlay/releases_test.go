package overlay

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestMinor(t *testing.T) {
	for version, want := range map[string]int{
		"go1.26": 26, "go1.26.8": 26, "go1.27rc1": 27, "go1.27.3": 27, "go1.26.8-custom": 26,
		"devel go1.28-0123abcd Thu Nov 26": 28, "go1.9": 9, "go1.127.1": 127, "go2.0": -1, "": -1, "gccgo": -1,
	} {
		if got := Minor(version); got != want {
			t.Errorf("%q: %d, want %d", version, got, want)
		}
	}
}

// TestReleases checks that the list is in order, and that go.mod's version is the oldest
// release.
func TestReleases(t *testing.T) {
	rs := Releases()
	for i, r := range rs {
		if Minor(r.Toolchain) != r.Minor || i > 0 && r.Minor <= rs[i-1].Minor {
			t.Errorf("%+v", r)
		}
	}
	mod, err := os.ReadFile("../../go.mod")
	if err != nil || !strings.Contains(string(mod), fmt.Sprintf("\ngo %v.", rs[0])) {
		t.Errorf("go.mod is not of the oldest release, %v: %v", rs[0], err)
	}
}

// TestUnsupported checks that a release without rules is refused before any file is read,
// and that the error says what was found, what is supported and what to do.
//
// Broken by: no call of supported in Generate.
func TestUnsupported(t *testing.T) {
	for _, version := range []string{"go1.25.5", "go1.28", "devel go1.29-0123abcd"} {
		_, err := Generate(Config{Arch: "amd64", GOROOT: t.TempDir(), Version: version, Out: t.TempDir()})
		var r *ReleaseError
		if !errors.As(err, &r) {
			t.Errorf("%s: error %v", version, err)
			continue
		}
		for _, part := range []string{version, "Go 1.26 or 1.27", "GOTOOLCHAIN=go1.27."} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %q lacks %q", version, err, part)
			}
		}
	}
}

// TestCheckGo runs the script that the Makefile starts with. The go commands of the test
// are shell scripts that answer only "go env GOVERSION".
func TestCheckGo(t *testing.T) {
	mod, _ := os.ReadFile("../../go.mod")
	_, least, _ := strings.Cut(string(mod), "\ngo ")
	least, _, _ = strings.Cut(least, "\n")
	const all = "Grim builds with Go 1.26 or 1.27 (from 1."
	for _, c := range []struct {
		answer string // a shell script; empty: there is no go command
		want   []string
	}{
		{"echo go" + least, nil},
		{"echo go1.26.99", nil},
		{"echo go1.27.0", nil},
		{"echo go1.27rc1", nil},
		{"echo devel go1.27-0123abcd Thu Nov 26", nil},
		{"echo go1.26.3", []string{"This go command is go1.26.3, but", all, "GOTOOLCHAIN=go1.27."}},
		{"echo go1.26rc2", []string{"This go command is go1.26rc2, but", all}},
		{"echo go1.25.5", []string{"This go command is go1.25.5, but", all, "GOTOOLCHAIN=go1.27."}},
		{"echo go1.28.1", []string{"This go command is go1.28.1, but", all, "GOTOOLCHAIN=go1.27."}},
		{"echo go1.2", []string{"This go command is go1.2, but", all}},
		{"echo go2.1", []string{"This go command is go2.1, but", all}},
		// It tried to fetch another toolchain, and there is no network.
		{`[ "$GOTOOLCHAIN" = local ] && echo go1.24.2`, []string{"This go command is go1.24.2, but", all}},
		{"", []string{"There is no go command here", all}},
	} {
		bin := t.TempDir()
		if c.answer != "" {
			if err := os.WriteFile(filepath.Join(bin, "go"), []byte("#!/bin/sh\n"+c.answer+"\n"), 0o777); err != nil {
				t.Fatal(err)
			}
		}
		for _, tool := range []string{"dirname", "awk", "tail", "cut", "sed", "grep"} {
			path, err := exec.LookPath(tool)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(path, filepath.Join(bin, tool)); err != nil {
				t.Fatal(err)
			}
		}
		cmd := exec.Command("/bin/sh", "../checkgo.sh")
		cmd.Env = []string{"PATH=" + bin}
		out, err := cmd.CombinedOutput()
		if (err == nil) != (c.want == nil) || c.want == nil && len(out) > 0 || strings.Count(string(out), "\n") > 1 {
			t.Errorf("%q: %v, %q", c.answer, err, out)
		}
		for _, w := range c.want {
			if !strings.Contains(string(out), w) {
				t.Errorf("%q: %q lacks %q", c.answer, out, w)
			}
		}
	}
}
