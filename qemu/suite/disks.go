package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"grim/qemu"
)

// diskBoot is a boot in which user/disk works on a disk. e2fsck must find no errors
// afterwards.
type diskBoot struct {
	arch, machine string
	mke2fs        string   // arguments of mke2fs
	card          bool     // the disk has 4 GB, of which the file system uses a part
	share         bool     // a directory of the host on /host, instead of the disk
	tree          bool     // the disk starts with a tree of the host; the copy must be equal
	args          []string // kernel arguments
	program       []string // arguments of user/disk
}

var diskBoots = []diskBoot{
	{arch: "amd64", machine: "q35", mke2fs: "-t ext4 -O ^has_journal", program: []string{"-mount", "/dev/vda", "work", "/mnt"}},
	{arch: "amd64", machine: "microvm", mke2fs: "-t ext2 -b 1024", program: []string{"-mount", "/dev/vda", "work", "/mnt"}},
	{arch: "arm64", machine: "virt", mke2fs: "-t ext4", program: []string{"-mount", "/dev/vda", "work", "/mnt"}},
	{arch: "amd64", machine: "q35", mke2fs: "-t ext4", tree: true, program: []string{"-mount", "/dev/vda", "copy", "/mnt/in", "/mnt/out"}},
	{arch: "arm64", machine: "virt-gicv3", mke2fs: "-t ext2 -b 4096", tree: true, program: []string{"-mount", "/dev/vda", "copy", "/mnt/in", "/mnt/out"}},
	// The program itself is on the disk.
	{arch: "amd64", machine: "q35", share: true, program: []string{"work", "/host"}},
	{arch: "arm64", machine: "virt", share: true, program: []string{"work", "/host"}},
	{arch: "amd64", machine: "microvm", share: true, tree: true, program: []string{"copy", "/host/in", "/host/out"}},
	{arch: "amd64", machine: "q35", mke2fs: "-t ext4", tree: true, args: []string{"root=/dev/vda"}, program: []string{"copy", "/in", "/out"}},
	// A card, by TamaGo's driver, which is used for cards of more than 2 GB.
	{arch: "arm64", machine: "imx8mp-evk", mke2fs: "-t ext4 -O ^has_journal", card: true, program: []string{"-mount", "/dev/mmcblk1", "work", "/mnt"}},
	{arch: "arm64", machine: "imx8mp-evk", mke2fs: "-t ext4", card: true, tree: true, args: []string{"root=/dev/mmcblk1"}, program: []string{"copy", "/in", "/out"}},
}

// cutsOfSuite is the number of power cuts of the suite for each architecture. `make
// powercut` makes more.
const cutsOfSuite = 20

// disksAll runs the boots with disks, and the power cuts.
func disksAll(ctx context.Context, only string) (total tally) {
	if _, err := exec.LookPath("mke2fs"); err != nil {
		if _, err := os.Stat("/sbin/mke2fs"); err != nil {
			fmt.Println("disks: skipped: e2fsprogs is not installed")
			return total
		}
	}
	report := func(title string, start time.Time, err error) {
		if err != nil {
			total.fail("%s: FAILED after %s: %v", title, since(start), err)
			return
		}
		total.passed++
		fmt.Printf("%s: passed, %s\n", title, since(start))
	}
	built := map[string]bool{}
	build := func(arch string) error {
		if built[arch] {
			return nil
		}
		built[arch] = true
		_, err := qemu.DiskProgram(ctx, arch, filepath.Join("build", arch))
		return err
	}
	for i, b := range diskBoots {
		title := fmt.Sprintf("disk %d of %d: %s %s %s %s", i+1, len(diskBoots), b.arch, b.machine, cmp.Or(b.mke2fs, "share"), strings.Join(append(b.args, b.program...), " "))
		if !strings.Contains(title, only) {
			continue
		}
		if reason := cannotBoot(b.arch, b.machine); reason != nil {
			fmt.Printf("%s: skipped: %v\n", title, reason)
			continue
		}
		start := time.Now()
		err := build(b.arch)
		if err == nil {
			err = b.run(ctx)
		}
		report(title, start, err)
	}
	for _, arch := range []string{"amd64", "arm64"} {
		title := fmt.Sprintf("disk: %s, %d power cuts", arch, cutsOfSuite)
		if !strings.Contains(title, only) {
			continue
		}
		start := time.Now()
		err := build(arch)
		if err == nil {
			out := filepath.Join("build", arch)
			var text []byte
			text, err = exec.CommandContext(ctx, "go", "run", "./qemu/powercut", "-arch", arch, "-kernel", filepath.Join(out, "grim"),
				"-initrd", filepath.Join(out, "disk.cpio"), "-n", fmt.Sprint(cutsOfSuite)).CombinedOutput()
			if err != nil {
				err = fmt.Errorf("%w\n%s", err, tail(string(text), 40))
			}
		}
		report(title, start, err)
	}
	return total
}

