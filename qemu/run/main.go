// Command run boots Grim once in QEMU with the serial console on the terminal.
// Its exit status is 0 only if the boot closed with everything passed.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"time"

	"grim/qemu"
)

func main() {
	arch := flag.String("arch", "amd64", "architecture: amd64 or arm64")
	machine := flag.String("machine", "", "QEMU machine (default: the architecture's first)")
	mem := flag.String("mem", "256M", "memory")
	cpus := flag.Int("cpus", 1, "CPUs of the machine, where their number can be chosen")
	kernel := flag.String("kernel", "", "kernel image")
	initrd := flag.String("initrd", "", "initramfs")
	args := flag.String("append", "", "kernel arguments")
	extra := flag.String("qemu", "", "more QEMU arguments, split at spaces")
	limit := flag.Duration("timeout", 300*time.Second, "time limit")
	log := flag.String("log", "build/logs/run.log", "file that keeps the serial output")
	icount := flag.Bool("icount", false, "count guest instructions as nanoseconds")
	needs := flag.Bool("needs", false, "only tell what qemu/boards.sh shall fetch for the machine")
	gdb := flag.Bool("gdb", false, "wait for gdb on port 1234")
	flag.Parse()
	if *needs {
		// A wrong name is reported by the run itself.
		if m, err := qemu.Lookup(*arch, *machine); err == nil {
			fmt.Println(strings.Join(m.Needs(), " "))
		}
		return
	}

	if err := run(*arch, *machine, *limit, *log, &qemu.Config{
		Memory: *mem, CPUs: *cpus, Kernel: *kernel, Initrd: *initrd,
		Append: []string{*args}, Extra: strings.Fields(*extra), Icount: *icount, GDB: *gdb,
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
		limit = 24 * time.Hour // a person is debugging
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	_, err = qemu.Boot(ctx, c, limit, log, os.Stdout, os.Stdin)
	return err
}
