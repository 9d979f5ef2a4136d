package main

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"
	"unsafe"

	"grim/qemu"
	"grim/qemu/bench"
)

// profile counts one case's instructions for each kernel function. QEMU reports every
// instruction into a pipe. It is told to start when the program says that it has come to
// the cases; the program waits for that.
func profile(ctx context.Context, o *options) error {
	if err := o.oneCase(ctx); err != nil {
		return err
	}
	reps, _ := bench.CanProfile(o.cases) // FindWindow returns an error if there is none
	if o.reps == 0 {
		o.reps = reps
	}
	for _, arch := range o.archs {
		if err := profileOn(ctx, arch, o); err != nil {
			return err
		}
	}
	return nil
}

// oneCase returns an error unless o names a single case.
func (o *options) oneCase(ctx context.Context) error {
	names, err := list(ctx, "exitbench")
	if err != nil {
		return err
	}
	switch {
	case o.cases == "":
		return fmt.Errorf("which case? CASE= takes one of\n%s", wrap(names))
	case !slices.Contains(names, o.cases):
		return fmt.Errorf("no case %q: CASE= takes one of\n%s", o.cases, wrap(names))
	}
	return nil
}

func profileOn(ctx context.Context, arch string, o *options) error {
	counts, title, err := traced(ctx, arch, o, func(*bench.Profile) {})
	if err != nil {
		return err
	}
	t, err := counts.Table(title)
	if err != nil {
		return err
	}
	t.Write(os.Stdout)
	return nil
}

// traced runs the case o.cases and counts its instructions. before is called before any is
// counted. It also returns a title for the figures.
func traced(ctx context.Context, arch string, o *options, before func(*bench.Profile)) (counts *bench.Profile, title string, err error) {
	path, err := buildProgram(ctx, arch, "exitbench")
	if err != nil {
		return nil, "", err
	}
	initrd, err := archive(path)
	if err != nil {
		return nil, "", err
	}
	counts, err = newProfile(path, grimImage(arch)+".elf", o.cases)
	if err != nil {
		return nil, "", err
	}
	before(counts)
	j := &job{
		Setup:   bench.Setup{Kernel: grim, Arch: arch, Layout: o.layout, Exit: o.exit, Huge: o.huge},
		program: "exitbench", image: grimImage(arch), initrd: initrd,
	}
	c, err := j.config(o)
	if err != nil {
		return nil, "", err
	}
	c.Append = append(c.Append, "-trace")

	dir, err := os.MkdirTemp("", "grim-profile")
	if err != nil {
		return nil, "", err
	}
	defer os.RemoveAll(dir)
	monitor, trace := filepath.Join(dir, "monitor"), filepath.Join(dir, "trace")
	c.Extra = append(c.Extra, "-monitor", "unix:"+monitor+",server=on,wait=off", "-D", trace)
	if err := syscall.Mkfifo(trace, 0o600); err != nil {
		return nil, "", err
	}
	// Open for writing too, so that there is no end of file before QEMU has opened it.
	log, err := os.OpenFile(trace, os.O_RDWR, 0)
	if err != nil {
		return nil, "", err
	}
	defer log.Close()
	read := make(chan error, 1)
	go func() { read <- counts.Read(log) }()

	keys, typed, err := os.Pipe()
	if err != nil {
		return nil, "", err
	}
	defer keys.Close()
	defer typed.Close()
	start := &tracer{monitor: monitor, typed: typed}
	_, bootErr := qemu.Boot(ctx, c, o.limit, "build/logs/profile-"+arch+".log", start, keys)
	if err := errors.Join(bootErr, start.err); err != nil {
		return nil, "", fmt.Errorf("profile: %w (serial output: build/logs/profile-%s.log)", err, arch)
	}
	// QEMU has ended. The reader is done when the pipe is empty.
	log.SetReadDeadline(time.Now().Add(time.Second))
	if err := <-read; err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, "", err
	}
	return counts, o.cases + " on " + j.Setup.String(), nil
}

func newProfile(program, kernel, name string) (*bench.Profile, error) {
	p, err := elf.Open(program)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	w, warmup, err := bench.FindWindow(p, name)
	if err != nil {
		return nil, err
	}
	k, err := openKernel(kernel)
	if err != nil {
		return nil, err
	}
	return bench.NewProfile(k, w, warmup)
}

// openKernel reads a kernel's sections and symbols, without its program headers: in arm64
// kernels, the Go linker writes a header with a negative file offset, which debug/elf
// refuses.
func openKernel(path string) (*elf.File, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if len(b) < int(unsafe.Sizeof(elf.Header64{})) {
		return nil, fmt.Errorf("%s is no ELF file", path)
	}
	binary.LittleEndian.PutUint16(b[unsafe.Offsetof(elf.Header64{}.Phnum):], 0)
	return elf.NewFile(bytes.NewReader(b))
}

// tracer reads the console. When the program is ready it switches the trace on, and lets
// the program continue.
type tracer struct {
	monitor string // socket
	typed   *os.File
	seen    bytes.Buffer
	done    bool
	err     error
}

func (t *tracer) Write(p []byte) (int, error) {
	if t.done {
		return len(p), nil
	}
	t.seen.Write(p)
	if bytes.Contains(t.seen.Bytes(), []byte("trace ready")) {
		t.done = true
		t.err = command(t.monitor, "singlestep on", "log exec,nochain")
		t.typed.WriteString("\n")
	}
	return len(p), nil
}

// command types lines at QEMU's monitor, each after the prompt that ends the line before.
func command(socket string, lines ...string) error {
	c, err := net.Dial("unix", socket)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	for _, line := range lines {
		if err := prompt(c); err != nil {
			return err
		}
		if _, err := fmt.Fprintln(c, line); err != nil {
			return err
		}
	}
	return prompt(c)
}

func prompt(c net.Conn) error {
	var b [4096]byte
	var text []byte
	for !bytes.HasSuffix(text, []byte("(qemu) ")) {
		n, err := c.Read(b[:])
		if err != nil {
			return fmt.Errorf("QEMU's monitor: %w", err)
		}
		text = append(text, b[:n]...)
	}
	return nil
}
