package vm

import (
	"math/rand"
	"syscall"
	"testing"

	"grim/arch"
)

func TestMapErrors(t *testing.T) {
	bothFormats(t, func(t *testing.T, f *arch.Format) {
		m := newMachine(t, f, 1024)
		vs := m.space()
		o := NewFileObject(m.System, "f", nil)
		defer o.Unref()
		const base = 0x20000000
		mustMap(t, vs, base, 4096, rw, Anon|Private|Fixed, nil, 0)
		for _, c := range []struct {
			name  string
			addr  arch.VA
			n     uint64
			prot  arch.Prot
			flags MapFlags
			obj   Object
			off   int64
			want  error
		}{
			{"length 0", 0, 0, rw, Anon | Private, nil, 0, syscall.EINVAL},
			{"length wraps", 0, ^uint64(0), rw, Anon | Private, nil, 0, syscall.ENOMEM},
			{"longer than user memory", 0, 1<<47 + 1, rw, Anon | Private, nil, 0, syscall.ENOMEM},
			{"as long as user memory", 0, 1 << 47, rw, Anon | Private, nil, 0, syscall.ENOMEM},
			{"shared and private", 0, 4096, rw, Anon | Private | Shared, nil, 0, syscall.EINVAL},
			{"no object", 0, 4096, rw, Private, nil, 0, syscall.EINVAL},
			{"odd offset", 0, 4096, rw, Private, o, 1, syscall.EINVAL},
			{"negative offset", 0, 4096, rw, Private, o, -4096, syscall.EINVAL},
			{"offset wraps", 0, 8192, rw, Private, o, 1<<63 - 4096, syscall.EOVERFLOW},
			{"fixed, odd", base + 1, 4096, rw, Anon | Private | Fixed, nil, 0, syscall.EINVAL},
			{"fixed, page 0", 0, 4096, rw, Anon | Private | Fixed, nil, 0, syscall.EPERM},
			{"fixed, kernel", arch.UserMax, 4096, rw, Anon | Private | Fixed, nil, 0, syscall.ENOMEM},
			{"fixed, wraps", ^arch.VA(0) &^ 4095, 8192, rw, Anon | Private | Fixed, nil, 0, syscall.ENOMEM},
			{"no replace", base, 4096, rw, Anon | Private | FixedNoReplace, nil, 0, syscall.EEXIST},
			{"write to read-only file", 0, 4096, rw, Shared | MayNotWrite, o, 0, syscall.EACCES},
		} {
			if _, err := vs.Map(c.addr, c.n, c.prot, c.flags, c.obj, c.off); err != c.want {
				t.Errorf("%s: %v, want %v", c.name, err, c.want)
			}
		}
		wantErr(t, "unmap odd", vs.Unmap(base+1, 4096), syscall.EINVAL)
		wantErr(t, "unmap nothing", vs.Unmap(base, 0), syscall.EINVAL)
		wantErr(t, "unmap kernel", vs.Unmap(arch.UserMax-4096, 8192), syscall.EINVAL)
		wantErr(t, "unmap a hole", vs.Unmap(base+0x10000, 4096), nil)
		wantErr(t, "protect a hole", vs.Protect(base, 8192, arch.Read), syscall.ENOMEM)
		wantErr(t, "protect wraps", vs.Protect(base, ^uint64(0), arch.Read), syscall.ENOMEM)
		ro := mustMap(t, vs, 0, 4096, arch.Read, Shared|MayNotWrite, o, 0)
		wantErr(t, "protect of a read-only file", vs.Protect(ro, 4096, rw), syscall.EACCES)
		if n := len(vs.Entries()); n != 2 {
			t.Errorf("%d entries, want 2: %+v", n, vs.Entries())
		}
	})
}

