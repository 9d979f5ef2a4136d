package tree

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// machines are the ELF machines of architectures.
var machines = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}

// defaultDirs are the directories where the dynamic linkers of glibc and musl look last. On
// a Debian system, those of the architecture come first.
var defaultDirs = map[string][]string{
	"amd64": {"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib", "/usr/local/lib"},
	"arm64": {"/lib/aarch64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib", "/usr/local/lib"},
}

// linker finds a program's libraries as ld.so(8) does.
type linker struct {
	t      *Tree
	root   string // of the file system with the libraries; "": the host's
	arch   string
	conf   []string // directories of /etc/ld.so.conf
	packed map[string]bool
	errs   []error
}

// Program adds an executable of the file system below root ("" is the host's) as dest. If
// it is dynamic, Program adds its interpreter and libraries too. The error names every file
// that is missing or is for another architecture.
func (t *Tree) Program(root, file, dest, arch string) error {
	l := &linker{t: t, root: root, arch: arch, packed: map[string]bool{}}
	l.conf = l.readConf("/etc/ld.so.conf", 0)
	f, err := elf.Open(file)
	if err != nil { // such as a script: the caller must add its interpreter
		data, err := os.ReadFile(file)
		if err == nil {
			t.File(dest, string(data), 0o755)
		}
		return err
	}
	defer f.Close()
	if err := l.fits(f); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if err := l.add(file, dest); err != nil {
		return err
	}
	if interp := interpreter(f); interp != "" {
		if err := l.interpreter(interp); err != nil {
			l.errs = append(l.errs, fmt.Errorf("%s: interpreter %s: %w", file, interp, err))
		}
	}
	abs, err := filepath.Abs(file)
	if err != nil {
		return err
	}
	l.needs(f, strings.TrimPrefix(abs, root), nil)
	return errors.Join(l.errs...)
}

// interpreter returns a program's PT_INTERP, or "" if it is static.
func interpreter(f *elf.File) string {
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			b := make([]byte, p.Filesz)
			n, _ := p.ReadAt(b, 0)
			name, _, _ := strings.Cut(string(b[:n]), "\x00")
			return name
		}
	}
	return ""
}

// fits checks that a file is for the architecture.
func (l *linker) fits(f *elf.File) error {
	if want := machines[l.arch]; f.Machine != want || f.Class != elf.ELFCLASS64 {
		return fmt.Errorf("is for %v, not for %v (ARCH=%s)", f.Machine, want, l.arch)
	}
	return nil
}

// add packs a file of the host under a name.
func (l *linker) add(file, dest string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	l.t.File(dest, string(data), 0o755)
	return nil
}

func (l *linker) interpreter(name string) error {
	f, err := elf.Open(l.root + name)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := l.fits(f); err != nil {
		return err
	}
	l.packed[filepath.Base(name)] = true // libraries name it too
	return l.add(l.root+name, name)
}

// needs packs the libraries of f, whose path is name. rpaths are the DT_RPATH of the files
// that load it.
func (l *linker) needs(f *elf.File, name string, rpaths []string) {
	libs, err := f.ImportedLibraries()
	if err != nil {
		l.errs = append(l.errs, fmt.Errorf("%s: %w", name, err))
		return
	}
	run := l.paths(f, elf.DT_RUNPATH, name)
	if len(run) == 0 {
		rpaths = append(l.paths(f, elf.DT_RPATH, name), rpaths...)
	}
	for _, lib := range libs {
		if l.packed[lib] {
			continue
		}
		l.packed[lib] = true
		dirs := slices.Concat(rpaths, run, l.conf, defaultDirs[l.arch])
		if len(run) > 0 { // DT_RPATH is ignored then
			dirs = slices.Concat(run, l.conf, defaultDirs[l.arch])
		}
		if err := l.library(name, lib, dirs, len(dirs)-len(defaultDirs[l.arch])-len(l.conf), rpaths); err != nil {
			l.errs = append(l.errs, err)
		}
	}
}

// library packs the first file in dirs that is named lib and is for the architecture. The
// first own directories are named by the program itself. The guest's linker looks in these
// and in its default directories, as it has no cache.
func (l *linker) library(by, lib string, dirs []string, own int, rpaths []string) error {
	if strings.Contains(lib, "/") {
		dirs, own = []string{""}, 1
	}
	err := fmt.Errorf("%s: library %s is not found in %s", by, lib, strings.Join(slices.Compact(dirs), ":"))
	for i, d := range dirs {
		name := filepath.Join(d, lib)
		f, e := elf.Open(l.root + name)
		if e != nil {
			if !os.IsNotExist(e) {
				err = fmt.Errorf("%s: library %s: %w", by, name, e)
			}
			continue
		}
		defer f.Close()
		if e := l.fits(f); e != nil {
			err = fmt.Errorf("%s: library %s %w", by, name, e)
			continue
		}
		if e := l.add(l.root+name, name); e != nil {
			return e
		}
		if i >= own && !slices.Contains(defaultDirs[l.arch], d) {
			l.t.Symlink("/lib/"+lib, name)
		}
		l.needs(f, name, rpaths)
		return nil
	}
	return err
}

// paths returns DT_RPATH or DT_RUNPATH, with $ORIGIN and $LIB replaced.
func (l *linker) paths(f *elf.File, tag elf.DynTag, name string) (dirs []string) {
	list, _ := f.DynString(tag)
	for _, s := range list {
		for _, d := range strings.Split(s, ":") {
			for _, v := range [][2]string{{"ORIGIN", filepath.Dir(name)}, {"LIB", "lib"}} {
				d = strings.NewReplacer("${"+v[0]+"}", v[1], "$"+v[0], v[1]).Replace(d)
			}
			if d != "" {
				dirs = append(dirs, d)
			}
		}
	}
	return dirs
}

// readConf returns the directories in ld.so.conf and in the files that it includes.
func (l *linker) readConf(name string, depth int) (dirs []string) {
	text, err := os.ReadFile(l.root + name)
	if err != nil || depth > 5 {
		return nil
	}
	for line := range strings.Lines(string(text)) {
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		switch {
		case len(words) == 2 && words[0] == "include":
			pattern := words[1]
			if !strings.HasPrefix(pattern, "/") {
				pattern = filepath.Join(filepath.Dir(name), pattern)
			}
			files, _ := filepath.Glob(l.root + pattern)
			for _, f := range files {
				dirs = append(dirs, l.readConf(strings.TrimPrefix(f, l.root), depth+1)...)
			}
		case len(words) == 1:
			dirs = append(dirs, words[0])
		}
	}
	return dirs
}
