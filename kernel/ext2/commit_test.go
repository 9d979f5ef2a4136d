package ext2

import "testing"

// slow is a device whose first write waits.
type slow struct {
	*ram
	writes  bool
	started chan struct{}
	goOn    chan struct{}
}

func (s *slow) WriteAt(p []byte, off int64) (int, error) {
	if s.writes {
		s.writes = false
		close(s.started)
		<-s.goOn
	}
	return s.ram.WriteAt(p, off)
}

// While a commit writes, another thread reads so many blocks that the oldest buffers are
// dropped. It finds what the commit has not written yet.
//
// Broken by a commit that gives buffers back to the cache before it has written them: the
// name was not found, because its block was read from the disk.
func TestReadsDuringCommit(t *testing.T) {
	d := &slow{ram: image(t, 24, "-t ext2 -b 1024 -N 16384"), started: make(chan struct{}), goOn: make(chan struct{})}
	f := open(t, d)
	ino, err := f.Create(RootInode, "name", Attr{Mode: ModeReg | 0o644}, "")
	if err != nil {
		t.Fatal(err)
	}
	d.writes = true
	done := make(chan error)
	go func() { done <- f.Sync() }()
	<-d.started
	for i := uint32(1); i <= f.inodes; i++ {
		_, _ = f.Stat(i) // most inodes are not in use
	}
	if got, err := f.Lookup(RootInode, "name"); got != ino || err != nil {
		t.Errorf("the name leads to %d, %v, want %d", got, err, ino)
	}
	if a, err := f.Stat(ino); a.Links != 1 || err != nil {
		t.Errorf("the inode has %d links, %v, want 1", a.Links, err)
	}
	close(d.goOn)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if _, err := f.Lookup(RootInode, "name"); err != nil {
		t.Error(err)
	}
	if max := cacheBytes / int(f.bs); f.lru.n > max+16 { // an operation drops them at its beginning
		t.Errorf("%d clean buffers, more than %d", f.lru.n, max)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	clean(t, d.data)
}
