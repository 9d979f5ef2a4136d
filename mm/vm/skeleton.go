// Package vm: address spaces. Skeleton of the exported API; bodies follow.
package vm

import (
	"syscall"
	"time"

	"grim/arch"
	"grim/mm/phys"
	"grim/mm/pmap"
)

// System is what all address spaces of a machine share.
type System struct {
	mem   *phys.Memory
	pmaps *pmap.System
}

// Config tells NewSystem what to build on. Mem and Pmaps are required.
type Config struct {
	Mem      *phys.Memory
	Pmaps    *pmap.System
	NoBlocks bool   // hugepages=off: 4 KB pages only
	Yield    func() // lets other tasks run; nil: runtime.Gosched
}

// NewSystem makes the machine's System.
func NewSystem(c Config) *System { return &System{mem: c.Mem, pmaps: c.Pmaps} }

// Mem is the frame allocator.
func (s *System) Mem() *phys.Memory { return s.mem }

// Stats counts the kernel objects alive, for leak tests (E4).
func (s *System) Stats() SystemStats { return SystemStats{} }

// SystemStats counts what is alive in a System.
type SystemStats struct{ Spaces, Entries, Objects int64 }

// VMSpace is a user address space: map, pmap, limits.
type VMSpace struct{ pm *pmap.Pmap }

// New makes an empty address space with one reference. ENOMEM.
func New(s *System, l arch.Layout) (*VMSpace, error) { return nil, syscall.ENOSYS }

// Ref adds a user of the space (CLONE_VM, vfork, a /proc reader).
func (vs *VMSpace) Ref() {}

// Release drops a reference (uvmspace_free). The last one asserts that map and
// pmap are empty, and destroys the pmap. It reports whether it was the last.
func (vs *VMSpace) Release() (last bool) { return false }

// Refs is the number of users.
func (vs *VMSpace) Refs() int { return 0 }

// Layout is the layout of the space's root.
func (vs *VMSpace) Layout() arch.Layout { return 0 }

// Pmap is the space's page tables.
func (vs *VMSpace) Pmap() *pmap.Pmap { return vs.pm }

// Activate makes the space current on this CPU; cheap when it is already.
func (vs *VMSpace) Activate() {}

// Fork makes a copy-on-write copy. On ENOMEM everything is undone.
func (vs *VMSpace) Fork(l arch.Layout) (*VMSpace, error) { return nil, syscall.ENOSYS }

// MapFlags are the flags of Map.
type MapFlags uint32

// Flags of Map, as mmap(2) has them.
const (
	Shared         MapFlags = 1 << iota // changes are seen by other mappings; neither or Private: a private mapping
	Private                             // copy on write
	Fixed                               // exactly at addr, replacing what is there
	FixedNoReplace                      // exactly at addr; EEXIST if something is there
	Anon                                // no object: zero-filled
	GrowsDown                           // a stack: grows towards lower addresses on faults
	NoReserve                           // accepted; memory is never reserved in advance
	Populate                            // fault everything in now
	Locked                              // as mlock
	MayNotWrite                         // the file is not open for writing: a Shared mapping can never be made writable
)

// Stack is GrowsDown by its other name.
const Stack = GrowsDown

// Map maps length bytes of obj from off (or zero-filled memory) and returns the
// address. It takes its own reference of obj. Errors as mmap(2).
func (vs *VMSpace) Map(addr arch.VA, length uint64, prot arch.Prot, flags MapFlags, obj Object, off int64) (arch.VA, error) {
	return 0, syscall.ENOSYS
}

// Unmap is munmap(2).
func (vs *VMSpace) Unmap(addr arch.VA, length uint64) error { return syscall.ENOSYS }

// Protect is mprotect(2).
func (vs *VMSpace) Protect(addr arch.VA, length uint64, prot arch.Prot) error { return syscall.ENOSYS }

// Remap is mremap(2); flags are Linux's MREMAP_*.
func (vs *VMSpace) Remap(old arch.VA, oldLen, newLen uint64, flags int, to arch.VA) (arch.VA, error) {
	return 0, syscall.ENOSYS
}

// Advise is madvise(2); advice is Linux's MADV_*.
func (vs *VMSpace) Advise(addr arch.VA, length uint64, advice int) error { return syscall.ENOSYS }

// Sync is msync(2); flags are Linux's MS_*.
func (vs *VMSpace) Sync(addr arch.VA, length uint64, flags int) error { return syscall.ENOSYS }

// SetBrk places the start of the heap (program loader).
func (vs *VMSpace) SetBrk(start arch.VA) {}

