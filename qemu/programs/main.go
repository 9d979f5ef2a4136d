// Command programs runs other people's programs on Grim and on Debian's Linux kernel, in
// the same QEMU machine and from the same archive, and reports differences of the output.
// Each line of the file commands is run by busybox's shell, by a static bash and by a
// dynamic bash of Debian's packages.
//
// With -short it boots only Grim, and compares with Linux's earlier output, which is in the
// files linux-*.txt here.
package main

import (
	"bytes"
	"context"
	_ "embed"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"grim/qemu"
	"grim/qemu/debian"
	"grim/user/tree"
)

//go:embed commands
var commands string

//go:embed run.sh
var script string

// world is a tree with the shells that are tested in it.
type world struct {
	name   string
	shells string
	make   func(ctx context.Context, t *tree.Tree, arch string) error
}

var worlds = []world{
	{"busybox", "busybox-sh bash-static", func(ctx context.Context, t *tree.Tree, arch string) error {
		bash, err := tree.PackagedFile(ctx, arch, "bash-static", "bin/bash-static")
		if err != nil {
			return err
		}
		t.File("bin/bash-static", string(bash), 0o755)
		t.File("bin/busybox-sh", "#!/bin/busybox sh\nexec /bin/busybox sh \"$@\"\n", 0o755)
		return t.Busybox(ctx, arch)
	}},
	{"debian", "bash", func(ctx context.Context, t *tree.Tree, arch string) error {
		return t.Debian(ctx, arch, "bash", "coreutils", "procps", "grep", "sed", "findutils", "diffutils", "gzip", "tar", "bc", "cpio", "usr-is-merged")
	}},
}

// Exit statuses that do not mean a fault of Grim.
const usage = 2

func main() {
	arch := flag.String("arch", "amd64 arm64", "architectures")
	only := flag.String("world", "", "one of busybox, debian; empty: both")
	short := flag.Bool("short", false, "boot Grim alone, and compare with what Linux printed before")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	bad, err := run(ctx, strings.Fields(*arch), *only, *short)
	if err != nil {
		fmt.Fprintln(os.Stderr, "programs:", err)
		os.Exit(usage)
	}
	if bad > 0 {
		os.Exit(1)
	}
}

// run compares everything, and counts the unexplained differences.
func run(ctx context.Context, archs []string, only string, short bool) (bad int, err error) {
	passed := 0
	for _, w := range worlds {
		if only != "" && only != w.name {
			continue
		}
		for _, arch := range archs {
			archive, err := w.archive(ctx, arch)
			if err != nil {
				return bad, err
			}
			grim, err := bootGrim(ctx, &w, arch, archive)
			if err != nil {
				return bad, err
			}
			kept := filepath.Join("qemu", "programs", "linux-"+w.name+".txt")
			var linux map[string]string
			if short {
				text, err := os.ReadFile(kept)
				if err != nil {
					return bad, err
				}
				linux = results(string(text))
			} else {
				text, err := bootLinux(ctx, &w, arch, archive)
				if err != nil {
					return bad, err
				}
				linux = results(text)
				if arch == archs[0] {
					if err := os.WriteFile(kept, []byte(text), 0o644); err != nil {
						return bad, err
					}
				}
			}
			p, b := w.compare(arch, linux, results(grim))
			passed, bad = passed+p, bad+b
		}
	}
	fmt.Printf("%d passed, %d failed\n", passed, bad)
	return bad, nil
}

// archive builds a world's initramfs. Both kernels boot it.
func (w *world) archive(ctx context.Context, arch string) (string, error) {
	t := tree.New()
	if err := w.make(ctx, t, arch); err != nil {
		return "", err
	}
	t.Skeleton()
	t.File("commands", commands, 0o644)
	t.File("run.sh", script, 0o755)
	dir := filepath.Join("build", "programs")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "init-"+arch)
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", bin, "./user/init")
	build.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+arch, "GOARM64=v8.0", "GOAMD64=v1", "CGO_ENABLED=0")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return "", fmt.Errorf("building init for %s: %w", arch, err)
	}
	data, err := os.ReadFile(bin)
	if err != nil {
		return "", err
	}
	t.File("init", string(data), 0o755)
	var b bytes.Buffer
	if err := t.Write(&b); err != nil {
		return "", err
	}
	out := filepath.Join(dir, w.name+"-"+arch+".cpio")
	return out, os.WriteFile(out, b.Bytes(), 0o644)
}

