package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"grim/qemu"
)

// ownAll boots kernels of one's own, one after the other: the example in README.md,
// kernel/apitest, and kernel/lab, whose pages it fetches.
func ownAll(ctx context.Context, pattern string, limit time.Duration) (t tally) {
	for _, arch := range []string{"amd64", "arm64"} {
		for _, one := range []struct {
			name string
			run  func(ctx context.Context, arch string, limit time.Duration) error
		}{{"example", exampleBoot}, {"api", apiBoot}, {"lab", labBoot}} {
			t.own(pattern, "own kernel "+one.name+" "+arch, func() error { return one.run(ctx, arch, limit) })
		}
	}
	const board = "imx8mp-evk"
	title := "own kernel lab arm64 " + board
	if reason := cannotBoot("arm64", board); reason != nil {
		fmt.Printf("%s: skipped: %v\n", title, reason)
		return t
	}
	t.own(pattern, title, func() error { return labOn(ctx, "arm64", board, limit, false) })
	return t
}

// own makes a boot, if its title contains the pattern.
func (t *tally) own(pattern, title string, run func() error) {
	if !strings.Contains(title, pattern) {
		return
	}
	start := time.Now()
	if err := run(); err != nil {
		t.fail("%s: FAILED after %s: %v", title, since(start), err)
		return
	}
	t.passed++
	fmt.Printf("%s: passed, %s\n", title, since(start))
}

// ownKernel builds the kernel of a main package, and an archive with user/worker, and
// returns the configuration of its boot.
func ownKernel(ctx context.Context, arch, machine, pkg string) (*qemu.Config, error) {
	if err := runMake(ctx, nil, "kernel", "worker", "ARCH="+arch, "MAIN="+pkg); err != nil {
		return nil, err
	}
	dir := buildDir("", arch)
	if err := runMake(ctx, nil, "initramfs", "ARCH="+arch, "PROGRAM="+dir+"/worker", "ROOTFS=", "SHELL_BOOT="); err != nil {
		return nil, err
	}
	m, err := qemu.Lookup(arch, machine)
	return &qemu.Config{Machine: m, Memory: "512M", CPUs: 2, Kernel: filepath.Join(dir, filepath.Base(pkg)), Initrd: dir + "/program.cpio", Icount: true}, err
}

var example = regexp.MustCompile("(?ms)^```go\n(//go:build tamago\n.*?)^```$")

// exampleBoot builds and boots the kernel that README.md has as an example. Broken by a
// Start that does not pass Design on.
func exampleBoot(ctx context.Context, arch string, limit time.Duration) error {
	text, err := os.ReadFile("README.md")
	if err != nil {
		return err
	}
	code := example.FindSubmatch(text)
	if code == nil {
		return fmt.Errorf("README.md has no kernel in Go")
	}
	if n := bytes.Count(code[1], []byte("\n")); n > 40 {
		return fmt.Errorf("the example has %d lines, want at most 40", n)
	}
	if err := os.MkdirAll("build/example", 0o777); err != nil {
		return err
	}
	if err := os.WriteFile("build/example/main.go", code[1], 0o666); err != nil {
		return err
	}
	c, err := ownKernel(ctx, arch, "", "./build/example")
	if err != nil {
		return err
	}
	var out bytes.Buffer
	if _, err = qemu.Boot(ctx, c, limit, "build/logs/example-"+arch+".log", &out, nil); err != nil {
		return fmt.Errorf("%w\n%s", err, tail(out.String(), 20))
	}
	for _, want := range []string{"exit=purge: status 0", "exit=eager: status 0", "purge-begin in reaper"} {
		if !strings.Contains(out.String(), want) {
			return fmt.Errorf("it does not print %q\n%s", want, tail(out.String(), 40))
		}
	}
	return nil
}

// apiBoot boots kernel/apitest, which makes each call of grim/kernel.
func apiBoot(ctx context.Context, arch string, limit time.Duration) error {
	c, err := ownKernel(ctx, arch, "", "./kernel/apitest")
	if err != nil {
		return err
	}
	c.DiskImage, c.Net = filepath.Join("build", "apitest-"+arch+".img"), "1"
	if _, err := qemu.E2fsprogs("mke2fs", "-q", "-F", "-t", "ext4", "-O", "^has_journal", c.DiskImage, "8M"); err != nil {
		return err
	}
	c.Append = []string{"--", "one", "'two words'"}
	var out bytes.Buffer
	if _, err = qemu.Boot(ctx, c, limit, "build/logs/apitest-"+arch+".log", &out, nil); err != nil {
		return fmt.Errorf("%w\n%s", err, tail(out.String(), 20))
	}
	return nil
}

// labBoot boots kernel/lab, and uses it as a browser would.
//
// The machine has one CPU, and its time counts instructions, but passes with the host's while
// the CPU is idle: otherwise the server's time limits for clients would be over at once. With
// several CPUs in turn, a CPU that spins for a lock may lose 100 ms to another CPU.
func labBoot(ctx context.Context, arch string, limit time.Duration) error {
	return labOn(ctx, arch, "", limit, true)
}

