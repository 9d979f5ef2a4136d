package main

import (
	"context"
	"fmt"
	"regexp"
	"time"
)

// crashes are boots that must die, with the patterns of the report: the reason, the place
// in the code and, for an exception, registers and the instruction.
var crashes = []struct {
	boot
	want []string
}{
	{boot{arch: "amd64", machine: "q35", mem: "64M", args: []string{"crash=panic"}},
		[]string{`^panic: kernel: crash=panic`, `^grim/kernel\.crash\(`, `kernel/crash\.go:\d+`}},
	{boot{arch: "amd64", machine: "q35", mem: "64M", args: []string{"crash=nil"}},
		[]string{`nil pointer dereference`, `^grim/kernel\.crash\(`, `^rip [0-9a-f]{16} `, `: MOVQ \$0x1, 0\(AX\)`}},
	{boot{arch: "amd64", machine: "q35", mem: "64M", args: []string{"crash=text"}},
		[]string{`^fatal error: fault`, `^grim/kernel\.crash\(`, `cr2 ffffffff8020[01]000`, `: MOVB `}},
	{boot{arch: "amd64", machine: "q35", mem: "64M", args: []string{"crash=stack"}},
		[]string{`^kernel stack overflow: boot stack \(g0\)`, `^fatal fault in kernel code`, `^grim/kernel\.crash\(`}},
	{boot{arch: "amd64", machine: "q35", mem: "64M", cpus: 2, args: []string{"crash=stack-cpu1"}},
		[]string{`^kernel stack overflow: system stack \(g0\) of CPU 1`, `^fatal fault in kernel code`, `^grim/kernel\.crash\(`}},
	{boot{arch: "arm64", machine: "virt", mem: "64M", cpus: 2, args: []string{"crash=stack-cpu1"}},
		[]string{`^kernel stack overflow: system stack \(g0\) of CPU 1`, `^fatal fault in kernel code`, `^grim/kernel\.crash\(`}},
	// The other CPUs are stopped, and the report says what they were doing. On arm64, a CPU
	// in the kernel cannot be stopped.
	{boot{arch: "amd64", machine: "q35", mem: "128M", cpus: 4, args: []string{"crash=busy", "cpus=4"}},
		[]string{`^panic: kernel: crash=busy`, `^CPU \d was in the kernel at [0-9a-f]{16}, grim/kernel\.occupy$`, `, grim/arch/amd64\.sleep: idle$`}},
	{boot{arch: "arm64", machine: "virt", mem: "128M", cpus: 4, args: []string{"crash=busy", "cpus=4"}},
		[]string{`^panic: kernel: crash=busy`, `^CPU \d does not react`, `^CPU \d was idle$`}},
	{boot{arch: "arm64", machine: "virt", mem: "64M", args: []string{"crash=panic"}},
		[]string{`^panic: kernel: crash=panic`, `^grim/kernel\.crash\(`, `kernel/crash\.go:\d+`}},
	{boot{arch: "arm64", machine: "virt", mem: "64M", args: []string{"crash=nil"}},
		[]string{`nil pointer dereference`, `^grim/kernel\.crash\(`, `^pc  [0-9a-f]{16} `, `: MOVD R0, \(R1\)`}},
	{boot{arch: "arm64", machine: "virt", mem: "64M", args: []string{"crash=text"}},
		[]string{`^fatal error: fault`, `^grim/kernel\.crash\(`, `far ffffffff8020[01]000`, `: MOVB `}},
	{boot{arch: "arm64", machine: "virt", mem: "64M", args: []string{"crash=stack"}},
		[]string{`^kernel stack overflow: boot stack \(g0\)`, `^fatal fault in kernel code`, `^grim/kernel\.crash\(`}},
}

// crashAll checks the crash report of each boot. Each boot is one test.
func crashAll(ctx context.Context, pattern string, limit time.Duration) (t tally) {
	for i := range crashes {
		c := &crashes[i]
		if !c.selected(pattern) {
			continue
		}
		start := time.Now()
		if err := c.check(ctx, c.want, limit); err != nil {
			t.fail("crash %s: FAILED: %v (serial output: %s)", c.title(), err, c.log())
			continue
		}
		t.passed++
		fmt.Printf("crash %s: reported as it should be, %s\n", c.title(), since(start))
	}
	return t
}

// check boots, and requires a panic and that every pattern matches a line.
func (b *boot) check(ctx context.Context, want []string, limit time.Duration) error {
	v, err := b.run(ctx, limit)
	if v.Panic == "" {
		return fmt.Errorf("no panic, but: %w", err)
	}
	text, err := b.lines()
	if err != nil {
		return err
	}
	for _, w := range want {
		if !regexp.MustCompile(`(?m)` + w).MatchString(text) {
			return fmt.Errorf("the report has no line that matches %q", w)
		}
	}
	return nil
}
