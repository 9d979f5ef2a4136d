// Package overlay makes the Go distribution's runtime run on bare metal.
//
// It reads the user's own GOROOT, and writes changed copies of a few of its files, and
// additional files, to a folder. Then it makes a second GOROOT of symbolic links
// (goroot.go) in which these files replace the originals. GOROOT itself is never changed,
// and no part of it is kept in this repository. rules.go has the changes and their reasons.
// The added files are in the folders runtime, goos and early beside this file. The first
// two have the build constraint "grim_overlay", so that ordinary builds do not use them;
// the generated copies lose it.
//
// The go command's flag -overlay would be enough for most users, but not for a toolchain
// that the go command has fetched by itself: such a toolchain is in the module cache, where
// the flag refuses to replace files. Tools that know nothing of overlays (staticcheck, go
// vet) need the links as well.
//
// A changed Go release is detected here, on the host: the rules must have been checked with
// the release (releases.go), and every file and every old text of a rule must exist,
// exactly once.
package overlay

import (
	"embed"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"grim/boot/image"
)

// Archs are the supported values of GOARCH.
var Archs = []string{"amd64", "arm64"}

// InitialHeap is how many bytes directly behind the image the runtime uses until the kernel
// calls runtime.GrowHeap.
const InitialHeap = image.HeapSize

// sources is the folder below Config.Out that holds the files. The underscore
// keeps "./..." patterns out of it.
const sources = "_src"

//go:embed runtime/*.go runtime/*.s goos/*.go signal/*.go early/early.go early/put.go
var own embed.FS

// ownDirs has the places in GOROOT/src of the added folders.
var ownDirs = map[string]string{"runtime": "runtime", "goos": "runtime/goos", "signal": "os/signal", "early": "runtime/early"}

// Config says which overlay to make, its source and its destination.
type Config struct {
	Arch    string // GOARCH
	GOROOT  string
	Version string // of Go, as "go env GOVERSION" prints it
	Out     string // folder; made if missing, old contents removed
}

// AnchorError means that GOROOT is not as the rules expect.
type AnchorError struct {
	Version string // of Go
	File    string // below GOROOT/src
	Anchor  string // the text that was searched; empty: the file itself
	Found   int    // how often it was found
}

func (e *AnchorError) Error() string {
	if e.Anchor == "" {
		return fmt.Sprintf("overlay: %s has no file src/%s; boot/overlay/rules.go needs a look for this version of Go", e.Version, e.File)
	}
	return fmt.Sprintf("overlay: in src/%s of %s the following text occurs %d times instead of once; boot/overlay/rules.go needs a look for this version of Go:\n%s",
		e.File, e.Version, e.Found, e.Anchor)
}

// GoEnv fills GOROOT and Version from "go env". Inside of "go run" and "go test", the go
// command is the one that runs them.
func (c *Config) GoEnv() error {
	out, err := exec.Command("go", "env", "GOROOT", "GOVERSION").Output()
	if err != nil {
		return fmt.Errorf("overlay: go env: %w", err)
	}
	f := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(f) != 2 || f[0] == "" || f[1] == "" {
		return fmt.Errorf("overlay: go env GOROOT GOVERSION printed %q", out)
	}
	c.GOROOT, c.Version = f[0], f[1]
	return nil
}

// Generate makes the changed GOROOT, and returns its path.
func Generate(c Config) (string, error) {
	if !slices.Contains(Archs, c.Arch) {
		return "", fmt.Errorf("overlay: no port for GOARCH %q, only for %s", c.Arch, strings.Join(Archs, " and "))
	}
	minor, err := supported(c.Version)
	if err != nil {
		return "", err
	}
	if c.Out, err = filepath.Abs(c.Out); err != nil {
		return "", err
	}
	if err := os.RemoveAll(filepath.Join(c.Out, sources)); err != nil {
		return "", err
	}
	replace := map[string]string{}
	if err := c.changed(replace, minor); err != nil {
		return "", err
	}
	if err := c.added(replace); err != nil {
		return "", err
	}
	return c.link(replace)
}

