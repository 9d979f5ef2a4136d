package overlay

import (
	"os"
	"path/filepath"
)

// shadowRoot is the folder below Config.Out that Shadow makes.
const shadowRoot = "_goroot"

// Shadow makes a GOROOT of symbolic links below c.Out and changes c to use it.
//
// It is there for "go vet", which runs in the folder of each package it looks
// at and so fails for runtime/goos, a package that exists in the overlay only.
// In the shadow the folder exists. Use it with GOROOT in the environment set
// to the result.
func (c *Config) Shadow() error {
	out, err := filepath.Abs(c.Out)
	if err != nil {
		return err
	}
	root := filepath.Join(out, shadowRoot)
	if err := os.RemoveAll(root); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(root, "src", "runtime", "goos"), 0o777); err != nil {
		return err
	}
	for _, dir := range []string{"", "src", filepath.Join("src", "runtime")} {
		entries, err := os.ReadDir(filepath.Join(c.GOROOT, dir))
		if err != nil {
			return err
		}
		for _, e := range entries {
			to := filepath.Join(root, dir, e.Name())
			if _, err := os.Lstat(to); err == nil {
				continue // one of the folders made above
			}
			if err := os.Symlink(filepath.Join(c.GOROOT, dir, e.Name()), to); err != nil {
				return err
			}
		}
	}
	c.GOROOT = root
	return nil
}
