package fs

// Store keeps a volume's inodes, names and data permanently: a disk's file system (package
// ext2). Inodes have numbers. All methods may sleep. All may be called at any time, except
// for those on the data of one file: see vm.Store. When a method returns, the file system
// is changed; the change is on disk when a later Sync has returned.
type Store interface {
	Root() uint64
	Stat(ino uint64) (Attr, error)
	SetAttr(ino uint64, a Attr) error
	// List calls yield for all names of a directory, except "." and "..".
	List(dir uint64, yield func(name string, ino uint64, typ uint32) error) error
	// Create makes an inode with a name. target is used for a symbolic link.
	Create(dir uint64, name string, a Attr, target string) (ino uint64, err error)
	Link(dir uint64, name string, ino uint64, now int64) error
	// Unlink removes a name. An inode without names stays until Forget.
	Unlink(dir uint64, name string, rmdir bool, now int64) error
	// Rename moves a name. It replaces the file that has the new name, or exchanges the two
	// names.
	Rename(from uint64, name string, to uint64, newName string, exchange bool, now int64) error
	Readlink(ino uint64) (string, error)
	Forget(ino uint64) error

	// The methods for data. Need returns the number of blocks that a write would have to
	// allocate. They must be reserved before the write. Write returns how many reserved
	// blocks it has used.
	Need(ino uint64, off, n int64) (blocks int64, err error)
	Reserve(blocks int64) error
	Unreserve(blocks int64)
	Read(ino uint64, p []byte, off int64) error
	Write(ino uint64, p []byte, off, size int64) (used int64, err error)
	Truncate(ino uint64, size int64) error

	Sync() error
	Statfs() Statfs
	// ReadOnly returns the reason why nothing can be changed, or "".
	ReadOnly() string
	Close() error
}

// Attr has the attributes that a Store keeps of an inode. Times are nanoseconds since 1970.
type Attr struct {
	Mode                       uint32
	UID, GID                   uint32
	Nlink                      uint32
	Size, Blocks               int64
	Rdev                       uint64
	Atime, Mtime, Ctime, Btime int64
}
