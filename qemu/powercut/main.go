// Command powercut cuts the power of a machine that works on its disk, at random moments,
// and checks the disk: e2fsck -p repairs it without a question and leaves no errors; every
// byte that fsync or msync has confirmed is there; no file has another file's data; and a
// file that was renamed over another is either the old file or the new one (packages
// user/disk and user/disk/vouch).
//
// Most cuts stop QEMU, copy the image, and let QEMU continue. The copy then has the
// contents that the image would have if QEMU had been killed. The last cut of each boot
// does kill QEMU.
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"grim/qemu"
	"grim/user/disk/vouch"
)

// kinds are the file systems, by arguments of mke2fs.
var kinds = []string{
	"-t ext4 -O ^has_journal",
	"-t ext2 -b 1024",
	"-t ext4",
	"-t ext2 -b 4096",
}

type config struct {
	arch, kernel, initrd string
	cuts                 int // per boot
}

func main() {
	var c config
	flag.StringVar(&c.arch, "arch", "amd64", "architecture")
	flag.StringVar(&c.kernel, "kernel", "", "kernel")
	flag.StringVar(&c.initrd, "initrd", "", "initramfs with the program disk as /bin/disk")
	cuts := flag.Int("n", 200, "cuts")
	seed := flag.Int64("seed", time.Now().UnixNano(), "of the moments and the load")
	flag.IntVar(&c.cuts, "each", 10, "cuts of a boot")
	flag.Parse()
	fmt.Printf("powercut: %d cuts, %s, seed %d\n", *cuts, c.arch, *seed)
	r := rand.New(rand.NewSource(*seed))
	done, failed, vouched := 0, 0, 0
	for boot := 0; done < *cuts; boot++ {
		n := min(c.cuts, *cuts-done)
		bad, lines, err := c.boot(r, kinds[boot%len(kinds)], n)
		if err != nil {
			fmt.Printf("powercut: %v\n", err)
			os.Exit(1)
		}
		done += n
		failed += bad
		vouched += lines
	}
	fmt.Printf("powercut: %d cuts, after which %d lines of a load were compared, %d bad\n", done, vouched, failed)
	if failed > 0 || vouched == 0 {
		os.Exit(1)
	}
}

// serial reads the machine's output.
type serial struct {
	mu     sync.Mutex
	record *vouch.Record
	last   []string // lines, for messages
	begun  chan bool
	failed string
}

func (s *serial) read(r io.Reader) {
	sc := bufio.NewScanner(r)
	for sc.Scan() {
		line := strings.TrimRight(sc.Text(), "\r")
		s.mu.Lock()
		if s.last = append(s.last, line); len(s.last) > 20 {
			s.last = s.last[1:]
		}
		switch {
		case line == "load: begins":
			close(s.begun)
		case strings.HasPrefix(line, "load: failed"), strings.HasPrefix(line, "disk: "+"load"), strings.Contains(line, "panic"):
			s.failed = line
		default:
			s.record.Add(line)
		}
		s.mu.Unlock()
	}
}

// boot starts a machine and cuts its power n times.
func (c *config) boot(r *rand.Rand, kind string, n int) (bad, lines int, err error) {
	dir, err := os.MkdirTemp("", "powercut")
	if err != nil {
		return 0, 0, err
	}
	defer os.RemoveAll(dir)
	image := filepath.Join(dir, "disk")
	if _, err := qemu.E2fsprogs("mke2fs", append(strings.Fields("-q -F "+kind), image, "24M")...); err != nil {
		return 0, 0, err
	}
	m, err := qemu.Lookup(c.arch, "")
	if err != nil {
		return 0, 0, err
	}
	q := qemu.Config{
		Machine: m, Memory: "128M", Kernel: c.kernel, Initrd: c.initrd, DiskImage: image,
		Append: []string{"init=/bin/disk", "selftest=none", "--", "-mount", "/dev/vda", "load", "/mnt", fmt.Sprint(r.Int63())},
	}
	cmd := exec.Command(qemu.Binary(c.arch), q.Command()...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, 0, err
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		return 0, 0, err
	}
	s := &serial{record: vouch.NewRecord(), begun: make(chan bool)}
	read := make(chan bool)
	go func() { s.read(out); close(read) }()
	defer func() {
		cmd.Process.Kill()
		<-read
		cmd.Wait()
	}()
	select {
	case <-s.begun:
	case <-read:
		return 0, 0, fmt.Errorf("the machine ended:\n%s", strings.Join(s.last, "\n"))
	case <-time.After(100 * time.Second):
		return 0, 0, fmt.Errorf("the load has not begun:\n%s", strings.Join(s.last, "\n"))
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	for cut := range n {
		time.Sleep(time.Duration(10+r.Intn(250)) * time.Millisecond)
		if cut == n-1 {
			cmd.Process.Kill()
			<-read
		} else {
			cmd.Process.Signal(syscall.SIGSTOP)
			time.Sleep(20 * time.Millisecond) // let its last output come in
		}
		s.mu.Lock()
		record, failure := s.record.Clone(), s.failed
		s.mu.Unlock()
		if failure != "" {
			return 0, 0, fmt.Errorf("%s\n%s", failure, strings.Join(s.last, "\n"))
		}
		copied := filepath.Join(dir, fmt.Sprint("cut", cut))
		b, err := os.ReadFile(image)
		if err == nil {
			err = os.WriteFile(copied, b, 0o666)
		}
		if err != nil {
			return 0, 0, err
		}
		if cut < n-1 {
			cmd.Process.Signal(syscall.SIGCONT)
		}
		wg.Add(1)
		go func() {
			defer wg.Done()
			faults := check(copied, record)
			mu.Lock()
			defer mu.Unlock()
			lines += record.Lines
			if len(faults) > 0 {
				bad++
				fmt.Printf("cut %d of %s, after %d lines:\n  %s\n", cut, kind, record.Lines, strings.Join(faults[:min(len(faults), 20)], "\n  "))
			}
			os.RemoveAll(copied)
		}()
	}
	wg.Wait()
	return bad, lines, nil
}

// check repairs an image and checks its contents.
func check(image string, record *vouch.Record) []string {
	out, err := qemu.E2fsprogs("e2fsck", "-p", image)
	if code(err) > 1 {
		return []string{"-p: " + err.Error()}
	}
	if _, err := qemu.E2fsprogs("e2fsck", "-fn", image); err != nil {
		return []string{"-fn after -p: " + err.Error()}
	}
	tree := image + ".tree"
	if err := os.Mkdir(tree, 0o777); err != nil {
		return []string{err.Error()}
	}
	defer os.RemoveAll(tree)
	if _, err := qemu.E2fsprogs("debugfs", "-R", "rdump / "+tree, image); err != nil {
		return []string{err.Error()}
	}
	faults := record.Check(tree)
	if len(faults) > 0 {
		faults = append(faults, "e2fsck -p had said: "+out)
	}
	return faults
}

func code(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	if err != nil {
		return 99
	}
	return 0
}