// changed applies the rules for Go 1.minor to the files of GOROOT. The map has names below
// GOROOT. The value is the replacing file, or empty.
func (c Config) changed(replace map[string]string, minor int) error {
	texts := map[string]string{}
	for _, r := range rules() {
		if !r.applies(c.Arch, minor) {
			continue
		}
		text, seen := texts[r.file]
		if !seen {
			b, err := os.ReadFile(c.goFile(r.file))
			if os.IsNotExist(err) {
				return &AnchorError{Version: c.Version, File: r.file}
			} else if err != nil {
				return err
			}
			text = string(b)
		}
		if r.action == drop {
			replace[filepath.Join("src", filepath.FromSlash(r.file))] = ""
			continue
		}
		text, err := r.apply(text, c.Version)
		if err != nil {
			return err
		}
		texts[r.file] = text
	}
	for file, text := range texts {
		if err := c.put(replace, file, []byte(text)); err != nil {
			return err
		}
	}
	return nil
}

var constraint = regexp.MustCompile(`(?m)^//go:build .*$`)

// applies reports whether the rule is for an architecture and Go 1.minor.
func (r rule) applies(arch string, minor int) bool {
	return (r.arch == "" || r.arch == arch) && minor >= r.since
}

// apply does a retag or edit and returns the new text.
func (r rule) apply(text, version string) (string, error) {
	if r.action == retag {
		if n := len(constraint.FindAllString(text, -1)); n != 1 {
			return "", &AnchorError{Version: version, File: r.file, Anchor: "//go:build", Found: n}
		}
		return constraint.ReplaceAllString(text, "//go:build tamago"), nil
	}
	if n := strings.Count(text, r.old); n != 1 {
		return "", &AnchorError{Version: version, File: r.file, Anchor: r.old, Found: n}
	}
	return strings.Replace(text, r.old, r.new, 1), nil
}

// added copies the added files and writes the constants that the runtime shares with the
// host tools.
func (c Config) added(replace map[string]string) error {
	for dir, dest := range ownDirs {
		files, err := fs.ReadDir(own, dir)
		if err != nil {
			return err
		}
		for _, f := range files {
			text, err := own.ReadFile(path.Join(dir, f.Name()))
			if err != nil {
				return err
			}
			name := path.Join(dest, f.Name())
			if _, err := os.Stat(c.goFile(name)); err == nil {
				return fmt.Errorf("overlay: %s already has a file src/%s", c.Version, name)
			}
			// Replaced, not removed, so that line numbers stay.
			text = []byte(strings.Replace(string(text), "//go:build grim_overlay", "//go:build tamago", 1))
			if dir == "early" { // it runs without a goroutine
				text = []byte(strings.ReplaceAll(string(text), "\nfunc ", "\n//go:nosplit\nfunc "))
			}
			if err := c.put(replace, name, text); err != nil {
				return err
			}
		}
	}
	consts := fmt.Sprintf("//go:build tamago\n\npackage runtime\n\n// Made by boot/overlay.\n\nconst grimInitialHeap = %d\n", InitialHeap)
	return c.put(replace, "runtime/zgrim_config.go", []byte(consts))
}

// goFile returns the path in GOROOT of a file of its src folder.
func (c Config) goFile(name string) string {
	return filepath.Join(c.GOROOT, "src", filepath.FromSlash(name))
}

// put writes the overlay's version of a file.
func (c Config) put(replace map[string]string, name string, text []byte) error {
	to := filepath.Join(c.Out, sources, filepath.FromSlash(name))
	replace[filepath.Join("src", filepath.FromSlash(name))] = to
	if err := os.MkdirAll(filepath.Dir(to), 0o777); err != nil {
		return err
	}
	return os.WriteFile(to, text, 0o666)
}
