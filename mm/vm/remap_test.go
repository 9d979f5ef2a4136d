package vm

import (
	"syscall"
	"testing"

	"grim/arch"
)

func TestRemap(t *testing.T) {
	bothFormats(t, func(t *testing.T, f *arch.Format) {
		m := newMachine(t, f, 4096)
		vs := m.space()
		const base = 0x40000000
		va := mustMap(t, vs, base, 8<<12, rw, Anon|Private|Fixed, nil, 0)
		for i := range arch.VA(8) {
			mustStore(t, vs, va+i<<12, byte(i))
		}
		free := m.mem.FreeFrames()
		// Shrink, grow in place, grow by moving.
		if got, err := vs.Remap(va, 8<<12, 4<<12, 0, 0); got != va || err != nil {
			t.Fatalf("shrink: %#x, %v", got, err)
		}
		wantErr(t, "cut off", vs.Fault(va+4<<12, arch.Read), syscall.EFAULT)
		if got, err := vs.Remap(va, 4<<12, 6<<12, 0, 0); got != va || err != nil {
			t.Fatalf("grow in place: %#x, %v", got, err)
		}
		wantLoad(t, vs, va+4<<12, 0)
		mustMap(t, vs, va+6<<12, 4096, arch.Read, Anon|Private|Fixed, nil, 0)
		_, err := vs.Remap(va, 6<<12, 7<<12, 0, 0)
		wantErr(t, "no room, may not move", err, syscall.ENOMEM)
		to, err := vs.Remap(va, 6<<12, 7<<12, mremapMayMove, 0)
		if err != nil || to == va {
			t.Fatalf("move: %#x, %v", to, err)
		}
		for i := range arch.VA(4) {
			wantLoad(t, vs, to+i<<12, byte(i))
		}
		wantErr(t, "old address", vs.Fault(va, arch.Read), syscall.EFAULT)
		if n := m.mem.FreeFrames(); n < free {
			t.Errorf("moving took %d frames: pages were copied", free-n)
		}
		// Part of a mapping to a fixed place, over something.
		if got, err := vs.Remap(to+4096, 2<<12, 2<<12, mremapMayMove|mremapFixed, va+6<<12); err != nil || got != va+6<<12 {
			t.Fatalf("fixed: %#x, %v", got, err)
		}
		wantLoad(t, vs, va+6<<12, 1)
		wantLoad(t, vs, to, 0)
		wantErr(t, "hole", vs.Fault(to+4096, arch.Read), syscall.EFAULT)
		// DONTUNMAP leaves an empty mapping.
		du, err := vs.Remap(va+6<<12, 2<<12, 2<<12, mremapMayMove|mremapDontUnmap, 0)
		if err != nil {
			t.Fatal(err)
		}
		wantLoad(t, vs, du, 1)
		wantLoad(t, vs, va+6<<12, 0)
		for _, c := range []struct {
			name   string
			old    arch.VA
			ol, nl uint64
			flags  int
			to     arch.VA
			want   error
		}{
			{"odd", va + 1, 4096, 4096, 0, 0, syscall.EINVAL},
			{"to length 0", du, 4096, 0, 0, 0, syscall.EINVAL},
			{"unknown flag", du, 4096, 4096, 8, 0, syscall.EINVAL},
			{"fixed without maymove", du, 4096, 4096, mremapFixed, base, syscall.EINVAL},
			{"fixed overlapping", du, 2 << 12, 2 << 12, 3, du + 4096, syscall.EINVAL},
			{"fixed in the kernel", du, 2 << 12, 2 << 12, 3, arch.UserMax - 4096, syscall.EINVAL},
			{"nothing there", 0x90000000, 4096, 8192, 1, 0, syscall.EFAULT},
			{"more than one mapping", va + 6<<12, 3 << 12, 4 << 12, 1, 0, syscall.EFAULT},
			{"old length 0 of private", du, 0, 4096, 1, 0, syscall.EINVAL},
			{"huge", du, 4096, 1 << 47, 1, 0, syscall.ENOMEM},
		} {
			if _, err := vs.Remap(c.old, c.ol, c.nl, c.flags, c.to); err != c.want {
				t.Errorf("%s: %v, want %v", c.name, err, c.want)
			}
		}
		check(t, vs)
	})
}

// Blocks move as blocks if the addresses allow that, and as pages if not.
func TestRemapBlock(t *testing.T) {
	bothFormats(t, func(t *testing.T, f *arch.Format) {
		m := newMachine(t, f, 4096)
		vs := m.space()
		va := mustMap(t, vs, 0x40000000, 4<<20, rw, Anon|Private|Fixed|Populate, nil, 0)
		mustStore(t, vs, va+5<<12, 5)
		to := va + 1<<30
		for _, to := range []arch.VA{to, to + 8<<20 + 4096} {
			got, err := vs.Remap(va, 4<<20, 4<<20, mremapMayMove|mremapFixed, to)
			if err != nil || got != to {
				t.Fatalf("move to %#x: %#x, %v", to, got, err)
			}
			wantLoad(t, vs, to+5<<12, 5)
			va = to
			check(t, vs)
		}
	})
}
