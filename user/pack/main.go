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

// program is built from this module, for the archive's path.
type program struct {
	pkg, path string
	bare      bool // without Go's runtime: package bare
}

var programs = []program{
	{pkg: "grim/user/init", path: "init"},
	{pkg: "grim/user/utest", path: "bin/utest"},
	{pkg: "grim/user/hog", path: "bin/hog", bare: true},
}

// lists are what programs say when a build for this host is asked.
var lists = []struct {
	program    int // of programs
	flag, path string
}{
	{1, "-list", "tests/list"},
	{1, "-quick", "tests/quick"},
	{2, "-list", "tests/hog"},
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
		data, err := build(arch, p, filepath.Join(tmp, filepath.Base(p.path)))
		if err != nil {
			return err
		}
		records = append(records, cpio.StaticFile(p.path, string(data), 0o755))
	}
	for _, l := range lists {
		p := programs[l.program]
		bin := filepath.Join(tmp, filepath.Base(p.path)+"-host")
		if _, err := build(runtime.GOARCH, p, bin); err != nil {
			return err
		}
		names, err := exec.Command(bin, l.flag).Output()
		if err != nil {
			return fmt.Errorf("%s %s: %w", p.pkg, l.flag, err)
		}
		records = append(records, cpio.StaticFile(l.path, string(names), 0o644))
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
func build(arch string, p program, out string) ([]byte, error) {
	flags := "-s -w"
	if p.bare {
		flags += " -E grim/user/bare.start"
	}
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", flags, "-o", out, p.pkg)
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+arch, "GOARM64=v8.0", "GOAMD64=v1", "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("building %s for %s: %w", p.pkg, arch, err)
	}
	return os.ReadFile(out)
}
