// Command pack builds the user programs with the stock toolchain and writes the initramfs:
// a newc cpio archive with init, the user-mode tests, lists of the tests, and the
// directories that the kernel mounts on or expects. It also makes the archives of other
// boots: with a program of the host and its libraries, with a shell, or with a whole tree.
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"

	"grim/user/tree"
)

// program is a program of this module, with its path in the archive.
type program struct {
	pkg, path string
	bare      bool // without Go's runtime: package bare
}

var programs = []program{
	{pkg: "grim/user/init", path: "init"},
	{pkg: "grim/user/utest", path: "bin/utest"},
	{pkg: "grim/user/hog", path: "bin/hog", bare: true},
}

// lists are lists that a program prints if it is built for this host.
var lists = []struct {
	program    int // of programs
	flag, path string
}{
	{1, "-list", "tests/list"},
	{1, "-quick", "tests/quick"},
	{2, "-list", "tests/hog"},
}

// want describes the contents of the archive.
type want struct {
	arch     string
	program  string // of the host, or of rootfs if that is set
	shell    bool   // the distribution's busybox
	rootfs   string // a directory or an archive
	packages string // of the distribution
}

func main() {
	var w want
	flag.StringVar(&w.arch, "arch", "amd64", "GOARCH of the programs")
	flag.StringVar(&w.program, "program", "", "ELF file to add in /bin, with its interpreter and libraries")
	flag.BoolVar(&w.shell, "shell", false, "an archive for an interactive shell: Debian's busybox, unless -rootfs brings one")
	flag.StringVar(&w.rootfs, "rootfs", "", "tree to boot: a directory or a newc cpio archive")
	flag.StringVar(&w.packages, "debian", "", "packages of Debian to unpack, with what they depend on")
	out := flag.String("o", "", "archive to write")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, &w, *out); err != nil {
		fmt.Fprintln(os.Stderr, "pack:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, w *want, out string) error {
	t := tree.New()
	tmp, err := os.MkdirTemp("", "pack")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	switch {
	case w.packages != "":
		err = t.Debian(ctx, w.arch, strings.Fields(w.packages)...)
	case w.rootfs != "":
		if err = t.Load(w.rootfs); err == nil && w.program != "" && !t.Has(w.program) {
			err = fmt.Errorf("%s has no %s", w.rootfs, w.program)
		}
	case w.shell:
		err = t.Busybox(ctx, w.arch)
	default:
		if err = tests(t, w.arch, tmp); err == nil && w.program != "" {
			err = t.Program("", w.program, "bin/"+filepath.Base(w.program), w.arch)
		}
	}
	if err != nil {
		return err
	}
	t.Skeleton()
	if !t.Has("init") {
		if err := add(t, w.arch, programs[0], tmp); err != nil {
			return err
		}
	}
	if w.rootfs != "" || w.packages != "" {
		fmt.Printf("%s: %d files, %d MB: boots with MEM=%dM\n", out, len(t.Names()), t.Size()>>20, needed(t))
	}
	f, err := os.Create(out)
	if err != nil {
		return err
	}
	b := bufio.NewWriterSize(f, 1<<20)
	if err := t.Write(b); err != nil {
		return err
	}
	if err := b.Flush(); err != nil {
		return err
	}
	return f.Close()
}

// needed returns how much memory a machine needs to boot a tree, in MB: for the archive, a
// part of that again for the kernel's data of each file and for programs, and the least for
// the kernel itself.
func needed(t *tree.Tree) uint64 {
	n := t.Size()>>20*3/2 + uint64(len(t.Names()))*4>>10 + 128
	return (n + 127) &^ 127
}

// tests adds init, the test programs, and the lists of their tests.
func tests(t *tree.Tree, arch, tmp string) error {
	t.Dir("tests", 0o755)
	for _, p := range programs {
		if err := add(t, arch, p, tmp); err != nil {
			return err
		}
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
		t.File(l.path, string(names), 0o644)
	}
	return nil
}

// add builds one of the programs into the tree.
func add(t *tree.Tree, arch string, p program, tmp string) error {
	data, err := build(arch, p, filepath.Join(tmp, filepath.Base(p.path)))
	if err == nil {
		t.File(p.path, string(data), 0o755)
	}
	return err
}

// build builds a static Linux program and returns its bytes.
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
