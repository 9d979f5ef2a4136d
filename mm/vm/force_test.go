package vm

import (
	"syscall"
	"testing"

	"grim/arch"
)

// Peek and Poke reach what the process itself may not access, and nothing that belongs to
// others. A read-only private page is copied first and stays read-only, and a shared
// mapping that cannot be written stays as it is. Seen to fail without forceCopy: the child,
// or the file, sees the bytes.
func TestPeekPoke(t *testing.T) {
	bothFormats(t, func(t *testing.T, f *arch.Format) {
		m := newMachine(t, f, 4096)
		vs := m.space()
		const base = 0x40000000
		o := NewFileObject(m.System, "/f", nil)
		defer o.Unref()
		if _, err := o.WriteAt([]byte{0: 7, 3*arch.PageSize - 1: 0}, 0); err != nil {
			t.Fatal(err)
		}
		anon := mustMap(t, vs, base, 4<<12, rw, Private|Anon|Fixed, nil, 0)
		text := mustMap(t, vs, base+1<<30, 2<<12, arch.Read|arch.Exec, Private|Fixed, o, 0)
		ro := mustMap(t, vs, base+2<<30, 4096, arch.Read, Shared|Fixed, o, 0)
		shared := mustMap(t, vs, base+3<<30, 4<<12, rw, Shared|Fixed, o, 0)
		block := mustMap(t, vs, base+4<<30, arch.BlockSize, rw, Private|Anon|Fixed, nil, 0)
		must(t, vs.EnsureWritable(block, arch.BlockSize))
		mustStore(t, vs, anon, 1)
		must(t, vs.Protect(anon, 4096, 0))
		must(t, vs.Protect(anon+4096, 4096, arch.Read))
		must(t, vs.Protect(block, arch.BlockSize, arch.Read))
		c, err := vs.Fork(arch.SharedUK, 0)
		must(t, err)
		peek := func(s *VMSpace, va arch.VA, want byte) {
			t.Helper()
			b := []byte{0xee}
			if n, err := s.Peek(b, va); n != 1 || err != nil || b[0] != want {
				t.Errorf("peek at %#x: %d, %v, %d; want %d", va, n, err, b[0], want)
			}
		}
		poke := func(va arch.VA, b byte) {
			t.Helper()
			if n, err := vs.Poke(va, []byte{b}); n != 1 || err != nil {
				t.Errorf("poke at %#x: %d, %v", va, n, err)
			}
			peek(vs, va, b)
		}
		peek(vs, anon, 1)
		for _, p := range []struct {
			va  arch.VA
			old byte
		}{{anon, 1}, {anon + 4096, 0}, {anon + 8192, 0}, {text, 7}, {text + 4096, 0}, {block + 5<<12, 0}} {
			poke(p.va, 99)
			peek(c, p.va, p.old)
		}
		wantErr(t, "store to what was poked", store(vs, anon+4096, 1), syscall.EACCES)
		wantErr(t, "store to text that was poked", store(vs, text, 1), syscall.EACCES)
		wantErr(t, "load of what was peeked", vs.Fault(anon, arch.Read), syscall.EACCES)
		wantLoad(t, vs, text, 99)
		var b [1]byte
		if o.ReadAt(b[:], 0); b[0] != 7 {
			t.Error("the file has what was poked into a private mapping")
		}
		must(t, vs.Protect(anon+4096, 4096, rw))
		mustStore(t, vs, anon+4096, 5) // with the protection comes the right
		peek(c, anon+4096, 0)

		if n, err := vs.Poke(ro, []byte{1}); n != 0 || err != syscall.EIO {
			t.Errorf("poke to a shared mapping for reading: %d, %v", n, err)
		}
		poke(shared, 44)
		if o.ReadAt(b[:], 0); b[0] != 44 {
			t.Error("the file lacks what was poked into a shared mapping")
		}
		for va, want := range map[arch.VA]error{base - 4096: syscall.EIO, arch.UserMax: syscall.EIO, 1 << 63: syscall.EIO, shared + 3<<12: syscall.EIO} {
			if n, err := vs.Peek(b[:], va); n != 0 || err != want {
				t.Errorf("peek at %#x: %d, %v, want %v", va, n, err, want)
			}
		}
		long := make([]byte, 8<<12)
		if n, err := vs.Peek(long, anon+4<<12-10); n != 10 || err != nil {
			t.Errorf("peek over the end: %d, %v", n, err)
		}
		check(t, vs)
		check(t, c)
		m.end(c)
	})
}

// The purge hands back a page of a shared file that was written by Poke (E1). After a purge
// the space has no memory to look at.
func TestPokePurge(t *testing.T) {
	m := newMachine(t, formats[0], 1024)
	pg := &slowPager{}
	o := NewFileObject(m.System, "/f", pg)
	defer o.Unref()
	must(t, o.Truncate(4096))
	vs := m.space()
	vs.Ref() // as /proc has
	va := mustMap(t, vs, 0x40000000, 4096, rw, Shared|Fixed, o, 0)
	if n, err := vs.Poke(va, []byte{5}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	vs.Purge(nil)
	if p := pg.pages[0]; len(p) == 0 || p[0] != 5 {
		t.Error("the page was not handed back")
	}
	for _, fn := range []func() (int, error){
		func() (int, error) { return vs.Peek(make([]byte, 1), va) },
		func() (int, error) { return vs.Poke(va, []byte{1}) },
	} {
		if n, err := fn(); n != 0 || err != syscall.EIO {
			t.Errorf("after the purge: %d, %v", n, err)
		}
	}
	vs.Release()
}

// One thread reads and one writes the memory while its owner forks, faults and is purged.
// It is for the race detector, and for the counts at the end.
func TestPokeParallel(t *testing.T) {
	m := newMachine(t, formats[1], 4096)
	vs := m.space()
	const base, n = 0x40000000, 64
	o := NewFileObject(m.System, "/f", nil)
	defer o.Unref()
	must(t, o.Truncate(n<<12))
	mustMap(t, vs, base, n<<12, rw, Private|Anon|Fixed, nil, 0)
	mustMap(t, vs, base+1<<30, n<<12, arch.Read, Private|Fixed, o, 0)
	done, stop := make(chan bool), make(chan bool)
	go func() {
		defer close(done)
		b := make([]byte, 5000)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			va := base + arch.VA(i%2)<<30 + arch.VA(i%n)<<12
			vs.Poke(va, b)
			vs.Peek(b, va)
		}
	}()
	for i := range 20 {
		c, err := vs.Fork(arch.SharedUK, 0)
		must(t, err)
		for k := range arch.VA(n) {
			mustStore(t, vs, base+k<<12, byte(i))
		}
		o.Truncate(int64(n/2) << 12)
		o.Truncate(n << 12)
		m.end(c)
	}
	vs.Purge(nil)
	close(stop)
	<-done
}
