package overlay

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"grim/boot/image"
)

// Time in the guest is QEMU's -icount time, one nanosecond for each instruction. The kernel
// measures times, and a busy host must not make it fail.

// machines has the ways to boot the self-test kernel: QEMU's command line, and the function
// that converts the guest's exit status to QEMU's.
var machines = []struct {
	name, arch string
	image      func([]byte) ([]byte, error)
	qemu       []string
	status     func(guest int) int
}{
	{"q35 64 MB", "amd64", image.PVH, q35("64M"), debugExit},
	{"q35 1 GB", "amd64", image.PVH, q35("1G"), debugExit},
	{"microvm", "amd64", image.PVH, []string{"qemu-system-x86_64", "-M", "microvm", "-cpu", "max", "-m", "256M", "-device", "isa-debug-exit,iobase=0xf4,iosize=4"}, debugExit},
	{"virt cortex-a53 64 MB", "arm64", image.ARM64, virt("virt", "cortex-a53", "64M"), semihosting},
	{"virt max at EL2", "arm64", image.ARM64, virt("virt,virtualization=on,gic-version=3", "max", "1G"), semihosting},
}

func q35(mem string) []string {
	return []string{"qemu-system-x86_64", "-M", "q35", "-cpu", "max", "-m", mem, "-device", "isa-debug-exit,iobase=0xf4,iosize=4"}
}

func virt(machine, cpu, mem string) []string {
	return []string{"qemu-system-aarch64", "-M", machine, "-cpu", cpu, "-m", mem, "-smp", "4", "-semihosting"}
}

func debugExit(guest int) int   { return guest<<1 | 1 }
func semihosting(guest int) int { return guest }

// ends has the ways in which the self-test kernel can end. A run must print all strings of
// want, in their order.
var ends = []struct {
	mode   string
	status int
	want   []string
}{
	{"", 0, []string{"printed before there is a console\n", "ok 1 - ", " passed, 0 failed\n"}},
	{"panic", 2, []string{"panic: assignment to entry in nil map", "main.main()", "selftest/main.go:"}},
	{"nil", 2, []string{"panic: runtime error: invalid memory address or nil pointer dereference",
		"[signal SIGSEGV: segmentation violation code=0x1 addr=0x8 pc=0x", "main.dereference(", "main.main()"}},
	{"fatal", 2, []string{"fatal fault in kernel code: SIGILL: illegal instruction", "main.faultHere()", "main.main()"}},
	{"nested", 2, []string{"panic: the console faults!", "fatal fault in kernel code", "main.main()"}},
	{"oom", 2, []string{"runtime: out of memory", "main.fill"}},
	{"deadlock", 0, []string{"awake\n"}},
	{"cpus", 0, []string{"ok 1 - ", " passed, 0 failed\n"}},
	{"parallel", 0, []string{"ok 1 - ", " passed, 0 failed\n"}},
}

// TestSelftest builds the self-test kernel with the overlay and boots it. Every machine
// runs the tests. Only the first machine of each architecture runs the other ends.
func TestSelftest(t *testing.T) {
	if testing.Short() {
		t.Skip("boots QEMU")
	}
	done := map[string]bool{}
	for _, m := range machines {
		if _, err := exec.LookPath(m.qemu[0]); err != nil {
			t.Logf("%s: skipped: %v", m.name, err)
			continue
		}
		for _, e := range ends {
			if e.mode != "" && done[m.arch+e.mode] {
				continue
			}
			several := e.mode == "cpus" || e.mode == "parallel"
			if several && m.arch != "arm64" {
				continue // its secondaries are the kernel's business
			}
			done[m.arch+e.mode] = true
			t.Run(m.name+"/"+e.mode, func(t *testing.T) {
				file := filepath.Join(t.TempDir(), "image")
				img, err := m.image(kernel(t, m.arch, e.mode))
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, img, 0o666); err != nil {
					t.Fatal(err)
				}
				time := []string{"-icount", "shift=0"}
				if e.mode == "parallel" { // the CPUs run at the same time, and time is the host's
					time = []string{"-accel", "tcg,thread=multi"}
				}
				out, status := run(t, append(slices.Concat(m.qemu, time), "-display", "none", "-serial", "stdio", "-monitor", "none", "-no-reboot", "-kernel", file))
				rest := out
				for _, w := range e.want {
					_, after, ok := strings.Cut(rest, w)
					if !ok {
						t.Errorf("output lacks %q (in this order)", w)
						break
					}
					rest = after
				}
				if want := m.status(e.status); status != want {
					t.Errorf("QEMU ended with status %d, want %d", status, want)
				}
				if regexp.MustCompile(`(?m)^not ok`).MatchString(out) || t.Failed() {
					t.Errorf("serial output:\n%s", out)
				}
			})
		}
	}
}

// linkAt has the linker flags with which the Makefile links the kernel of each
// architecture.
var linkAt = map[string]string{"amd64": "-T -2145386496", "arm64": "-T -2145382400 -R 4096"}

// kernel builds the self-test kernel.
func kernel(t *testing.T, arch, mode string) []byte {
	t.Helper()
	c := config(t, arch)
	// Always the same folder, so that the build cache has the runtime.
	c.Out = filepath.Join("..", "..", "build", "test", arch, "overlay")
	root, err := Generate(c)
	if err != nil {
		t.Fatal(err)
	}
	elf := filepath.Join(t.TempDir(), "kernel.elf")
	cmd := exec.Command(filepath.Join(root, "bin", "go"), "build", "-trimpath", "-tags", "tamago",
		"-ldflags", linkAt[arch]+" -X main.mode="+mode, "-o", elf, "./selftest")
	cmd.Env = targetEnv(root, arch)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	b, err := os.ReadFile(elf)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// run runs a command for at most four minutes and returns its output and status.
func run(t *testing.T, args []string) (string, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) || ctx.Err() != nil {
		t.Fatalf("%v: %v %v\n%s", args, err, ctx.Err(), out)
	}
	return strings.ReplaceAll(string(out), "\r", ""), cmd.ProcessState.ExitCode()
}
