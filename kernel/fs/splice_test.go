package fs

import (
	"encoding/binary"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// fillSock writes to a socket until it takes no more.
func (w *world) fillSock(f *File) (n int) {
	for {
		k, err := f.Write(w.task, make([]byte, 1000))
		if err == syscall.EAGAIN {
			return n
		}
		must(w.t, err)
		n += k
	}
}

// TestSpliceToFullSocket: bytes that a socket does not take stay in the pipe. Broken by:
// spliceTo that removes the bytes from the pipe before it writes them.
func TestSpliceToFullSocket(t *testing.T) {
	w := newWorld(t)
	a, b, err := w.Socketpair(w.task, unix.AF_UNIX, unix.SOCK_STREAM, 0)
	must(t, err)
	a.SetFlags(unix.O_RDWR | unix.O_NONBLOCK)
	r, wr, err := w.Pipe(w.task, 0)
	must(t, err)
	sent := w.fillSock(a)
	text := make([]byte, 40000)
	for i := range text {
		text[i] = byte(i * 7 >> 3)
	}
	if n, err := wr.Write(w.task, text); n != len(text) || err != nil {
		t.Fatal(n, err)
	}
	for range 3 {
		_, err = Splice(w.task, r, 0, a, 0, 1<<20, false)
		want(t, "a full socket", err, syscall.EAGAIN)
	}
	b.SetFlags(unix.O_RDWR | unix.O_NONBLOCK)
	got, moved := []byte{}, 0
	buf := make([]byte, 50000)
	for skip := sent; len(got) < len(text); {
		n, err := b.Read(w.task, buf)
		if err != nil {
			t.Fatalf("%d bytes were moved, and %d came of %d: %v", moved, len(got), len(text), err)
		}
		k := min(n, skip)
		skip -= k
		got = append(got, buf[k:n]...)
		n, err = Splice(w.task, r, 0, a, 0, 1<<20, true)
		if err != nil && err != syscall.EAGAIN {
			t.Fatal(err)
		}
		moved += n
	}
	if moved != len(text) || string(got) != string(text) {
		t.Errorf("%d bytes were moved, and %d came of %d", moved, len(got), len(text))
	}
	for _, f := range []*File{a, b, r, wr} {
		f.Release()
	}
}

// TestSpliceClaims: while a splice waits to write, other readers of the pipe wait too, and
// poll finds nothing; a signal ends either. Then the bytes are there for whoever comes.
// Broken by: take without errClaimed; ready that ignores claimed; unclaim that does not wake
// readers.
func TestSpliceClaims(t *testing.T) {
	w := newWorld(t)
	a, b, err := w.Socketpair(w.task, unix.AF_UNIX, unix.SOCK_STREAM, 0)
	must(t, err)
	a.SetFlags(unix.O_RDWR | unix.O_NONBLOCK)
	w.fillSock(a)
	a.SetFlags(unix.O_RDWR)
	r, wr, err := w.Pipe(w.task, 0)
	must(t, err)
	wr.Write(w.task, []byte("hello"))
	splicer, reader := newTask(), newTask()
	spliced, read := make(chan error), make(chan string)
	go func() {
		_, err := Splice(splicer, r, 0, a, 0, 100, false)
		spliced <- err
	}()
	fds := []PollFD{{File: r, Events: EPOLLIN}}
	end := time.Now().Add(10 * time.Second)
	for n := 1; n != 0; time.Sleep(time.Millisecond) {
		n, err = Poll(w.task, PollFDs{fds}, 0)
		must(t, err)
		if time.Now().After(end) {
			t.Fatal("the pipe stays readable during a splice")
		}
	}
	r.SetFlags(unix.O_RDONLY | unix.O_NONBLOCK)
	_, err = r.Read(w.task, make([]byte, 10))
	want(t, "read during a splice", err, syscall.EAGAIN)
	_, err = Splice(w.task, r, 0, a, 0, 1, true)
	want(t, "splice during a splice", err, syscall.EAGAIN)
	r.SetFlags(unix.O_RDONLY)
	get := func() {
		b := make([]byte, 10)
		n, err := r.Read(reader, b)
		if err != nil {
			read <- err.Error()
			return
		}
		read <- string(b[:n])
	}
	go get()
	reader.interrupt <- struct{}{}
	if s := <-read; s != syscall.EINTR.Error() {
		t.Errorf("the reader got %q", s)
	}
	go get()
	time.Sleep(10 * time.Millisecond)
	splicer.interrupt <- struct{}{}
	want(t, "the splice", <-spliced, syscall.EINTR)
	select {
	case s := <-read:
		if s != "hello" {
			t.Errorf("the reader got %q", s)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the reader was not woken")
	}
	for _, f := range []*File{a, b, r, wr} {
		f.Release()
	}
}

// TestSpliceStorm: threads write, read and splice one pipe. Each number comes out once.
// Broken by: unclaim that drops nothing; claim that ignores another's.
func TestSpliceStorm(t *testing.T) {
	const numbers = 4000
	w := newWorld(t)
	r, wr, err := w.Pipe(w.task, 0)
	must(t, err)
	in, inw, err := w.Pipe(w.task, 0)
	must(t, err)
	a, b, err := w.Socketpair(w.task, unix.AF_UNIX, unix.SOCK_STREAM, 0)
	must(t, err)
	c, d, err := w.Socketpair(w.task, unix.AF_UNIX, unix.SOCK_STREAM, 0)
	must(t, err)
	var makers, movers, takers, splicers sync.WaitGroup
	write := func(f *File, from int) {
		for i := from; i < from+numbers; i++ {
			if _, err := f.Write(newTask(), binary.LittleEndian.AppendUint64(nil, uint64(i))); err != nil {
				t.Error(err)
			}
		}
		f.Release()
	}
	splice := func(in, out *File) {
		for {
			n, err := Splice(newTask(), in, 0, out, 0, 8*37, false)
			if err != nil {
				t.Error(err)
			}
			if n == 0 {
				return
			}
		}
	}
	extra := wr.Ref()
	makers.Go(func() { write(extra, 0) })
	movers.Go(func() { write(inw, numbers) })
	movers.Go(func() { write(c, 2*numbers) })
	makers.Go(func() { splice(in, wr) }) // pipe to pipe
	makers.Go(func() { splice(d, wr) })  // socket to pipe
	var mu sync.Mutex
	seen := map[uint64]int{}
	read := func(f *File) {
		buf := make([]byte, 8*53)
		for part := 0; ; {
			n, err := f.Read(newTask(), buf[part:])
			if err != nil {
				t.Error(err)
			}
			if n == 0 {
				return
			}
			n += part
			mu.Lock()
			for i := 0; i+8 <= n; i += 8 {
				seen[binary.LittleEndian.Uint64(buf[i:])]++
			}
			mu.Unlock()
			part = copy(buf, buf[n&^7:n])
		}
	}
	takers.Go(func() { read(r) })
	for range 2 {
		splicers.Go(func() { splice(r, a) })
	}
	takers.Go(func() { read(b) })
	movers.Wait()
	makers.Wait()
	wr.Release()
	splicers.Wait()
	a.Release()
	takers.Wait()
	if len(seen) != 3*numbers {
		t.Errorf("%d numbers arrived of %d", len(seen), 3*numbers)
	}
	for x, n := range seen {
		if n != 1 || x >= 3*numbers {
			t.Errorf("number %d arrived %d times", x, n)
			break
		}
	}
	for _, f := range []*File{r, in, b, d} {
		f.Release()
	}
}
