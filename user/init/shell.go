package main

import (
	"fmt"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// busybox has all commands, in a tree without other commands.
const busybox = "/bin/busybox"

// shell runs an interactive shell in a new session until the shell ends. It also waits for
// orphans. args may have the size of the user's terminal, "24x80", and its kind, then a
// command for the shell, in place of typed ones.
func shell(args []string) error {
	term := "vt100"
	if len(args) > 0 {
		setSize(args[0])
	}
	if len(args) > 1 {
		term = args[1]
	}
	mountAll()
	if err := installBusybox(); err != nil {
		return err
	}
	path, argv, err := findShell()
	if err != nil {
		return err
	}
	if len(args) > 2 {
		argv = []string{path, "-c", strings.Join(args[2:], " ")}
	}
	home := "/"
	if st, err := os.Stat("/root"); err == nil && st.IsDir() {
		home = "/root"
	}
	pid, err := syscall.ForkExec(path, argv, &syscall.ProcAttr{
		Dir: home,
		Env: []string{
			"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + home, "TERM=" + term,
			"USER=root", "LOGNAME=root", "SHELL=" + path, `PS1=\u@grim:\w# `,
		},
		Files: []uintptr{0, 1, 2},
		Sys:   &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0},
	})
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	for {
		var st syscall.WaitStatus
		switch ended, err := syscall.Wait4(-1, &st, 0, nil); {
		case err == syscall.EINTR:
		case err != nil:
			return fmt.Errorf("waiting for %s: %w", path, err)
		case ended == pid:
			if len(args) > 2 && st != 0 {
				os.Exit(max(st.ExitStatus(), 1))
			}
			return nil
		}
	}
}

// mountAll mounts the file systems that Linux leaves to init and that Grim has from the
// start: the same archive boots on both.
func mountAll() {
	if _, err := os.Stat("/proc/self"); err == nil {
		return
	}
	for _, m := range [][3]string{{"proc", "/proc", "proc"}, {"sys", "/sys", "sysfs"}, {"dev", "/dev", "devtmpfs"}, {"pts", "/dev/pts", "devpts"}, {"tmp", "/tmp", "tmpfs"}} {
		_ = os.MkdirAll(m[1], 0o755)
		if err := unix.Mount(m[0], m[1], m[2], 0, ""); err != nil {
			fmt.Fprintf(os.Stderr, "init: mount %s: %v\n", m[1], err)
		}
	}
	for name, target := range map[string]string{"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2"} {
		_ = os.Symlink(target, "/dev/"+name)
	}
}

// setSize tells the console how large the user's terminal is.
func setSize(size string) {
	var w unix.Winsize
	if n, _ := fmt.Sscanf(size, "%dx%d", &w.Row, &w.Col); n == 2 {
		_ = unix.IoctlSetWinsize(0, unix.TIOCSWINSZ, &w) // if this fails, the shell can run anyway
	}
}

// installBusybox makes links for busybox's commands, unless the names exist.
func installBusybox() error {
	if _, err := os.Stat(busybox); err != nil {
		return nil
	}
	if _, err := os.Stat("/bin/sh"); err == nil {
		return nil
	}
	pid, err := syscall.ForkExec(busybox, []string{busybox, "--install", "-s", "/bin"}, &syscall.ProcAttr{Files: []uintptr{0, 1, 2}})
	if err != nil {
		return fmt.Errorf("%s: %w", busybox, err)
	}
	var st syscall.WaitStatus
	if _, err := syscall.Wait4(pid, &st, 0, nil); err != nil || st != 0 {
		return fmt.Errorf("%s --install: status %#x, %v", busybox, int(st), err)
	}
	return nil
}

// findShell returns the best shell of the tree, as a login shell.
func findShell() (path string, argv []string, err error) {
	for _, p := range []string{"/bin/bash", "/bin/bash-static", "/bin/sh", "/bin/dash"} {
		if st, err := os.Stat(p); err == nil && st.Mode()&0o111 != 0 {
			return p, []string{"-" + p[len("/bin/"):]}, nil
		}
	}
	return "", nil, fmt.Errorf("no shell: none of /bin/bash, /bin/sh, %s is there", busybox)
}
