package sys

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// Extended attributes (xattr(7)). No file system here has any. The calls look the file up
// and check the name; the result is EOPNOTSUPP, or an empty list.

// maxXattrName is the longest name of an attribute (XATTR_NAME_MAX).
const maxXattrName = 255

// xattrFile looks up the file of a call: by path, with or without following links, or by
// descriptor.
func (c ctx) xattrFile(kind xattrKind) error {
	if kind == xattrFD {
		f, err := c.file(0)
		if err != nil {
			return err
		}
		defer f.Release()
		if f.Flags()&unix.O_PATH != 0 {
			return syscall.EBADF
		}
		return nil
	}
	name, err := c.path(0)
	if err != nil {
		return err
	}
	flags := 0
	if kind == xattrLink {
		flags = unix.AT_SYMLINK_NOFOLLOW
	}
	_, err = c.s.fs.Stat(c.cwd(), name, flags)
	return err
}

// xattrKind is the way in which a call names its file.
type xattrKind int

const (
	xattrPath xattrKind = iota
	xattrLink           // a symbolic link is not followed
	xattrFD
)

// xattr is the handler of a call that names an attribute. ERANGE: the name is empty or too
// long.
func xattr(kind xattrKind) handler {
	return func(c ctx) (uint64, error) {
		name, err := c.mem().CopyInString(c.va(1), maxXattrName+1)
		if err == syscall.ENAMETOOLONG || err == nil && name == "" {
			return 0, syscall.ERANGE
		}
		if err != nil {
			return 0, err
		}
		if err := c.xattrFile(kind); err != nil {
			return 0, err
		}
		return 0, syscall.EOPNOTSUPP
	}
}

// listXattr is the handler of a call that lists the attributes of a file: there are none.
func listXattr(kind xattrKind) handler {
	return func(c ctx) (uint64, error) { return 0, c.xattrFile(kind) }
}
