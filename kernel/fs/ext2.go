package fs

import (
	"errors"
	"syscall"

	"grim/kernel/ext2"
)

// ext2Store implements Store with package ext2.
type ext2Store struct{ f *ext2.FS }

// NewExt2 returns the store of an opened file system.
func NewExt2(f *ext2.FS) Store { return ext2Store{f} }

const ext2Magic = 0xef53

// ino32 returns an inode number as package ext2 takes it. For a number that is too large it
// returns 0, which no inode has.
func ino32(ino uint64) uint32 {
	if ino > 1<<32-1 {
		return 0
	}
	return uint32(ino)
}

func (s ext2Store) Root() uint64 { return ext2.RootInode }

func (s ext2Store) Stat(ino uint64) (Attr, error) {
	a, err := s.f.Stat(ino32(ino))
	return Attr{
		Mode: uint32(a.Mode), UID: a.UID, GID: a.GID, Nlink: uint32(a.Links), Size: a.Size, Blocks: a.Blocks, Rdev: a.Rdev,
		Atime: a.Atime, Mtime: a.Mtime, Ctime: a.Ctime, Btime: a.Btime,
	}, err
}

func toExt2(a Attr) ext2.Attr {
	return ext2.Attr{
		Mode: uint16(a.Mode), UID: a.UID, GID: a.GID, Rdev: a.Rdev,
		Atime: a.Atime, Mtime: a.Mtime, Ctime: a.Ctime, Btime: a.Btime,
	}
}

func (s ext2Store) SetAttr(ino uint64, a Attr) error { return s.f.SetAttr(ino32(ino), toExt2(a)) }

func (s ext2Store) List(dir uint64, yield func(name string, ino uint64, typ uint32) error) error {
	return s.f.ReadDir(ino32(dir), func(e ext2.Entry) error { return yield(e.Name, uint64(e.Ino), uint32(e.Type)) })
}

func (s ext2Store) Create(dir uint64, name string, a Attr, target string) (uint64, error) {
	ino, err := s.f.Create(ino32(dir), name, toExt2(a), target)
	return uint64(ino), err
}

func (s ext2Store) Link(dir uint64, name string, ino uint64, now int64) error {
	return s.f.Link(ino32(dir), name, ino32(ino), now)
}

func (s ext2Store) Unlink(dir uint64, name string, rmdir bool, now int64) error {
	_, _, err := s.f.Unlink(ino32(dir), name, rmdir, now)
	return err
}

func (s ext2Store) Rename(from uint64, name string, to uint64, newName string, exchange bool, now int64) error {
	_, _, err := s.f.Rename(ino32(from), name, ino32(to), newName, exchange, now)
	return err
}

func (s ext2Store) Readlink(ino uint64) (string, error) { return s.f.Readlink(ino32(ino)) }
func (s ext2Store) Forget(ino uint64) error             { return s.f.Forget(ino32(ino)) }

func (s ext2Store) Need(ino uint64, off, n int64) (int64, error) {
	return s.f.Missing(ino32(ino), off, n)
}
func (s ext2Store) Reserve(blocks int64) error { return s.f.Reserve(blocks) }
func (s ext2Store) Unreserve(blocks int64)     { s.f.Unreserve(blocks) }
func (s ext2Store) Read(ino uint64, p []byte, off int64) error {
	return s.f.ReadAt(ino32(ino), p, off)
}
func (s ext2Store) Write(ino uint64, p []byte, off, size int64) (int64, error) {
	return s.f.WriteAt(ino32(ino), p, off, size)
}
func (s ext2Store) Truncate(ino uint64, size int64) error { return s.f.Truncate(ino32(ino), size) }
func (s ext2Store) Sync() error {
	err := s.f.Sync()
	if errors.Is(err, syscall.EROFS) {
		return nil
	}
	return err
}
func (s ext2Store) ReadOnly() string { return s.f.ReadOnly() }
func (s ext2Store) Close() error     { return s.f.Close() }

func (s ext2Store) Statfs() Statfs {
	st := s.f.Statfs()
	return Statfs{
		Type: ext2Magic, Bsize: st.BlockSize, Blocks: st.Blocks, Bfree: st.Free, Bavail: st.Avail,
		Files: st.Inodes, Ffree: st.FreeInodes, Namelen: nameMax,
	}
}
