// Command sixth adds the example exit design of qemu/LAB.md to a build. It takes the pieces
// of code from the text and writes a file for `go build -overlay`.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

func main() {
	out := flag.String("o", "build/sixth", "folder to write to")
	flag.Parse()
	path, err := overlay(".", *out)
	if err != nil {
		fmt.Fprintln(os.Stderr, "sixth:", err)
		os.Exit(1)
	}
	fmt.Println(path)
}

var block = regexp.MustCompile("(?ms)^   ```go\n(.*?)^   ```$")

// overlay writes the example's files below dir, and returns the path of the overlay. root
// is the module's folder.
func overlay(root, dir string) (path string, err error) {
	text, err := os.ReadFile(filepath.Join(root, "qemu/LAB.md"))
	if err != nil {
		return "", err
	}
	blocks := block.FindAllStringSubmatch(string(text), -1)
	if len(blocks) != 2 {
		return "", fmt.Errorf("qemu/LAB.md has %d pieces of code, want a design and the line that registers it", len(blocks))
	}
	unindent := func(s string) string { return regexp.MustCompile("(?m)^   ").ReplaceAllString(s, "") }
	design, line := unindent(blocks[0][1]), unindent(blocks[1][1])
	list, err := os.ReadFile(filepath.Join(root, "proc/exit/design.go"))
	if err != nil {
		return "", err
	}
	const last = "\t&Eager,\n"
	if strings.Count(string(list), last) != 1 {
		return "", fmt.Errorf("proc/exit/design.go: no list of designs that ends with %q", last)
	}
	list = []byte(strings.Replace(string(list), last, last+line, 1))

	if root, err = filepath.Abs(root); err == nil {
		dir, err = filepath.Abs(dir)
	}
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	replace := map[string]string{}
	for name, text := range map[string]string{"halfway.go": design, "design.go": string(list)} {
		file := filepath.Join(dir, name+".txt")
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			return "", err
		}
		replace[filepath.Join(root, "proc/exit", name)] = file
	}
	data, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	path = filepath.Join(dir, "overlay.json")
	return path, os.WriteFile(path, data, 0o644)
}
