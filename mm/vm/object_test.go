package vm

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"grim/arch"
	"grim/mm/phys"
)

func TestSharedAnon(t *testing.T) {
	bothFormats(t, func(t *testing.T, f *arch.Format) {
		m := newMachine(t, f, 1024)
		vs := m.space()
		va := mustMap(t, vs, 0, 4<<12, rw, Anon|Shared, nil, 0)
		mustStore(t, vs, va, 1)
		c, err := vs.Fork(arch.SharedUK)
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
		if k1 != k2 {
			t.Errorf("private word has two keys: %v, %v", k1, k2)
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

// Truncation takes pages away from every mapping, and private copies with them.
func TestTruncate(t *testing.T) {
	bothFormats(t, func(t *testing.T, f *arch.Format) {
		m := newMachine(t, f, 1024)
		vs := m.space()
		o := NewFileObject(m.System, "/f", nil)
		defer o.Unref()
		o.WriteAt(bytes.Repeat([]byte{7}, 4*4096), 0)
		sh := mustMap(t, vs, 0, 4<<12, rw, Shared, o, 0)
		pr := mustMap(t, vs, 0, 3<<12, rw, Private, o, 4096)
		for i := range arch.VA(4) {
			mustStore(t, vs, sh+i<<12+50, 1)
		}
		mustStore(t, vs, pr+2<<12, 2)
		free := m.mem.FreeFrames()
		if err := o.Truncate(4096 + 60); err != nil {
			t.Fatal(err)
		}
		if n := m.mem.FreeFrames() - free; n != 3 {
			t.Errorf("truncate freed %d frames, want 2 of the file and 1 copy", n)
		}
		wantErr(t, "shared, past the end", vs.Fault(sh+2<<12, arch.Read), syscall.EIO)
		wantErr(t, "private, past the end", vs.Fault(pr+2<<12, arch.Read), syscall.EIO)
		wantErr(t, "copy in past the end", vs.CopyIn(make([]byte, 1), sh+2<<12), syscall.EFAULT)
		wantLoad(t, vs, sh+4096+50, 1)
		mustStore(t, vs, sh+4096+70, 5) // past the end in the last page
		if err := o.Truncate(4 * 4096); err != nil {
			t.Fatal(err)
		}
		wantLoad(t, vs, sh+4096+70, 0)
		wantLoad(t, vs, sh+3<<12+50, 0)
		wantLoad(t, vs, pr+2<<12, 0)
		if _, err := o.ReadAt(make([]byte, 10), 4*4096-5); err != io.EOF {
			t.Errorf("read over the end: %v, want EOF", err)
		}
	})
}

// Faults race with truncation: never a page past the end, never a freed frame.
func TestTruncateRace(t *testing.T) {
	m := newMachine(t, formats[0], 2048)
	o := NewFileObject(m.System, "/f", nil)
	defer o.Unref()
	o.Truncate(8 << 12)
	var wg sync.WaitGroup
	stop := make(chan bool)
	for i := range 3 {
		vs := m.space()
		flags := Shared
		if i == 2 {
			flags = Private
		}
		va := mustMap(t, vs, 0, 8<<12, rw, flags, o, 0)
		wg.Go(func() {
			for k := 0; ; k++ {
				select {
				case <-stop:
					return
				default:
				}
				err := store(vs, va+arch.VA(k%8)<<12, byte(k))
				if err != nil && err != syscall.EIO {
					t.Error(err)
					return
				}
				if k%64 == 0 && i == 1 {
					c, err := vs.Fork(arch.SharedUK)
					if err != nil {
						t.Error(err)
						return
					}
					m.end(c)
				}
			}
		})
	}
	for k := range 2000 {
		o.Truncate(int64(k%9) << 12)
	}
	close(stop)
	wg.Wait()
	o.Truncate(0)
	if n := m.mem.Total() - m.mem.FreeFrames(); n > 100 {
		t.Errorf("%d frames in use after truncation to nothing", n)
	}
}

// hooked is a file whose pages are never at hand, and to which something happens
// just after a page was fetched.
type hooked struct {
	*FileObject
	hook func()
}

func (h *hooked) CachedPage(int64, bool) (phys.Frame, bool) { return 0, false }

func (h *hooked) GetPage(index int64, write bool) (phys.Frame, error) {
	f, err := h.FileObject.GetPage(index, write)
	if fn := h.hook; fn != nil {
		h.hook = nil
		fn()
	}
	return f, err
}

// The file shrinks and grows between the fetch of a page and its use: the fault
// must start over. Broken once by not counting gen in Invalidate: it maps the old
// page.
func TestTruncateDuringFetch(t *testing.T) {
	for _, flags := range []MapFlags{Shared, Private} {
		m := newMachine(t, formats[0], 1024)
		o := NewFileObject(m.System, "/f", nil)
		defer o.Unref()
		o.WriteAt([]byte{7}, 0)
		h := &hooked{FileObject: o}
		vs := m.space()
		va := mustMap(t, vs, 0, 8192, rw, flags, h, 0)
		h.hook = func() {
			o.Truncate(0)
			o.WriteAt([]byte{9}, 0)
		}
		wantLoad(t, vs, va, 9)
		h.hook = func() { // the mapping becomes another one
			vs.Map(va+4096, 4096, rw, Anon|Private|Fixed, nil, 0)
		}
		o.Truncate(8192)
		wantLoad(t, vs, va+4096, 0)
		if h.hook != nil {
			t.Error("the second fetch did not happen: the case tests nothing")
		}
		h.hook = func() { o.Truncate(0) }
		vs.Advise(va, 4096, 4)
		wantErr(t, "truncated meanwhile", vs.Fault(va, arch.Write), syscall.EIO)
	}
}

// slowPager keeps pages of a file, takes its time, and can fail.
type slowPager struct {
	mu    sync.Mutex
	pages map[int64][]byte
	delay time.Duration
	gate  chan bool // not nil: PageOut waits for it
	in    chan bool // not nil: told when PageOut has begun
	fail  error
}

func (p *slowPager) PageIn(index int64, page []byte) error {
	time.Sleep(p.delay)
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(page)
	copy(page, p.pages[index])
	return p.fail
}

func (p *slowPager) PageOut(index int64, page []byte) error {
	if p.in != nil {
		p.in <- true
	}
	if p.gate != nil {
		<-p.gate
	}
	time.Sleep(p.delay)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pages == nil {
		p.pages = make(map[int64][]byte)
	}
	p.pages[index] = append([]byte(nil), page...)
	return p.fail
}

// What a process wrote to a file with a slow pager is there for read(2) when its
// Purge returns, and not before (E1). While the purge waits, the file's other
// users and other processes go on (E7). Broken once by calling pm.Purge with a
// nil visitor: the read sees 0.
func TestPurgeSlowPager(t *testing.T) {
	bothFormats(t, func(t *testing.T, f *arch.Format) {
		m := newMachine(t, f, 1024)
		pg := &slowPager{gate: make(chan bool), in: make(chan bool)}
		o := NewFileObject(m.System, "/slow", pg)
		defer o.Unref()
		o.Truncate(200 << 12)
		vs, other := m.space(), m.space()
		mustMap(t, vs, 0x30000000, 1<<20, rw, Anon|Private|Fixed, nil, 0)
		va := mustMap(t, vs, 0, 200<<12, rw, Shared, o, 0)
		va2 := mustMap(t, other, 0, 200<<12, rw, Shared, o, 0)
		const dirty = 100
		for i := range arch.VA(dirty) {
			mustStore(t, vs, va+2*i<<12, byte(i+1))
		}
		b := make([]byte, 1)
		if o.ReadAt(b, 0); b[0] != 0 {
			t.Fatal("read(2) sees a page before it was handed back: the test tests nothing")
		}
		var st PurgeStats
		done := make(chan bool)
		go func() { vs.Purge(&st); close(done) }()
		select {
		case <-pg.in: // the purge sleeps in the pager
		case <-done:
			t.Fatal("purge returned without asking the pager")
		}
		if len(vs.Entries()) != 0 {
			t.Error("map not empty while the purge sleeps")
		}
		wantErr(t, "fault while the purge sleeps", vs.Fault(va, arch.Read), syscall.EFAULT)
		wantLoad(t, other, va2, 1) // cached: nothing to wait for
		mustStore(t, other, mustMap(t, other, 0, 4096, rw, Anon|Private, nil, 0), 1)
		select {
		case <-done:
			t.Fatal("purge returned before the pager had taken the pages")
		default:
		}
		pg.gate <- true
		for range dirty - 1 {
			<-pg.in
			pg.gate <- true
		}
		<-done
		for i := range dirty {
			if o.ReadAt(b, int64(2*i)<<12); b[0] != byte(i+1) {
				t.Fatalf("page %d reads %d after the purge", 2*i, b[0])
			}
		}
		if st.Dirty != dirty || st.DirtyErrors != 0 || st.Entries != 2 {
			t.Errorf("purge says %+v, want %d dirty, 2 entries", st, dirty)
		}
		pg.in, pg.gate = nil, nil
	})
}

// Fetching a page takes no lock: another thread changes the map meanwhile, and
// the fault looks again.
func TestFaultSlowPager(t *testing.T) {
	m := newMachine(t, formats[1], 1024)
	pg := &slowPager{delay: 30 * time.Millisecond}
	o := NewFileObject(m.System, "/slow", pg)
	defer o.Unref()
	o.Truncate(4 << 12)
	pg.PageOut(0, []byte{42})
	vs := m.space()
	va := mustMap(t, vs, 0, 4<<12, rw, Shared, o, 0)
	res := make(chan error)
	go func() { res <- vs.Fault(va, arch.Read) }()
	time.Sleep(10 * time.Millisecond)
	start := time.Now()
	if err := vs.Unmap(va, 4<<12); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(start); d > 15*time.Millisecond {
		t.Errorf("munmap waited %v for somebody's page", d)
	}
	wantErr(t, "fault on what was unmapped meanwhile", <-res, syscall.EFAULT)

	va = mustMap(t, vs, 0, 4<<12, rw, Shared, o, 0)
	wantLoad(t, vs, va, 42)
	pg.fail = errors.New("broken")
	wantErr(t, "pager fails", vs.Fault(va+4096, arch.Read), syscall.EIO)
	mustStore(t, vs, va, 1)
	wantErr(t, "msync when the pager fails", vs.Sync(va, 4096, msSync), syscall.EIO)
	pg.fail = nil
	b := make([]byte, 4100)
	if n, err := o.WriteAt([]byte{5, 6}, 4095); n != 2 || err != nil {
		t.Fatal(n, err)
	}
	if n, err := o.ReadAt(b, 0); n != 4100 || err != nil || b[4095] != 5 || b[4096] != 6 {
		t.Errorf("read back %d, %v: %v", n, err, b[4094:])
	}
	wantLoad(t, vs, va+4095, 5) // the mapped frame follows write(2)
}
