package disk

import (
	"bytes"
	"errors"
	"math/rand"
	"sync"
	"syscall"
	"testing"
	"time"

	"grim/kernel/virtq"
)

// fake is a virtio block device over memory. Addresses are offsets in mem.
type fake struct {
	t                 *testing.T
	mem               []byte
	desc, avail, used int
	n                 int
	disk              []byte

	mu      sync.Mutex
	seen    uint16
	irq     chan bool
	gone    bool
	flushes int
	hold    bool                            // requests are not answered
	lie     func(index *uint16, id *uint32) // changes what the used ring says
	status  byte
}

const (
	fakeQueue = 16
	fakeSlots = 4
)

// hangs is how long a test waits for what should come at once, however busy the host is.
const hangs = 5 * time.Minute

func newFake(t *testing.T, size int, features uint64, limit time.Duration) (*fake, *Virtio) {
	f := &fake{t: t, n: fakeQueue, irq: make(chan bool, 100), disk: make([]byte, size)}
	f.mem = make([]byte, 1<<20)
	f.desc, f.avail, f.used = 0, 4096, 8192
	buffer := func(at, n int) virtq.Buffer { return virtq.Buffer{Bytes: f.mem[at : at+n], Address: uint64(at)} }
	c := VirtioConfig{
		Name: "fake", Config: le.AppendUint64(nil, uint64(size/SectorSize)), Features: features,
		Queue: virtq.Config{
			Transport: f, Limit: limit,
			Memory: virtq.Memory{Desc: f.mem[f.desc:4096], Avail: f.mem[f.avail:8192], Used: f.mem[f.used:12288], Size: fakeQueue},
		},
	}
	for i := range fakeSlots {
		c.Headers = append(c.Headers, buffer(16384+64*i, HeaderBytes))
		c.Queue.Buffers = append(c.Queue.Buffers, buffer(1<<18+i*DataBytes, DataBytes))
	}
	v, err := NewVirtio(c)
	if err != nil {
		t.Fatal(err)
	}
	go v.Run()
	return f, v
}

func (f *fake) Alive() bool { f.mu.Lock(); defer f.mu.Unlock(); return !f.gone }
func (f *fake) Await()      { <-f.irq }

// Notify does the new requests, in another goroutine, as a device would.
func (f *fake) Notify() { go f.work() }

func (f *fake) work() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.seen != loadIndex(f.mem[f.avail:]) && !f.hold {
		id := le.Uint16(f.mem[f.avail+4+2*(int(f.seen)%f.n):])
		f.seen++
		f.do(int(id))
		index, used := le.Uint16(f.mem[f.used+2:]), uint32(id)
		at := f.used + 4 + 8*(int(index)%f.n)
		index++
		if f.lie != nil {
			f.lie(&index, &used)
		}
		le.PutUint32(f.mem[at:], used)
		storeIndex(f.mem[f.used:], index)
	}
	f.irq <- true
}

func (f *fake) do(id int) {
	d := func(i int) (mem []byte, flags uint16) {
		e := f.mem[f.desc+16*i:]
		at, n := le.Uint64(e), le.Uint32(e[8:])
		return f.mem[at : at+uint64(n)], le.Uint16(e[12:])
	}
	header, _ := d(id)
	kind, sector := le.Uint32(header), int(le.Uint64(header[8:]))
	last := id + 1
	switch kind {
	case requestIn:
		b, _ := d(id + 1)
		copy(b, f.disk[sector*SectorSize:])
		last++
	case requestOut:
		b, _ := d(id + 1)
		copy(f.disk[sector*SectorSize:], b)
		last++
	case requestFlush:
		f.flushes++
	}
	st, flags := d(last)
	if flags != 2 || len(st) != 1 {
		f.t.Errorf("status descriptor: %d bytes, flags %d", len(st), flags)
	}
	st[0] = f.status
}

