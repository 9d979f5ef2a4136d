package tree

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"grim/qemu/debian"
)

// Load adds a directory of the host or a newc cpio archive.
func (t *Tree) Load(name string) error {
	st, err := os.Stat(name)
	if err != nil {
		return err
	}
	if st.IsDir() {
		return t.Directory(name)
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	if !strings.HasPrefix(string(data[:min(5, len(data))]), "07070") {
		return fmt.Errorf("%s is neither a directory nor a newc cpio archive (compressed ones must be unpacked first)", name)
	}
	if err := t.Archive(data); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// Busybox adds the distribution's static busybox as bin/busybox.
func (t *Tree) Busybox(ctx context.Context, arch string) error {
	data, err := PackagedFile(ctx, arch, "busybox-static", "bin/busybox")
	if err != nil {
		return fmt.Errorf("%w\n(ROOTFS=DIRECTORY or ROOTFS=FILE.cpio boots a tree of your own, with a static /bin/sh)", err)
	}
	t.File("bin/busybox", string(data), 0o755)
	t.users()
	return nil
}

// PackagedFile returns one file of a package of the distribution.
func PackagedFile(ctx context.Context, arch, pkg, file string) ([]byte, error) {
	repo, err := debian.Open(arch)
	if err != nil {
		return nil, err
	}
	deb, err := repo.Package(ctx, pkg)
	if err != nil {
		return nil, err
	}
	all := New()
	if err := all.Package(ctx, deb, nil); err != nil {
		return nil, err
	}
	if data, ok := all.Get(mergedName(file)); ok {
		return data, nil
	}
	return nil, fmt.Errorf("%s has no %s", filepath.Base(deb), file)
}

// unwanted are parts of packages that are not used in the guest.
var unwanted = []string{
	"usr/share/doc/", "usr/share/man/", "usr/share/locale/", "usr/share/info/",
	"usr/share/lintian/", "usr/share/bug/", "usr/share/zoneinfo/right/", "usr/share/zoneinfo/posix/",
}

// Debian adds packages of the distribution with all their dependencies. They are only
// unpacked: no maintainer script runs. The users and groups are root, nobody and a few
// others.
func (t *Tree) Debian(ctx context.Context, arch string, packages ...string) error {
	repo, err := debian.Open(arch)
	if err != nil {
		return err
	}
	debs, err := repo.Packages(ctx, packages...)
	if err != nil {
		return err
	}
	t.MergeUsr()
	for _, deb := range debs {
		err := t.Package(ctx, deb, func(name string) bool {
			for _, u := range unwanted {
				if strings.HasPrefix(name+"/", u) {
					return true
				}
			}
			return false
		})
		if err != nil {
			return err
		}
	}
	t.users()
	for _, l := range [][2]string{{"usr/bin/sh", "bash"}, {"usr/bin/awk", "mawk"}} { // links that scripts of packages would make
		if !t.Has(l[0]) && t.Has("usr/bin/"+l[1]) {
			t.Symlink(l[0], l[1])
		}
	}
	t.Skeleton()
	return nil
}

// users adds the files about users and hosts, if they do not exist.
func (t *Tree) users() {
	for name, text := range map[string]string{
		"etc/passwd": "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n" +
			"nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
		"etc/group":         "root:x:0:\ndaemon:x:1:\ntty:x:5:\nusers:x:100:\nnogroup:x:65534:\n",
		"etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
		"etc/hosts":         "127.0.0.1 localhost\n",
		"etc/hostname":      "grim\n",
	} {
		if !t.Has(name) {
			t.File(name, text, 0o644)
		}
	}
}

// Skeleton makes the directories that programs expect, if they do not exist.
func (t *Tree) Skeleton() {
	for _, d := range []string{"bin", "dev", "etc", "proc", "root", "sys", "tmp", "var", "var/tmp"} {
		if _, ok := t.files[d]; ok {
			continue
		}
		perm := uint64(0o755)
		if strings.HasSuffix(d, "tmp") {
			perm = 0o1777
		}
		t.Dir(d, perm)
	}
	if !t.Has("dev/console") { // for Linux, which opens it before /dev is mounted
		t.device("dev/console", syscall.S_IFCHR|0o600, 5, 1)
	}
}
