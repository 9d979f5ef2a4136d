package ext2

import (
	"bytes"
	"math/rand"
	"testing"
)

// TestExtents writes blocks of one file in any order, each with a gap beside it, so that
// the tree of extents grows at its start, middle and end, to three levels. Broken by
// leaving the indexes as they are when an extent is put before all others: the next look-up
// takes the wrong way.
func TestExtents(t *testing.T) {
	for _, order := range []string{"up", "down", "random"} {
		d := image(t, 12, "-t ext4 -b 1024 -O ^has_journal")
		f := open(t, d)
		m := newTree(t, f, 1)
		now := f.opts.Now()
		ino, err := f.Create(RootInode, "f", Attr{Mode: ModeReg | 0o644, Ctime: now}, "")
		if err != nil {
			t.Fatal(err)
		}
		const n = 3000
		where := rand.New(rand.NewSource(1)).Perm(n)
		want := make([]byte, 2*n*1024)
		for i := range n {
			l := where[i]
			switch order {
			case "up":
				l = i
			case "down":
				l = n - 1 - i
			}
			b := m.bytes(1024)
			copy(want[2*l*1024:], b)
			if err := f.Reserve(1); err != nil {
				t.Fatal(err)
			}
			if used, err := f.WriteAt(ino, b, int64(2*l*1024), int64(len(want))); err != nil || used != 1 {
				t.Fatal(order, i, used, err)
			}
			if i == n/2 {
				if err := f.Sync(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := f.Truncate(ino, int64(len(want))); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(want))
		if err := f.ReadAt(ino, got, 0); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%s: other data, %v", order, err)
		}
		if err := f.Sync(); err != nil {
			t.Fatal(err)
		}
		// A part is cut off and written again.
		if err := f.Truncate(ino, 1024*1024); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		clean(t, d.data)
		f = open(t, d)
		if err := f.ReadAt(ino, got[:1024*1024], 0); err != nil || !bytes.Equal(got[:1024*1024], want[:1024*1024]) {
			t.Fatalf("%s: other data after truncation, %v", order, err)
		}
		if _, _, err := f.Unlink(RootInode, "f", false, now); err != nil {
			t.Fatal(err)
		}
		if err := f.Forget(ino); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		clean(t, d.data)
	}
}
