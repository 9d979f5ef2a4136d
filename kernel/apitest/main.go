//go:build tamago

// Apitest is a kernel that makes each call of grim/kernel once and checks what it does. The
// suite boots it with a disk, a network and user/worker ("own kernel api"). SelfTest and RunInit
// are called by kernel/grim, in all other boots.
//
// Broken by a Signal that does not look whether the process has ended.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"grim/kernel"
	"grim/proc"
	"grim/proc/exit"
)

func main() {
	k := kernel.Boot()
	failed := 0
	for _, c := range []struct {
		name string
		run  func(k *kernel.Kernel) error
	}{
		{"args", args}, {"files", files}, {"pipe", pipe}, {"serve", serve}, {"programs", programs}, {"steps", steps}, {"disks", disks}, {"network", network},
	} {
		if err := c.run(k); err != nil {
			failed++
			fmt.Printf("api: %s: %v\n", c.name, err)
			continue
		}
		fmt.Println("api: ok:", c.name)
	}
	k.PowerOff(failed)
}

func args(k *kernel.Kernel) error {
	total, free := k.Memory()
	if a := k.Args(); !slices.Equal(a, []string{"one", "two words"}) || free == 0 || free > total {
		return fmt.Errorf("arguments %q, %d of %d bytes are free", a, free, total)
	}
	return nil
}

func files(k *kernel.Kernel) error {
	if err := k.Mkdir("/tmp/d", 0o755); err != nil {
		return err
	}
	if err := k.WriteFile("/tmp/d/f", []byte("0123456789"), 0o644); err != nil {
		return err
	}
	f, err := k.Open("/tmp/d/f", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	b := make([]byte, 4)
	_, e1 := f.Read(b)
	_, e2 := f.WriteAt([]byte("ab"), 8)
	at, e3 := f.Seek(-2, io.SeekEnd)
	_, e4 := f.Write([]byte("cd"))
	_, e5 := f.ReadAt(b, 6)
	if _, err := f.Read(make([]byte, 1)); err != io.EOF || errors.Join(e1, e2, e3, e4, e5) != nil || at != 8 || string(b) != "67cd" || f.Name() != "/tmp/d/f" {
		return fmt.Errorf("%q at %d of %s: %v, %v", b, at, f.Name(), err, errors.Join(e1, e2, e3, e4, e5))
	}
	if text, err := k.ReadFile("/tmp/d/f"); err != nil || string(text) != "01234567cd" {
		return fmt.Errorf("%q, %v", text, err)
	}
	if err := k.Remove("/tmp/d/f"); err != nil {
		return err
	}
	if _, err := k.Open("/tmp/d/f", os.O_RDONLY, 0); !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("a removed file: %v", err)
	}
	return nil
}

func pipe(k *kernel.Kernel) error {
	r, w, err := k.Pipe()
	if err != nil {
		return err
	}
	p, err := k.Start(kernel.Program{Path: "/bin/worker", Args: []string{"0", "0", "-", "0"}, Stdout: w})
	if err != nil {
		return err
	}
	w.Close()
	text, err := io.ReadAll(r)
	if p.Wait(); err != nil || !strings.HasPrefix(string(text), "ready") {
		return fmt.Errorf("%q, %v", text, err)
	}
	return r.Close()
}

