package tree

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// A directory comes back from the archive unchanged: modes, links, hard links. Broken by
// Directory without its search for earlier names of an inode, and by a mode without the
// set-user-ID bit.
func TestDirectory(t *testing.T) {
	dir := t.TempDir()
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	do(os.MkdirAll(filepath.Join(dir, "a/b"), 0o755))
	do(os.WriteFile(filepath.Join(dir, "a/one"), []byte("data"), 0o644))
	do(os.Chmod(filepath.Join(dir, "a/one"), 0o751|os.ModeSetuid))
	do(os.Link(filepath.Join(dir, "a/one"), filepath.Join(dir, "a/two")))
	do(os.Symlink("../a/one", filepath.Join(dir, "a/sym")))
	do(syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o600))
	describe := func(tr *Tree) (lines []string) {
		inos := map[uint64]int{}
		for _, n := range tr.Names() {
			r := tr.files[n]
			if _, ok := inos[r.Ino]; !ok {
				inos[r.Ino] = len(inos)
			}
			data := ""
			if r.Mode&syscall.S_IFMT != syscall.S_IFDIR && r.FileSize > 0 {
				data = string(content(r))
			}
			lines = append(lines, fmt.Sprintf("%s %o %d %d %q", n, r.Mode, r.NLink, inos[r.Ino], data))
		}
		return lines
	}
	one := New()
	do(one.Load(dir))
	one.device("null", syscall.S_IFCHR|0o666, 1, 3)
	want := []string{
		` 40700 1 0 ""`, `a 40755 1 1 ""`, `a/b 40755 1 2 ""`, `a/one 104751 2 3 "data"`, `a/sym 120777 1 4 "../a/one"`,
		`a/two 104751 2 3 ""`, `fifo 10600 1 5 ""`, `null 20666 1 6 ""`,
	}
	got := describe(one)
	got[0] = want[0] // the system chooses the temporary directory's mode
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	var b bytes.Buffer
	do(one.Write(&b))
	two := New()
	do(two.Archive(b.Bytes()))
	for i := range want {
		want[i] = strings.Replace(want[i], ` 3 "data"`, ` 2 "data"`, 1)
	}
	again := describe(two)
	if len(again) != len(want)-1 || !strings.HasPrefix(again[2], "a/one 104751 2 2") || !strings.HasPrefix(again[4], "a/two 104751 2 2") {
		t.Errorf("from the archive:\n%s", strings.Join(again, "\n"))
	}
	if r := two.files["null"]; r.Rmajor != 1 || r.Rminor != 3 {
		t.Errorf("null has number %d:%d", r.Rmajor, r.Rminor)
	}
	if data, ok := two.Get("a/sym"); string(data) != "data" || !ok || two.Has("a/none") {
		t.Errorf("a/sym: %q", data)
	}
}

// A dynamic program is added with its interpreter and all its libraries. Otherwise the
// error names each missing one. Broken by needs that does not look into the libraries.
func TestProgram(t *testing.T) {
	const bash = "/bin/bash"
	other := map[string]string{"amd64": "arm64", "arm64": "amd64"}[runtime.GOARCH]
	if _, err := os.Stat(bash); err != nil || other == "" || runtime.GOOS != "linux" {
		t.Skip("no", bash)
	}
	tr := New()
	if err := tr.Program("", bash, "bin/bash", runtime.GOARCH); err != nil {
		t.Fatal(err)
	}
	names := strings.Join(tr.Names(), " ")
	for _, want := range []string{"bin/bash", "libc.so.6", "libtinfo.so", "ld-linux"} {
		if !strings.Contains(names, want) {
			t.Errorf("no %s in %s", want, names)
		}
	}
	ls := New()
	if err := ls.Program("", "/bin/ls", "bin/ls", runtime.GOARCH); err != nil {
		t.Fatal(err)
	}
	// Debian's ls names the first library, which names the other.
	if names := strings.Join(ls.Names(), " "); strings.Contains(names, "libselinux") && !strings.Contains(names, "libpcre2") {
		t.Errorf("no libpcre2 in %s", names)
	}
	if err := New().Program("", bash, "bin/bash", other); err == nil || !strings.Contains(err.Error(), "ARCH="+other) {
		t.Errorf("for %s: %v", other, err)
	}
	// A tree without libraries.
	root := t.TempDir()
	data, err := os.ReadFile(bash)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(root+"/bash", data, 0o755); err != nil {
		t.Fatal(err)
	}
	err = New().Program(root, root+"/bash", "bin/bash", runtime.GOARCH)
	for _, want := range []string{"libc.so.6 is not found", "libtinfo.so.6 is not found", "interpreter "} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
}
