package vm

import (
	"syscall"
	"testing"

	"grim/arch"
)

// A single request for more memory than there is fails, in every call that can make one. A
// request that needs no frames of its own may have any size. Seen to fail without
// mayCommit, call by call.
func TestOvercommit(t *testing.T) {
	const frames = 1024
	const ram = frames << 12
	const huge = ram + 4096
	const base = 0x40000000
	newSpace := func() *VMSpace { return newMachine(t, formats[0], frames).space() }
	t.Run("mmap", func(t *testing.T) {
		vs := newSpace()
		o := NewFileObject(vs.sys, "/f", nil)
		defer o.Unref()
		for _, c := range []struct {
			name  string
			prot  arch.Prot
			flags MapFlags
			obj   Object
			want  error
		}{
			{"private", rw, Private | Anon, nil, syscall.ENOMEM},
			{"private, write only", arch.Write, Private | Anon, nil, syscall.ENOMEM},
			{"shared anonymous", arch.Read, Shared | Anon, nil, syscall.ENOMEM},
			{"private file", rw, Private, o, syscall.ENOMEM},
			{"private, not reserved", rw, Private | Anon | NoReserve, nil, nil},
			{"shared, not reserved", rw, Shared | Anon | NoReserve, nil, nil},
			{"private, for reading", arch.Read, Private | Anon, nil, nil},
			{"no access", 0, Private | Anon, nil, nil},
			{"shared file", rw, Shared, o, nil},
		} {
			_, err := vs.Map(0, huge, c.prot, c.flags, c.obj, 0)
			wantErr(t, c.name, err, c.want)
		}
		for range 3 { // many requests may sum up to more
			mustMap(t, vs, 0, ram/2, rw, Private|Anon, nil, 0)
		}
	})
	t.Run("mprotect", func(t *testing.T) {
		vs := newSpace()
		va := mustMap(t, vs, base, huge, 0, Private|Anon|Fixed, nil, 0)
		wantErr(t, "to writable", vs.Protect(va, huge, rw), syscall.ENOMEM)
		wantErr(t, "a part", vs.Protect(va, ram/2, rw), nil)
		wantErr(t, "to readable", vs.Protect(va, huge, arch.Read), nil)
		va = mustMap(t, vs, base+1<<30, huge, 0, Private|Anon|Fixed|NoReserve, nil, 0)
		wantErr(t, "not reserved", vs.Protect(va, huge, rw), nil)
	})
	t.Run("brk", func(t *testing.T) {
		vs := newSpace()
		vs.SetBrk(base)
		if b := vs.Brk(base + 64<<40); b != base {
			t.Errorf("brk + 64 TB: %#x", b)
		}
		if b := vs.Brk(base + huge); b != base {
			t.Errorf("brk to more than RAM: %#x", b)
		}
		if b := vs.Brk(base + ram); b != base+ram {
			t.Errorf("brk to RAM: %#x", b)
		}
	})
	t.Run("mremap", func(t *testing.T) {
		vs := newSpace()
		va := mustMap(t, vs, base, 4096, rw, Private|Anon|Fixed, nil, 0)
		for _, flags := range []int{0, mremapMayMove} {
			_, err := vs.Remap(va, 4096, huge+4096, flags, 0)
			wantErr(t, "growth", err, syscall.ENOMEM)
		}
	})
	t.Run("stack", func(t *testing.T) {
		vs := newSpace()
		l := vs.Limits()
		l.Stack = Unlimited
		vs.SetLimits(l)
		mustMap(t, vs, base+1<<30, 4096, rw, Private|Anon|Fixed|GrowsDown, nil, 0)
		wantErr(t, "growth", store(vs, base+1<<30-huge, 1), syscall.EFAULT)
	})
}