// Adjacent mappings of one kind are one entry, in whatever order they are made.
func TestMerge(t *testing.T) {
	m := newMachine(t, formats[0], 1024)
	vs := m.space()
	const base = 0x20000000
	for _, i := range rand.New(rand.NewSource(1)).Perm(64) {
		mustMap(t, vs, base+arch.VA(i)<<12, 4096, rw, Anon|Private|Fixed, nil, 0)
	}
	if l := vs.Entries(); len(l) != 1 || l[0].End-l[0].Start != 64<<12 {
		t.Errorf("64 pages in a row are %+v, want one entry", l)
	}
	if err := vs.Protect(base+8<<12, 8<<12, arch.Read); err != nil {
		t.Fatal(err)
	}
	if n := len(vs.Entries()); n != 3 {
		t.Errorf("%d entries after mprotect in the middle, want 3", n)
	}
	if err := vs.Protect(base+4<<12, 20<<12, rw); err != nil {
		t.Fatal(err)
	}
	if n := len(vs.Entries()); n != 1 {
		t.Errorf("%d entries after mprotect back, want 1", n)
	}
}

// Every address that Map chooses is free, within bounds, outside guard gaps, and the
// highest that fits.
func TestPick(t *testing.T) {
	m := newMachine(t, formats[0], 1024)
	vs := m.space()
	stack := mustMap(t, vs, 0x7fff00000000, 0x10000, rw, Anon|Private|Fixed|GrowsDown, nil, 0)
	vs.SetMmapBase(stack)
	a := mustMap(t, vs, 0, 4096, 0, Anon|Private, nil, 0)
	if a != stack-stackGuard-4096 {
		t.Errorf("below a stack at %#x: %#x, want the guard gap kept", stack, a)
	}
	r := rand.New(rand.NewSource(2))
	var got []arch.VA
	for range 2000 {
		switch r.Intn(3) {
		case 0:
			if len(got) > 0 {
				i := r.Intn(len(got))
				if err := vs.Unmap(got[i], 4096*uint64(1+r.Intn(3))); err != nil {
					t.Fatal(err)
				}
			}
		default:
			n := uint64(1+r.Intn(5)) << 12
			prot := arch.Prot(r.Intn(8)) // so that not everything merges
			want := highestFree(vs, n, vs.mmapBase)
			va := mustMap(t, vs, 0, n, prot, Anon|Private, nil, 0)
			if va != want {
				t.Fatalf("picked %#x for %#x bytes, highest free is %#x", va, n, want)
			}
			got = append(got, va)
		}
	}
	check(t, vs)
}

// highestFree is the plain version of entryTree.findGap.
func highestFree(vs *VMSpace, n uint64, limit arch.VA) (best arch.VA) {
	lo := arch.UserMin
	for e := vs.tree.first; e != nil; e = e.next {
		if hi := min(e.floor(), limit); hi > lo && uint64(hi-lo) >= n {
			best = hi - arch.VA(n)
		}
		lo = e.end
	}
	if limit > lo && uint64(limit-lo) >= n {
		best = limit - arch.VA(n)
	}
	return best
}