// Brk moves the end of the heap to addr and returns the end that holds now:
// the old one if addr was out of range or memory or limits did not allow it.
func (vs *VMSpace) Brk(addr arch.VA) arch.VA { return 0 }

// Lock is mlock(2), Unlock munlock(2).
func (vs *VMSpace) Lock(addr arch.VA, length uint64) error   { return syscall.ENOSYS }
func (vs *VMSpace) Unlock(addr arch.VA, length uint64) error { return syscall.ENOSYS }

// LockAll is mlockall(2) with Linux's MCL_* flags; UnlockAll munlockall(2).
func (vs *VMSpace) LockAll(flags int) error { return syscall.ENOSYS }
func (vs *VMSpace) UnlockAll()              {}

// Incore is mincore(2): one byte per page, bit 0: resident.
func (vs *VMSpace) Incore(addr arch.VA, vec []byte) error { return syscall.ENOSYS }

// Fault resolves a user access. nil: try again. EFAULT: nothing mapped
// (SEGV_MAPERR); EACCES: not allowed (SEGV_ACCERR); EIO: SIGBUS; ENOMEM: kill.
func (vs *VMSpace) Fault(va arch.VA, access arch.Prot) error { return syscall.EFAULT }

// CopyIn fills dst from user memory at src. EFAULT.
func (vs *VMSpace) CopyIn(dst []byte, src arch.VA) error { return syscall.EFAULT }

// CopyOut writes src to user memory at dst. EFAULT, with nothing changed.
func (vs *VMSpace) CopyOut(dst arch.VA, src []byte) error { return syscall.EFAULT }

// CopyInString reads a NUL-terminated string of at most max bytes, the NUL
// excluded. EFAULT, ENAMETOOLONG.
func (vs *VMSpace) CopyInString(src arch.VA, max int) (string, error) { return "", syscall.EFAULT }

// ZeroOut clears n bytes of user memory at dst. EFAULT, with nothing changed.
func (vs *VMSpace) ZeroOut(dst arch.VA, n uint64) error { return syscall.EFAULT }

// ReadUint32 loads an aligned word atomically. EINVAL misaligned, EFAULT.
func (vs *VMSpace) ReadUint32(va arch.VA) (uint32, error) { return 0, syscall.EFAULT }

// WriteUint32 stores an aligned word atomically. EINVAL misaligned, EFAULT.
func (vs *VMSpace) WriteUint32(va arch.VA, v uint32) error { return syscall.EFAULT }

// ReadUint64 and WriteUint64 are the same for 8 bytes.
func (vs *VMSpace) ReadUint64(va arch.VA) (uint64, error)  { return 0, syscall.EFAULT }
func (vs *VMSpace) WriteUint64(va arch.VA, v uint64) error { return syscall.EFAULT }

// CompareAndSwapUint32 does so atomically with user code and other CPUs.
func (vs *VMSpace) CompareAndSwapUint32(va arch.VA, old, new uint32) (bool, error) {
	return false, syscall.EFAULT
}

// EnsureWritable faults in [va, va+n) for writing; EnsureReadable for reading. EFAULT.
func (vs *VMSpace) EnsureWritable(va arch.VA, n uint64) error { return syscall.EFAULT }
func (vs *VMSpace) EnsureReadable(va arch.VA, n uint64) error { return syscall.EFAULT }

// Key names a futex word, comparable: equal for all mappings of one word.
type Key struct{ ID, Off uint64 }

// FutexKey is the key of the word at va: by object and offset in a shared
// mapping, by space and address otherwise. EFAULT, EINVAL misaligned.
func (vs *VMSpace) FutexKey(va arch.VA) (Key, error) { return Key{}, syscall.EFAULT }

// PrivateFutexKey is the key under FUTEX_PRIVATE_FLAG: no look-up. EINVAL misaligned.
func (vs *VMSpace) PrivateFutexKey(va arch.VA) (Key, error) { return Key{}, syscall.EINVAL }

// PurgeStats says what a Purge did.
type PurgeStats struct {
	Entries     int           // map entries taken apart
	Pages       int           // resident pages released, 4 KB each
	Tables      int           // page-table pages released, the root excluded
	Dirty       int           // pages handed back to their object
	DirtyErrors int           // of these, how many the object refused
	DirtyTime   time.Duration // time spent in PutDirty
}

// Purge removes every user mapping (DESIGN.md section 5, step 4). It may
// sleep. The caller is the last user and holds no lock. trace may be nil.
func (vs *VMSpace) Purge(trace *PurgeStats) {}

// Purged reports whether map and pmap are empty.
func (vs *VMSpace) Purged() bool { return true }

