package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/u-root/u-root/pkg/cpio"
)

// buildProgram builds one of user/'s programs without a runtime and gives its path.
func buildProgram(ctx context.Context, arch, name string) (string, error) {
	out := filepath.Join("build", arch, name)
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath",
		"-ldflags", "-E grim/user/bare.start", "-o", out, "./user/"+name)
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+arch, "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("building user/%s for %s: %w", name, arch, err)
	}
	return out, nil
}

// archive writes an initramfs whose init is the program, and gives its path. Both
// kernels boot the same file.
func archive(program string) (string, error) {
	data, err := os.ReadFile(program)
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	w := cpio.Newc.Writer(&b)
	if err := cpio.WriteRecords(w, []cpio.Record{
		cpio.Directory("dev", 0o755),
		cpio.Directory("proc", 0o755),
		cpio.Directory("tmp", 0o755),
		cpio.StaticFile("init", string(data), 0o755),
	}); err != nil {
		return "", err
	}
	if err := cpio.WriteTrailer(w); err != nil {
		return "", err
	}
	out := program + ".cpio"
	return out, os.WriteFile(out, b.Bytes(), 0o644)
}
