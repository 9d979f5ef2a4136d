package vm

import (
	"bytes"
	"math"
	"math/rand"
	"sync"
	"syscall"
	"testing"

	"grim/arch"
)

// memStore is a store in memory that can sleep and can fail. It checks that pages are
// prepared before they are written, and that nothing stays prepared.
type memStore struct {
	t        testing.TB
	mu       sync.Mutex
	data     []byte
	prepared map[int64]bool
	writes   int
	flushes  int
	gone     bool
	fail     func(index int64) error // of WritePages; may be nil
	full     bool                    // no room for more pages
	onWrite  func()                  // not nil: WritePages calls it first
}

func newMemStore(t testing.TB) *memStore {
	return &memStore{t: t, prepared: map[int64]bool{}}
}

func (s *memStore) ReadPages(index int64, p []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(p)
	if at := index << arch.PageShift; at < int64(len(s.data)) {
		copy(p, s.data[at:])
	}
	return nil
}

func (s *memStore) Prepare(index int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.full {
		return syscall.ENOSPC
	}
	if s.prepared[index] {
		s.t.Errorf("page %d is prepared twice", index)
	}
	s.prepared[index] = true
	return nil
}

func (s *memStore) Release(index int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.prepared, index)
}

func (s *memStore) WritePages(index int64, p []byte, size int64) error {
	if s.onWrite != nil {
		s.onWrite()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range int64(len(p) >> arch.PageShift) {
		delete(s.prepared, index+i)
	}
	if s.fail != nil {
		if err := s.fail(index); err != nil {
			return err
		}
	}
	s.writes++
	at := index << arch.PageShift
	if end := min(at+int64(len(p)), size); end > int64(len(s.data)) {
		s.data = append(s.data, make([]byte, end-int64(len(s.data)))...)
	}
	copy(s.data[at:], p)
	return nil
}

func (s *memStore) Truncate(size int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if size <= int64(len(s.data)) {
		s.data = s.data[:size:size]
	} else {
		s.data = append(s.data, make([]byte, size-int64(len(s.data)))...)
	}
	return nil
}

func (s *memStore) Flush() error { s.flushes++; return nil }
func (s *memStore) Dirtied()     {}
func (s *memStore) Gone()        { s.gone = true }

// storedFile makes a file of so many zero bytes with a store.
func storedFile(t *testing.T, m *machine, size int64) (*FileObject, *memStore) {
	t.Helper()
	s := newMemStore(t)
	s.data = make([]byte, size)
	o, err := NewStoredFile(m.System, "/stored", s, size)
	if err != nil {
		t.Fatal(err)
	}
	return o, s
}

// TestStoredModel compares a file with a store with plain bytes. There are reads, writes,
// changes of the size, stores through two mappings, msync, writeback, and frames that are
// evicted at any time. At the end the store has the bytes. Broken by clearing "mapped" in
// writeRun whether a mapping can write or not: Sync leaves out what was stored after the
// first.
func TestStoredModel(t *testing.T) {
	for seed := range int64(4) {
		m := newMachine(t, formats[int(seed)%2], 700)
		o, s := storedFile(t, m, 0)
		r := rand.New(rand.NewSource(seed))
		const pages = 60
		var want []byte
		vs := m.space()
		if err := o.Truncate(pages << 12); err != nil {
			t.Fatal(err)
		}
		want = make([]byte, pages<<12)
		va := mustMap(t, vs, 0, pages<<12, rw, Shared, o, 0)
		va2 := mustMap(t, vs, 0, pages<<12, rw, Shared, o, 0)
		m.SetDirtyLimit(int64(r.Intn(40)))
		for range 600 {
			off := r.Intn(pages << 12)
			switch r.Intn(9) {
			case 0, 1:
				p := make([]byte, 1+r.Intn(9000))
				r.Read(p)
				if n, err := o.WriteAt(p, int64(off)); n != len(p) || err != nil {
					t.Fatal(n, err)
				}
				if end := off + len(p); end > len(want) {
					want = append(want, make([]byte, end-len(want))...)
				}
				copy(want[off:], p)
			case 2:
				p := make([]byte, 1+r.Intn(9000))
				n, _ := o.ReadAt(p, int64(off))
				if k := copy(make([]byte, len(p)), want[min(off, len(want)):]); n != k || !bytes.Equal(p[:n], want[min(off, len(want)):][:n]) {
					t.Fatalf("seed %d: read of %d at %d gives %d other bytes", seed, len(p), off, n)
				}
			case 3, 4:
				// Between the end of the file and the end of its last page, stores are
				// accepted and forgotten.
				if off < (len(want)+4095)&^4095 {
					at := va
					if r.Intn(2) == 0 {
						at = va2
					}
					v := byte(r.Intn(256))
					mustStore(t, vs, at+arch.VA(off), v)
					if off < len(want) {
						want[off] = v
					}
				}
			case 5:
				n := r.Intn(pages << 12)
				if err := o.Truncate(int64(n)); err != nil {
					t.Fatal(err)
				}
				if n <= len(want) {
					want = want[:n:n]
				} else {
					want = append(want, make([]byte, n-len(want))...)
				}
			case 6:
				o.WriteBack()
			case 7:
				if err := vs.Sync(va, pages<<12, msSync); err != nil {
					t.Fatal(err)
				}
			case 8:
				m.reclaimCached(r.Intn(100))
			}
		}
		if err := o.Sync(); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(s.data, want) {
			t.Fatalf("seed %d: the store has %d other bytes than the %d expected", seed, len(s.data), len(want))
		}
		vs.Purge(nil)
		if err := o.Sync(); err != nil || !bytes.Equal(s.data, want) {
			t.Fatalf("seed %d: after the purge the store has other bytes, %v", seed, err)
		}
		if len(s.prepared) != 0 || m.DirtyPages() != 0 {
			t.Errorf("seed %d: %d pages are prepared, %d dirty", seed, len(s.prepared), m.DirtyPages())
		}
		o.Unref()
		if !s.gone {
			t.Error("the store was not told of the end")
		}
	}
}

// TestStoredPurge is E1 with a store. What a process stored through a mapping can be read
// by read(2) when its purge returns, however slow the store is, and while the purge sleeps
// in the store others go on. Broken by Dirty of purgeVisitor doing nothing: the store never
// gets the pages.
func TestStoredPurge(t *testing.T) {
	m := newMachine(t, formats[0], 1024)
	o, s := storedFile(t, m, 200<<12)
	defer o.Unref()
	writing, gate := make(chan bool, 1), make(chan bool)
	s.onWrite = func() {
		select {
		case writing <- true:
		default: // told already
		}
		<-gate
	}
	vs, other := m.space(), m.space()
	va := mustMap(t, vs, 0, 200<<12, rw, Shared, o, 0)
	const dirty = 100
	for i := range arch.VA(dirty) {
		mustStore(t, vs, va+2*i<<12, byte(i+1))
	}
	m.SetDirtyLimit(10) // from now on, so that the purge has to write
	var st PurgeStats
	done := make(chan bool)
	go func() { vs.Purge(&st); close(done) }()
	select {
	case <-writing:
	case <-done:
		t.Fatal("the purge has not written although too much is dirty")
	}
	mustStore(t, other, mustMap(t, other, 0, 4096, rw, Anon|Private, nil, 0), 1)
	b := make([]byte, 1)
	if n, err := o.ReadAt(b, 2<<12); n != 1 || err != nil || b[0] != 2 {
		t.Errorf("read while the purge sleeps: %d, %d, %v", n, b[0], err)
	}
	select {
	case <-done:
		t.Fatal("the purge returned before the store had taken what is too much")
	default:
	}
	close(gate)
	<-done
	for i := range dirty {
		if o.ReadAt(b, int64(2*i)<<12); b[0] != byte(i+1) {
			t.Fatalf("page %d reads %d after the purge", 2*i, b[0])
		}
	}
	if st.Dirty != dirty || st.DirtyErrors != 0 || m.DirtyPages() > 10 {
		t.Errorf("purge says %+v, %d pages are dirty", st, m.DirtyPages())
	}
	if err := o.Sync(); err != nil {
		t.Error(err)
	}
	for i := range dirty {
		if s.data[2*i<<12] != byte(i+1) {
			t.Fatalf("the store has %d in page %d", s.data[2*i<<12], 2*i)
		}
	}
}

// TestStoredPurgeFails: if the store fails in the middle of a purge, fsync reports that
// once, and the purge goes to its end. Pages that were stored can still be read.
func TestStoredPurgeFails(t *testing.T) {
	m := newMachine(t, formats[1], 1024)
	o, s := storedFile(t, m, 100<<12)
	defer o.Unref()
	vs := m.space()
	va := mustMap(t, vs, 0, 100<<12, rw, Shared, o, 0)
	for i := range arch.VA(100) {
		mustStore(t, vs, va+i<<12, byte(i+1))
	}
	m.SetDirtyLimit(0)
	s.fail = func(index int64) error {
		if index >= 48 {
			return syscall.EIO
		}
		return nil
	}
	var st PurgeStats
	vs.Purge(&st)
	if !vs.Purged() || st.Dirty != 100 || st.DirtyErrors == 0 {
		t.Errorf("purge says %+v", st)
	}
	b := make([]byte, 1)
	for i := range 100 {
		if o.ReadAt(b, int64(i)<<12); b[0] != byte(i+1) {
			t.Fatalf("page %d reads %d", i, b[0])
		}
	}
	if err := o.Sync(); err != syscall.EIO {
		t.Errorf("fsync: %v, want EIO", err)
	}
	s.fail = nil
	if err := o.Sync(); err != nil {
		t.Errorf("fsync afterwards: %v", err)
	}
	if _, err := o.WriteAt([]byte{9}, 60<<12); err != nil {
		t.Error(err)
	}
	if err := o.Sync(); err != nil || s.data[60<<12] != 9 {
		t.Errorf("a write afterwards: %v, %d", err, s.data[60<<12])
	}
}

// TestStoredFull: without room a write gets ENOSPC, a store through a mapping SIGBUS (EIO),
// and the page is not taken for the store's.
func TestStoredFull(t *testing.T) {
	m := newMachine(t, formats[0], 512)
	o, s := storedFile(t, m, 4<<12)
	defer o.Unref()
	copy(s.data[1<<12:], "on disk")
	s.full = true
	whole := bytes.Repeat([]byte{7}, 4096)
	if n, err := o.WriteAt(whole, 1<<12); n != 0 || err != syscall.ENOSPC {
		t.Errorf("write: %d, %v", n, err)
	}
	b := make([]byte, 7)
	if _, err := o.ReadAt(b, 1<<12); err != nil || string(b) != "on disk" {
		t.Errorf("read: %q, %v", b, err)
	}
	vs := m.space()
	va := mustMap(t, vs, 0, 4<<12, rw, Shared, o, 0)
	wantErr(t, "store through a mapping", vs.Fault(va, arch.Write), syscall.EIO)
	wantLoad(t, vs, va+4096, 'o')
}

// TestStoredTail: what a mapping has stored after the end of a file is not there when the
// file grows, whether by a write or by truncation. Broken by writeStored without
// extendTail: the read sees what was stored.
func TestStoredTail(t *testing.T) {
	for _, grow := range []func(o *FileObject) error{
		func(o *FileObject) error { _, err := o.WriteAt([]byte{1}, 3000); return err },
		func(o *FileObject) error { _, err := o.WriteAt([]byte{1}, 9000); return err },
		func(o *FileObject) error { return o.Truncate(3000) },
	} {
		m := newMachine(t, formats[0], 512)
		o, s := storedFile(t, m, 100)
		vs := m.space()
		mustStore(t, vs, mustMap(t, vs, 0, 4096, rw, Shared, o, 0)+200, 7)
		if err := grow(o); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 1)
		if n, err := o.ReadAt(b, 200); n != 1 || err != nil || b[0] != 0 {
			t.Errorf("read behind the old end: %d, %d, %v", n, b[0], err)
		}
		if err := o.Sync(); err != nil || s.data[200] != 0 {
			t.Errorf("the store has %d, %v", s.data[200], err)
		}
		vs.Purge(nil)
		o.Unref()
	}
}

