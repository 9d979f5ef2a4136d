package nic

import "testing"

// FuzzDevice drives a device whose used rings say anything, by turns with what is right:
// lies has two bytes for each frame, an operation and a value. A frame comes in whole or
// not at all, in its buffer, and a device that lies is not used any more.
func FuzzDevice(f *testing.F) {
	f.Add([]byte{0, 0})
	f.Add([]byte{1, 5, 0, 0})
	f.Add([]byte{2, 255})
	f.Add([]byte{3, 9, 0, 0, 4, 1})
	f.Add([]byte{4, 200, 1, 1})
	f.Fuzz(func(t *testing.T, lies []byte) {
		d, n, log := newFake(t)
		for i := range 20 {
			d.length, d.id, d.ahead = 0, 0, 0
			if 2*i+1 < len(lies) {
				value := uint32(lies[2*i+1])
				switch lies[2*i] % 5 {
				case 1:
					d.length = value
				case 2:
					d.length = value << 24
				case 3:
					d.id = value
				case 4:
					d.ahead = uint16(value) << 8
				}
			}
			n.Send(make([]byte, 14+i))
			n.Poll(func(b []byte) {
				if len(b) > BufferBytes {
					t.Errorf("a frame of %d bytes", len(b))
				}
			})
		}
		if n.broken.Load() != (len(*log) > 0) || len(*log) > 1 {
			t.Errorf("broken: %v, log %q", n.broken.Load(), *log)
		}
	})
}