// labOn is labBoot on a machine; browser: with a browser too. The i.MX 8M Plus has its own
// network controller.
func labOn(ctx context.Context, arch, machine string, limit time.Duration, browser bool) error {
	c, err := ownKernel(ctx, arch, machine, "./kernel/lab")
	if err != nil {
		return err
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	port := free.Addr().(*net.TCPAddr).Port
	free.Close()
	c.Net, c.Append = fmt.Sprintf("%d:80", port), []string{"hugepages=off"}
	c.CPUs, c.Icount, c.Extra = 1, false, []string{"-accel", "tcg,thread=single", "-icount", "shift=0,sleep=on"}
	booted, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	var out bytes.Buffer
	go func() {
		_, err := qemu.Boot(booted, c, limit, "build/logs/lab-"+arch+machine+".log", &out, nil)
		ended <- err
	}()
	l := labClient{fmt.Sprintf("http://127.0.0.1:%d", port), &http.Client{Timeout: limit}}
	err = l.waitFor(ended, limit)
	if err == nil {
		err = l.use(arch)
	}
	if err == nil && browser {
		err = l.click(ctx, arch, limit/4)
	}
	stop()
	if end := <-ended; err != nil {
		return fmt.Errorf("%w; the machine: %v\n%s", err, end, tail(out.String(), 10))
	}
	return nil
}

type labClient struct {
	at string
	*http.Client
}

// waitFor waits until the server answers.
func (l labClient) waitFor(ended chan error, limit time.Duration) error {
	quick := http.Client{Timeout: 2 * time.Second}
	for begin := time.Now(); time.Since(begin) < limit; time.Sleep(100 * time.Millisecond) {
		select {
		case err := <-ended:
			ended <- err
			return fmt.Errorf("the machine has ended")
		default:
		}
		if r, err := quick.Get(l.at + "/ping"); err == nil {
			r.Body.Close()
			return nil
		}
	}
	return fmt.Errorf("no answer within %v", limit)
}

// text returns an answer's status and body.
func text(r *http.Response, err error) (string, error) {
	if err != nil {
		return "", err
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	return fmt.Sprint(r.StatusCode, " ", string(b)), err
}

var slowestAnswer = regexp.MustCompile(`longest answer to others meanwhile: (\d+) us`)

// use fetches the page, runs processes and looks at their timelines.
func (l labClient) use(arch string) error {
	want := func(what, got string, err error, patterns ...string) error {
		for _, p := range patterns {
			if err == nil && !regexp.MustCompile(`(?s)`+p).MatchString(got) {
				err = fmt.Errorf("%s: no %q in\n%s", what, p, tail(got, 40))
			}
		}
		return err
	}
	run := func(design, mb, copies string) (string, error) {
		return text(l.PostForm(l.at+"/run", url.Values{"design": {design}, "mb": {mb}, "copies": {copies}, "threads": {"3"}, "delay": {"1"}}))
	}
	got, err := text(l.Get(l.at + "/"))
	if err := want("the page", got, err, "^200 <!doctype html>.*value=purge checked.*EventSource"); err != nil {
		return err
	}
	// Others are answered within 5 ms while 200 MB are taken apart, page by page.
	got, err = run("purge", "200", "1")
	if err := want("a run", got, err, "^200 .*exit=purge, 200 MB", "status 0; ", "ready", "exit1<td>process.*purge-end<td>process<td>\\d<td>5\\d{4}<.*zombie<td>reaper.*gone<td>parent"); err != nil {
		return err
	}
	us, _ := strconv.Atoi(slowestAnswer.FindStringSubmatch(got)[1])
	fmt.Printf("lab %s: the longest answer while 200 MB are taken apart took %d us\n", arch, us)
	if us == 0 || us > 5000 {
		return fmt.Errorf("the longest answer during an exit took %d us, want at most 5000", us)
	}
	got, err = run("reaper", "16", "2")
	if err := want("a run under reaper", got, err, "^200 .*exit=reaper, 8 MB", "purge-begin<td>reaper"); err != nil {
		return err
	}
	got, err = run("none", "16", "2")
	if err := want("an unknown design", got, err, "^400 .*design one of"); err != nil {
		return err
	}
	program, err := os.Open(filepath.Join(buildDir("", arch), "worker"))
	if err != nil {
		return err
	}
	defer program.Close()
	got, err = text(l.Post(l.at+"/exec?design=inline&arg=1&arg=0&arg=-&arg=0", "application/octet-stream", program))
	if err := want("a program of the request's", got, err, "^200 ready\n\nstatus 0: run 4"); err != nil {
		return err
	}
	got, err = text(l.Post(l.at+"/exec", "text/plain", strings.NewReader("no program")))
	if err := want("a text as a program", got, err, "exec format error: run 5"); err != nil {
		return err
	}
	got, err = text(l.Get(l.at + "/run/99"))
	return want("an unknown run", got, err, "^404 ")
}
