package fs

import (
	"errors"
	"fmt"
	"syscall"

	"grim/mm/vm"
)

// Mount mounts a store on the directory at path. With "/" the store becomes the root of
// all; this is possible before there is a process. name is the device's name in
// /proc/mounts. Errors: ENOTDIR; EBUSY if a file system is mounted there.
func (s *FS) Mount(at At, path, name, kind string, st Store) error {
	v, err := s.newVolume(name, kind, st)
	if err != nil {
		return err
	}
	t, err := s.walk(at, path, follow)
	if err == nil {
		err = t.existing()
		defer t.done()
	}
	if err == nil {
		d, ok := t.node.(*dir)
		switch {
		case !ok:
			err = syscall.ENOTDIR
		default:
			err = s.cover(d, v)
		}
	}
	if err != nil {
		close(v.stop)
		<-v.ended
		return err
	}
	return nil
}

// cover mounts a volume on a directory: walks continue at the volume's root.
func (s *FS) cover(d *dir, v *volume) error {
	s.mountMu.Lock()
	defer s.mountMu.Unlock()
	if d == s.root {
		if len(s.mounts) > 0 {
			return syscall.EBUSY
		}
		if err := s.coverRoot(v); err != nil {
			return err
		}
	} else {
		d.vol.mu.Lock()
		defer d.vol.mu.Unlock()
		if d.over.Load() != nil || d.vol.root == d {
			return syscall.EBUSY
		}
		if d.removed() {
			return syscall.ENOENT
		}
		v.over = d
		d.over.Store(&covering{v.root})
	}
	s.mounts = append(s.mounts, v)
	return nil
}

// coverRoot makes a volume the root of all. /dev, /proc and /sys stay as they are, on
// directories of these names.
func (s *FS) coverRoot(v *volume) error {
	old := s.mem.root
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, name := range []string{"dev", "proc", "sys"} {
		e := old.names[name]
		if e == nil {
			continue
		}
		here, err := v.root.slot(name)
		if err != nil {
			return err
		}
		if here == nil { // a disk that is read-only and has no such directory goes without
			if v.store.ReadOnly() != "" {
				continue
			}
			now := s.cfg.Now()
			a := Attr{Mode: syscall.S_IFDIR | 0o755, Atime: now, Mtime: now, Ctime: now, Btime: now}
			if _, err := v.createLocked(v.root, sure(s.newSlot(boot, name)), a, ""); err != nil {
				return err
			}
			here = v.root.names[name]
		}
		d, ok := here.node.(*dir)
		if !ok {
			return fmt.Errorf("fs: /%s of the root file system is no directory", name)
		}
		what := e.node.(directory)
		d.over.Store(&covering{what})
		if m, ok := what.(*dir); ok {
			m.up = v.root
		}
		if p, ok := what.(*procDir); ok {
			p.up = v.root
		}
	}
	s.root = v.root
	return nil
}

// Unmount implements umount2(2) without flags. Errors: EINVAL if nothing is mounted there,
// EBUSY if the volume is in use.
func (s *FS) Unmount(at At, path string) error {
	t, err := s.walk(at, path, follow)
	if err != nil {
		return err
	}
	if err := t.existing(); err != nil {
		return err
	}
	d, ok := t.node.(*dir)
	t.done()
	if !ok || d.vol.store == nil || d.vol.root != d {
		return syscall.EINVAL
	}
	if d.vol.over == nil {
		return syscall.EBUSY
	}
	return s.unmount(d.vol)
}

// unmount takes a volume out of the tree if it is not busy.
func (s *FS) unmount(v *volume) error {
	s.mountMu.Lock()
	defer s.mountMu.Unlock()
	_ = v.sync() // while others may still use it; fsync reports an error of this
	if !v.leave() {
		return syscall.EBUSY
	}
	for i, m := range s.mounts {
		if m == v {
			s.mounts = append(s.mounts[:i:i], s.mounts[i+1:]...)
			break
		}
	}
	_ = v.end() // ignored: as on Linux, a disk that cannot be written is unmounted too
	return nil
}

