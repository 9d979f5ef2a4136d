package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"grim/boot/overlay"
)

// fetchLimit is the time limit for fetching one toolchain, about 80 MB.
const fetchLimit = 5 * time.Minute

// otherRelease is a supported release of Go other than the go command's own.
type otherRelease struct {
	overlay.Release
	boots []boot // boots of its kernel; only the newest release has some
}

// otherReleases returns the other supported releases. The newest of all, if it is among
// them, boots the quick set on both architectures.
func otherReleases(ctx context.Context) ([]otherRelease, error) {
	version, err := exec.CommandContext(ctx, "go", "env", "GOVERSION").Output()
	if err != nil {
		return nil, fmt.Errorf("go env GOVERSION: %w", err)
	}
	all := overlay.Releases()
	var others []otherRelease
	for _, r := range all {
		if r.Minor == overlay.Minor(string(version)) {
			continue
		}
		o := otherRelease{Release: r}
		if r == all[len(all)-1] {
			o.boots = []boot{
				{arch: "amd64", machine: "q35", mem: "256M", args: []string{"selftest=quick"}, release: r.String()},
				{arch: "arm64", machine: "virt", mem: "256M", args: []string{"selftest=quick"}, release: r.String()},
			}
		}
		others = append(others, o)
	}
	return others, nil
}

// buildOthers builds kernel and user programs of both architectures with every other
// supported release of Go, and returns the boots of these kernels. Each build is one test.
// The go command fetches the toolchain. A toolchain that is not available is skipped;
// .ci/run fetches it first and fails.
func buildOthers(ctx context.Context, pattern string) (t tally, boots []boot) {
	others, err := otherReleases(ctx)
	if err != nil {
		t.fail("other releases of Go: %v", err)
		return t, nil
	}
	for _, o := range others {
		var selected []boot
		for _, b := range o.boots {
			if b.selected(pattern) {
				selected = append(selected, b)
			}
		}
		if pattern != "" && selected == nil {
			continue
		}
		if err := o.fetch(ctx); err != nil {
			fmt.Printf("Go %v: skipped: %v\n", o, err)
			continue
		}
		if o.build(ctx, &t) {
			boots = append(boots, selected...)
		}
	}
	return t, boots
}

// fetch makes sure that the go command has the toolchain.
func (o *otherRelease) fetch(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, fetchLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "version")
	cmd.Env = append(os.Environ(), "GOTOOLCHAIN="+o.Toolchain)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("the go command cannot fetch %s: %w\n%s", o.Toolchain, err, tail(string(out), 5))
	}
	return nil
}

// build runs make for both architectures and reports whether both were built.
func (o *otherRelease) build(ctx context.Context, t *tally) bool {
	good := true
	for _, arch := range overlay.Archs {
		start := time.Now()
		err := runMake(ctx, []string{"GOTOOLCHAIN=" + o.Toolchain}, "kernel", "initramfs",
			"ARCH="+arch, "PROGRAM=", "DEBUG=", "B="+buildDir(o.String(), arch))
		if err != nil {
			good = false
			t.fail("%s with %s: FAILED: %v", arch, o.Toolchain, err)
			continue
		}
		t.passed++
		fmt.Printf("%s with %s: built, %s\n", arch, o.Toolchain, since(start))
	}
	return good
}

// runMake runs make with additions to the environment. An error has make's output.
func runMake(ctx context.Context, env []string, words ...string) error {
	tool := cmp.Or(os.Getenv("MAKE"), "make") // GNU make has other names on some systems
	cmd := exec.CommandContext(ctx, tool, append([]string{"--no-print-directory"}, words...)...)
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("make %s: %w\n%s", strings.Join(words, " "), err, tail(string(out), 30))
	}
	return nil
}

// buildDir is the folder for the Makefile's output with a release of Go. "" is the go
// command's own.
func buildDir(release, arch string) string {
	if release == "" {
		return filepath.Join("build", arch)
	}
	return filepath.Join("build", "go"+release, arch)
}
