package sys

import (
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
)

// A value that put copies out has no byte outside of its fields. The compiler need not
// clear such bytes, so they could show old contents of the kernel's stack. Blank fields are
// such bytes too. The test finds every type with which put is used. It has found struct
// sysinfo, struct statx and stack_t.
func TestPutHasNoPadding(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles the package")
	}
	sizes := types.SizesFor("gc", runtime.GOARCH)
	found := 0
	for name, typ := range putTypes(t, sizes) {
		found++
		if gap := padding(typ, sizes); gap != "" {
			t.Errorf("put copies out a %s, of which %s", name, gap)
		}
	}
	if found < 10 {
		t.Errorf("only %d types found", found)
	}
}

// putTypes type-checks the package and returns put's type arguments.
func putTypes(t *testing.T, sizes types.Sizes) map[string]types.Type {
	t.Helper()
	list := exec.Command("go", "list", "-export", "-deps", "-f", "{{.ImportPath}} {{.Export}} {{if not .DepOnly}}{{range .GoFiles}}{{.}},{{end}}{{end}}", ".")
	out, err := list.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	export := map[string]string{}
	var names []string
	for line := range strings.Lines(string(out)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), " ")
		export[f[0]] = f[1]
		if f[2] != "" {
			names = strings.Split(strings.TrimSuffix(f[2], ","), ",")
		}
	}
	fset := token.NewFileSet()
	var files []*ast.File
	for _, n := range names {
		f, err := parser.ParseFile(fset, n, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	info := &types.Info{Instances: map[*ast.Ident]types.Instance{}}
	conf := types.Config{Sizes: sizes, Importer: importer.ForCompiler(fset, "gc", func(path string) (io.ReadCloser, error) {
		return os.Open(export[path])
	})}
	if _, err := conf.Check("grim/kernel/sys", fset, files, info); err != nil {
		t.Fatal(err)
	}
	found := map[string]types.Type{}
	for id, inst := range info.Instances {
		if id.Name == "put" {
			found[inst.TypeArgs.At(0).String()] = inst.TypeArgs.At(0)
		}
	}
	return found
}

// padding describes the bytes of typ outside of its fields; "" if there are none.
func padding(typ types.Type, sizes types.Sizes) string {
	switch u := typ.Underlying().(type) {
	case *types.Array:
		return padding(u.Elem(), sizes)
	case *types.Struct:
		fields := make([]*types.Var, u.NumFields())
		for i := range fields {
			fields[i] = u.Field(i)
		}
		at := int64(0)
		for i, off := range sizes.Offsetsof(fields) {
			if off != at {
				return fmt.Sprintf("bytes %d to %d are padding", at, off)
			}
			if fields[i].Name() == "_" {
				return fmt.Sprintf("byte %d begins a blank field", off)
			}
			if p := padding(fields[i].Type(), sizes); p != "" {
				return fields[i].Name() + ": " + p
			}
			at = off + sizes.Sizeof(fields[i].Type())
		}
		if size := sizes.Sizeof(u); size != at {
			return fmt.Sprintf("bytes %d to %d are padding", at, size)
		}
	}
	return ""
}