// leave makes the volume unreachable, and returns true, unless a file of it is open or mapped.
// A process whose working directory is on the volume does not count: its directory is like a
// removed one, without names. Walks may be on their way to a file, and have no reference yet:
// they get none, as after an unlink.
func (v *volume) leave() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.nodesMu.Lock()
	defer v.nodesMu.Unlock()
	if !v.claimLocked() {
		return false
	}
	v.closed = true
	if d, ok := v.over.(*dir); ok {
		d.over.Store(nil)
	}
	for _, n := range v.nodes {
		if d, ok := n.(*dir); ok {
			for _, e := range d.names {
				e.free()
			}
			d.up, d.name, d.names, d.order, d.absent = nil, "", map[string]*slot{}, nil, false
		}
	}
	v.names = 0
	return true
}

// claimLocked takes the last references of all nodes but directories, or none if a node is in
// use. Preconditions: mu and nodesMu held.
func (v *volume) claimLocked() bool {
	names := map[node]int32{}
	for _, n := range v.nodes {
		if d, ok := n.(*dir); ok {
			if d.over.Load() != nil {
				return false
			}
			for _, e := range d.names {
				if e.node != nil {
					names[e.node]++
				}
			}
		}
	}
	type claimed struct {
		i    *inode
		refs int32
	}
	var all []claimed
	for _, n := range v.nodes {
		i, own := n.base(), names[n]
		if i.nlink.Load() > 0 {
			own++ // the volume's reference
		}
		r, isFile := n.(*regular)
		_, isDir := n.(*dir)
		if isFile && r.pages.(*vm.FileObject).Shared() || isDir && i.refs.Load() > own || !isDir && !i.refs.CompareAndSwap(own, 0) {
			for _, c := range all {
				c.i.refs.Store(c.refs) // a walk that has found 0 meanwhile waits for mu, and looks again
			}
			return false
		}
		if !isDir {
			all = append(all, claimed{i, own})
		}
	}
	return true
}

// end closes a volume that is not reachable any more.
func (v *volume) end() error {
	close(v.stop)
	<-v.ended
	err := v.sync()
	v.nodesMu.Lock()
	nodes := v.nodes
	v.nodes = map[uint64]node{}
	v.nodesMu.Unlock()
	for _, n := range nodes {
		n.base().fs.inodes.Add(-1)
		n.drop()
	}
	return errors.Join(err, v.store.Close())
}

// Sync implements sync(2), for all volumes.
func (s *FS) Sync() {
	for _, v := range s.volumes() {
		_ = v.sync()
	}
}

func (s *FS) volumes() []*volume {
	s.mountMu.Lock()
	defer s.mountMu.Unlock()
	return append([]*volume(nil), s.mounts...)
}

// Shutdown ends all volumes. No process may be left that could use them.
func (s *FS) Shutdown() error {
	s.mountMu.Lock()
	defer s.mountMu.Unlock()
	var err error
	for _, v := range s.mounts {
		err = errors.Join(err, v.sync(), v.store.Close())
	}
	s.mounts = nil
	return err
}

// mount is a mounted file system as /proc/mounts shows it.
type mount struct {
	dev                     uint64
	source, path, kind, how string
}

// mountList returns all mounted file systems, the root first.
func (s *FS) mountList() (list []mount) {
	if s.root == s.mem.root {
		list = append(list, mount{devRoot, "tmpfs", "/", "tmpfs", "rw"})
	}
	for _, v := range s.volumes() {
		path, _ := dirPath(v.root)
		how := "rw"
		if v.store.ReadOnly() != "" {
			how = "ro"
		}
		list = append(list, mount{v.dev, v.name, path, v.kind, how})
	}
	return append(list, mount{devProc, "proc", "/proc", "proc", "rw"}, mount{devSys, "sysfs", "/sys", "sysfs", "rw"})
}
