package vm

import (
	"bytes"
	"sync/atomic"
	"syscall"
	"testing"

	"grim/arch"
)

func TestSharedAnon(t *testing.T) {
	bothFormats(t, func(t *testing.T, f *arch.Format) {
		m := newMachine(t, f, 1024)
		vs := m.space()
		va := mustMap(t, vs, 0, 4<<12, rw, Anon|Shared, nil, 0)
		mustStore(t, vs, va, 1)
		c, err := vs.Fork(arch.SharedUK, 0)
		if err != nil {
			t.Fatal(err)
		}
		mustStore(t, c, va+4096, 2)
		wantLoad(t, vs, va+4096, 2)
		wantLoad(t, c, va, 1)
		k1, _ := vs.FutexKey(va + 8)
		k2, _ := c.FutexKey(va + 8)
		k3, _ := c.FutexKey(va + 12)
		if k1 != k2 || k1 == k3 {
			t.Errorf("futex keys %v %v %v: want the first two equal", k1, k2, k3)
		}
		p := mustMap(t, vs, 0x50000000, 4096, rw, Anon|Private|Fixed, nil, 0)
		k1, _ = vs.FutexKey(p)
		k2, _ = vs.PrivateFutexKey(p)
		if k1 == k2 {
			t.Errorf("private and shared operations on a private word have one key: %v", k1)
		}
		// A second mapping of the same pages, by mremap with old size 0.
		va2, err := vs.Remap(va, 0, 4<<12, mremapMayMove, 0)
		if err != nil {
			t.Fatal(err)
		}
		mustStore(t, vs, va2+8192, 3)
		wantLoad(t, c, va+8192, 3)
		m.end(c)
	})
}

func TestFileMappings(t *testing.T) {
	bothFormats(t, func(t *testing.T, f *arch.Format) {
		m := newMachine(t, f, 1024)
		vs := m.space()
		o := NewFileObject(m.System, "/f", nil)
		defer o.Unref()
		if _, err := o.WriteAt(bytes.Repeat([]byte{7}, 3*4096+100), 0); err != nil {
			t.Fatal(err)
		}
		var writes atomic.Int32
		o.OnWrite(func() { writes.Add(1) })
		sh := mustMap(t, vs, 0, 4<<12, rw, Shared, o, 0)
		pr := mustMap(t, vs, 0, 4<<12, rw, Private, o, 0)
		wantLoad(t, vs, sh, 7)
		wantLoad(t, vs, pr, 7)
		mustStore(t, vs, pr, 8)
		wantLoad(t, vs, sh, 7)
		mustStore(t, vs, sh+1, 9)
		b := make([]byte, 2)
		o.ReadAt(b, 0)
		if b[0] != 7 || b[1] != 9 {
			t.Errorf("read(2) sees %v, want 7 9", b)
		}
		if err := vs.Sync(sh, 4<<12, msSync); err != nil || writes.Load() != 1 {
			t.Errorf("msync: %v, %d pages taken back, want 1", err, writes.Load())
		}
		vs.Sync(sh, 4<<12, msSync)
		if writes.Load() != 1 {
			t.Error("msync handed a clean page over")
		}
		mustStore(t, vs, sh+1, 10) // must be seen again
		mustStore(t, vs, sh+4096, 10)
		if err := vs.Protect(sh, 4096, arch.Read); err != nil { // dirt survives
			t.Fatal(err)
		}
		if err := vs.Unmap(sh, 4<<12); err != nil || writes.Load() != 3 {
			t.Errorf("munmap: %v, %d pages taken back in all, want 3", err, writes.Load())
		}
		wantLoad(t, vs, pr, 8)
		mustStore(t, vs, pr+3*4096+200, 1) // behind the end, same page
		wantErr(t, "page 5 of 4", vs.Fault(pr+4<<12, arch.Read), syscall.EFAULT)
	})
}

// A value computed from a file is dropped at every kind of change. It is not kept at all
// once a mapping can change the file unseen. Broken once for each kind by leaving out its
// call of changed: the old value comes back.
func TestDerived(t *testing.T) {
	m := newMachine(t, formats[0], 1024)
	o := NewFileObject(m.System, "/f", nil)
	defer o.Unref()
	keep := func(what string) {
		t.Helper()
		_, v := o.Derived()
		o.SetDerived(what, v)
		if got, _ := o.Derived(); got != what {
			t.Errorf("before %s: %v is kept", what, got)
		}
	}
	gone := func(what string) {
		t.Helper()
		if got, _ := o.Derived(); got != nil {
			t.Errorf("after %s: %v is still there", what, got)
		}
	}
	keep("write")
	o.WriteAt([]byte{1, 2, 3}, 4096)
	gone("write")
	keep("truncate")
	o.Truncate(4097)
	gone("truncate")
	_, v := o.Derived()
	o.WriteAt([]byte{4}, 0)
	o.SetDerived("of the old contents", v)
	gone("a write in between")
	vs := m.space()
	va := mustMap(t, vs, 0, 8192, rw, Shared, o, 0)
	wantLoad(t, vs, va, 4)
	keep("store")
	mustStore(t, vs, va, 5)
	gone("store")
	_, v = o.Derived()
	o.SetDerived("stale soon", v)
	gone("a mapping that may store any time")
}
