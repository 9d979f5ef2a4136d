// Command pack builds the user programs with the stock toolchain and writes the
// initramfs: a newc cpio archive with init, the user-mode tests, the list of
// their names, and the directories that the kernel mounts on or expects.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"github.com/u-root/u-root/pkg/cpio"
)

// programs are built from this module: package to path in the archive.
var programs = []struct{ pkg, path string }{
	{"grim/user/init", "init"},
	{"grim/user/utest", "bin/utest"},
}

func main() {
	arch := flag.String("arch", "amd64", "GOARCH of the programs")
	program := flag.String("program", "", "static ELF file to add in /bin")
	out := flag.String("o", "", "archive to write")
	flag.Parse()
	if err := run(*arch, *program, *out); err != nil {
		fmt.Fprintln(os.Stderr, "pack:", err)
		os.Exit(1)
	}
}

func run(arch, program, out string) error {
	var records []cpio.Record
	for _, d := range []string{"bin", "dev", "proc", "root", "tests", "tmp"} {
		records = append(records, cpio.Directory(d, 0o755))
	}
	tmp, err := os.MkdirTemp("", "pack")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	for _, p := range programs {
		data, err := build(arch, p.pkg, filepath.Join(tmp, filepath.Base(p.path)))
		if err != nil {
			return err
		}
		records = append(records, cpio.StaticFile(p.path, string(data), 0o755))
	}
	// The list is the test program's own, asked of a build for this host.
	bin := filepath.Join(tmp, "utest-host")
	if _, err := build(runtime.GOARCH, "grim/user/utest", bin); err != nil {
		return err
	}
	for _, which := range []string{"list", "quick"} {
		names, err := exec.Command(bin, "-"+which).Output()
		if err != nil {
			return fmt.Errorf("utest -%s: %w", which, err)
		}
		records = append(records, cpio.StaticFile("tests/"+which, string(names), 0o644))
	}
	if program != "" {
		data, err := os.ReadFile(program)
		if err != nil {
			return err
		}
		records = append(records, cpio.StaticFile("bin/"+filepath.Base(program), string(data), 0o755))
	}
	var archive bytes.Buffer
	w := cpio.Newc.Writer(&archive)
	if err := cpio.WriteRecords(w, records); err != nil {
		return err
	}
	if err := cpio.WriteTrailer(w); err != nil {
		return err
	}
	return os.WriteFile(out, archive.Bytes(), 0o644)
}

// build makes a static Linux program and gives its bytes.
func build(arch, pkg, out string) ([]byte, error) {
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", out, pkg)
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+arch, "GOARM64=v8.0", "GOAMD64=v1", "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("building %s for %s: %w", pkg, arch, err)
	}
	return os.ReadFile(out)
}
