package disk

import (
	"syscall"
	"testing"
	"time"
)

// FuzzDevice drives a device whose used ring and status say anything, by turns with what is
// right: lies has two bytes for each request, an operation and a value. A request succeeds or
// is EIO, and none waits for ever.
func FuzzDevice(f *testing.F) {
	f.Add([]byte{0, 0})
	f.Add([]byte{0, 0, 1, 1})
	f.Add([]byte{1, 255, 0, 0})
	f.Add([]byte{2, 3, 2, 128})
	f.Add([]byte{0, 0, 3, 7, 3, 255})
	f.Fuzz(func(t *testing.T, lies []byte) {
		d, v := newFake(t, 64*SectorSize, 0, time.Millisecond) // the limit ends a request that the device says nothing of
		defer func() {
			d.mu.Lock()
			d.gone = true
			d.mu.Unlock()
			d.irq <- true
		}()
		turn := 0
		d.mu.Lock()
		d.lie = func(index *uint16, id *uint32) {
			if 2*turn+1 >= len(lies) {
				return
			}
			op, value := lies[2*turn], lies[2*turn+1]
			turn++
			switch op % 5 {
			case 1:
				*index += uint16(value)
			case 2:
				*index -= uint16(value)
			case 3:
				*id += uint32(value)
			case 4:
				*id = uint32(value) << 24
			}
		}
		d.mu.Unlock()
		p := make([]byte, 2*SectorSize)
		for i := range int64(8) {
			_, err := v.ReadAt(p, i*SectorSize)
			if err != nil && err != syscall.EIO {
				t.Errorf("read %d: %v", i, err)
			}
			if _, err := v.WriteAt(p, i*SectorSize); err != nil && err != syscall.EIO {
				t.Errorf("write %d: %v", i, err)
			}
		}
	})
}
