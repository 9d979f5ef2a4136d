// Package overlay makes the Go distribution's runtime run on bare metal.
//
// It reads the user's own GOROOT, writes changed copies of a few of its files
// and our own additions to a folder, and lists them in an overlay.json for
// "go build -overlay". GOROOT itself is never touched, and nothing of it is
// kept in this repository. What is changed and why is in rules.go; what is
// added is in the folders runtime, goos and early beside this file. The first two
// carry the build constraint "grim_overlay" so that no ordinary build sees them;
// the generated copies lose it.
//
// A changed Go release is noticed here, on the host: every file and every
// anchor text that a rule names must be there, exactly once.
package overlay

import (
	"embed"
	"encoding/json"
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

// Archs are the values of GOARCH that there is a port for.
var Archs = []string{"amd64", "arm64"}

// InitialHeap is how many bytes right behind the image's last byte the runtime
// lives on until the kernel calls runtime.GrowHeap.
const InitialHeap = image.HeapSize

// sources is the folder below Config.Out that holds the files. The underscore
// keeps "./..." patterns out of it.
const sources = "_src"

//go:embed runtime/*.go runtime/*.s goos/*.go early/early.go early/put.go
var own embed.FS

// ownDirs says where in GOROOT/src our own folders go.
var ownDirs = map[string]string{"runtime": "runtime", "goos": "runtime/goos", "early": "runtime/early"}

// Config says which overlay to make, from what and to where.
type Config struct {
	Arch    string // GOARCH
	GOROOT  string
	Version string // of Go, for messages only
	Out     string // folder; made if missing, old contents removed
}

// AnchorError tells that GOROOT does not look as the rules expect.
type AnchorError struct {
	Version string // of Go
	File    string // below GOROOT/src
	Anchor  string // the text that was looked for; empty: the file itself
	Found   int    // how often it was found
}

func (e *AnchorError) Error() string {
	if e.Anchor == "" {
		return fmt.Sprintf("overlay: %s has no file src/%s; boot/overlay/rules.go needs a look for this version of Go", e.Version, e.File)
	}
	return fmt.Sprintf("overlay: in src/%s of %s the following text occurs %d times instead of once; boot/overlay/rules.go needs a look for this version of Go:\n%s",
		e.File, e.Version, e.Found, e.Anchor)
}

// GoEnv fills GOROOT and Version from "go env".
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

// Generate writes the overlay and returns the name of its overlay.json.
func Generate(c Config) (string, error) {
	if !slices.Contains(Archs, c.Arch) {
		return "", fmt.Errorf("overlay: no port for GOARCH %q, only for %s", c.Arch, strings.Join(Archs, " and "))
	}
	out, err := filepath.Abs(c.Out)
	if err != nil {
		return "", err
	}
	c.Out = out
	if err := os.RemoveAll(filepath.Join(out, sources)); err != nil {
		return "", err
	}
	replace := map[string]string{}
	if err := c.changed(replace); err != nil {
		return "", err
	}
	if err := c.added(replace); err != nil {
		return "", err
	}
	text, err := json.MarshalIndent(struct{ Replace map[string]string }{replace}, "", "\t")
	if err != nil {
		return "", err
	}
	name := filepath.Join(out, "overlay.json")
	return name, writeIfChanged(name, append(text, '\n'))
}

// changed applies the rules to the files of GOROOT.
func (c Config) changed(replace map[string]string) error {
	texts := map[string]string{}
	for _, r := range rules() {
		if r.arch != "" && r.arch != c.Arch {
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
			replace[c.goFile(r.file)] = ""
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

// added copies our own files and writes the constants that the runtime shares
// with the host tools.
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

// goFile is where GOROOT has a file of its src folder.
func (c Config) goFile(name string) string {
	return filepath.Join(c.GOROOT, "src", filepath.FromSlash(name))
}

// put writes the overlay's version of a file.
func (c Config) put(replace map[string]string, name string, text []byte) error {
	to := filepath.Join(c.Out, sources, filepath.FromSlash(name))
	replace[c.goFile(name)] = to
	if err := os.MkdirAll(filepath.Dir(to), 0o777); err != nil {
		return err
	}
	return os.WriteFile(to, text, 0o666)
}

// writeIfChanged leaves a file alone that is as it should be, so that tools
// that compare times do not rebuild.
func writeIfChanged(name string, text []byte) error {
	if old, err := os.ReadFile(name); err == nil && string(old) == string(text) {
		return nil
	}
	return os.WriteFile(name, text, 0o666)
}
