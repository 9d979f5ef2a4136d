package ext2

import (
	"bytes"
	"strings"
	"testing"

	"grim/kernel/disk/disktest"
)

var samples = []string{"ext2", "ext4"}

// abuse mounts an image and does everything to it. Errors are fine. A panic, an endless
// loop, or a write outside the device is not.
func abuse(data []byte) {
	d := &ram{data: data}
	f, err := Open(d, Options{Now: func() int64 { return 1e18 }})
	if err != nil {
		return
	}
	steps := 0
	var walk func(ino uint32, depth int)
	walk = func(ino uint32, depth int) {
		var names []Entry
		f.ReadDir(ino, func(e Entry) error {
			if len(names) < 50 {
				names = append(names, e)
			}
			return nil
		})
		for _, e := range names {
			if steps++; steps > 300 || depth > 6 {
				return
			}
			a, err := f.Stat(e.Ino)
			if err != nil {
				continue
			}
			f.Readlink(e.Ino)
			b := make([]byte, 8192)
			f.ReadAt(e.Ino, b, 0)
			f.ReadAt(e.Ino, b, a.Size&^8191)
			if n, err := f.Missing(e.Ino, 0, 40000); err == nil && f.Reserve(n) == nil {
				used, _ := f.WriteAt(e.Ino, bytes.Repeat([]byte{1}, 40960), 0, 40000)
				f.Unreserve(n - used)
			}
			f.Truncate(e.Ino, 3000)
			f.SetAttr(e.Ino, a)
			walk(e.Ino, depth+1)
			f.Link(ino, "link"+strings.Repeat("x", steps%200), e.Ino, 1)
			f.Rename(ino, e.Name, RootInode, "renamed", steps%3 == 0, 1)
			for _, rmdir := range []bool{false, true} {
				if ino, last, err := f.Unlink(ino, e.Name, rmdir, 1); err == nil && last {
					f.Forget(ino)
				}
			}
		}
		f.Create(ino, "new", Attr{Mode: ModeDir | 0o755}, "")
		f.Create(ino, "link", Attr{Mode: ModeLink | 0o777}, strings.Repeat("t", 100))
	}
	walk(RootInode, 0)
	f.Lookup(RootInode, "lost+found")
	f.Statfs()
	f.Sync()
	f.Close()
}

// FuzzImage changes bytes of an image at important places: the superblock, descriptors,
// bitmaps, inodes, directories, pointers.
func FuzzImage(f *testing.F) {
	f.Add(uint8(0), uint32(1024+32), []byte{0, 0, 0, 0})                                  // blocks in a group
	f.Add(uint8(0), uint32(1024+88), []byte{1, 0})                                        // size of an inode
	f.Add(uint8(1), uint32(1024+254), []byte{0xff, 0xff})                                 // size of a descriptor
	f.Add(uint8(0), uint32(1024+4), []byte{0xff, 0xff, 0xff, 0xff})                       // blocks
	f.Add(uint8(1), uint32(1024+40), []byte{8, 0, 0, 0})                                  // inodes in a group
	f.Add(uint8(0), uint32(2048+8), []byte{0xff, 0xff, 0xff, 0x7f})                       // an inode table
	f.Add(uint8(1), uint32(4096+12), []byte{0xff, 0xff, 0xff, 0xff})                      // counts of a group
	f.Add(uint8(1), uint32(40*1024+2*256+40), []byte{0x0a, 0xf3, 0xff, 0xff, 4, 0, 9, 0}) // a tree of extents
	images := map[uint8][]byte{}
	for i, name := range samples {
		images[uint8(i)] = disktest.Sample(f, name)
	}
	f.Fuzz(func(t *testing.T, which uint8, at uint32, change []byte) {
		data := bytes.Clone(images[which%uint8(len(samples))])
		n := copy(data[int(at)%len(data):], change)
		if n < len(change) {
			copy(data, change[n:])
		}
		resum(data)
		abuse(data)
	})
}

// resum corrects the checksum of the superblock, which would otherwise keep most changes
// out.
func resum(data []byte) {
	sb := data[superAt : superAt+superBytes]
	if le.Uint32(sb[sbROCompat:])&roCsum != 0 {
		le.PutUint32(sb[sbCsum:], crc(^uint32(0), sb[:sbCsum]))
	}
}

// TestHostile: images with random damage, and truncated images.
func TestHostile(t *testing.T) {
	n := 100
	if testing.Short() {
		n = 60
	}
	for _, name := range samples {
		good := disktest.Sample(t, name)
		m := newTree(t, nil, 1)
		for i := range n {
			data := bytes.Clone(good)
			for range 1 + m.r.Intn(8) {
				at := m.r.Intn(len(data))
				if m.r.Intn(2) == 0 {
					at = m.r.Intn(64 << 10) // where most of the metadata is
				}
				for k := range min(1+m.r.Intn(16), len(data)-at) {
					data[at+k] = byte(m.r.Intn(256))
				}
			}
			if i%10 == 0 {
				data = data[:m.r.Intn(len(data))&^511]
			}
			if len(data) >= superAt+superBytes {
				resum(data)
			}
			abuse(data)
		}
	}
}