// RLIMIT_MEMLOCK applies wherever memory is locked. With a limit of 0 there is no right to
// lock at all. Seen to fail without mayLock in each of the calls.
func TestMemlock(t *testing.T) {
	const base = 0x40000000
	m := newMachine(t, formats[1], 1024)
	vs := m.space()
	limit := func(n uint64) {
		l := vs.Limits()
		l.Memlock = n
		vs.SetLimits(l)
	}
	limit(8 << 12)
	mustMap(t, vs, base, 16<<12, rw, Private|Anon|Fixed, nil, 0)
	wantErr(t, "mlock over the limit", vs.Lock(base, 9<<12, false), syscall.ENOMEM)
	wantErr(t, "mlock", vs.Lock(base, 8<<12, true), nil)
	wantErr(t, "mlock of the same", vs.Lock(base, 8<<12, false), nil)
	wantErr(t, "one page more", vs.Lock(base+4<<12, 5<<12, false), syscall.ENOMEM)
	_, err := vs.Map(0, 4096, rw, Private|Anon|Locked, nil, 0)
	wantErr(t, "MAP_LOCKED", err, syscall.EAGAIN)
	_, err = vs.Remap(base, 8<<12, 9<<12, mremapMayMove, 0)
	wantErr(t, "mremap", err, syscall.EAGAIN)
	wantErr(t, "mlockall", vs.LockAll(mclCurrent), syscall.ENOMEM)
	wantErr(t, "mlockall of the future", vs.LockAll(mclFuture|mclOnFault), nil)
	_, err = vs.Map(0, 4096, rw, Private|Anon, nil, 0)
	wantErr(t, "mmap after it", err, syscall.EAGAIN)
	vs.SetBrk(base + 1<<30)
	if b := vs.Brk(base + 1<<30 + 4096); b != base+1<<30 {
		t.Errorf("brk after it: %#x", b)
	}
	wantErr(t, "munlock", vs.Unlock(base, 4096), nil)
	va := mustMap(t, vs, 0, 4096, rw, Private|Anon, nil, 0)
	if _, ok := vs.pm.Lookup(va); ok {
		t.Error("MCL_ONFAULT has brought a page in")
	}
	vs.UnlockAll()

	limit(0)
	wantErr(t, "mlock without the right", vs.Lock(base, 0, false), syscall.EPERM)
	wantErr(t, "mlockall without the right", vs.LockAll(mclCurrent), syscall.EPERM)
	_, err = vs.Map(0, 4096, rw, Private|Anon|Locked, nil, 0)
	wantErr(t, "MAP_LOCKED without the right", err, syscall.EPERM)

	// A hole stops mlock and munlock; the part before it is done.
	limit(Unlimited)
	must(t, vs.Unmap(base+4<<12, 4096))
	wantErr(t, "mlock over a hole", vs.Lock(base+2<<12, 8<<12, false), syscall.ENOMEM)
	if n := vs.Stats().Locked; n != 2<<12 {
		t.Errorf("%d bytes locked before a hole, want 2 pages", n)
	}
	wantErr(t, "munlock over a hole", vs.Unlock(base+3<<12, 8<<12), syscall.ENOMEM)
	if n := vs.Stats().Locked; n != 1<<12 {
		t.Errorf("%d bytes locked, want a page", n)
	}
	check(t, vs)
}

// RLIMIT_DATA and RLIMIT_AS do not count memory twice that MAP_FIXED replaces.
func TestFixedReplacesLimits(t *testing.T) {
	const base = 0x40000000
	vs := newMachine(t, formats[0], 1024).space()
	l := vs.Limits()
	l.AS, l.Data = 8<<12, 8<<12
	vs.SetLimits(l)
	mustMap(t, vs, base, 8<<12, rw, Private|Anon|Fixed, nil, 0)
	mustMap(t, vs, base, 8<<12, rw, Private|Anon|Fixed, nil, 0)
	_, err := vs.Map(base+4096, 8<<12, rw, Private|Anon|Fixed, nil, 0)
	wantErr(t, "a page more", err, syscall.ENOMEM)
}