// TestVirtio: eight goroutines read and write their own parts of the disk, in pieces of any
// length. Broken by one chain for all requests (virtq: first always 0).
func TestVirtio(t *testing.T) {
	const each = 1 << 19
	f, v := newFake(t, 8*each, Features&^FeatureReadOnly, 0)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			r := rand.New(rand.NewSource(int64(g)))
			want := make([]byte, each)
			for range 60 {
				off := r.Intn(each/SectorSize) * SectorSize
				n := min(each-off, SectorSize*(1+r.Intn(300)))
				b := make([]byte, n)
				if r.Intn(2) == 0 {
					r.Read(b)
					if k, err := v.WriteAt(b, int64(g*each+off)); k != n || err != nil {
						t.Error(k, err)
					}
					copy(want[off:], b)
				} else if k, err := v.ReadAt(b, int64(g*each+off)); k != n || err != nil || !bytes.Equal(b, want[off:off+n]) {
					t.Errorf("read of %d at %d: %d, %v", n, off, k, err)
				}
			}
		}()
	}
	wg.Wait()
	if err := v.Flush(); err != nil || f.flushes != 1 {
		t.Errorf("flush: %v, %d flushes", err, f.flushes)
	}
	for _, bad := range []struct {
		n   int
		off int64
	}{{1, 0}, {512, 1}, {512, -512}, {512, 8 * each}, {1024, 8*each - 512}, {512, 1<<63 - 512}} {
		if _, err := v.ReadAt(make([]byte, bad.n), bad.off); err != syscall.EINVAL {
			t.Errorf("%d bytes at %d: %v", bad.n, bad.off, err)
		}
	}
}

// TestVirtioErrors: a refusal by the device is reported to the caller, and the next request
// works.
func TestVirtioErrors(t *testing.T) {
	f, v := newFake(t, 1<<20, FeatureFlush, 0)
	b := make([]byte, 512)
	for status, want := range map[byte]error{1: syscall.EIO, 2: syscall.EOPNOTSUPP, 77: syscall.EIO, statusUnset: syscall.EIO} {
		f.status = status
		if _, err := v.ReadAt(b, 0); err != want {
			t.Errorf("status %d: %v, want %v", status, err, want)
		}
	}
	f.status = 0
	if _, err := v.ReadAt(b, 0); err != nil {
		t.Error(err)
	}
	_, ro := newFake(t, 1<<20, FeatureReadOnly, 0)
	if _, err := ro.WriteAt(b, 0); err != syscall.EROFS {
		t.Errorf("write to a disk that only reads: %v", err)
	}
}

// TestVirtioLies: a device that says something impossible is broken. Waiting requests get
// EIO, and so do all later ones. Broken by taking the id without looking at busy (virtq).
func TestVirtioLies(t *testing.T) {
	lies := map[string]func(*uint16, *uint32){
		"an index far ahead":   func(i *uint16, id *uint32) { *i += 5 },
		"an index behind":      func(i *uint16, id *uint32) { *i -= 3 },
		"an id between":        func(i *uint16, id *uint32) { *id++ },
		"an id outside":        func(i *uint16, id *uint32) { *id = 3 * fakeSlots },
		"an id far outside":    func(i *uint16, id *uint32) { *id = 0xffffffff },
		"another request's id": func(i *uint16, id *uint32) { *id = (*id + 3) % (3 * fakeSlots) },
	}
	for name, lie := range lies {
		t.Run(name, func(t *testing.T) {
			f, v := newFake(t, 1<<20, 0, 0)
			f.lie = lie
			done := make(chan error, 1)
			go func() {
				_, err := v.ReadAt(make([]byte, 512), 0)
				done <- err
			}()
			select {
			case err := <-done:
				if err != syscall.EIO {
					t.Errorf("%v, want EIO", err)
				}
			case <-time.After(hangs):
				t.Fatal("no answer")
			}
			if _, err := v.ReadAt(make([]byte, 512), 0); err != syscall.EIO || v.Broken() == nil {
				t.Errorf("afterwards: %v, broken: %v", err, v.Broken())
			}
			if err := v.Flush(); err != syscall.EIO {
				t.Errorf("flush afterwards: %v", err)
			}
		})
	}
}

// TestVirtioGone: a device that vanishes, or never answers, gives EIO to all waiting
// requests.
func TestVirtioGone(t *testing.T) {
	for _, silent := range []bool{false, true} {
		limit := time.Duration(0)
		if silent {
			limit = 50 * time.Millisecond
		}
		f, v := newFake(t, 1<<20, 0, limit)
		f.hold = true
		errs := make(chan error)
		for range 2 * fakeSlots {
			go func() {
				_, err := v.WriteAt(make([]byte, 512), 0)
				errs <- err
			}()
		}
		if !silent {
			for loadIndex(f.mem[f.avail:]) < fakeSlots { // the other requests wait for a slot
				time.Sleep(100 * time.Microsecond)
			}
			f.mu.Lock()
			f.gone = true
			f.mu.Unlock()
			f.irq <- true
		}
		for range 2 * fakeSlots {
			select {
			case err := <-errs:
				if !errors.Is(err, syscall.EIO) {
					t.Errorf("%v, want EIO", err)
				}
			case <-time.After(hangs):
				t.Fatal("a request waits for ever")
			}
		}
	}
}
