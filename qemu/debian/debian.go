// Package debian fetches packages of the host's Debian release, for either architecture,
// and reads the files in them. Package lists, the cache and apt's state are below
// build/debian/ARCH. Nothing outside of build/ changes, and no part of the distribution is
// in the repository.
package debian

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Repo has the distribution's packages for one architecture.
type Repo struct {
	Arch string // GOARCH, which is Debian's name too
	Dir  string // the folder for everything
}

// Open returns the packages of an architecture. It fetches nothing.
func Open(arch string) (*Repo, error) {
	dir, err := filepath.Abs(filepath.Join("build", "debian", arch))
	return &Repo{arch, dir}, err
}

// Package returns the file of one package, without its dependencies.
func (r *Repo) Package(ctx context.Context, name string) (string, error) {
	debs, err := r.set(ctx, []string{name}, func() ([]string, error) {
		dir := filepath.Join(r.Dir, "one")
		if err := os.RemoveAll(dir); err != nil {
			return nil, err
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
		if _, err := r.apt(ctx, dir, "apt-get", "download", name); err != nil {
			return nil, err
		}
		return r.keep(dir)
	})
	if err != nil {
		return "", err
	}
	return debs[0], nil
}

// Packages returns the files of packages and of all their dependencies.
func (r *Repo) Packages(ctx context.Context, names ...string) ([]string, error) {
	return r.set(ctx, append([]string{"and what they depend on:"}, names...), func() ([]string, error) {
		dir := filepath.Join(r.Dir, "set")
		if err := os.RemoveAll(dir); err != nil {
			return nil, err
		}
		if err := os.MkdirAll(filepath.Join(dir, "partial"), 0o755); err != nil {
			return nil, err
		}
		args := []string{"-o", "Dir::Cache::archives=" + dir, "install", "--download-only", "-y", "--no-install-recommends"}
		if _, err := r.apt(ctx, r.Dir, "apt-get", append(args, names...)...); err != nil {
			return nil, err
		}
		return r.keep(dir)
	})
}

// Depends returns apt-cache(8)'s text about a package's dependencies.
func (r *Repo) Depends(ctx context.Context, name string) (string, error) {
	if err := r.update(ctx, false); err != nil {
		return "", err
	}
	return r.apt(ctx, r.Dir, "apt-cache", "depends", name)
}

// set returns the files that get fetches for a list of names. They are fetched only once.
func (r *Repo) set(ctx context.Context, names []string, get func() ([]string, error)) ([]string, error) {
	sum := sha256.Sum256([]byte(strings.Join(names, " ")))
	note := filepath.Join(r.Dir, fmt.Sprintf("set-%x", sum[:8])) // lists the files
	if text, err := os.ReadFile(note); err == nil {
		files := strings.Fields(string(text))
		for i := range files {
			files[i] = filepath.Join(r.Dir, files[i])
		}
		if !slices.ContainsFunc(files, missing) {
			return files, nil
		}
	}
	for _, tool := range []string{"apt-get", "apt-cache", "dpkg-deb"} {
		if _, err := exec.LookPath(tool); err != nil {
			return nil, fmt.Errorf("%s is needed to fetch Debian's packages (%s): a Debian machine has it", tool, strings.Join(names, " "))
		}
	}
	fmt.Printf("fetching Debian's packages for %s into %s: %s\n", r.Arch, r.Dir, strings.Join(names, " "))
	if err := r.update(ctx, false); err != nil {
		return nil, err
	}
	files, err := get()
	if err != nil { // the lists may be too old for the archive
		if err := r.update(ctx, true); err != nil {
			return nil, err
		}
		if files, err = get(); err != nil {
			return nil, err
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("apt-get left no package of %s", strings.Join(names, " "))
	}
	var text strings.Builder
	for i, f := range files {
		fmt.Fprintln(&text, f)
		files[i] = filepath.Join(r.Dir, f)
	}
	return files, os.WriteFile(note, []byte(text.String()), 0o644)
}

func missing(file string) bool {
	_, err := os.Stat(file)
	return err != nil
}

// keep moves the packages of a directory to their place and returns their names.
func (r *Repo) keep(dir string) ([]string, error) {
	found, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil {
		return nil, err
	}
	for i, f := range found {
		found[i] = filepath.Base(f)
		if err := os.Rename(f, filepath.Join(r.Dir, found[i])); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// update fetches the lists of packages, if they do not exist or again is true.
func (r *Repo) update(ctx context.Context, again bool) error {
	status := filepath.Join(r.Dir, "apt", "status")
	if !again && !missing(status) {
		return nil
	}
	for _, d := range []string{"apt/lists/partial", "apt/cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(r.Dir, d), 0o755); err != nil {
			return err
		}
	}
	// An empty status means that nothing is installed, so all dependencies are fetched.
	if err := os.WriteFile(status, nil, 0o644); err != nil {
		return err
	}
	_, err := r.apt(ctx, r.Dir, "apt-get", "update")
	if err != nil {
		os.Remove(status)
	}
	return err
}

// apt runs one of apt's tools on the state in r.Dir.
func (r *Repo) apt(ctx context.Context, dir, tool string, args ...string) (string, error) {
	options := []string{
		"-q", "-o", "Dir::State=" + r.Dir + "/apt", "-o", "Dir::State::lists=" + r.Dir + "/apt/lists",
		"-o", "Dir::State::status=" + r.Dir + "/apt/status", "-o", "Dir::Cache=" + r.Dir + "/apt/cache",
		"-o", "APT::Architecture=" + r.Arch, "-o", "APT::Architectures=" + r.Arch, "-o", "APT::Sandbox::User=",
	}
	return output(exec.CommandContext(ctx, tool, append(options, args...)...), dir)
}

// Version returns the version of a package's file.
func Version(ctx context.Context, deb string) (string, error) {
	v, err := output(exec.CommandContext(ctx, "dpkg-deb", "-f", deb, "Version"), "")
	return strings.TrimSpace(v), err
}

func output(cmd *exec.Cmd, dir string) (string, error) {
	var errs strings.Builder
	cmd.Dir, cmd.Stderr = dir, &errs
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s", cmd, err, errs.String())
	}
	return string(out), nil
}

// Walk calls visit for every file of a package, with its name as tar has it. data can be
// read until visit returns.
func Walk(ctx context.Context, deb string, visit func(h *tar.Header, data io.Reader) error) error {
	cmd := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", deb)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	tr := tar.NewReader(out)
	for {
		h, err := tr.Next()
		if err == nil {
			err = visit(h, tr)
		}
		if err != nil {
			if err == io.EOF {
				err = nil
			}
			_, e := io.Copy(io.Discard, out)
			return errors.Join(err, e, cmd.Wait())
		}
	}
}
