package fs

import (
	"bytes"
	"encoding/binary"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Many writers of records up to PIPE_BUF and many readers: no byte is lost, and no record
// is torn. A record begins with its length and its writer. A reader gets a whole record
// only if it reads alone, so the readers share a lock. The test fails if put splits small
// writes (tried).
func TestPipeManyGoroutines(t *testing.T) {
	w := newWorld(t)
	r, wr, err := w.Pipe(w.task, 0)
	must(t, err)
	const writers, records = 8, 300
	var wg sync.WaitGroup
	for id := range writers {
		wg.Add(1)
		f := wr.Ref()
		go func() {
			defer wg.Done()
			defer f.Release()
			task := newTask()
			for i := range records {
				rec := make([]byte, 4+(id*977+i*131)%(pipeAtomic-4))
				binary.LittleEndian.PutUint16(rec, uint16(len(rec)))
				for k := 2; k < len(rec); k++ {
					rec[k] = byte(id)
				}
				if n, err := f.Write(task, rec); n != len(rec) || err != nil {
					t.Errorf("write: %d, %v", n, err)
					return
				}
			}
		}()
	}
	var mu sync.Mutex
	count := make([]int, writers)
	for range 3 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			task := newTask()
			for {
				mu.Lock()
				rec := readRecord(t, r, task)
				if rec == nil {
					mu.Unlock()
					return
				}
				if !bytes.Equal(rec, bytes.Repeat(rec[:1], len(rec))) {
					t.Errorf("torn record of writer %d", rec[0])
				}
				count[rec[0]]++
				mu.Unlock()
			}
		}()
	}
	wr.Release() // the writers have references; when the last writer closes, the readers end
	wg.Wait()
	for id, n := range count {
		if n != records {
			t.Errorf("%d records of writer %d, want %d", n, id, records)
		}
	}
	r.Release()
}

// readRecord reads one record without its length; nil at the end of file.
func readRecord(t *testing.T, f *File, task Task) []byte {
	head := make([]byte, 2)
	if !readFull(t, f, task, head) {
		return nil
	}
	rec := make([]byte, binary.LittleEndian.Uint16(head)-2)
	readFull(t, f, task, rec)
	return rec
}

func readFull(t *testing.T, f *File, task Task, p []byte) bool {
	for len(p) > 0 {
		n, err := f.Read(task, p)
		if err != nil {
			t.Error(err)
		}
		if n == 0 {
			return false
		}
		p = p[n:]
	}
	return true
}

func TestPipeEnds(t *testing.T) {
	w := newWorld(t)
	r, wr, err := w.Pipe(w.task, unix.O_NONBLOCK)
	must(t, err)
	buf := make([]byte, pipeSize+1)
	_, err = r.Read(w.task, buf)
	want(t, "read empty", err, syscall.EAGAIN)
	if n, err := wr.Write(w.task, buf); n != pipeSize || err != nil {
		t.Errorf("write into room for %d: %d, %v", pipeSize, n, err)
	}
	_, err = wr.Write(w.task, buf[:1])
	want(t, "write full", err, syscall.EAGAIN)
	if n, _ := r.Read(w.task, buf[:pipeAtomic-1]); n != pipeAtomic-1 {
		t.Errorf("read %d", n)
	}
	_, err = wr.Write(w.task, buf[:pipeAtomic])
	want(t, "atomic write into less room", err, syscall.EAGAIN)
	// The first page is not free before its last byte has been read, as on Linux.
	_, err = wr.Write(w.task, buf[:pipeAtomic+1])
	want(t, "larger write into no room", err, syscall.EAGAIN)
	r.Read(w.task, buf[:1])
	if n, err := wr.Write(w.task, buf[:pipeAtomic+1]); n != pipeAtomic || err != nil {
		t.Errorf("larger write into less room: %d, %v", n, err)
	}
	_, err = wr.Read(w.task, buf)
	want(t, "read of the writing end", err, syscall.EBADF)
	_, err = r.Write(w.task, buf)
	want(t, "write of the reading end", err, syscall.EBADF)
	_, err = r.Seek(0, unix.SEEK_SET)
	want(t, "seek", err, syscall.ESPIPE)
	_, err = r.Pread(w.task, buf, 0)
	want(t, "pread", err, syscall.ESPIPE)
	want(t, "truncate", wr.Truncate(nil, 0), syscall.EINVAL)
	r.Release()
	_, err = wr.Write(w.task, buf[:1])
	want(t, "write without readers", err, syscall.EPIPE)
	if got := wr.Readiness(); got != EPOLLERR {
		t.Errorf("readiness %#x without readers and room, want EPOLLERR", got)
	}
	wr.Release()
	_, _, err = w.Pipe(w.task, unix.O_APPEND)
	want(t, "pipe2 with O_APPEND", err, syscall.EINVAL)
}

// A blocked reader and a blocked writer are woken by data, by room, by the close of the
// other side, and by a signal.
func TestPipeBlocking(t *testing.T) { inBubble(t, testPipeBlocking) }

