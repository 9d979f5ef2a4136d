package fs

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Unpack fills the tree from an initramfs: a newc cpio archive, uncompressed, of
// directories, regular files with hard links, symbolic links, FIFOs and device nodes.
// Missing parents are made. Several archives may follow each other, padded with zeros.
//
// done is called now and then with the length of the part of archive that is not needed any
// more. It may be nil.
//
// An error names the bad entry. The entries before it stay unpacked.
func (s *FS) Unpack(archive []byte, done func(upTo int)) error {
	if done == nil {
		done = func(int) {}
	}
	u := unpacker{fs: s, at: At{Place: s.NewPlace()}, src: newc{data: archive}, links: map[uint32]string{}, done: done}
	u.at.Place.Umask(0)
	for {
		u.src.skipZeros()
		if u.src.pos == len(archive) {
			if u.archives == 0 {
				return errors.New("initramfs: empty")
			}
			return nil
		}
		if rest := archive[u.src.pos:]; !bytes.HasPrefix(rest, []byte("0707")) {
			return fmt.Errorf("initramfs: no newc cpio archive at byte %d (% x); compressed archives are not supported", u.src.pos, rest[:min(6, len(rest))])
		}
		if err := u.archive(); err != nil {
			return fmt.Errorf("initramfs: at byte %d: %w", u.src.pos, err)
		}
		u.archives++
	}
}

// newc is an archive and the position in it. An entry consists of six magic characters, 13
// numbers of eight hexadecimal digits, the name with its NUL, and the data. The name and
// the data are padded to a multiple of 4 (cpio(5), "New ASCII Format").
type newc struct {
	data []byte
	pos  int
}

// cpioHeader is an entry. name and data are slices of the archive.
type cpioHeader struct {
	ino, mode, uid, gid, nlink, mtime, size uint32
	rdev                                    uint64
	name, data                              []byte
}

const (
	newcHeader  = 6 + 13*8
	newcTrailer = "TRAILER!!!"
)

var (
	errTruncated = errors.New("truncated")
	errHeader    = errors.New("invalid header")
)

func (r *newc) skipZeros() {
	for r.pos < len(r.data) && r.data[r.pos] == 0 {
		r.pos++
	}
}

// take returns the next n bytes.
func (r *newc) take(n int) ([]byte, error) {
	if n > len(r.data)-r.pos {
		return nil, errTruncated
	}
	b := r.data[r.pos : r.pos+n]
	r.pos += n
	return b, nil
}

// next reads an entry. Its padding may be missing at the end of the archive.
func (r *newc) next() (h cpioHeader, err error) {
	start := r.pos
	b, err := r.take(newcHeader)
	if err != nil {
		return h, err
	}
	if string(b[:6]) != "070701" && string(b[:6]) != "070702" {
		return h, errHeader
	}
	var n [13]uint32
	for i := range n {
		if n[i], err = hex32(b[6+8*i:][:8]); err != nil {
			return h, err
		}
	}
	h = cpioHeader{ino: n[0], mode: n[1], uid: n[2], gid: n[3], nlink: n[4], mtime: n[5], size: n[6], rdev: unix.Mkdev(n[9], n[10])}
	length := n[11]
	if length < 2 || length > pathMax {
		return h, errHeader
	}
	if h.name, err = r.take(int(length)); err != nil {
		return h, err
	}
	if h.name = h.name[:length-1]; bytes.IndexByte(h.name, 0) >= 0 {
		return h, fmt.Errorf("%q: NUL in name", h.name)
	}
	r.align(start)
	if uint64(h.size) > uint64(len(r.data)-r.pos) {
		return h, fmt.Errorf("%q: size %d is more than the archive holds (truncated?)", h.name, h.size)
	}
	h.data, _ = r.take(int(h.size))
	r.align(start)
	return h, nil
}

// align skips the padding of an entry that began at start.
func (r *newc) align(start int) { r.pos = min(len(r.data), r.pos+(start-r.pos)&3) }

func hex32(b []byte) (v uint32, err error) {
	for _, c := range b {
		switch {
		case '0' <= c && c <= '9':
			v = v<<4 | uint32(c-'0')
		case 'a' <= c && c <= 'f':
			v = v<<4 | uint32(c-'a'+10)
		case 'A' <= c && c <= 'F':
			v = v<<4 | uint32(c-'A'+10)
		default:
			return 0, errHeader
		}
	}
	return v, nil
}