// arguments returns the arguments for init.
func (w *world) arguments() string { return "-- shell 24x80 vt100 sh /run.sh " + w.shells }

func bootGrim(ctx context.Context, w *world, arch, archive string) (string, error) {
	return boot(ctx, "grim", w, arch, filepath.Join("build", arch, "grim"), archive, "selftest=none "+w.arguments())
}

func bootLinux(ctx context.Context, w *world, arch, archive string) (string, error) {
	k, err := debian.Kernel(ctx, arch)
	if err != nil {
		return "", err
	}
	console := map[string]string{"amd64": "ttyS0", "arm64": "ttyAMA0"}[arch]
	return boot(ctx, "linux", w, arch, k.Image, archive, "console="+console+" quiet loglevel=0 panic=-1 "+w.arguments())
}

// boot runs one kernel and returns the output of run.sh.
func boot(ctx context.Context, kernel string, w *world, arch, image, archive, args string) (string, error) {
	m, err := qemu.Lookup(arch, "")
	if err != nil {
		return "", err
	}
	log := filepath.Join("build", "logs", "programs-"+w.name+"-"+kernel+"-"+arch+".log")
	start := time.Now()
	_, verdict := qemu.Boot(ctx, &qemu.Config{Machine: m, Memory: "512M", Kernel: image, Initrd: archive, Append: []string{args}}, 10*time.Minute, log, io.Discard, nil)
	text, err := os.ReadFile(log)
	if err != nil {
		return "", err
	}
	out := strings.ReplaceAll(string(text), "\r\n", "\n")
	from, to := strings.Index(out, "##@ "), strings.Index(out, "##@ end\n")
	if from < 0 || to < 0 {
		return "", fmt.Errorf("%s on %s, %s: the script did not come to its end (%v; %s)", w.name, kernel, arch, verdict, log)
	}
	if kernel == "grim" && verdict != nil {
		return "", fmt.Errorf("%s on %s, %s: %w (%s)", w.name, kernel, arch, verdict, log)
	}
	fmt.Printf("%s on %s, %s: %.0f s\n", w.name, kernel, arch, time.Since(start).Seconds())
	return out[from:to], nil
}

var mark = regexp.MustCompile(`(?m)^##@ (.*)\n`)

// number matches bash's message about a process that a signal has ended.
var number = regexp.MustCompile(`(line \d+: +)\d+ `)

// results returns the outputs, by "shell: number".
func results(text string) map[string]string {
	m := map[string]string{}
	at := mark.FindAllStringSubmatchIndex(text, -1)
	for i, a := range at {
		end := len(text)
		if i+1 < len(at) {
			end = at[i+1][0]
		}
		m[text[a[2]:a[3]]] = number.ReplaceAllString(text[a[1]:end], "${1}PID ")
	}
	return m
}

// compare prints and counts the differences.
func (w *world) compare(arch string, linux, grim map[string]string) (same, different int) {
	lines := strings.Split(strings.TrimRight(commands, "\n"), "\n")
	for _, shell := range strings.Fields(w.shells) {
		ok, explained, wrong := 0, 0, 0
		var why []string
		for i, line := range lines {
			key := fmt.Sprintf("%s: %d", shell, i+1)
			switch {
			case linux[key] == grim[key] && linux[key] != "":
				ok++
			case reasons[line] != "":
				explained++
				why = append(why, fmt.Sprintf("%s: %s: %s", shell, line, reasons[line]))
			default:
				wrong++
				fmt.Printf("%s, %s, %d: %s\n  Linux: %q\n  Grim:  %q\n", shell, arch, i+1, line, linux[key], grim[key])
			}
		}
		for _, line := range why {
			fmt.Println(line)
		}
		fmt.Printf("| %s | %s | %d | %d | %d | %d |\n", shell, arch, len(lines), ok, explained, wrong)
		same, different = same+ok, different+wrong
	}
	return same, different
}

// reasons has the commands whose output may differ, with the reason.
var reasons = map[string]string{
	`tr '\0' ' ' < /proc/self/cmdline; echo`:                          "busybox changes its arguments; /proc/PID/cmdline shows them as exec got them",
	`sh -c 'sleep 5 & kill -9 $!; wait $!; echo $?'`:                  "bash says \"Killed\" only if the child is still there when wait begins",
	`mkdir a; cd a; rmdir ../a; ls; pwd >/dev/null; touch f; echo $?`: "a directory that was removed cannot be opened, as \".\" of a process there",
}
