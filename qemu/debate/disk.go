package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"grim/qemu"
)

// makeDisk makes the boot one of user/disk's experiment, on a new disk.
//
// A slow disk does 200 requests a second, each of which takes 5 ms, like a disk of the
// years in which reapers were written. A failing disk has a bad sector in the experiment's
// file: each write that contains it fails.
func (b *boot) makeDisk(ctx context.Context, c *qemu.Config, arch string) error {
	dir, err := filepath.Abs(filepath.Join("build", arch, "debate-disk-"+b.disk))
	if err != nil {
		return err
	}
	tree, image := filepath.Join(dir, "tree"), filepath.Join(dir, "image")
	if err := os.MkdirAll(tree, 0o755); err != nil {
		return err
	}
	initrd, err := qemu.DiskProgram(ctx, arch, dir)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(tree, "exits"), []byte(strings.Repeat("x", 64*4096)), 0o644); err != nil {
		return err
	}
	if _, err := qemu.E2fsprogs("mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-O", "^has_journal", "-d", tree, image, "16M"); err != nil {
		return err
	}
	c.Initrd, c.DiskImage = initrd, image
	c.Append = append(c.Append, "hugepages=off", "init=/bin/disk", "--", "exits", "/dev/vda")
	switch b.disk {
	case "slow":
		c.DiskOptions = "throttling.iops-total=200"
	case "failing":
		return failing(c, dir, image)
	}
	return nil
}

// failing makes the disk fail to write the sixth page of the experiment's file.
func failing(c *qemu.Config, dir, image string) error {
	text, err := qemu.E2fsprogs("debugfs", "-R", "bmap /exits 5", image)
	if err != nil {
		return err
	}
	block, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil || block == 0 {
		return fmt.Errorf("debugfs says of the file's sixth block: %q", text)
	}
	rules := filepath.Join(dir, "rules")
	rule := fmt.Sprintf("[inject-error]\nevent = \"pwritev\"\niotype = \"write\"\nerrno = \"5\"\nsector = \"%d\"\n", block*8)
	if err := os.WriteFile(rules, []byte(rule), 0o644); err != nil {
		return err
	}
	c.DiskImage = "blkdebug:" + rules + ":" + image
	return nil
}
