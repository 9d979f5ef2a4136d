package debian

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// Linux is a kernel of the distribution, in build/linux/ARCH.
type Linux struct {
	Name  string // name for tables
	Image string
}

// Kernel returns Debian's stock kernel for an architecture. It fetches the package the
// first time.
func Kernel(ctx context.Context, arch string) (*Linux, error) {
	dir, err := filepath.Abs(filepath.Join("build", "linux", arch))
	if err != nil {
		return nil, err
	}
	image, name := filepath.Join(dir, "vmlinuz"), filepath.Join(dir, "name")
	if text, err := os.ReadFile(name); err == nil {
		return &Linux{strings.TrimSpace(string(text)), image}, nil
	}
	repo, err := Open(arch)
	if err != nil {
		return nil, err
	}
	pkg, err := kernelPackage(ctx, repo)
	if err != nil {
		return nil, err
	}
	deb, err := repo.Package(ctx, pkg)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if err := unpackKernel(ctx, deb, image); err != nil {
		return nil, err
	}
	version, err := Version(ctx, deb)
	if err != nil {
		return nil, err
	}
	upstream, _, _ := strings.Cut(version, "-")
	k := &Linux{"Linux " + upstream, image}
	return k, os.WriteFile(name, []byte(k.Name+"\n"), 0o644) // last, as it says that everything else exists
}

var dependsOn = regexp.MustCompile(`(?m)^ *Depends: (linux-image-[0-9]\S*)`)

// kernelPackage returns the package on which the distribution's meta package depends.
func kernelPackage(ctx context.Context, repo *Repo) (string, error) {
	text, err := repo.Depends(ctx, "linux-image-"+repo.Arch)
	if err != nil {
		return "", err
	}
	m := dependsOn.FindStringSubmatch(text)
	if m == nil {
		return "", fmt.Errorf("linux-image-%s depends on no kernel:\n%s", repo.Arch, text)
	}
	return m[1], nil
}

// unpackKernel writes the kernel image of a package.
func unpackKernel(ctx context.Context, deb, image string) error {
	found := false
	err := Walk(ctx, deb, func(h *tar.Header, data io.Reader) error {
		if !strings.HasPrefix(strings.TrimPrefix(h.Name, "./"), "boot/vmlinuz-") {
			return nil
		}
		found = true
		f, err := os.Create(image)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, data)
		return errors.Join(err, f.Close())
	})
	if err == nil && !found {
		err = fmt.Errorf("%s holds no boot/vmlinuz-*", deb)
	}
	return err
}
