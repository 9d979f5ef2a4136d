package fs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"

	"github.com/cavaliergopher/cpio"
	"golang.org/x/sys/unix"
)

// Unpack fills the tree from an initramfs: a newc cpio archive, uncompressed, of
// directories, regular files with hard links, symbolic links and FIFOs. Device
// nodes keep their name only if /dev has them already. Missing parents are made.
// Several archives may follow each other, padded with zeros.
//
// An error says which entry is bad; what came before it stays unpacked.
func (s *FS) Unpack(archive []byte) error {
	src := &source{data: archive}
	u := unpacker{fs: s, at: At{Place: s.NewPlace()}, links: map[int64]string{}}
	u.at.Place.Umask(0)
	for {
		src.skipZeros()
		if src.pos == len(archive) {
			if u.archives == 0 {
				return errors.New("initramfs: empty")
			}
			return nil
		}
		if rest := archive[src.pos:]; !bytes.HasPrefix(rest, []byte("0707")) {
			return fmt.Errorf("initramfs: no newc cpio archive at byte %d (% x); compressed archives are not supported", src.pos, rest[:min(6, len(rest))])
		}
		if err := u.archive(src); err != nil {
			return fmt.Errorf("initramfs: at byte %d: %w", src.pos, err)
		}
		u.archives++
	}
}

// source is the archive as the cpio reader sees it. It remembers running out,
// which the reader cannot tell from a trailer.
type source struct {
	data []byte
	pos  int
	out  bool
}

func (r *source) Read(p []byte) (int, error) {
	if r.pos == len(r.data) {
		r.out = true
		return 0, io.EOF
	}
	n := copy(p, r.data[r.pos:])
	r.pos += n
	return n, nil
}

func (r *source) skipZeros() {
	for r.pos < len(r.data) && r.data[r.pos] == 0 {
		r.pos++
	}
}

// unpacker unpacks archives into a tree.
type unpacker struct {
	fs       *FS
	at       At
	archives int
	links    map[int64]string // first name of each inode with several
}

func (u *unpacker) archive(src *source) error {
	rd := cpio.NewReader(src)
	clear(u.links)
	last := "the start"
	for {
		h, err := rd.Next()
		switch {
		case err == io.EOF && !src.out:
			return nil // the trailer
		case err == io.EOF, err == io.ErrUnexpectedEOF:
			return fmt.Errorf("truncated after %s", last)
		case err != nil:
			return fmt.Errorf("after %s: %w", last, err)
		}
		last = fmt.Sprintf("%q", h.Name)
		// The reader takes eight characters for a signed hexadecimal number.
		if h.Size < 0 || h.Size > int64(len(src.data)-src.pos) {
			return fmt.Errorf("%s: size %d is more than the archive holds (truncated?)", last, h.Size)
		}
		if strings.IndexByte(h.Name, 0) >= 0 {
			return fmt.Errorf("%s: NUL in name", last)
		}
		if err := u.entry(h, rd); err != nil {
			return fmt.Errorf("%s: %w", last, err)
		}
	}
}

// entry makes one file.
func (u *unpacker) entry(h *cpio.Header, data io.Reader) error {
	name := "/" + strings.Trim(h.Name, "/")
	perm := uint32(h.Mode) & 0o7777
	if err := u.parents(name); err != nil {
		return err
	}
	var err error
	switch uint32(h.Mode) & syscall.S_IFMT {
	case syscall.S_IFDIR:
		err = u.directory(name, perm)
	case syscall.S_IFREG:
		err = u.regular(name, perm, h, data)
	case syscall.S_IFLNK:
		err = u.replace(name, func() error { return u.fs.Symlink(strings.TrimRight(h.Linkname, "\x00"), u.at, name) })
	case syscall.S_IFIFO:
		err = u.replace(name, func() error { return u.fs.Mknod(u.at, name, syscall.S_IFIFO|perm, 0) })
	case syscall.S_IFCHR, syscall.S_IFBLK:
		return nil // the kernel's own /dev has what there is
	default:
		return fmt.Errorf("unknown file type, mode %#o", uint32(h.Mode))
	}
	if err != nil {
		return err
	}
	u.fs.Chown(u.at, name, h.Uid, h.Guid, unix.AT_SYMLINK_NOFOLLOW)
	if uint32(h.Mode)&syscall.S_IFMT != syscall.S_IFLNK {
		u.fs.Chmod(u.at, name, perm, 0) // chown took set-id bits off
	}
	if sec := h.ModTime.Unix(); sec > 0 {
		u.fs.Utimes(u.at, name, sec*1e9, sec*1e9, unix.AT_SYMLINK_NOFOLLOW)
	}
	return nil
}

// parents makes the directories above name that are missing.
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

// replace removes what has the name, then makes the new file: a later entry wins.
func (u *unpacker) replace(name string, mk func() error) error {
	if err := u.fs.Unlink(u.at, name, 0); err != nil && err != syscall.ENOENT {
		return err
	}
	return mk()
}

// regular makes a file, or a further name of one: in newc, entries of the same
// inode number are links, and any one of them may carry the data.
func (u *unpacker) regular(name string, perm uint32, h *cpio.Header, data io.Reader) error {
	first, linked := u.links[h.Inode]
	if linked && first != name {
		err := u.replace(name, func() error { return u.fs.Link(u.at, first, u.at, name, 0) })
		if err != nil || h.Size == 0 {
			return err
		}
	} else {
		if err := u.replace(name, func() error { return u.fs.Mknod(u.at, name, syscall.S_IFREG|perm, 0) }); err != nil {
			return err
		}
		if h.Links > 1 {
			u.links[h.Inode] = name
		}
	}
	// O_NONBLOCK: a bad archive may have made the first name a FIFO since.
	f, err := u.fs.Open(u.at, name, unix.O_WRONLY|unix.O_TRUNC|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Release()
	return u.fill(f, data, h.Size)
}

// fill copies the data of an entry.
func (u *unpacker) fill(f *File, data io.Reader, size int64) error {
	buf := make([]byte, min(size, 256<<10))
	for size > 0 {
		n, err := io.ReadFull(data, buf[:min(size, int64(len(buf)))])
		if err != nil {
			return fmt.Errorf("data ends %d bytes early", size-int64(n))
		}
		for p := buf[:n]; len(p) > 0; {
			k, err := f.Write(nil, p)
			if err != nil {
				return err
			}
			p = p[k:]
		}
		size -= int64(n)
	}
	return nil
}
