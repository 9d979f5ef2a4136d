//go:build tamago

package kernel

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"grim/kernel/fs"
	"grim/mm/vm"
)

// File is an open file of the machine's tree, a device, or the end of a pipe.
type File struct {
	f    *fs.File
	task fs.Task
	name string
	once sync.Once
}

// Pager has the pages of a file that a kernel task serves. The methods may sleep. They are
// called for pages of 4096 bytes: PageIn when a process or a reader needs a page that is not
// mapped, and PageOut when a page that was written to through a mapping is handed back, by
// msync(2), munmap(2) or the purge of an exiting process.
type Pager = vm.Pager

func (k *Kernel) at() fs.At { return fs.At{Task: k.s.sys.KernelTask(), Place: k.s.fs.NewPlace()} }

func (k *Kernel) file(name string, f *fs.File) *File {
	return &File{f: f, task: k.s.sys.KernelTask(), name: name}
}

func pathError(op, path string, err error) error {
	if err == nil {
		return nil
	}
	return &os.PathError{Op: op, Path: path, Err: err}
}

// Open opens a file as os.OpenFile does. The kernel may access all files.
func (k *Kernel) Open(path string, flags int, mode os.FileMode) (*File, error) {
	f, err := k.s.fs.Open(k.at(), path, flags, uint32(mode.Perm()))
	if err != nil {
		return nil, pathError("open", path, err)
	}
	return k.file(path, f), nil
}

// Pipe makes a pipe: bytes written to w are read from r.
func (k *Kernel) Pipe() (r, w *File, err error) {
	fr, fw, err := k.s.fs.Pipe(k.s.sys.KernelTask(), 0)
	if err != nil {
		return nil, nil, pathError("pipe", "|", err)
	}
	return k.file("|0", fr), k.file("|1", fw), nil
}

// ReadFile reads a whole file.
func (k *Kernel) ReadFile(path string) ([]byte, error) {
	f, err := k.Open(path, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}

// WriteFile makes a file with these bytes, or replaces the bytes of a file. A program's mode
// is 0o755.
func (k *Kernel) WriteFile(path string, data []byte, mode os.FileMode) error {
	f, err := k.Open(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.Write(data)
	return err
}

// Mkdir makes a directory.
func (k *Kernel) Mkdir(path string, mode os.FileMode) error {
	return pathError("mkdir", path, k.s.fs.Mkdir(k.at(), path, uint32(mode.Perm())))
}

// Remove removes a name. A process that has the file open or mapped keeps it.
func (k *Kernel) Remove(path string) error {
	return pathError("remove", path, k.s.fs.Unlink(k.at(), path, 0))
}

// Serve makes a file of the given size whose pages p has. Processes read, write and map it
// like any other file. A pager may be as slow as it likes: an exiting process waits for it
// in its own purge, and nobody else does.
func (k *Kernel) Serve(path string, size int64, mode os.FileMode, p Pager) error {
	o, err := vm.NewUserFile(k.s.vm, path, p, k.s.charges.Kernel())
	if err != nil {
		return pathError("serve", path, err)
	}
	if err := o.Truncate(size); err != nil {
		o.Unref()
		return pathError("serve", path, err)
	}
	return pathError("serve", path, k.s.fs.MakeFile(k.at(), path, uint32(mode.Perm()), o))
}

// ServeText makes /proc/name, with the text that gen returns each time a process begins to
// read. gen must not use the Kernel's files.
func (k *Kernel) ServeText(name string, gen func() []byte) { k.s.fs.ProcFile(name, gen) }

// Disks returns the machine's disks and their partitions, such as vda and vda1.
func (k *Kernel) Disks() (names []string) {
	for _, d := range k.s.disks {
		names = append(names, d.Name())
	}
	return names
}

// Mount mounts a disk's ext2 or ext4 file system on a directory.
func (k *Kernel) Mount(disk, dir string, readOnly bool) error {
	for i, d := range k.s.disks {
		if d.Name() != disk {
			continue
		}
		st, err := k.s.openDisk(unix.Mkdev(diskMajor, uint32(i)), readOnly)
		if err != nil {
			return pathError("mount", disk, err)
		}
		if err := k.s.fs.Mount(k.at(), dir, "/dev/"+disk, "ext4", st); err != nil {
			return pathError("mount", dir, errors.Join(err, st.Close()))
		}
		return nil
	}
	return fmt.Errorf("mount %s: no such disk", disk)
}

// Unmount writes everything to the disk, and takes the file system off the tree. EBUSY: it
// is in use.
func (k *Kernel) Unmount(dir string) error {
	return pathError("unmount", dir, k.s.fs.Unmount(k.at(), dir))
}

// Memory returns how many bytes of memory there are for processes and files, and how many
// of them are free.
func (k *Kernel) Memory() (total, free uint64) { return k.s.memory() }

// Name returns the path that the file was opened with.
func (f *File) Name() string { return f.name }

// Read implements io.Reader. From a pipe or a device it waits for the first byte.
func (f *File) Read(p []byte) (int, error) {
	n, err := f.f.Read(f.task, p)
	return ended(n, len(p), pathError("read", f.name, err))
}

// ReadAt implements io.ReaderAt.
func (f *File) ReadAt(p []byte, off int64) (n int, err error) {
	for n < len(p) && err == nil {
		var m int
		m, err = f.f.Pread(f.task, p[n:], off+int64(n))
		m, err = ended(m, len(p)-n, pathError("read", f.name, err))
		n += m
	}
	return n, err
}

func ended(n, want int, err error) (int, error) {
	if n == 0 && want > 0 && err == nil {
		err = io.EOF
	}
	return n, err
}

// Write implements io.Writer.
func (f *File) Write(p []byte) (n int, err error) {
	return writeAll(p, func(p []byte) (int, error) {
		n, err := f.f.Write(f.task, p)
		return n, pathError("write", f.name, err)
	})
}

// WriteAt implements io.WriterAt.
func (f *File) WriteAt(p []byte, off int64) (n int, err error) {
	return writeAll(p, func(p []byte) (int, error) {
		n, err := f.f.Pwrite(f.task, p, off)
		off += int64(n)
		return n, pathError("write", f.name, err)
	})
}

func writeAll(p []byte, write func([]byte) (int, error)) (n int, err error) {
	for n < len(p) && err == nil {
		var m int
		if m, err = write(p[n:]); m == 0 && err == nil {
			err = io.ErrShortWrite
		}
		n += m
	}
	return n, err
}

// Seek implements io.Seeker.
func (f *File) Seek(off int64, whence int) (int64, error) {
	n, err := f.f.Seek(off, whence)
	return n, pathError("seek", f.name, err)
}

// Close gives the file up. Processes that have it keep it. More calls do nothing.
func (f *File) Close() error {
	f.once.Do(f.f.Release)
	return nil
}