func testPipeBlocking(t *testing.T, w *world) {
	r, wr, err := w.Pipe(w.task, 0)
	must(t, err)
	type result struct {
		n   int
		err error
	}
	done := make(chan result, 2) // a write may end after the read that it makes end
	reader, writer := newTask(), newTask()
	read := func() { n, err := r.Read(reader, make([]byte, 10)); done <- result{n, err} }
	write := func(n int) { n, err := wr.Write(writer, make([]byte, n)); done <- result{n, err} }
	expect := func(what string, n int, err error) {
		t.Helper()
		t.Log(what)
		if got := <-done; got != (result{n, err}) {
			t.Errorf("%s: %v", what, got)
		}
	}
	go read()
	write(3)
	expect("own write", 3, nil)
	expect("read", 3, nil)
	go read()
	reader.interrupt <- struct{}{}
	expect("interrupted read", 0, syscall.EINTR)
	write(pipeSize)
	expect("filling write", pipeSize, nil)
	go write(10)
	writer.interrupt <- struct{}{}
	expect("interrupted write", 0, syscall.EINTR)
	go write(2 * pipeSize)
	got := 0
	for buf := make([]byte, pipeSize); got < 3*pipeSize; {
		n, err := r.Read(reader, buf)
		must(t, err)
		got += n
	}
	expect("large write", 2*pipeSize, nil)
	write(pipeSize)
	expect("filling write", pipeSize, nil)
	go write(1)
	r.Release()
	expect("write when the reader goes", 0, syscall.EPIPE)
	wr.Release()
	r, wr, err = w.Pipe(w.task, 0)
	must(t, err)
	go read()
	wr.Release()
	expect("read when the writer goes", 0, nil)
	r.Release()
}

func TestPipeSizes(t *testing.T) {
	w := newWorld(t)
	r, wr, err := w.Pipe(w.task, unix.O_NONBLOCK)
	must(t, err)
	defer r.Release()
	defer wr.Release()
	if n, err := wr.SetPipeSize(100_000); n != 131072 || err != nil {
		t.Errorf("F_SETPIPE_SZ: %d, %v", n, err)
	}
	in := make([]byte, 40_000)
	for i := range in {
		in[i] = byte(i * 7)
	}
	wr.Write(w.task, in)
	out := make([]byte, 30_000)
	r.Read(w.task, out)
	wr.Write(w.task, in[:5000])
	_, err = wr.SetPipeSize(4096)
	want(t, "smaller than its content", err, syscall.EBUSY)
	if n, err := wr.SetPipeSize(16384); n != 16384 || err != nil {
		t.Errorf("F_SETPIPE_SZ: %d, %v", n, err)
	}
	n, err := r.Read(w.task, out)
	must(t, err)
	if !bytes.Equal(out[:n], append(append([]byte(nil), in[30_000:]...), in[:5000]...)) {
		t.Error("content changed with the size")
	}
	_, err = wr.SetPipeSize(1<<20 + 1)
	want(t, "too large", err, syscall.EPERM)
}

func TestFIFO(t *testing.T) {
	w := newWorld(t)
	must(t, w.Mknod(w.at, "/p", syscall.S_IFIFO|0o600, 0))
	_, err := w.Open(w.at, "/p", unix.O_WRONLY|unix.O_NONBLOCK, 0)
	want(t, "writer without reader", err, syscall.ENXIO)
	r := w.open("/p", unix.O_RDONLY|unix.O_NONBLOCK)
	if got := r.Readiness(); got != 0 {
		t.Errorf("readiness %#x of a FIFO nobody wrote to, want 0", got)
	}
	r.Release()
	opened := make(chan *File)
	go func() {
		f, err := w.Open(At{Task: newTask(), Place: w.at.Place}, "/p", unix.O_RDONLY, 0)
		if err != nil {
			t.Error(err)
		}
		opened <- f
	}()
	wr := w.open("/p", unix.O_WRONLY) // meets the reader, whichever comes first
	r = <-opened
	wr.Write(w.task, []byte("hi"))
	wr.Release()
	if got := w.readAll(r); got != "hi" {
		t.Errorf("got %q", got)
	}
	r.Release()
	w.task.interrupt <- struct{}{}
	_, err = w.Open(w.at, "/p", unix.O_RDONLY, 0)
	want(t, "interrupted open", err, syscall.EINTR)
}

func TestSocketpair(t *testing.T) {
	w := newWorld(t)
	_, _, err := w.Socketpair(w.task, unix.AF_INET, unix.SOCK_STREAM, 0)
	want(t, "another family", err, syscall.EAFNOSUPPORT)
	a, b, err := w.Socketpair(w.task, unix.AF_UNIX, unix.SOCK_STREAM, 0)
	must(t, err)
	buf := make([]byte, 10)
	for _, d := range [][2]*File{{a, b}, {b, a}} {
		d[0].Write(w.task, []byte("x"))
		if n, err := d[1].Read(w.task, buf); n != 1 || err != nil {
			t.Errorf("read: %d, %v", n, err)
		}
	}
	b.Write(w.task, []byte("last"))
	fds := []PollFD{{File: a, Events: EPOLLRDHUP}}
	go b.Release()
	if n, err := Poll(w.task, PollFDs{fds}, Never); n != 1 || err != nil || fds[0].Revents != EPOLLHUP|EPOLLRDHUP {
		t.Errorf("poll: %d, %v, %#x", n, err, fds[0].Revents)
	}
	if got := w.readAll(a); got != "last" {
		t.Errorf("got %q", got)
	}
	_, err = a.Write(w.task, buf)
	want(t, "write without a peer", err, syscall.EPIPE)
	a.Release()
}