// unpacker unpacks archives into a tree.
type unpacker struct {
	fs       *FS
	at       At
	src      newc
	archives int
	links    map[uint32]string // the first name of each inode with several names
	done     func(upTo int)
}

func (u *unpacker) archive() error {
	clear(u.links)
	last := "the start"
	for {
		h, err := u.src.next()
		if err != nil {
			return fmt.Errorf("after %s: %w", last, err)
		}
		if string(h.name) == newcTrailer {
			return nil
		}
		last = fmt.Sprintf("%q", h.name)
		if err := u.entry(&h); err != nil {
			return fmt.Errorf("%s: %w", last, err)
		}
		u.done(u.src.pos)
	}
}

// entry makes the file of an entry.
func (u *unpacker) entry(h *cpioHeader) error {
	name := "/" + strings.Trim(string(h.name), "/")
	perm := h.mode & 0o7777
	if err := u.parents(name); err != nil {
		return err
	}
	var err error
	switch h.mode & syscall.S_IFMT {
	case syscall.S_IFDIR:
		err = u.directory(name, perm)
	case syscall.S_IFREG:
		err = u.regular(name, perm, h)
	case syscall.S_IFLNK:
		err = u.replace(name, func() error { return u.fs.Symlink(strings.TrimRight(string(h.data), "\x00"), u.at, name) })
	case syscall.S_IFIFO:
		err = u.replace(name, func() error { return u.fs.Mknod(u.at, name, syscall.S_IFIFO|perm, 0) })
	case syscall.S_IFCHR, syscall.S_IFBLK:
		if strings.HasPrefix(name, "/dev/") {
			return nil // the kernel's own /dev has all devices
		}
		err = u.replace(name, func() error { return u.fs.Mknod(u.at, name, h.mode, h.rdev) })
	case syscall.S_IFSOCK: // no process listens on it any more
		return nil
	default:
		return fmt.Errorf("unknown file type, mode %#o", h.mode)
	}
	if err != nil {
		return err
	}
	u.fs.Chown(u.at, name, int(h.uid), int(h.gid), unix.AT_SYMLINK_NOFOLLOW)
	if h.mode&syscall.S_IFMT != syscall.S_IFLNK {
		u.fs.Chmod(u.at, name, perm, 0) // chown has cleared the set-id bits
	}
	if sec := int64(h.mtime); sec > 0 {
		u.fs.Utimes(u.at, name, sec*1e9, sec*1e9, unix.AT_SYMLINK_NOFOLLOW)
	}
	return nil
}

// parents makes the missing directories above name.
func (u *unpacker) parents(name string) error {
	for i := 1; i < len(name); i++ {
		if name[i] != '/' {
			continue
		}
		if err := u.fs.Mkdir(u.at, name[:i], 0o755); err != nil && err != syscall.EEXIST {
			return err
		}
	}
	return nil
}

func (u *unpacker) directory(name string, perm uint32) error {
	err := u.fs.Mkdir(u.at, name, perm)
	if err != syscall.EEXIST {
		return err
	}
	st, err := u.fs.Stat(u.at, name, 0)
	if err == nil && st.Mode&syscall.S_IFMT != syscall.S_IFDIR {
		err = syscall.ENOTDIR
	}
	return err
}

// replace removes the file with this name, if there is one, then makes the new file: the
// last entry of a name counts.
func (u *unpacker) replace(name string, mk func() error) error {
	if err := u.fs.Unlink(u.at, name, 0); err != nil && err != syscall.ENOENT {
		return err
	}
	return mk()
}

// regular makes a file, or a further name of a file. In newc, entries with the same inode
// number are links, and any one of them may have the data.
func (u *unpacker) regular(name string, perm uint32, h *cpioHeader) error {
	first, linked := u.links[h.ino]
	linked = linked && h.nlink > 1
	if linked && first != name {
		err := u.replace(name, func() error { return u.fs.Link(u.at, first, u.at, name, 0) })
		if err != nil || h.size == 0 {
			return err
		}
	} else {
		if err := u.replace(name, func() error { return u.fs.Mknod(u.at, name, syscall.S_IFREG|perm, 0) }); err != nil {
			return err
		}
		if h.nlink > 1 {
			u.links[h.ino] = name
		}
	}
	// O_NONBLOCK: a bad archive may have replaced the first name by a FIFO.
	f, err := u.fs.Open(u.at, name, unix.O_WRONLY|unix.O_TRUNC|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Release()
	for p := h.data; len(p) > 0; {
		n, err := f.Write(nil, p)
		if err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}
