// Package tree makes a file tree on the host, from directories, Debian's packages, archives
// and single files. It writes the tree as an initramfs: a newc cpio archive that keeps
// owners, modes, times, symbolic and hard links and device nodes.
package tree

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/u-root/u-root/pkg/cpio"

	"grim/qemu/debian"
)

// Tree has files by name, without a leading slash. The name "" is the root.
type Tree struct {
	files map[string]*cpio.Record
	ino   uint64
}

// New returns an empty tree.
func New() *Tree { return &Tree{files: map[string]*cpio.Record{}} }

// Clean returns a file's name in the form of a Tree.
func Clean(name string) string { return strings.TrimPrefix(path.Clean("/"+name), "/") }

// put adds r. A later file replaces an earlier one of the same name, but a directory stays.
func (t *Tree) put(r cpio.Record) *cpio.Record {
	r.Name = Clean(r.Name)
	if old := t.files[r.Name]; old != nil && old.Mode&syscall.S_IFMT == syscall.S_IFDIR && r.Mode&syscall.S_IFMT == syscall.S_IFDIR {
		return old
	}
	t.ino++
	r.Ino, r.NLink = t.ino, 1
	t.files[r.Name] = &r
	return &r
}

// Dir adds a directory, File a file, Symlink a symbolic link.
func (t *Tree) Dir(name string, perm uint64)        { t.put(cpio.Directory(name, perm)) }
func (t *Tree) File(name, data string, perm uint64) { t.put(cpio.StaticFile(name, data, perm)) }
func (t *Tree) Symlink(name, target string)         { t.put(cpio.Symlink(name, target)) }
func (t *Tree) device(name string, mode, maj, min uint64) *cpio.Record {
	return t.put(cpio.Record{Info: cpio.Info{Name: name, Mode: mode, Rmajor: maj, Rminor: min}})
}

// Has reports whether the tree has a name; it follows symbolic links.
func (t *Tree) Has(name string) bool {
	_, ok := t.resolve(Clean(name), 0)
	return ok
}

// resolve follows the symbolic links in a name.
func (t *Tree) resolve(name string, depth int) (string, bool) {
	if depth > 40 {
		return "", false
	}
	parts := strings.Split(name, "/")
	for i := range parts {
		head := strings.Join(parts[:i+1], "/")
		r := t.files[head]
		if r == nil {
			return "", false
		}
		if r.Mode&syscall.S_IFMT == syscall.S_IFLNK {
			target := link(r)
			if !strings.HasPrefix(target, "/") {
				target = path.Join(path.Dir(head), target)
			}
			return t.resolve(Clean(path.Join(append([]string{target}, parts[i+1:]...)...)), depth+1)
		}
	}
	return name, true
}

// Get returns the data of a regular file; it follows symbolic links.
func (t *Tree) Get(name string) ([]byte, bool) {
	n, ok := t.resolve(Clean(name), 0)
	if !ok || t.files[n].Mode&syscall.S_IFMT != syscall.S_IFREG {
		return nil, false
	}
	return content(t.files[n]), true
}

func content(r *cpio.Record) []byte {
	if r.ReaderAt == nil {
		return nil
	}
	b := make([]byte, r.FileSize)
	n, _ := r.ReadAt(b, 0)
	return b[:n]
}

func link(r *cpio.Record) string { return string(content(r)) }

