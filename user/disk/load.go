package main

import (
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"grim/user/disk/vouch"
)

// workers is the number of worker processes.
const workers = 8

// load starts workers, which print what they do (package vouch). It replaces those that end
// or that it kills, for ever.
func load(dir string, seed int64) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	r := rand.New(rand.NewSource(seed))
	ended := make(chan int)
	var running [workers]*exec.Cmd
	n := 0
	start := func(slot int) error {
		n++
		sub := filepath.Join(dir, strconv.Itoa(n))
		if err := os.Mkdir(sub, 0o755); err != nil {
			return err
		}
		cmd := exec.Command(self)
		cmd.Env = append(os.Environ(), fmt.Sprintf("DISK_WORK=%s:%d:%s", sub, r.Int63(), dir))
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		if err := cmd.Start(); err != nil {
			return err
		}
		running[slot] = cmd
		go func() {
			_ = cmd.Wait() // killed or at its end
			ended <- slot
		}()
		return nil
	}
	for slot := range workers {
		if err := start(slot); err != nil {
			return err
		}
	}
	fmt.Println("load: begins")
	for {
		select {
		case slot := <-ended:
			if err := start(slot); err != nil {
				return err
			}
		case <-time.After(time.Duration(50+r.Intn(300)) * time.Millisecond):
			running[r.Intn(workers)].Process.Kill()
		}
	}
}

func init() {
	dir, rest, ok := strings.Cut(os.Getenv("DISK_WORK"), ":")
	if !ok {
		return
	}
	text, root, _ := strings.Cut(rest, ":")
	seed, err := strconv.ParseInt(text, 10, 64)
	if err == nil {
		w := worker{root: root, dir: dir, r: rand.New(rand.NewSource(seed)), files: map[string]int{}}
		for range 10 + w.r.Intn(60) {
			if err = w.step(); err != nil {
				break
			}
		}
	}
	if err != nil {
		fmt.Println("load: failed:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// worker is one process of the load, in a directory of its own.
type worker struct {
	root, dir string
	r         *rand.Rand
	files     map[string]int // versions
	n         int
	page      int
}

// name returns a path in the form that the check uses.
func (w *worker) name(path string) string { return strings.TrimPrefix(path, w.root) }

func (w *worker) step() error {
	switch k := w.r.Intn(10); {
	case k < 3:
		return w.create()
	case k < 6:
		return w.replace()
	case k < 8:
		return w.mapped()
	default:
		return w.remove()
	}
}

func (w *worker) size() int { return vouch.WordBytes * (1 + w.r.Intn(5000)) }

// pick returns one of the worker's files, or "" if it has none.
func (w *worker) pick() string {
	for name := range w.files {
		return name
	}
	return ""
}

// write makes a file, with fsync.
func (w *worker) write(path string, content []byte) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	for len(content) > 0 {
		n := min(len(content), vouch.WordBytes*(1+w.r.Intn(2000)))
		if _, err := f.Write(content[:n]); err != nil {
			return err
		}
		content = content[n:]
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return f.Close()
}

func (w *worker) syncDir() error {
	d, err := os.Open(w.dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

func (w *worker) create() error {
	w.n++
	path := filepath.Join(w.dir, fmt.Sprint("f", w.n))
	size := w.size()
	say("begin %s 1 %d\n", w.name(path), size)
	if err := w.write(path, vouch.Content(w.name(path), 1, size)); err != nil {
		return err
	}
	if err := w.syncDir(); err != nil {
		return err
	}
	fmt.Printf("done %s 1 %d\n", w.name(path), size)
	w.files[path] = 1
	return nil
}

// replace writes a new version beside a file and renames it over the old one.
func (w *worker) replace() error {
	path := w.pick()
	if path == "" {
		return nil
	}
	v, size := w.files[path]+1, w.size()
	tmp := filepath.Join(w.dir, vouch.Temporary+filepath.Base(path))
	say("begin %s %d %d\n", w.name(path), v, size)
	if err := w.write(tmp, vouch.Content(w.name(path), v, size)); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	if err := w.syncDir(); err != nil {
		return err
	}
	fmt.Printf("done %s %d %d\n", w.name(path), v, size)
	w.files[path] = v
	return nil
}

func (w *worker) remove() error {
	path := w.pick()
	if path == "" {
		return nil
	}
	say("remove %s\n", w.name(path))
	if err := os.Remove(path); err != nil {
		return err
	}
	delete(w.files, path)
	if err := w.syncDir(); err != nil {
		return err
	}
	fmt.Printf("removed %s\n", w.name(path))
	return nil
}

// say prints what is about to happen, and returns when the serial port has sent it: the disk
// must not have a change whose line is lost with the power.
func say(format string, args ...any) {
	fmt.Printf(format, args...)
	_ = unix.IoctlSetInt(1, unix.TCSBRK, 1) // tcdrain(3)
}

// mapped stores pages of a file through a mapping.
func (w *worker) mapped() error {
	const pages = 8
	path := filepath.Join(w.dir, "mapped")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(pages * vouch.PageBytes); err != nil {
		return err
	}
	m, err := unix.Mmap(int(f.Fd()), 0, pages*vouch.PageBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	w.page++
	var which []int
	text := ""
	for p := range pages {
		if w.r.Intn(3) == 0 {
			which = append(which, p)
			text += fmt.Sprintf("page %s %d %d\n", w.name(path), p, w.page)
		}
	}
	say("%s", text)
	for _, p := range which {
		vouch.Page(m[p*vouch.PageBytes:], w.name(path), w.page)
	}
	if err := unix.Msync(m, unix.MS_SYNC); err != nil {
		return err
	}
	for _, p := range which {
		fmt.Printf("synced %s %d %d\n", w.name(path), p, w.page)
	}
	return unix.Munmap(m)
}