func (b *diskBoot) run(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "grim")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	out := filepath.Join("build", b.arch)
	if b.share {
		return b.runShare(ctx, dir)
	}
	image, tree := filepath.Join(dir, "disk"), filepath.Join(dir, "tree")
	args := append([]string{"-q", "-F"}, strings.Fields(b.mke2fs)...)
	if b.tree {
		if err := makeTree(tree, filepath.Join(out, "disk")); err != nil {
			return err
		}
		args = append(args, "-d", tree)
	}
	if _, err := qemu.E2fsprogs("mke2fs", append(args, image, "48M")...); err != nil {
		return err
	}
	if b.card {
		if err := os.Truncate(image, 4<<30); err != nil {
			return err
		}
	}
	m, err := qemu.Lookup(b.arch, b.machine)
	if err != nil {
		return err
	}
	words := append(append([]string{"selftest=none", "init=/bin/disk"}, b.args...), "--")
	c := qemu.Config{
		Machine: m, Memory: "128M", Kernel: filepath.Join(out, "grim"), Initrd: filepath.Join(out, "disk.cpio"),
		DiskImage: image, Append: append(words, b.program...),
	}
	log := filepath.Join("build", "logs", fmt.Sprintf("disk-%s-%s-%s.log", b.arch, b.machine, b.program[len(b.program)-2]))
	if _, err := qemu.Boot(ctx, &c, 200*time.Second, log, nil, nil); err != nil {
		text, _ := os.ReadFile(log)
		return fmt.Errorf("%w\n%s", err, tail(string(text), 20))
	}
	if _, err := qemu.E2fsprogs("e2fsck", "-fn", image); err != nil {
		return err
	}
	if !b.tree {
		return nil
	}
	got := filepath.Join(dir, "got")
	if err := os.Mkdir(got, 0o777); err != nil {
		return err
	}
	if _, err := qemu.E2fsprogs("debugfs", "-R", "rdump / "+got, image); err != nil {
		return err
	}
	return errors.Join(equalTrees(filepath.Join(tree, "in"), filepath.Join(got, "in")), equalTrees(filepath.Join(tree, "in"), filepath.Join(got, "out")))
}

// runShare boots with a directory of the host instead of a disk. Nothing but what the program
// has made may be left in it.
//
// Broken by a share.Store that has the server's numbers of inodes only (names).
func (b *diskBoot) runShare(ctx context.Context, dir string) error {
	out, shared := filepath.Join("build", b.arch), filepath.Join(dir, "shared")
	if err := os.Mkdir(shared, 0o777); err != nil {
		return err
	}
	if b.tree {
		if err := makeTree(shared, filepath.Join(out, "disk")); err != nil {
			return err
		}
	}
	m, err := qemu.Lookup(b.arch, b.machine)
	if err != nil {
		return err
	}
	c := qemu.Config{
		Machine: m, Memory: "128M", Kernel: filepath.Join(out, "grim"), Initrd: filepath.Join(out, "disk.cpio"), Share: shared,
		Append: append([]string{"selftest=none", "init=/bin/disk", "--"}, b.program...),
	}
	log := filepath.Join("build", "logs", fmt.Sprintf("share-%s-%s-%s.log", b.arch, b.machine, b.program[0]))
	if _, err := qemu.Boot(ctx, &c, 200*time.Second, log, nil, nil); err != nil {
		text, _ := os.ReadFile(log)
		return fmt.Errorf("%w\n%s", err, tail(string(text), 20))
	}
	if left, err := filepath.Glob(filepath.Join(shared, ".*")); err != nil || len(left) > 0 {
		return fmt.Errorf("left in the directory: %q, %v", left, err)
	}
	if !b.tree {
		return nil
	}
	return equalTrees(filepath.Join(shared, "in"), filepath.Join(shared, "out"))
}

// makeTree makes a tree with the program in bin, and a copy of the repository in "in": many
// files, some large, and links.
func makeTree(tree, program string) error {
	in := filepath.Join(tree, "in")
	for _, d := range []string{"bin", "in"} {
		if err := os.MkdirAll(filepath.Join(tree, d), 0o755); err != nil {
			return err
		}
	}
	b, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	for _, p := range []string{filepath.Join(tree, "bin", "disk"), filepath.Join(in, "program")} {
		if err := os.WriteFile(p, b, 0o755); err != nil {
			return err
		}
	}
	for _, d := range []string{"kernel", "mm", "proc"} {
		if err := os.CopyFS(filepath.Join(in, d), os.DirFS(d)); err != nil {
			return err
		}
	}
	if err := os.Symlink("kernel/main.go", filepath.Join(in, "link")); err != nil {
		return err
	}
	return os.Link(filepath.Join(in, "program"), filepath.Join(in, "same program"))
}

// equalTrees compares names, data, modes and links.
func equalTrees(a, b string) error {
	n := 0
	err := filepath.WalkDir(a, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(a, path)
		if err != nil {
			return err
		}
		other := filepath.Join(b, rel)
		x, err := os.Lstat(path)
		if err != nil {
			return err
		}
		y, err := os.Lstat(other)
		if err != nil {
			return err
		}
		n++
		switch {
		case x.Mode() != y.Mode():
			return fmt.Errorf("%s has mode %v, want %v", other, y.Mode(), x.Mode())
		case x.Mode().IsRegular():
			p, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			if q, err := os.ReadFile(other); err != nil || !bytes.Equal(p, q) {
				return fmt.Errorf("%s has other bytes than %s, %v", other, path, err)
			}
			if !x.ModTime().Truncate(time.Second).Equal(y.ModTime().Truncate(time.Second)) {
				return fmt.Errorf("%s is of %v, want %v", other, y.ModTime(), x.ModTime())
			}
		case x.Mode()&fs.ModeSymlink != 0:
			p, err := os.Readlink(path)
			if err != nil {
				return err
			}
			if q, err := os.Readlink(other); p != q {
				return fmt.Errorf("%s leads to %q, want %q, %v", other, q, p, err)
			}
		}
		return nil
	})
	if err == nil && n < 100 {
		err = fmt.Errorf("%s has %d files: too few to compare", a, n)
	}
	return err
}
