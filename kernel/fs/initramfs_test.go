package fs

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cavaliergopher/cpio"
	"golang.org/x/sys/unix"
)

// archive makes a newc archive with hard links before and after their data.
func archive(t testing.TB) []byte {
	var b bytes.Buffer
	cw := cpio.NewWriter(&b)
	add := func(h cpio.Header, data string) {
		h.Size = int64(len(data))
		h.ModTime = time.Unix(1e9, 0)
		must(t, cw.WriteHeader(&h))
		_, err := cw.Write([]byte(data))
		must(t, err)
	}
	add(cpio.Header{Name: ".", Mode: cpio.TypeDir | 0o755, Links: 2}, "")
	add(cpio.Header{Name: "bin", Mode: cpio.TypeDir | 0o750, Links: 2}, "")
	add(cpio.Header{Name: "bin/prog", Mode: cpio.TypeReg | cpio.ModeSetuid | 0o755, Links: 1, Inode: 5}, strings.Repeat("code", 2000))
	add(cpio.Header{Name: "bin/one", Mode: cpio.TypeReg | 0o644, Links: 2, Inode: 6}, "")
	add(cpio.Header{Name: "bin/two", Mode: cpio.TypeReg | 0o644, Links: 2, Inode: 6}, "linked")
	add(cpio.Header{Name: "deep/down/file", Mode: cpio.TypeReg | 0o600, Links: 1, Inode: 7, Uid: 3, Guid: 4}, "x")
	must(t, cw.WriteHeader(&cpio.Header{Name: "link", Mode: cpio.TypeSymlink | 0o777, Size: 8, Links: 1}))
	cw.Write([]byte("bin/prog"))
	add(cpio.Header{Name: "node", Mode: cpio.TypeChar | 0o640, Links: 1, Inode: 9, Guid: 5}, "")
	add(cpio.Header{Name: "dev/console", Mode: cpio.TypeChar | 0o600, Links: 1}, "")
	must(t, cw.Close())
	// This library's writer does not write device numbers.
	a := b.Bytes()
	at := bytes.Index(a, []byte("node\x00")) - newcHeader
	copy(a[at+6+9*8:], "0000000100000003")
	return a
}

func TestUnpack(t *testing.T) {
	w := newWorld(t)
	a := archive(t)
	// A second archive after it replaces a file.
	var second bytes.Buffer
	cw := cpio.NewWriter(&second)
	must(t, cw.WriteHeader(&cpio.Header{Name: "/deep/down/file", Mode: cpio.TypeReg | 0o640, Links: 1, Size: 3}))
	cw.Write([]byte("new"))
	must(t, cw.Close())
	a = append(append(a, make([]byte, 512-len(a)%512)...), second.Bytes()...)
	// The memory that Unpack has released is overwritten.
	at := 0
	must(t, w.Unpack(a, func(upTo int) {
		if upTo < at {
			t.Errorf("done with %d bytes after %d", upTo, at)
		}
		for ; at < upTo; at++ {
			a[at] = 0xa5
		}
	}))
	if at < len(a)-1024 {
		t.Errorf("told of %d of %d bytes", at, len(a))
	}
	if got := w.get("/link"); got != strings.Repeat("code", 2000) {
		t.Errorf("/link: %d bytes", len(got))
	}
	if got := w.get("/bin/one"); got != "linked" {
		t.Errorf("/bin/one: %q", got)
	}
	if got := w.get("/deep/down/file"); got != "new" {
		t.Errorf("/deep/down/file: %q", got)
	}
	for path, want := range map[string]string{
		"/bin":            "40750 2 0 0",
		"/bin/prog":       "104755 1 0 0",
		"/bin/two":        "100644 2 0 0",
		"/deep":           "40755 3 0 0",
		"/deep/down/file": "100640 1 0 0",
		"/node":           "20640 1 0 5",
	} {
		st, err := w.Stat(w.at, path, 0)
		must(t, err)
		if got := fmt.Sprintf("%o %d %d %d", st.Mode, st.Nlink, st.UID, st.GID); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	if st, _ := w.Stat(w.at, "/node", 0); st.Rdev != unix.Mkdev(1, 3) {
		t.Errorf("/node has number %#x", st.Rdev)
	}
	if st, _ := w.Stat(w.at, "/bin/prog", 0); st.Mtime != 1e18 {
		t.Errorf("mtime %d", st.Mtime)
	}
}

// Every truncated archive is an error, wherever it is cut. It leaves nothing behind that
// the tree does not show.
func TestUnpackTruncated(t *testing.T) {
	w := newWorld(t)
	a := archive(t)
	trailer := bytes.LastIndex(a, []byte("TRAILER!!!")) + len("TRAILER!!!\x00")
	for n := 0; n < trailer; n += 1 + n/97 {
		if err := w.Unpack(a[:n], nil); err == nil {
			t.Fatalf("no error for %d of %d bytes", n, len(a))
		}
	}
}

func TestUnpackErrors(t *testing.T) {
	good := archive(t)
	at := bytes.Index(good, []byte("bin/prog")) - 110
	patch := func(off int, text string) []byte {
		b := bytes.Clone(good)
		copy(b[at+off:], text)
		return b
	}
	for _, c := range []struct {
		name string
		data []byte
		text string // part of the error
	}{
		{"nothing", nil, "empty"},
		{"zeros", make([]byte, 1024), "empty"},
		{"gzip", []byte("\x1f\x8b\x08rest"), "not supported"},
		{"magic", patch(0, "070799"), `after "bin"`},
		{"huge size", patch(54, "7fffffff"), "bin/prog"},
		{"negative size", patch(54, "-fffffff"), "invalid"},
		{"huge name", patch(94, "7fffffff"), "invalid"},
		{"no name", patch(94, "00000000"), "invalid"},
		{"type", patch(14, "0000f1a4"), "unknown file type"},
		{"file as directory", patch(110, "bin/////"), "is a directory"},
	} {
		w := newWorld(t)
		err := w.Unpack(c.data, nil)
		if err == nil || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v, want %q in it", c.name, err, c.text)
		}
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add(archive(f))
	f.Fuzz(func(t *testing.T, data []byte) {
		w := newWorldOf(t, 1024, nil)
		// The archive may have names below the tree's own directories.
		empty := func() {
			for _, d := range []string{"/dev", "/tmp"} {
				for _, name := range w.names(d) {
					w.removeAll(d + "/" + name)
				}
			}
		}
		empty()
		w.start, w.paid = w.Stats(), w.charges.Totals()
		w.Unpack(data, nil)
		empty()
	})
}
