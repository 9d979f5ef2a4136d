// Command run boots Grim once in QEMU with the serial console on the terminal. Its exit
// status is 0 only if everything has passed.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"time"

	"golang.org/x/term"

	"grim/qemu"
)

func main() {
	arch := flag.String("arch", "amd64", "architecture: amd64 or arm64")
	machine := flag.String("machine", "", "QEMU machine (default: the architecture's first)")
	mem := flag.String("mem", "256M", "memory")
	cpus := flag.Int("cpus", 2, "CPUs of the machine, where their number can be chosen")
	kernel := flag.String("kernel", "", "kernel image")
	initrd := flag.String("initrd", "", "initramfs")
	args := flag.String("append", "", "kernel arguments")
	extra := flag.String("qemu", "", "more QEMU arguments, split at spaces")
	limit := flag.Duration("timeout", 300*time.Second, "time limit")
	log := flag.String("log", "build/logs/run.log", "file that keeps the serial output")
	disk := flag.String("disk", "", "image of a disk")
	network := flag.String("net", "", "a network device: 1, or HOST:GUEST, ports of TCP that lead into the machine")
	share := flag.String("share", "", "a directory of the host, which the machine has on /host")
	icount := flag.Bool("icount", false, "count guest instructions as nanoseconds")
	needs := flag.Bool("needs", false, "only tell what qemu/boards.sh shall fetch for the machine")
	interactive := flag.Bool("interactive", false, "give the guest every key, and tell init how large the terminal is")
	slow := flag.Bool("slow", false, "read the serial output slowly where the guest asks for that (selftest=console/)")
	gdb := flag.Bool("gdb", false, "wait for gdb on port 1234")
	flag.Parse()
	if *needs {
		// The run itself reports a wrong name.
		if m, err := qemu.Lookup(*arch, *machine); err == nil {
			fmt.Println(strings.Join(m.Needs(), " "))
		}
		return
	}

	words := []string{*args}
	if *interactive {
		*limit = 1000 * time.Hour // the user ends it
		rows, cols := terminalSize()
		words[0] = strings.NewReplacer("{size}", fmt.Sprintf("%dx%d", rows, cols), "{term}", terminalKind()).Replace(words[0])
		fmt.Println("^C, ^Z and ^D go to the shell; exit (or ^D) ends the machine, ^A x stops QEMU at once (^A ^A types ^A)")
	}
	if err := run(*arch, *machine, *limit, *log, &qemu.Config{
		Memory: *mem, CPUs: *cpus, Kernel: *kernel, Initrd: *initrd,
		Append: words, Extra: strings.Fields(*extra), Icount: *icount, GDB: *gdb, DiskImage: *disk, Net: *network, Share: *share, Interactive: *interactive, SlowReader: *slow,
	}); err != nil {
		fmt.Fprintf(os.Stderr, "qemu-run: %v (serial output: %s)\n", err, *log)
		os.Exit(1)
	}
}

func run(arch, machine string, limit time.Duration, log string, c *qemu.Config) error {
	m, err := qemu.Lookup(arch, machine)
	if err != nil {
		return err
	}
	c.Machine = m
	if c.GDB {
		limit = 24 * time.Hour // the user is debugging
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if c.Interactive && term.IsTerminal(0) {
		// The guest's terminal does all processing. The user's terminal only passes bytes
		// on.
		before, err := term.MakeRaw(0)
		if err != nil {
			return err
		}
		defer func() { _ = term.Restore(0, before) }()
	}
	v, err := qemu.Boot(ctx, c, limit, log, os.Stdout, os.Stdin)
	if c.Interactive && v.Left() {
		return nil
	}
	return err
}

// terminalSize returns the size of the user's terminal, or 24x80 if there is none.
func terminalSize() (rows, cols int) {
	for fd := range 3 {
		if cols, rows, err := term.GetSize(fd); err == nil && rows > 0 && cols > 0 {
			return rows, cols
		}
	}
	return 24, 80
}

var kind = regexp.MustCompile(`^[a-zA-Z0-9.+_-]+$`)

// terminalKind returns the user's TERM, if it may be part of a kernel command line.
func terminalKind() string {
	if t := os.Getenv("TERM"); kind.MatchString(t) {
		return t
	}
	return "vt100"
}