func TestLimits(t *testing.T) {
	m := newMachine(t, formats[0], 1024)
	vs := m.space()
	l := vs.Limits()
	l.AS, l.Data = 64<<12, 16<<12
	vs.SetLimits(l)
	const base = 0x20000000
	_, err := vs.Map(base, 17<<12, rw, Anon|Private|Fixed, nil, 0)
	wantErr(t, "over RLIMIT_DATA", err, syscall.ENOMEM)
	mustMap(t, vs, base, 16<<12, rw, Anon|Private|Fixed, nil, 0)
	mustMap(t, vs, base+1<<20, 48<<12, arch.Read, Anon|Private|Fixed, nil, 0)
	_, err = vs.Map(0, 1<<12, arch.Read, Anon|Private, nil, 0)
	wantErr(t, "over RLIMIT_AS", err, syscall.ENOMEM)
	mustMap(t, vs, base+1<<20, 48<<12, arch.Read, Anon|Private|Fixed, nil, 0) // replaces: no growth
	wantErr(t, "mprotect over RLIMIT_DATA", vs.Protect(base+1<<20, 4096, rw), syscall.ENOMEM)
	_, err = vs.Remap(base, 16<<12, 17<<12, mremapMayMove, 0)
	wantErr(t, "mremap over RLIMIT_AS", err, syscall.ENOMEM)
	vs.SetBrk(0x10000000)
	if b := vs.Brk(0x10001000); b != 0x10000000 {
		t.Errorf("brk over limits moved to %#x", b)
	}

	// The limit of resident pages: only the fault that would exceed it fails.
	l.AS, l.Data, l.Resident = Unlimited, Unlimited, 4<<12
	vs.SetLimits(l)
	for i := range 4 {
		mustStore(t, vs, base+arch.VA(i)<<12, 1)
	}
	wantErr(t, "fifth page", store(vs, base+4<<12, 1), syscall.ENOMEM)
	wantErr(t, "copy out to the fifth page", vs.CopyOut(base+4<<12, []byte{1}), syscall.ENOMEM)
	if err := vs.Advise(base, 4096, 4 /* DONTNEED */); err != nil {
		t.Fatal(err)
	}
	mustStore(t, vs, base+4<<12, 1)
}

func TestStackGrowth(t *testing.T) {
	bothFormats(t, func(t *testing.T, f *arch.Format) {
		m := newMachine(t, f, 2048)
		vs := m.space()
		l := vs.Limits()
		l.Stack = 2 << 20
		vs.SetLimits(l)
		const top = 0x7fff00000000
		below := mustMap(t, vs, top-8<<20, 4096, rw, Anon|Private|Fixed, nil, 0)
		mustMap(t, vs, top-4096, 4096, rw, Anon|Private|Fixed|GrowsDown, nil, 0)
		mustStore(t, vs, top-1<<20, 7)
		wantLoad(t, vs, top-1<<20, 7)
		if e := vs.Entries()[1]; e.Start != top-1<<20 || e.Name != "[stack]" {
			t.Errorf("stack is %+v, want it to start at the page touched", e)
		}
		wantErr(t, "beyond RLIMIT_STACK", store(vs, top-2<<20-1, 1), syscall.EFAULT)
		mustStore(t, vs, top-2<<20, 1)
		l.Stack = Unlimited
		vs.SetLimits(l)
		wantErr(t, "into the guard gap", store(vs, below+4096+stackGuard-1, 1), syscall.EFAULT)
		mustStore(t, vs, below+4096+stackGuard, 1)
		wantErr(t, "no stack above", store(vs, 0x10000, 1), syscall.EFAULT)
	})
}

func TestBrk(t *testing.T) {
	m := newMachine(t, formats[1], 1024)
	vs := m.space()
	const start = 0x10000123
	if b := vs.Brk(0x20000000); b != 0 {
		t.Errorf("brk before SetBrk: %#x", b)
	}
	vs.SetBrk(start)
	if b := vs.Brk(0); b != start {
		t.Errorf("brk(0) = %#x, want the start %#x", b, uint64(start))
	}
	if b := vs.Brk(start + 0x5000); b != start+0x5000 {
		t.Fatalf("brk up: %#x", b)
	}
	mustStore(t, vs, 0x10001000, 5)
	mustStore(t, vs, start+0x4fff, 6)
	if b := vs.Brk(start + 1); b != start+1 {
		t.Fatalf("brk down: %#x", b)
	}
	wantErr(t, "above the break", store(vs, 0x10001000, 1), syscall.EFAULT)
	vs.Brk(start + 0x5000)
	wantLoad(t, vs, 0x10001000, 0) // what came back is zero
	mustMap(t, vs, 0x10010000, 4096, rw, Anon|Private|Fixed, nil, 0)
	if b := vs.Brk(0x10020000); b != start+0x5000 {
		t.Errorf("brk into a neighbour moved to %#x", b)
	}
	if e := vs.Entries()[0]; e.Name != "[heap]" {
		t.Errorf("heap is called %q", e.Name)
	}
}