func serve(k *kernel.Kernel) error {
	var m kernel.MemoryPages
	if err := k.Serve("/tmp/served", 2*4096, 0o600, &m); err != nil {
		return err
	}
	k.ServeText("apitest", func() []byte { return []byte("text\n") })
	if text, err := k.ReadFile("/proc/apitest"); err != nil || string(text) != "text\n" {
		return fmt.Errorf("%q, %v", text, err)
	}
	f, err := k.Open("/tmp/served", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	p, err := k.Start(kernel.Program{Path: "/bin/worker", Args: []string{"0", "0", "/proc/self/fd/3", "2"}, Files: []*kernel.File{f}})
	if err != nil {
		return err
	}
	page := make([]byte, 4096)
	if r := p.Wait(); r.Status != 0 || m.PageIn(1, page) != nil || bytes.Equal(page, make([]byte, 4096)) {
		return fmt.Errorf("%v; the pager has zeros: %t", r, bytes.Equal(page, make([]byte, 4096)))
	}
	return nil
}

func programs(k *kernel.Kernel) error {
	image, err := k.ReadFile("/bin/worker")
	if err != nil {
		return err
	}
	small := map[int]proc.Rlimit{syscall.RLIMIT_AS: {Cur: 8 << 20, Max: 8 << 20}}
	for _, c := range []struct {
		program kernel.Program
		want    string
	}{
		{kernel.Program{Image: image, Args: []string{"4", "2", "-", "0"}, Separate: true}, "status 0"},
		{kernel.Program{Image: image, Args: []string{"4", "2", "-", "0"}, Design: exit.Named("inline"), Env: []string{"A=1"}, Dir: "/tmp"}, "status 0"},
		{kernel.Program{Image: image, Args: []string{"64", "0", "-", "0"}, Limits: small}, "status 1"},
		{kernel.Program{Image: image, Args: []string{"0", "0", "/tmp/served", "1"}, UID: 65534}, "status 1"}, // its mode is 0600
		{kernel.Program{Image: image, Args: []string{"200", "0", "-", "0"}, Timeout: 1}, "killed: killed"},
	} {
		var out bytes.Buffer
		c.program.Stdout, c.program.Stderr, c.program.Stdin = &out, &out, strings.NewReader("input")
		p, err := k.Start(c.program)
		if err != nil {
			return err
		}
		<-p.Done()
		if r := p.Wait(); r.String() != c.want || p.PID < 1 {
			return fmt.Errorf("%v, want %s; %q", r, c.want, out.String())
		}
		if err := p.Signal(syscall.SIGTERM); err != syscall.ESRCH {
			return fmt.Errorf("a signal for a process that has ended: %v", err)
		}
	}
	if _, err := k.Start(kernel.Program{Path: "/no/such/program"}); err != syscall.ENOENT {
		return fmt.Errorf("no program: %v", err)
	}
	return nil
}

func steps(k *kernel.Kernel) error {
	var n atomic.Int64
	k.OnExitStep(func(kernel.Step) { n.Add(1) })
	p, err := k.Start(kernel.Program{Path: "/bin/worker", Args: []string{"1", "1", "-", "0"}, Design: exit.Named("reaper")})
	if err != nil {
		return err
	}
	p.Wait()
	k.OnExitStep(nil)
	list := p.Steps()
	if len(list) < 8 || n.Load() < int64(len(list)) || list[0].Step != exit.StepExit1 {
		return fmt.Errorf("%d steps, %d were told", len(list), n.Load())
	}
	return nil
}

func disks(k *kernel.Kernel) error {
	if d := k.Disks(); !slices.Equal(d, []string{"vda"}) {
		return fmt.Errorf("disks: %q", d)
	}
	if err := k.Mkdir("/mnt", 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	for _, readOnly := range []bool{false, true} {
		if err := k.Mount("vda", "/mnt", readOnly); err != nil {
			return err
		}
		err := k.WriteFile("/mnt/f", []byte("on the disk"), 0o644)
		if readOnly != errors.Is(err, syscall.EROFS) {
			return fmt.Errorf("read-only %t: a write: %v", readOnly, err)
		}
		if text, err := k.ReadFile("/mnt/f"); err != nil || string(text) != "on the disk" {
			return fmt.Errorf("%q, %v", text, err)
		}
		if err := k.Unmount("/mnt"); err != nil {
			return err
		}
	}
	if err := k.Mount("vdb", "/mnt", false); err == nil {
		return errors.New("a disk that is not there is mounted")
	}
	return nil
}

func network(k *kernel.Kernel) error {
	begin := time.Now()
	l, err := k.Listen("tcp", ":80")
	if err != nil {
		return err
	}
	defer l.Close()
	fmt.Printf("api: the network has started, with an address, in %d us\n", time.Since(begin).Microseconds())
	go func() {
		if c, err := l.Accept(); err == nil {
			_, _ = io.WriteString(c, "hello")
			c.Close()
		}
	}()
	c, err := k.Dial(context.Background(), "tcp", "10.0.2.15:80") // by DHCP
	if err != nil {
		return err
	}
	defer c.Close()
	if text, err := io.ReadAll(c); err != nil || string(text) != "hello" {
		return fmt.Errorf("%q, %v", text, err)
	}
	if _, err := k.Dial(context.Background(), "udp", "10.0.2.2:1"); err == nil {
		return errors.New("a connection of UDP")
	}
	return nil
}