// Names returns all names, sorted.
func (t *Tree) Names() []string {
	var names []string
	for n := range t.files {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// Size returns the number of bytes of all regular files.
func (t *Tree) Size() (n uint64) {
	for _, r := range t.files {
		n += r.FileSize
	}
	return n
}

// merged are the directories that are symbolic links into usr since Debian 12.
var merged = []string{"bin", "sbin", "lib", "lib64"}

// MergeUsr makes those links.
func (t *Tree) MergeUsr() {
	t.Dir("usr", 0o755)
	for _, d := range merged {
		t.Dir("usr/"+d, 0o755)
		t.Symlink(d, "usr/"+d)
	}
}

// mergedName returns the place of a package's file in a merged tree.
func mergedName(name string) string {
	first, rest, below := strings.Cut(name, "/")
	if slices.Contains(merged, first) {
		if !below {
			return "usr/" + first
		}
		return "usr/" + first + "/" + rest
	}
	return name
}

// Package adds a package's files to a merged tree, except those for which skip returns
// true.
func (t *Tree) Package(ctx context.Context, deb string, skip func(name string) bool) error {
	return debian.Walk(ctx, deb, func(h *tar.Header, data io.Reader) error {
		name := mergedName(Clean(h.Name))
		if name == "" || skip != nil && skip(name) {
			return nil
		}
		r := cpio.Record{Info: cpio.Info{Name: name, UID: uint64(h.Uid), GID: uint64(h.Gid), MTime: uint64(h.ModTime.Unix())}}
		perm := uint64(h.Mode & 0o7777)
		switch h.Typeflag {
		case tar.TypeDir:
			r.Mode = syscall.S_IFDIR | perm
		case tar.TypeReg:
			b, err := io.ReadAll(data)
			if err != nil {
				return err
			}
			r.Mode, r.FileSize, r.ReaderAt = syscall.S_IFREG|perm, uint64(len(b)), bytes.NewReader(b)
		case tar.TypeSymlink:
			r.Mode, r.FileSize, r.ReaderAt = syscall.S_IFLNK|0o777, uint64(len(h.Linkname)), strings.NewReader(h.Linkname)
		case tar.TypeLink:
			return t.hardLink(name, mergedName(Clean(h.Linkname)))
		case tar.TypeChar, tar.TypeBlock:
			t.device(name, map[byte]uint64{tar.TypeChar: syscall.S_IFCHR, tar.TypeBlock: syscall.S_IFBLK}[h.Typeflag]|perm, uint64(h.Devmajor), uint64(h.Devminor))
			return nil
		case tar.TypeFifo:
			r.Mode = syscall.S_IFIFO | perm
		default:
			return fmt.Errorf("%s: %s: file type %q", deb, h.Name, h.Typeflag)
		}
		t.put(r)
		return nil
	})
}

// hardLink adds another name of a file. The first name keeps the data: the kernel accepts
// the data with any of the names.
func (t *Tree) hardLink(name, old string) error {
	r := t.files[old]
	if r == nil {
		return fmt.Errorf("%s: a hard link of %s, which is not there", name, old)
	}
	n := *r
	n.Name, n.ReaderAt, n.FileSize = name, nil, 0
	t.files[name] = &n
	links := uint64(0)
	for _, o := range t.files {
		if o.Ino == r.Ino {
			links++
		}
	}
	for _, o := range t.files {
		if o.Ino == r.Ino {
			o.NLink = links
		}
	}
	return nil
}

// Directory adds a directory of the host with everything below it. Owners are kept, except
// that a file of the caller becomes root's, if the caller is not root.
func (t *Tree) Directory(dir string) error {
	type inode struct{ dev, ino uint64 }
	first := map[inode]string{}
	return filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		info, err := os.Lstat(p)
		if err != nil {
			return err
		}
		r := cpio.Record{Info: cpio.Info{Name: filepath.ToSlash(rel), MTime: uint64(info.ModTime().Unix()), Mode: uint64(unixMode(info.Mode()))}}
		st, ok := info.Sys().(*syscall.Stat_t)
		if ok {
			r.UID, r.GID = uint64(st.Uid), uint64(st.Gid)
			if os.Getuid() != 0 && int(st.Uid) == os.Getuid() {
				r.UID, r.GID = 0, 0
			}
			id := inode{uint64(st.Dev), st.Ino}
			if old, linked := first[id]; linked && !d.IsDir() && st.Nlink > 1 {
				return t.hardLink(Clean(r.Name), old)
			}
			first[id] = Clean(r.Name)
			if info.Mode()&fs.ModeDevice != 0 {
				r.Rmajor, r.Rminor = deviceNumber(uint64(st.Rdev))
			}
		}
		switch {
		case info.Mode().IsRegular():
			// The caller must avoid sockets, and files that change while they are read.
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			r.FileSize, r.ReaderAt = uint64(len(b)), bytes.NewReader(b)
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(p)
			if err != nil {
				return err
			}
			r.FileSize, r.ReaderAt = uint64(len(target)), strings.NewReader(target)
		case info.Mode()&fs.ModeSocket != 0:
			return nil
		}
		t.put(r)
		return nil
	})
}

// unixMode returns a mode in Unix's form.
func unixMode(m fs.FileMode) uint32 {
	mode := uint32(m.Perm())
	for _, b := range []struct {
		from fs.FileMode
		to   uint32
	}{
		{fs.ModeSetuid, syscall.S_ISUID}, {fs.ModeSetgid, syscall.S_ISGID}, {fs.ModeSticky, syscall.S_ISVTX},
	} {
		if m&b.from != 0 {
			mode |= b.to
		}
	}
	switch {
	case m.IsDir():
		return mode | syscall.S_IFDIR
	case m&fs.ModeSymlink != 0:
		return mode | syscall.S_IFLNK
	case m&fs.ModeNamedPipe != 0:
		return mode | syscall.S_IFIFO
	case m&fs.ModeSocket != 0:
		return mode | syscall.S_IFSOCK
	case m&fs.ModeCharDevice != 0:
		return mode | syscall.S_IFCHR
	case m&fs.ModeDevice != 0:
		return mode | syscall.S_IFBLK
	}
	return mode | syscall.S_IFREG
}

// deviceNumber splits a Linux device number (makedev(3)).
func deviceNumber(d uint64) (major, minor uint64) {
	return d>>8&0xfff | d>>32&^0xfff, d&0xff | d>>12&^0xff
}

// Archive adds the files of a newc cpio archive.
func (t *Tree) Archive(data []byte) error {
	links := map[uint64]string{}
	rr := cpio.Newc.Reader(bytes.NewReader(data))
	for {
		r, err := rr.ReadRecord()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if r.Name == cpio.Trailer {
			return nil
		}
		ino, name := r.Ino, Clean(r.Name)
		old, linked := links[ino]
		if r.NLink > 1 && linked && r.Mode&syscall.S_IFMT == syscall.S_IFREG {
			if r.FileSize > 0 { // the data comes with a later name
				o := t.files[old]
				o.ReaderAt, o.FileSize = r.ReaderAt, r.FileSize
			}
			if err := t.hardLink(name, old); err != nil {
				return err
			}
			continue
		}
		t.put(r)
		links[ino] = name
	}
}

// Write writes the tree as an archive. Directories come before the files in them.
func (t *Tree) Write(w io.Writer) error {
	cw := cpio.Newc.Writer(w)
	for _, n := range t.Names() {
		if n == "" {
			continue
		}
		r := *t.files[n]
		if err := cw.WriteRecord(r); err != nil {
			return err
		}
	}
	return cpio.WriteTrailer(cw)
}
