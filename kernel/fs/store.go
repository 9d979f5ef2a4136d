package fs

// Store is where a volume's inodes, names and data are kept for good: a disk's file
// system (package ext2). Inodes have numbers. All methods may sleep, and may be called at
// any time, but for those on one file's data: see vm.Store. The file system is changed
// when a method returns, and on disk when Sync has returned.
type Store interface {
	Root() uint64
	Stat(ino uint64) (Attr, error)
	SetAttr(ino uint64, a Attr) error
	// List calls yield for all names of a directory but "." and "..".
	List(dir uint64, yield func(name string, ino uint64, typ uint32) error) error
	// Create makes an inode with a name. target is of a symbolic link.
	Create(dir uint64, name string, a Attr, target string) (ino uint64, err error)
	Link(dir uint64, name string, ino uint64, now int64) error
	// Unlink takes a name away. An inode that has none left stays until Forget.
	Unlink(dir uint64, name string, rmdir bool, now int64) error
	// Rename moves a name over whatever has the new one, or swaps the two.
	Rename(from uint64, name string, to uint64, newName string, exchange bool, now int64) error
	Readlink(ino uint64) (string, error)
	Forget(ino uint64) error

	// Data. Need counts the blocks that a write would have to allocate; they are
	// reserved before, and Write says how many of them it has used up.
	Need(ino uint64, off, n int64) (blocks int64, err error)
	Reserve(blocks int64) error
	Unreserve(blocks int64)
	Read(ino uint64, p []byte, off int64) error
	Write(ino uint64, p []byte, off, size int64) (used int64, err error)
	Truncate(ino uint64, size int64) error

	Sync() error
	Statfs() Statfs
	// ReadOnly is why nothing can be changed, or "".
	ReadOnly() string
	Close() error
}

// Attr is what a Store knows of an inode. Times are nanoseconds since 1970.
type Attr struct {
	Mode                       uint32
	UID, GID                   uint32
	Nlink                      uint32
	Size, Blocks               int64
	Rdev                       uint64
	Atime, Mtime, Ctime, Btime int64
}
