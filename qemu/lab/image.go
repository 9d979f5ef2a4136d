package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/u-root/u-root/pkg/cpio"
)

// buildProgram builds a program of user/ without a runtime and returns its path.
func buildProgram(ctx context.Context, arch, name string) (string, error) {
	out := filepath.Join("build", arch, name)
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath",
		"-ldflags", "-E grim/user/bare.start", "-o", out, "./user/"+name)
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+arch, "GOARM64=v8.0", "GOAMD64=v1", "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("building user/%s for %s: %w", name, arch, err)
	}
	return out, nil
}

// list returns the names of a program's cases, in order. It builds the program for this
// machine and asks it.
func list(ctx context.Context, program string) ([]string, error) {
	path, err := buildProgram(ctx, runtime.GOARCH, program)
	if err != nil {
		return nil, err
	}
	out, err := exec.CommandContext(ctx, path, "-list").Output()
	if err != nil {
		return nil, fmt.Errorf("%s -list: %w", path, err)
	}
	return strings.Fields(string(out)), nil
}

// wrap breaks names into lines that fit a terminal.
func wrap(names []string) string {
	var b strings.Builder
	at := 0
	for _, n := range names {
		if at > 0 && at+len(n) > 76 {
			b.WriteString("\n")
			at = 0
		}
		b.WriteString("  " + n)
		at += 2 + len(n)
	}
	return b.String()
}

// archive writes an initramfs with the program as init, and returns its path. Both kernels
// boot the same file.
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
