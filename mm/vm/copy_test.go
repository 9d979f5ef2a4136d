package vm

import (
	"bytes"
	"strings"
	"syscall"
	"testing"

	"grim/arch"
)

// Every bad pointer gives EFAULT, and nothing else changes.
func TestBadPointers(t *testing.T) {
	bothFormats(t, func(t *testing.T, f *arch.Format) {
		m := newMachine(t, f, 1024)
		vs := m.space()
		const base = 0x40000000
		mustMap(t, vs, base, 2<<12, rw, Anon|Private|Fixed, nil, 0)
		mustMap(t, vs, base+2<<12, 1<<12, arch.Read, Anon|Private|Fixed, nil, 0)
		mustMap(t, vs, base+4<<12, 1<<12, 0, Anon|Private|Fixed, nil, 0)
		top := mustMap(t, vs, arch.UserMax-4096, 4096, rw, Anon|Private|Fixed, nil, 0)
		data := bytes.Repeat([]byte{1}, 3*4096)
		for _, c := range []struct {
			name        string
			va          arch.VA
			n           int
			read, write bool
		}{
			{"page 0", 0, 1, false, false},
			{"unmapped", 0x1000, 1, false, false},
			{"valid", base, 8192, true, true},
			{"valid, unaligned", base + 1, 8191, true, true},
			{"half read-only", base + 4096, 8192, true, false},
			{"last byte read-only", base + 1, 8192, true, false},
			{"half unmapped", base + 8192, 8192, false, false},
			{"no access", base + 4<<12, 1, false, false},
			{"last page", top, 4096, true, true},
			{"over the top", top, 4097, false, false},
			{"kernel", arch.DirectBase, 1, false, false},
			{"kernel image", arch.KernelBase, 1, false, false},
			{"not canonical", 1 << 50, 1, false, false},
			{"wraps", ^arch.VA(0), 2, false, false},
			{"last address", ^arch.VA(0), 1, false, false},
			{"at the top, empty", arch.UserMax, 0, true, true},
		} {
			before := make([]byte, 3*4096)
			if err := vs.CopyIn(before, base); err != nil {
				t.Fatal(err)
			}
			if err := vs.CopyIn(make([]byte, c.n), c.va); (err == nil) != c.read || err != nil && err != syscall.EFAULT {
				t.Errorf("copy in, %s: %v", c.name, err)
			}
			if err := vs.EnsureReadable(c.va, uint64(c.n)); (err == nil) != c.read {
				t.Errorf("ensure readable, %s: %v", c.name, err)
			}
			for what, fn := range map[string]func() error{
				"copy out":        func() error { return vs.CopyOut(c.va, data[:c.n]) },
				"zero out":        func() error { return vs.ZeroOut(c.va, uint64(c.n)) },
				"ensure writable": func() error { return vs.EnsureWritable(c.va, uint64(c.n)) },
			} {
				err := fn()
				if (err == nil) != c.write || err != nil && err != syscall.EFAULT {
					t.Errorf("%s, %s: %v", what, c.name, err)
				}
				if after := make([]byte, 3*4096); err != nil {
					vs.CopyIn(after, base)
					if !bytes.Equal(before, after) {
						t.Errorf("%s, %s: failed, and changed memory", what, c.name)
					}
				}
			}
			if c.write {
				vs.CopyOut(c.va, make([]byte, c.n))
			}
		}
		if err := vs.CopyIn(make([]byte, 8), arch.UserMax-4); err != syscall.EFAULT {
			t.Errorf("across the top: %v", err)
		}
	})
}

func TestCopyString(t *testing.T) {
	m := newMachine(t, formats[0], 1024)
	vs := m.space()
	const base = 0x40000000
	mustMap(t, vs, base, 2<<12, rw, Anon|Private|Fixed, nil, 0)
	s := strings.Repeat("x", 100)
	vs.CopyOut(base+4096-50, append([]byte(s), 0))
	if got, err := vs.CopyInString(base+4096-50, 100); got != s || err != nil {
		t.Errorf("string over two pages: %q, %v", got, err)
	}
	_, err := vs.CopyInString(base+4096-50, 99)
	wantErr(t, "too long", err, syscall.ENAMETOOLONG)
	vs.CopyOut(base+8192-3, []byte("abc"))
	_, err = vs.CopyInString(base+8192-3, 100)
	wantErr(t, "runs off the map", err, syscall.EFAULT)
	if got, err := vs.CopyInString(base+8192-4, 0); got != "" || err != nil {
		t.Errorf("empty string: %q, %v", got, err)
	}
	for _, va := range []arch.VA{0, arch.UserMax, ^arch.VA(0), arch.KernelBase} {
		_, err = vs.CopyInString(va, 10)
		wantErr(t, "bad address", err, syscall.EFAULT)
	}
}

func TestWords(t *testing.T) {
	m := newMachine(t, formats[1], 1024)
	vs := m.space()
	va := mustMap(t, vs, 0, 4096, rw, Anon|Private, nil, 0)
	if err := vs.WriteUint32(va+4, 0x01020304); err != nil {
		t.Fatal(err)
	}
	wantLoad(t, vs, va+4, 4)
	if ok, err := vs.CompareAndSwapUint32(va+4, 0x01020304, 7); !ok || err != nil {
		t.Errorf("compare and swap: %v, %v", ok, err)
	}
	if ok, err := vs.CompareAndSwapUint32(va+4, 1, 8); ok || err != nil {
		t.Errorf("compare and swap of another value: %v, %v", ok, err)
	}
	if v, err := vs.ReadUint64(va); v != 7<<32 || err != nil {
		t.Errorf("read %#x, %v", v, err)
	}
	if err := vs.WriteUint64(va+8, 1<<40); err != nil {
		t.Fatal(err)
	}
	_, err := vs.ReadUint32(va + 2)
	wantErr(t, "misaligned", err, syscall.EINVAL)
	_, err = vs.ReadUint64(va + 4)
	wantErr(t, "misaligned", err, syscall.EINVAL)
	_, err = vs.FutexKey(va + 1)
	wantErr(t, "misaligned key", err, syscall.EINVAL)
	_, err = vs.FutexKey(va + 4096)
	wantErr(t, "key of nothing", err, syscall.EFAULT)
	wantErr(t, "kernel word", vs.WriteUint32(arch.KernelBase, 1), syscall.EFAULT)
	wantErr(t, "top word", vs.WriteUint32(^arch.VA(3), 1), syscall.EFAULT)
}
