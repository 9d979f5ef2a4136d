package overlay

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// rootName is the folder below Config.Out that link makes. The underscore keeps
// "./..." patterns out of it.
const rootName = "_goroot"

// link makes a GOROOT of symbolic links to c.GOROOT in which files are replaced, and
// returns its path. The map has names below GOROOT. The value is the replacing file, or
// empty for a file that is left out.
//
// The go command in it must be started with GOTOOLCHAIN=local. Otherwise it may start
// another toolchain, and would set GOROOT to that one's.
func (c Config) link(replace map[string]string) (string, error) {
	root := filepath.Join(c.Out, rootName)
	if err := os.RemoveAll(root); err != nil {
		return "", err
	}

	// Folders with a changed file somewhere below are made as folders. Everything else in
	// them is a link.
	dirs := map[string]bool{".": true}
	for file := range replace {
		for dir := filepath.Dir(file); !dirs[dir]; dir = filepath.Dir(dir) {
			dirs[dir] = true
		}
	}
	for _, dir := range slices.SortedFunc(maps.Keys(dirs), strings.Compare) {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o777); err != nil {
			return "", err
		}
		// The package of a distribution may have links for folders: ReadDir follows them.
		entries, err := os.ReadDir(filepath.Join(c.GOROOT, dir))
		if err != nil && !os.IsNotExist(err) { // runtime/goos exists only here
			return "", err
		}
		for _, e := range entries {
			file := filepath.Join(dir, e.Name())
			if _, changed := replace[file]; changed || dirs[file] {
				continue
			}
			if err := os.Symlink(filepath.Join(c.GOROOT, file), filepath.Join(root, file)); err != nil {
				return "", err
			}
		}
	}
	for file, by := range replace {
		if by == "" {
			continue // dropped
		}
		if err := os.Symlink(by, filepath.Join(root, file)); err != nil {
			return "", err
		}
	}
	return root, nil
}
