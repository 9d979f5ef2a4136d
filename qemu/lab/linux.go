package main

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// linuxKernel is a kernel of the distribution, in build/linux/ARCH.
type linuxKernel struct {
	name  string // as a table calls it
	image string
}

// fetchLinux gives Debian's stock kernel for an architecture. The first time it
// downloads the package with apt, whose package lists and cache it keeps apart
// from the system's, so that nothing outside build/ changes.
func fetchLinux(ctx context.Context, arch string) (*linuxKernel, error) {
	dir, err := filepath.Abs(filepath.Join("build", "linux", arch))
	if err != nil {
		return nil, err
	}
	image, name := filepath.Join(dir, "vmlinuz"), filepath.Join(dir, "name")
	if text, err := os.ReadFile(name); err == nil {
		return &linuxKernel{strings.TrimSpace(string(text)), image}, nil
	}
	for _, tool := range []string{"apt-get", "apt-cache", "dpkg-deb"} {
		if _, err := exec.LookPath(tool); err != nil {
			return nil, fmt.Errorf("%s is needed to fetch it (a Debian machine has it)", tool)
		}
	}
	fmt.Printf("fetching Debian's kernel for %s into %s\n", arch, dir)
	a := apt{ctx, arch, dir}
	pkg, err := a.kernelPackage()
	if err != nil {
		return nil, err
	}
	deb, err := a.download(pkg)
	if err != nil {
		return nil, err
	}
	defer os.Remove(deb)
	if err := unpackKernel(ctx, deb, image); err != nil {
		return nil, err
	}
	version, err := a.run("dpkg-deb", "-f", deb, "Version")
	if err != nil {
		return nil, err
	}
	upstream, _, _ := strings.Cut(strings.TrimSpace(version), "-")
	k := &linuxKernel{"Linux " + upstream, image}
	return k, os.WriteFile(name, []byte(k.name+"\n"), 0o644) // last: it says that the rest is there
}

// apt runs apt's tools on a state of its own.
type apt struct {
	ctx  context.Context
	arch string
	dir  string
}

func (a *apt) run(tool string, args ...string) (string, error) {
	cmd := exec.CommandContext(a.ctx, tool, args...)
	cmd.Dir = a.dir
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", tool, args[len(args)-1], err, errs.String())
	}
	return string(out), nil
}

func (a *apt) apt(tool string, args ...string) (string, error) {
	options := []string{
		"-q", "-o", "Dir::State=" + a.dir + "/apt", "-o", "Dir::State::lists=" + a.dir + "/apt/lists",
		"-o", "Dir::State::status=" + a.dir + "/apt/status", "-o", "Dir::Cache=" + a.dir + "/apt/cache",
		"-o", "APT::Architecture=" + a.arch, "-o", "APT::Architectures=" + a.arch, "-o", "APT::Sandbox::User=",
	}
	return a.run(tool, append(options, args...)...)
}

var dependsOn = regexp.MustCompile(`(?m)^ *Depends: (linux-image-[0-9]\S*)`)

// kernelPackage is the package that the distribution's meta package stands for.
func (a *apt) kernelPackage() (string, error) {
	for _, d := range []string{"apt/lists/partial", "apt/cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(a.dir, d), 0o755); err != nil {
			return "", err
		}
	}
	if err := os.WriteFile(filepath.Join(a.dir, "apt/status"), nil, 0o644); err != nil {
		return "", err
	}
	if _, err := a.apt("apt-get", "update"); err != nil {
		return "", err
	}
	text, err := a.apt("apt-cache", "depends", "linux-image-"+a.arch)
	if err != nil {
		return "", err
	}
	m := dependsOn.FindStringSubmatch(text)
	if m == nil {
		return "", fmt.Errorf("linux-image-%s depends on no kernel:\n%s", a.arch, text)
	}
	return m[1], nil
}

func (a *apt) download(pkg string) (deb string, err error) {
	if _, err := a.apt("apt-get", "download", pkg); err != nil {
		return "", err
	}
	found, err := filepath.Glob(filepath.Join(a.dir, pkg+"_*.deb"))
	if err != nil || len(found) == 0 {
		return "", fmt.Errorf("apt-get download %s left no package", pkg)
	}
	return found[0], nil
}

// unpackKernel writes the kernel image of a package.
func unpackKernel(ctx context.Context, deb, image string) error {
	cmd := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", deb)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	found := false
	tr := tar.NewReader(out)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return errors.Join(err, cmd.Wait())
		}
		if strings.HasPrefix(strings.TrimPrefix(h.Name, "./"), "boot/vmlinuz-") {
			found = true
			if err := writeFile(image, func(f *os.File) error { _, err := io.Copy(f, tr); return err }); err != nil {
				return errors.Join(err, cmd.Wait())
			}
		}
	}
	if err := cmd.Wait(); err != nil {
		return err
	}
	if !found {
		return fmt.Errorf("%s holds no boot/vmlinuz-*", deb)
	}
	return nil
}
