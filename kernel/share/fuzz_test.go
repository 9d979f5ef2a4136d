package share

import (
	"syscall"
	"testing"
)

// FuzzDevice drives a device whose used ring and replies say anything: lies has two bytes for
// each message, an operation and a value. Each call succeeds or is an error of Linux, and none
// waits for ever.
func FuzzDevice(f *testing.F) {
	f.Add(uint8(9), []byte{1, 255})
	f.Add(uint8(4), []byte{0, 0, 2, 3})
	f.Add(uint8(12), []byte{3, 1, 3, 1, 3, 1})
	f.Add(uint8(7), []byte{4, 9, 4, 200, 0, 1})
	srv := newServer(f.TempDir())
	f.Fuzz(func(t *testing.T, after uint8, lies []byte) {
		turn := -int(after % 20)
		_, q, _ := newDevice(t, 0, func(d *device, id uint32, m, room []byte) {
			r, err := srv.do(append([]byte(nil), m...), len(room))
			if err != nil {
				t.Error(err)
			}
			n, ahead := uint32(copy(room, r)), uint16(0)
			if at := 2 * turn; at >= 0 && at+1 < len(lies) {
				value := lies[at+1]
				switch lies[at] % 6 {
				case 1:
					n += uint32(value) << 12
				case 2:
					id += uint32(value)
				case 3:
					ahead = uint16(value)
				case 4:
					room[int(value)%max(len(r), 1)] ^= 1 << (value % 8)
				case 5:
					n = min(n, uint32(value))
				}
			}
			turn++
			d.finish(id, n, ahead)
		})
		s, err := Open(q, false)
		if err != nil {
			return
		}
		defer s.Close()
		var errs []error
		add := func(err error) { errs = append(errs, err) }
		page := make([]byte, 4096)
		ino, err := s.Create(s.Root(), "f", regular(0o600), "")
		add(err)
		_, err = s.Write(ino, page, 0, 4096)
		add(err)
		add(s.Read(ino, page, 0))
		add(s.List(s.Root(), func(string, uint64, uint32) error { return nil }))
		add(s.Rename(s.Root(), "f", s.Root(), "g", false, 0))
		add(s.Sync())
		add(s.Unlink(s.Root(), "g", false, 0))
		add(s.Forget(ino))
		for i, err := range errs {
			if _, ok := err.(syscall.Errno); err != nil && !ok {
				t.Errorf("call %d: %v", i, err)
			}
		}
	})
}
