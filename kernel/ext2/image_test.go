package ext2

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"grim/kernel/disk/disktest"
)

// ram is a device in memory that records what was done to it.
type ram struct {
	mu     sync.Mutex
	data   []byte
	log    []record
	record bool
	ro     bool
	fail   func(write bool, off int64) error // may be nil
}

// record is a write, or a flush if data is nil.
type record struct {
	off  int64
	data []byte
}

func (r *ram) Size() int64    { return int64(len(r.data)) }
func (r *ram) ReadOnly() bool { return r.ro }

func (r *ram) ReadAt(p []byte, off int64) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if off < 0 || off%512 != 0 || len(p)%512 != 0 || off+int64(len(p)) > r.Size() {
		return 0, syscall.EINVAL
	}
	if r.fail != nil {
		if err := r.fail(false, off); err != nil {
			return 0, err
		}
	}
	return copy(p, r.data[off:]), nil
}

func (r *ram) WriteAt(p []byte, off int64) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if off < 0 || off%512 != 0 || len(p)%512 != 0 || off+int64(len(p)) > r.Size() {
		return 0, syscall.EINVAL
	}
	if r.fail != nil {
		if err := r.fail(true, off); err != nil {
			return 0, err
		}
	}
	if r.record {
		r.log = append(r.log, record{off, bytes.Clone(p)})
	}
	return copy(r.data[off:], p), nil
}

func (r *ram) Flush() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.record {
		r.log = append(r.log, record{})
	}
	return nil
}

// kinds are the kinds of images to test, given as arguments of mke2fs.
var kinds = []struct {
	name string
	mb   int
	args string
}{
	{"ext2-1k", 8, "-t ext2 -b 1024"},
	{"ext2-4k", 16, "-t ext2 -b 4096"},
	{"ext2-old", 8, "-t ext2 -b 1024 -I 128 -O none"},
	{"ext4", 16, "-t ext4 -b 4096 -O ^has_journal"},
	{"ext4-1k", 12, "-t ext4 -b 1024 -O ^has_journal -g 1024"},
	{"ext4-journal", 24, "-t ext4"},
	{"ext4-crc16", 12, "-t ext4 -b 2048 -O ^has_journal,^metadata_csum,uninit_bg,^64bit"},
}

// image returns an image made by mke2fs.
func image(t testing.TB, mb int, args string, more ...string) *ram {
	t.Helper()
	file := filepath.Join(t.TempDir(), "image")
	all := append(strings.Fields("-q -F -E lazy_itable_init=1,hash_seed=5b1e3c5a-8b0d-4d0e-9d3b-111111111111 -U 5b1e3c5a-8b0d-4d0e-9d3b-222222222222 "+args), more...)
	all = append(all, file, fmt.Sprintf("%dM", mb))
	if out, code := disktest.Tool(t, "mke2fs", all...); code != 0 {
		t.Fatalf("mke2fs %v: %s", all, out)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return &ram{data: b}
}

// save writes an image to a file for the tools.
func save(t testing.TB, data []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(file, data, 0o666); err != nil {
		t.Fatal(err)
	}
	return file
}

// clean checks that e2fsck finds no errors in an image.
func clean(t testing.TB, data []byte) {
	t.Helper()
	if out, code := disktest.Tool(t, "e2fsck", "-fn", save(t, data)); code != 0 {
		t.Fatalf("e2fsck -fn: status %d\n%s", code, out)
	}
}

// repair runs e2fsck -p on an image, which must be able to repair it, and returns the
// result.
func repair(t testing.TB, data []byte) (*ram, string) {
	t.Helper()
	file := save(t, data)
	out, code := disktest.Tool(t, "e2fsck", "-p", file)
	if code > 1 {
		t.Fatalf("e2fsck -p: status %d\n%s", code, out)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return &ram{data: b}, out
}

var testClock int64 = 1_700_000_000_123_456_789

func options(t testing.TB) Options {
	return Options{Now: func() int64 { testClock += 1e6; return testClock }, Log: func(s string) { t.Log(s) }}
}

func open(t testing.TB, d Device) *FS {
	t.Helper()
	f, err := Open(d, options(t))
	if err != nil {
		t.Fatal(err)
	}
	return f
}
