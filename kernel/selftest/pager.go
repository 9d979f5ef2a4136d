package selftest

import (
	"sync"
	"time"

	"grim/arch"
	"grim/mm/vm"
)

// memoryPager keeps a file's pages in kernel memory, separately from the mapped frames, as
// a disk would. It can take long to write a page back, or wait for permission.
type memoryPager struct {
	delay time.Duration
	gate  chan struct{} // PageOut waits until it is closed; nil: does not wait
	onOut func()        // called by PageOut; nil: nothing

	mu      sync.Mutex
	pages   map[int64][]byte
	out     int // number of pages written back
	waiting int // number of PageOuts that have begun and not ended
}

func (m *memoryPager) PageIn(index int64, page []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(page)
	copy(page, m.pages[index])
	return nil
}

func (m *memoryPager) PageOut(index int64, page []byte) error {
	m.mu.Lock()
	m.waiting++
	m.mu.Unlock()
	if m.onOut != nil {
		m.onOut()
	}
	if m.gate != nil {
		<-m.gate
	}
	if m.delay != 0 {
		time.Sleep(m.delay)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.waiting--
	m.out++
	if m.pages == nil {
		m.pages = make(map[int64][]byte)
	}
	m.pages[index] = append([]byte(nil), page...)
	return nil
}

// taken returns how many pages have been written back.
func (m *memoryPager) taken() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.out
}

func (m *memoryPager) begun() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.waiting + m.out
}

// newFile makes a file of that size. The caller must drop its reference. With a nil pager
// it is a file of the in-memory file system.
func (t *T) newFile(pager *memoryPager, size int64) *vm.FileObject {
	var o *vm.FileObject
	if pager == nil {
		o = vm.NewFileObject(t.VM, "/test", nil)
	} else {
		o = vm.NewFileObject(t.VM, "/test", pager)
	}
	t.check("truncate", o.Truncate(size))
	return o
}

// fileByte reads one byte of a file, as read(2) does.
func (t *T) fileByte(o *vm.FileObject, off int64) byte {
	var b [1]byte
	if _, err := o.ReadAt(b[:], off); err != nil {
		t.Errorf("read of the file at %d: %v", off, err)
	}
	return b[0]
}

const pageBytes = int64(arch.PageSize)
