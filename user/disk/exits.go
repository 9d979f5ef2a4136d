package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	designs "grim/proc/exit"
)

// The path of the file of exits, and its number of pages. It is on the disk from the start,
// in blocks of its own, so that a disk can be made to fail for one of them.
const (
	exitsDir   = "/mnt"
	exitsFile  = exitsDir + "/exits"
	exitsPages = 64
	pageSize   = 4096
)

// exits is an experiment of make debate. Under each exit design, a child stores to a mapped
// file on the disk, touches much other memory, and exits. Its parent waits, and then checks
// at once. It prints figures:
//
//	disk_read    pages that read(2) gives wrongly right after wait
//	disk_mapped  pages that another mapping shows wrongly
//	disk_busy    1: the file system cannot be unmounted yet
//	disk_exit    time from exit1 to the parent's wake-up
//	disk_told    1: fsync has told of an error of the disk
//	disk_stored  pages that are wrong after the disk was unmounted and mounted again
func exits(device string) error {
	own, err := os.ReadFile(exitPolicy)
	if err != nil {
		return err
	}
	for i, d := range designs.Designs {
		if err := exitsUnder(device, d.Name, byte(i+1)); err != nil {
			return fmt.Errorf("%s: %w", d.Name, err)
		}
	}
	return os.WriteFile(exitPolicy, own, 0)
}

const exitPolicy = "/proc/self/exit_policy" // children inherit it

func exitsUnder(device, design string, round byte) error {
	if err := unix.Mount(device, exitsDir, "ext4", 0, ""); err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	if err := os.WriteFile(exitPolicy, []byte(design), 0); err != nil {
		return err
	}
	f, err := os.OpenFile(exitsFile, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	m, err := unix.Mmap(int(f.Fd()), 0, exitsPages*pageSize, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	first, err := runExitChild(round)
	if err != nil {
		return err
	}
	read, mapped := wrongPages(f, round), 0
	for i := range exitsPages {
		if m[i*pageSize] != round+byte(i) {
			mapped++
		}
	}
	if err := unix.Munmap(m); err != nil {
		return err
	}
	f.Close()
	busy, pids := 0, []int{first}
	for range exitsRuns {
		again, err := runExitChild(round)
		if err != nil {
			return err
		}
		pids = append(pids, again)
	}
	// Do what a script does before a stick is removed: wait for the program, unmount.
	err = unix.Unmount(exitsDir, 0)
	for ; errors.Is(err, unix.EBUSY); err = unix.Unmount(exitsDir, 0) {
		busy = 1
		time.Sleep(time.Millisecond)
	}
	if err != nil && !errors.Is(err, unix.EIO) {
		return fmt.Errorf("umount: %w", err)
	}
	took := exitTook(first)
	for _, pid := range pids {
		took = min(took, exitTook(pid))
	}
	fmt.Printf("figure=%s.disk_read value=%d unit=pages\n", design, read)
	fmt.Printf("figure=%s.disk_mapped value=%d unit=pages\n", design, mapped)
	fmt.Printf("figure=%s.disk_busy value=%d unit=times\n", design, busy)
	fmt.Printf("figure=%s.disk_exit value=%d unit=ns\n", design, took)
	return exitsStored(device, design, round, err)
}

// exitsRuns is how often the child runs again. The shortest exit is reported, because time
// is the host's.
const exitsRuns = 4

// runExitChild runs the child.
func runExitChild(round byte) (pid int, err error) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), fmt.Sprintf("DISK_EXIT=%d", round))
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return 0, err
	}
	return cmd.Process.Pid, nil
}

// exitsStored checks the contents of the disk. It also stores once more, to see whether
// fsync reports the disk's errors. unmounted is the result of umount.
func exitsStored(device, design string, round byte, unmounted error) error {
	if unmounted != nil { // it is still mounted
		if err := unix.Unmount(exitsDir, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("umount: %w", err)
		}
	}
	if err := unix.Mount(device, exitsDir, "ext4", 0, ""); err != nil {
		return fmt.Errorf("second mount: %w", err)
	}
	f, err := os.OpenFile(exitsFile, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	stored := wrongPages(f, round)
	for i := range exitsPages {
		if _, err := f.WriteAt([]byte{0xee}, int64(i)*pageSize+1); err != nil {
			return err
		}
	}
	told := 0
	if err := f.Sync(); errors.Is(err, unix.EIO) {
		told = 1
	} else if err != nil {
		return err
	}
	f.Close()
	fmt.Printf("figure=%s.disk_stored value=%d unit=pages\n", design, stored)
	fmt.Printf("figure=%s.disk_told value=%d unit=times\n", design, told)
	if err := unix.Unmount(exitsDir, 0); err != nil && !errors.Is(err, unix.EIO) {
		return fmt.Errorf("second umount: %w", err)
	}
	return nil
}

// wrongPages counts the pages whose first byte differs from the one that the child has
// stored.
func wrongPages(f *os.File, round byte) (n int) {
	var b [1]byte
	for i := range exitsPages {
		if _, err := f.ReadAt(b[:], int64(i)*pageSize); err != nil || b[0] != round+byte(i) {
			n++
		}
	}
	return n
}

// exitTook returns the time from exit1 to the wake-up of a process's parent, from
// /proc/exits.
func exitTook(pid int) (ns int64) {
	text, err := os.ReadFile("/proc/exits")
	if err != nil {
		return 0
	}
	for line := range bytes.Lines(text) {
		var id int
		var step, by string
		var at int64
		if _, err := fmt.Sscan(string(line), &id, &step, &by, &at); err != nil || id != pid {
			continue
		}
		switch step {
		case designs.StepExit1.String():
			ns -= at
		case designs.StepWakeup.String():
			ns += at
		}
	}
	return ns
}

// exitChild is the child. It runs in place of main if DISK_EXIT is set. It returns only if it
// fails.
func exitChild(round string) error {
	var n byte
	if _, err := fmt.Sscan(round, &n); err != nil {
		return err
	}
	f, err := os.OpenFile(exitsFile, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	m, err := unix.Mmap(int(f.Fd()), 0, exitsPages*pageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	for i := range exitsPages {
		m[i*pageSize] = n + byte(i)
	}
	// Below the file's mapping, so that a purge reaches the file last.
	other, err := unix.Mmap(-1, 0, 32<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return err
	}
	for i := 0; i < len(other); i += pageSize {
		other[i] = 1
	}
	os.Exit(0) // with the mappings in place
	return nil
}

func init() {
	if round, ok := os.LookupEnv("DISK_EXIT"); ok {
		fmt.Fprintln(os.Stderr, "disk:", exitChild(strings.TrimSpace(round)))
		os.Exit(1)
	}
}