// EntryInfo is one line of /proc/self/maps.
type EntryInfo struct {
	Start, End arch.VA
	Prot       arch.Prot
	Shared     bool
	GrowsDown  bool
	Locked     bool
	Name       string // object's name, "[heap]", "[stack]" or ""
	Off        int64
	Inode      uint64
}

// Entries lists the map in order of address.
func (vs *VMSpace) Entries() []EntryInfo { return nil }

// Stats are sizes in bytes.
type Stats struct {
	VSize, RSS, Tables, Locked, Data, Stack, Exec uint64
	PeakVSize, PeakRSS                            uint64
	Entries                                       int
}

// Stats of the space.
func (vs *VMSpace) Stats() Stats { return Stats{} }

// Limits are the resource limits that the map obeys, in bytes; Unlimited: none.
type Limits struct {
	AS, Data, Stack, Memlock uint64 // RLIMIT_*
	Resident                 uint64 // pages that may be resident; a fault beyond fails with ENOMEM
}

// Unlimited is no limit (RLIM_INFINITY).
const Unlimited = ^uint64(0)

// Limits returns the limits, SetLimits replaces them.
func (vs *VMSpace) Limits() Limits     { return Limits{} }
func (vs *VMSpace) SetLimits(l Limits) {}

// SetMmapBase sets where the search for free addresses starts, downwards
// (program loader).
func (vs *VMSpace) SetMmapBase(va arch.VA) {}

// Object is what can be mapped.
type Object interface {
	// Ref adds a reference, Unref drops one; the last frees the pages.
	Ref()
	Unref()
	// GetPage returns the frame of page index with a reference for the caller.
	// write: it is about to be written through a shared mapping. It may sleep.
	// EIO past the end (SIGBUS), ENOMEM.
	GetPage(index int64, write bool) (phys.Frame, error)
	// PutDirty takes back a page written through a shared mapping. It may be
	// slow, and may sleep. The caller keeps its reference of f.
	PutDirty(index int64, f phys.Frame) error
	// Size is the length in bytes.
	Size() int64
	// Name is what /proc/self/maps shows.
	Name() string
	// Mappings is who maps the object; embed a Mappings to have it.
	Mapped() *Mappings
}

// Mappings records the map entries that map an object, so that truncation can
// unmap. Objects embed it. The zero value is ready.
type Mappings struct{}

// Mapped makes a type that embeds Mappings satisfy that part of Object.
func (m *Mappings) Mapped() *Mappings { return m }

// Invalidate unmaps pages [first, last) of the object everywhere, private
// copies included, as truncation does. It does not sleep.
func (m *Mappings) Invalidate(first, last int64) {}

// NewAnonObject makes shared anonymous memory of size bytes, one reference.
func NewAnonObject(s *System, size int64) Object { return nil }

// Pager keeps a file's pages elsewhere. All methods may sleep.
type Pager interface {
	PageIn(index int64, page []byte) error  // fill page
	PageOut(index int64, page []byte) error // take its contents
}

// FileObject is a file's pages: the page cache of an in-memory file, or the
// mapped pages of one that a Pager keeps.
type FileObject struct{ Mappings }

// NewFileObject makes an empty file, one reference. pager nil: pages live in
// frames alone.
func NewFileObject(s *System, name string, pager Pager) *FileObject { return nil }

func (o *FileObject) Ref()                                                {}
func (o *FileObject) Unref()                                              {}
func (o *FileObject) GetPage(index int64, write bool) (phys.Frame, error) { return 0, syscall.EIO }
func (o *FileObject) PutDirty(index int64, f phys.Frame) error            { return nil }
func (o *FileObject) Size() int64                                         { return 0 }
func (o *FileObject) Name() string                                        { return "" }

// SetName renames the object for /proc/self/maps (rename(2), memfd).
func (o *FileObject) SetName(name string) {}

// SetInode sets what /proc/self/maps shows as inode.
func (o *FileObject) SetInode(ino uint64) {}

// OnWrite sets a function called, with no lock held, when a shared mapping has
// written to the file (mtime).
func (o *FileObject) OnWrite(f func()) {}

// ReadAt is io.ReaderAt; io.EOF at the end.
func (o *FileObject) ReadAt(p []byte, off int64) (int, error) { return 0, syscall.EIO }

// WriteAt is io.WriterAt; it extends the file. ENOSPC when frames run out, EFBIG.
func (o *FileObject) WriteAt(p []byte, off int64) (int, error) { return 0, syscall.EIO }

// Truncate sets the length; pages past it are unmapped everywhere. EFBIG.
func (o *FileObject) Truncate(size int64) error { return syscall.EIO }

// Pages is the number of frames that hold data (st_blocks is 8 a page).
func (o *FileObject) Pages() int64 { return 0 }