// TestStoredSyncRange: SyncRange stores the dirty pages of its range, also those that only a
// mapping has changed, and no others. An error is returned here and by the next Sync.
// Broken by: writeBack that ignores the range; SyncRange without "mapped".
func TestStoredSyncRange(t *testing.T) {
	m := newMachine(t, formats[0], 512)
	o, s := storedFile(t, m, 8<<12)
	defer o.Unref()
	vs := m.space()
	va := mustMap(t, vs, 0, 8<<12, rw, Shared, o, 0)
	for i := range int64(8) {
		if _, err := o.WriteAt([]byte{1}, i<<12); err != nil {
			t.Fatal(err)
		}
	}
	on := func(want ...byte) {
		t.Helper()
		for i, b := range want {
			if s.data[i<<12] != b {
				t.Errorf("page %d has %d on disk, want %d", i, s.data[i<<12], b)
			}
		}
	}
	wantErr(t, "nothing", o.SyncRange(2<<12, 0), nil)
	on(0, 0, 0, 0, 0, 0, 0, 0)
	wantErr(t, "a part", o.SyncRange(2<<12+5, 2<<12-5), nil)
	on(0, 0, 1, 1, 0, 0, 0, 0)
	mustStore(t, vs, va+3<<12, 2)
	wantErr(t, "store", o.SyncRange(2<<12, 3<<12), nil)
	mustStore(t, vs, va+3<<12, 3) // still mapped writable: no fault tells of it
	wantErr(t, "store again", o.SyncRange(3<<12, 1), nil)
	on(0, 0, 1, 3, 1, 0, 0, 0)
	if s.flushes != 0 {
		t.Errorf("%d flushes", s.flushes)
	}
	s.fail = func(index int64) error { return syscall.EIO }
	wantErr(t, "a bad sector", o.SyncRange(6<<12, math.MaxInt64-6<<12), syscall.EIO)
	s.fail = nil
	wantErr(t, "Sync after it", o.Sync(), syscall.EIO)
	wantErr(t, "Sync again", o.Sync(), nil)
	on(1, 1, 1, 3, 1, 1, 0, 0)
}
