package vm

import (
	"errors"
	"sync"
	"syscall"
	"testing"

	"grim/arch"
)

// slowPager keeps pages of a file, sleeps for as long as the test wants, and can fail.
type slowPager struct {
	mu        sync.Mutex
	pages     map[int64][]byte
	onPageIn  func() // not nil: PageIn calls it first
	onPageOut func() // not nil: PageOut calls it first
	fail      error
}

func (p *slowPager) PageIn(index int64, page []byte) error {
	if p.onPageIn != nil {
		p.onPageIn()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(page)
	copy(page, p.pages[index])
	return p.fail
}

func (p *slowPager) PageOut(index int64, page []byte) error {
	if p.onPageOut != nil {
		p.onPageOut()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pages == nil {
		p.pages = make(map[int64][]byte)
	}
	p.pages[index] = append([]byte(nil), page...)
	return p.fail
}

// What a process wrote to a file with a slow pager can be read by read(2) when its Purge
// returns, and not before (E1). While the purge waits, other users of the file and other
// processes go on (E7). Broken once by calling pm.Purge with a nil visitor: the read sees
// 0.
func TestPurgeSlowPager(t *testing.T) {
	bothFormats(t, func(t *testing.T, f *arch.Format) {
		m := newMachine(t, f, 1024)
		in, gate := make(chan bool), make(chan bool)
		pg := &slowPager{onPageOut: func() { in <- true; <-gate }}
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
		case <-in: // the purge sleeps in the pager
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
		gate <- true
		for range dirty - 1 {
			<-in
			gate <- true
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
		pg.onPageOut = nil
	})
}

// No lock is held while a page is fetched. Another thread changes the map meanwhile, and
// the fault looks at the map again. Seen to hang: a fault that keeps the map locked meanwhile.
func TestFaultSlowPager(t *testing.T) {
	m := newMachine(t, formats[1], 1024)
	in, gate := make(chan bool), make(chan bool)
	pg := &slowPager{onPageIn: func() { in <- true; <-gate }}
	o := NewFileObject(m.System, "/slow", pg)
	defer o.Unref()
	o.Truncate(4 << 12)
	pg.PageOut(0, []byte{42})
	vs := m.space()
	va := mustMap(t, vs, 0, 4<<12, rw, Shared, o, 0)
	res := make(chan error)
	go func() { res <- vs.Fault(va, arch.Read) }()
	<-in
	// The page comes when munmap has returned.
	if err := vs.Unmap(va, 4<<12); err != nil {
		t.Fatal(err)
	}
	close(gate)
	wantErr(t, "fault on what was unmapped meanwhile", <-res, syscall.EFAULT)
	pg.onPageIn = nil

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
