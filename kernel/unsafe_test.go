package kernel

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// mayBeUnsafe are the files of proc, kernel and mm that use package unsafe for more than the
// size of a type, each with its reason. All other code there is kept by the language from
// memory that is not its own.
var mayBeUnsafe = map[string]string{
	"kernel/board.go":              "the type of goos.Task",
	"kernel/crash.go":              "crash=text writes to the kernel's text, to see it fault",
	"kernel/direct_unsafe.go":      "physical memory and device registers, by the direct map",
	"kernel/sys/args.go":           "structures of system calls, as bytes",
	"mm/phys/phys.go":              "frames, by the direct map",
	"mm/phys/phystest/phystest.go": "an arena of the host in place of memory",
	"mm/vm/word_unsafe.go":         "words of user memory, changed atomically",
	"proc/kernel.go":               "the timer word that entry code reads",
}

// Package unsafe is used only where the list says so, and README.md has the number of lines.
// Broken by: a conversion in another file; a file of the list that has none.
func TestUnsafe(t *testing.T) {
	lines, seen := 0, map[string]bool{}
	for _, top := range []string{"proc", "kernel", "mm"} {
		err := filepath.WalkDir(filepath.Join("..", top), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			set := token.NewFileSet()
			file, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			name := strings.TrimPrefix(filepath.ToSlash(path), "../")
			at := map[int]bool{}
			ast.Inspect(file, func(n ast.Node) bool {
				s, ok := n.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				if x, ok := s.X.(*ast.Ident); ok && x.Name == "unsafe" {
					switch s.Sel.Name {
					case "Sizeof", "Alignof", "Offsetof":
					default:
						at[set.Position(s.Pos()).Line] = true
					}
				}
				return true
			})
			lines += len(at)
			if seen[name] = len(at) > 0; seen[name] && mayBeUnsafe[name] == "" {
				t.Errorf("%s uses package unsafe in %d lines and is not in the list", name, len(at))
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for name := range mayBeUnsafe {
		if !seen[name] {
			t.Errorf("%s is in the list and does not use package unsafe", name)
		}
	}
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("%d lines in %d files", lines, len(mayBeUnsafe)); !strings.Contains(string(readme), want) {
		t.Errorf("README.md does not say that package unsafe is used in %s", want)
	}
}
