package qemu

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// E2fsprogs runs a program of e2fsprogs, which may be outside of PATH, and returns its
// standard output. The error of a program that has failed wraps an *exec.ExitError, and has
// everything that the program printed.
func E2fsprogs(name string, args ...string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		path = "/sbin/" + name
	}
	cmd := exec.Command(path, args...)
	var out, complaint strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s: %w\n%s%s", name, err, out.String(), complaint.String())
	}
	return out.String(), nil
}

// DiskProgram builds user/disk, packs it into an initramfs, and returns that file. Both are
// in dir.
func DiskProgram(ctx context.Context, arch, dir string) (initrd string, err error) {
	program, initrd := filepath.Join(dir, "disk"), filepath.Join(dir, "disk.cpio")
	build := exec.CommandContext(ctx, "go", "build", "-o", program, "./user/disk")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
	pack := exec.CommandContext(ctx, "go", "run", "./user/pack", "-arch", arch, "-program", program, "-o", initrd)
	for _, cmd := range []*exec.Cmd{build, pack} {
		if text, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("%v: %w\n%s", cmd.Args, err, text)
		}
	}
	return initrd, nil
}
