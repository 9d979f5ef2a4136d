// Command disk works on a file system on a disk, for tests:
//
//	disk [-mount DEVICE] copy FROM TO        copies a tree: data, modes, times, links
//	disk [-mount DEVICE] work DIR            uses all calls on files once
//	disk [-mount DEVICE] load DIR SEED       never ends: the load of make powercut
//	disk exits DEVICE                        exits with a mapped file, under each exit design: make debate
//
// With -mount, DEVICE is mounted on /mnt before and unmounted afterwards. It is a plain
// static Linux program.
package main

import (
	"flag"
	"fmt"
	"os"
	"strconv"
	"syscall"
)

func main() {
	device := flag.String("mount", "", "block device to mount on /mnt")
	readOnly := flag.Bool("ro", false, "mount it read-only")
	flag.Parse()
	if err := run(*device, *readOnly, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "disk:", err)
		os.Exit(1)
	}
}

func run(device string, readOnly bool, args []string) error {
	if device != "" {
		if err := os.MkdirAll("/mnt", 0o755); err != nil {
			return err
		}
		flags := uintptr(0)
		if readOnly {
			flags = syscall.MS_RDONLY
		}
		if err := syscall.Mount(device, "/mnt", "ext4", flags, ""); err != nil {
			return fmt.Errorf("mount %s: %w", device, err)
		}
	}
	if err := command(args); err != nil {
		return err
	}
	if device != "" {
		if err := syscall.Unmount("/mnt", 0); err != nil {
			return fmt.Errorf("umount: %w", err)
		}
	}
	return nil
}

func command(args []string) error {
	switch {
	case len(args) == 3 && args[0] == "copy":
		return copyTree(args[1], args[2])
	case len(args) == 2 && args[0] == "work":
		return work(args[1])
	case len(args) == 3 && args[0] == "load":
		seed, err := strconv.ParseInt(args[2], 10, 64)
		if err != nil {
			return err
		}
		return load(args[1], seed)
	case len(args) == 2 && args[0] == "exits":
		if err := os.MkdirAll(exitsDir, 0o755); err != nil {
			return err
		}
		return exits(args[1])
	}
	return fmt.Errorf("usage: disk [-mount DEVICE] copy FROM TO | work DIR | load DIR SEED | exits DEVICE")
}
