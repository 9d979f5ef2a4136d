package share

import (
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/hugelgupf/p9/fsimpl/templatefs"
	"github.com/hugelgupf/p9/p9"
	"golang.org/x/sys/unix"
)

// hostFile is a file of a directory of this machine, for the library's server. (The
// library's own, fsimpl/localfs, has no attributes and no numbers of new directories.)
type hostFile struct {
	p9.DefaultWalkGetAttr
	templatefs.NotImplementedFile
	path string
	file *os.File
}

type hostDir string

func (d hostDir) Attach() (p9.File, error) { return &hostFile{path: string(d)}, nil }

func (h *hostFile) stat() (q p9.QID, st unix.Stat_t, err error) {
	err = unix.Lstat(h.path, &st)
	return p9.QID{Type: p9.FileMode(st.Mode).QIDType(), Path: st.Ino}, st, err
}

func (h *hostFile) Walk(names []string) (qids []p9.QID, f p9.File, err error) {
	at := &hostFile{path: h.path}
	for _, n := range names {
		at = &hostFile{path: filepath.Join(at.path, n)}
		q, _, err := at.stat()
		if err != nil {
			return nil, nil, err
		}
		qids = append(qids, q)
	}
	return qids, at, nil
}

func (h *hostFile) StatFS() (p9.FSStat, error) {
	return p9.FSStat{BlockSize: 4096, Blocks: 1000}, nil
}

// FSync has no disk to wait for.
func (h *hostFile) FSync() error { return nil }

func (h *hostFile) GetAttr(req p9.AttrMask) (p9.QID, p9.AttrMask, p9.Attr, error) {
	q, st, err := h.stat()
	return q, req, p9.Attr{
		Mode: p9.FileMode(st.Mode), UID: p9.UID(st.Uid), GID: p9.GID(st.Gid), NLink: p9.NLink(st.Nlink), RDev: p9.Dev(st.Rdev),
		Size: uint64(st.Size), BlockSize: 4096, Blocks: uint64(st.Blocks),
		ATimeSeconds: uint64(st.Atim.Sec), ATimeNanoSeconds: uint64(st.Atim.Nsec), MTimeSeconds: uint64(st.Mtim.Sec), MTimeNanoSeconds: uint64(st.Mtim.Nsec),
		CTimeSeconds: uint64(st.Ctim.Sec), CTimeNanoSeconds: uint64(st.Ctim.Nsec),
	}, err
}

func (h *hostFile) SetAttr(v p9.SetAttrMask, a p9.SetAttr) (err error) {
	if v.Permissions {
		err = unix.Chmod(h.path, uint32(a.Permissions))
	}
	if err == nil && v.Size {
		err = os.Truncate(h.path, int64(a.Size))
	}
	if err == nil && v.MTime {
		err = os.Chtimes(h.path, time.Time{}, time.Unix(int64(a.MTimeSeconds), int64(a.MTimeNanoSeconds)))
	}
	return err
}

func (h *hostFile) Close() error {
	if h.file != nil {
		return h.file.Close()
	}
	return nil
}

func (h *hostFile) Open(mode p9.OpenFlags) (q p9.QID, _ uint32, err error) {
	if h.file, err = os.OpenFile(h.path, mode.OSFlags(), 0); err != nil {
		return q, 0, err
	}
	q, _, err = h.stat()
	return q, 0, err
}

func (h *hostFile) ReadAt(p []byte, off int64) (int, error)  { return h.file.ReadAt(p, off) }
func (h *hostFile) WriteAt(p []byte, off int64) (int, error) { return h.file.WriteAt(p, off) }

func (h *hostFile) Create(name string, mode p9.OpenFlags, perm p9.FileMode, _ p9.UID, _ p9.GID) (p9.File, p9.QID, uint32, error) {
	n := &hostFile{path: filepath.Join(h.path, name)}
	f, err := os.OpenFile(n.path, mode.OSFlags()|os.O_CREATE|os.O_EXCL, os.FileMode(perm.Permissions()))
	if err != nil {
		return nil, p9.QID{}, 0, err
	}
	n.file = f
	q, _, err := n.stat()
	return n, q, 0, err
}

// made is the answer to the creation of a name.
func (h *hostFile) made(name string, err error) (p9.QID, error) {
	if err != nil {
		return p9.QID{}, err
	}
	q, _, err := (&hostFile{path: filepath.Join(h.path, name)}).stat()
	return q, err
}

func (h *hostFile) Mkdir(name string, perm p9.FileMode, _ p9.UID, _ p9.GID) (p9.QID, error) {
	return h.made(name, os.Mkdir(filepath.Join(h.path, name), os.FileMode(perm.Permissions())))
}

func (h *hostFile) Symlink(target, name string, _ p9.UID, _ p9.GID) (p9.QID, error) {
	return h.made(name, os.Symlink(target, filepath.Join(h.path, name)))
}

func (h *hostFile) Link(target p9.File, name string) error {
	return os.Link(target.(*hostFile).path, filepath.Join(h.path, name))
}

func (h *hostFile) RenameAt(old string, to p9.File, name string) error {
	return unix.Rename(filepath.Join(h.path, old), filepath.Join(to.(*hostFile).path, name))
}

func (h *hostFile) UnlinkAt(name string, flags uint32) error {
	return unix.Unlinkat(unix.AT_FDCWD, filepath.Join(h.path, name), int(flags))
}

func (h *hostFile) Readlink() (string, error) { return os.Readlink(h.path) }

func (h *hostFile) Renamed(parent p9.File, name string) {
	h.path = filepath.Join(parent.(*hostFile).path, name)
}

func (h *hostFile) Readdir(offset uint64, _ uint32) (list p9.Dirents, err error) {
	if offset > 0 {
		return nil, nil
	}
	names, err := h.file.Readdirnames(-1)
	if err != nil && err != io.EOF {
		return nil, err
	}
	for i, n := range names {
		if q, _, err := (&hostFile{path: filepath.Join(h.path, n)}).stat(); err == nil {
			list = append(list, p9.Dirent{QID: q, Type: q.Type, Name: n, Offset: uint64(i + 1)})
		}
	}
	return list, nil
}
