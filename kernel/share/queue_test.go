package share

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"grim/arch"
	"grim/kernel/virtq"
)

// device is a virtio device over memory. Its addresses are offsets into that memory. It
// gives each message to answer, which says how the reply is recorded.
type device struct {
	mem    []byte
	mu     sync.Mutex
	seen   uint16
	done   uint16
	irq    chan bool
	gone   atomic.Bool
	answer func(d *device, id uint32, m, room []byte)
}

const (
	testQueue = 8
	availAt   = 4096
	usedAt    = 8192
	buffersAt = 16384
)

func newDevice(t *testing.T, limit time.Duration, answer func(d *device, id uint32, m, room []byte)) (*device, *Queue, *[]string) {
	d := &device{mem: make([]byte, buffersAt+testQueue/2*BufferBytes), irq: make(chan bool, 1000), answer: answer}
	c := virtq.Config{Transport: d, Limit: limit, Memory: virtq.Memory{Desc: d.mem[:availAt], Avail: d.mem[availAt:usedAt], Used: d.mem[usedAt:buffersAt], Size: testQueue}}
	for i := range testQueue / 2 {
		at := buffersAt + i*BufferBytes
		c.Buffers = append(c.Buffers, virtq.Buffer{Bytes: d.mem[at : at+BufferBytes], Address: uint64(at)})
	}
	var mu sync.Mutex
	var log []string
	c.Log = func(line string) {
		mu.Lock()
		defer mu.Unlock()
		log = append(log, line)
	}
	q, err := NewQueue(c)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan bool)
	go func() {
		q.Run()
		close(ended)
	}()
	t.Cleanup(func() {
		d.gone.Store(true)
		d.irq <- true
		<-ended
	})
	return d, q, &log
}

func (d *device) Await()      { <-d.irq }
func (d *device) Alive() bool { return !d.gone.Load() }

func (d *device) Notify() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for uint16(atomic.LoadUint32(arch.Word(d.mem[availAt:]))>>16) != d.seen {
		id := int(le.Uint16(d.mem[availAt+4+2*(int(d.seen)%testQueue):]))
		d.seen++
		part := func(i int) []byte {
			e := d.mem[16*i:]
			return d.mem[le.Uint64(e):][:le.Uint32(e[8:])]
		}
		d.answer(d, uint32(id), part(id), part(int(le.Uint16(d.mem[16*id+14:]))))
	}
}

// finish records a reply in the used ring.
func (d *device) finish(id, n uint32, ahead uint16) {
	e := d.mem[usedAt+4+8*(int(d.done)%testQueue):]
	le.PutUint32(e, id)
	le.PutUint32(e[4:], n)
	d.done++
	atomic.StoreUint32(arch.Word(d.mem[usedAt:]), uint32(d.done+ahead)<<16)
	d.irq <- true
}

// TestQueue: many requests from several threads, each with its own reply.
func TestQueue(t *testing.T) {
	_, q, log := newDevice(t, 0, func(d *device, id uint32, m, room []byte) { d.finish(id, uint32(copy(room, m)), 0) })
	var all sync.WaitGroup
	for g := range 6 {
		all.Go(func() {
			for i := range 200 {
				m := bytes.Repeat([]byte{byte(g), byte(i)}, 1+i*37)
				if r, err := q.do(m, len(m)); err != nil || !bytes.Equal(r, m) {
					t.Errorf("%d, %d: %d bytes, %v", g, i, len(r), err)
				}
			}
		})
	}
	all.Wait()
	if _, err := q.do(make([]byte, MessageBytes), replyBytes+1); err == nil || len(*log) > 0 {
		t.Errorf("a message that is too long: %v, %q", err, *log)
	}
}

// TestDeviceLies: a device that says what cannot be, or is gone, is not used any more.
// Requests that are under way and later ones fail.
// Broken by: the check of a length or of a descriptor's number taken out (out of range).
func TestDeviceLies(t *testing.T) {
	for i, answer := range []func(d *device, id uint32, m, room []byte){
		func(d *device, id uint32, _, room []byte) { d.finish(id, uint32(len(room))+1, 0) },
		func(d *device, id uint32, _, _ []byte) { d.finish(id, 1<<31, 0) },
		func(d *device, id uint32, _, _ []byte) { d.finish(id+1, 0, 0) },
		func(d *device, id uint32, _, _ []byte) { d.finish(id+2, 0, 0) },
		func(d *device, _ uint32, _, _ []byte) { d.finish(testQueue, 0, 0) },
		func(d *device, _ uint32, _, _ []byte) { d.finish(1<<31, 0, 0) },
		func(d *device, id uint32, _, _ []byte) { d.finish(id, 0, 5) },
		func(d *device, id uint32, _, _ []byte) { d.finish(id, 0, 1<<15) },
		func(d *device, _ uint32, _, _ []byte) { d.gone.Store(true); d.irq <- true },
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			_, q, log := newDevice(t, 0, answer)
			if r, err := q.do(make([]byte, 20), 100); err == nil {
				t.Errorf("a reply of %d bytes", len(r))
			}
			if _, err := q.do(make([]byte, 20), 100); !errors.Is(err, virtq.ErrBroken) {
				t.Errorf("the next request: %v", err)
			}
			if len(*log) != 1 || !strings.HasSuffix((*log)[0], virtq.ErrBroken.Error()) {
				t.Errorf("log %q", *log)
			}
		})
	}
}

// TestNoAnswer: a request that is not answered in time ends the use of the device.
func TestNoAnswer(t *testing.T) {
	_, q, log := newDevice(t, 1, func(*device, uint32, []byte, []byte) {})
	if _, err := q.do(make([]byte, 20), 100); err == nil || len(*log) != 1 {
		t.Errorf("%v, log %q", err, *log)
	}
}

// TestGone: the device goes away while the directory is mounted. Requests give EIO.
func TestGone(t *testing.T) {
	srv := newServer(t.TempDir())
	d, q, _ := newDevice(t, 0, func(d *device, id uint32, m, room []byte) {
		if d.gone.Load() {
			return
		}
		r, err := srv.do(bytes.Clone(m), len(room))
		if err != nil {
			t.Error(err)
		}
		d.finish(id, uint32(copy(room, r)), 0)
	})
	s, err := Open(q, false)
	if err != nil {
		t.Fatal(err)
	}
	f := must(s.Create(s.Root(), "f", regular(0o600), ""))
	must(s.Write(f, make([]byte, 100<<10), 0, 100<<10))
	d.gone.Store(true)
	d.irq <- true
	for range 3 {
		check(t, "read", s.Read(f, make([]byte, 4096), 0), syscall.EIO)
		_, err := s.Write(f, make([]byte, 4096), 0, 4096)
		check(t, "write", err, syscall.EIO)
		_, err = s.Stat(f)
		check(t, "stat", err, syscall.EIO)
	}
	check(t, "sync", s.Sync(), syscall.EIO)
	_ = s.Close()
}
