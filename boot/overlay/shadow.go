package overlay

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// shadowRoot is the folder below Config.Out that Shadow makes.
const shadowRoot = "_goroot"

// Shadow makes, from the overlay that Generate wrote to c.Out, a GOROOT of
// symbolic links in which the overlay has been carried out, and returns it.
//
// It is there for tools that read source files by themselves and do not know
// of overlays: staticcheck, and "go vet", which runs in the folder of each
// package it looks at. They need no -overlay with it, only GOROOT.
func Shadow(c Config) (string, error) {
	out, err := filepath.Abs(c.Out)
	if err != nil {
		return "", err
	}
	text, err := os.ReadFile(filepath.Join(out, "overlay.json"))
	if err != nil {
		return "", err
	}
	var overlay struct{ Replace map[string]string }
	if err := json.Unmarshal(text, &overlay); err != nil {
		return "", err
	}
	root := filepath.Join(out, shadowRoot)
	if err := os.RemoveAll(root); err != nil {
		return "", err
	}

	// Folders with a changed file somewhere below are folders here too; all
	// else in them is a link.
	dirs := map[string]bool{".": true}
	files := map[string]string{}
	for file, by := range overlay.Replace {
		rel, err := filepath.Rel(c.GOROOT, file)
		if err != nil {
			return "", err
		}
		files[rel] = by
		for dir := filepath.Dir(rel); !dirs[dir]; dir = filepath.Dir(dir) {
			dirs[dir] = true
		}
	}
	for _, dir := range slices.SortedFunc(maps.Keys(dirs), strings.Compare) {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o777); err != nil {
			return "", err
		}
		entries, err := os.ReadDir(filepath.Join(c.GOROOT, dir))
		if err != nil && !os.IsNotExist(err) { // runtime/goos is ours alone
			return "", err
		}
		for _, e := range entries {
			rel := filepath.Join(dir, e.Name())
			if _, changed := files[rel]; changed || dirs[rel] {
				continue
			}
			if err := os.Symlink(filepath.Join(c.GOROOT, rel), filepath.Join(root, rel)); err != nil {
				return "", err
			}
		}
	}
	for rel, by := range files {
		if by == "" {
			continue // dropped
		}
		if err := os.Symlink(by, filepath.Join(root, rel)); err != nil {
			return "", err
		}
	}
	return root, nil
}
