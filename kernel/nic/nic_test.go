package nic

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"grim/arch"
	"grim/kernel/virtq"
)

// fake is a device over memory. Its addresses are offsets into that memory. It gives
// each packet that the driver sends back to the driver, as a received one.
type fake struct {
	mem    []byte
	at     [2]int // of the queues
	seen   [2]uint16
	done   [2]uint16
	mu     sync.Mutex
	irq    chan bool
	length uint32 // said of packets, if not 0
	id     uint32 // said of descriptors, less 1
	ahead  uint16 // added to the index
}

const fakeQueue = 8

var le = binary.LittleEndian

func newFake(t *testing.T) (*fake, *Device, *[]string) {
	f := &fake{mem: make([]byte, 1<<18), irq: make(chan bool, 1000)}
	queue := func(n int) Queue {
		at := n * 1 << 17
		f.at[n] = at
		q := Queue{Memory: virtq.Memory{Desc: f.mem[at : at+4096], Avail: f.mem[at+4096 : at+8192], Used: f.mem[at+8192 : at+12288], Size: fakeQueue}}
		for i := range fakeQueue {
			b := at + 16384 + i*BufferBytes
			q.Buffers = append(q.Buffers, virtq.Buffer{Bytes: f.mem[b : b+BufferBytes], Address: uint64(b)})
		}
		return q
	}
	var log []string
	d, err := New(f, []byte{2, 0, 0, 0, 0, 1}, queue(Receive), queue(Transmit), func(s string) { log = append(log, s) })
	if err != nil {
		t.Fatal(err)
	}
	return f, d, &log
}

func (f *fake) Await()      { <-f.irq }
func (f *fake) Alive() bool { return true }

// next takes a descriptor that the driver has offered.
func (f *fake) next(q int) (id int, ok bool) {
	avail := f.mem[f.at[q]+4096:]
	if uint16(atomic.LoadUint32(arch.Word(avail))>>16) == f.seen[q] {
		return 0, false
	}
	id = int(le.Uint16(avail[4+2*(int(f.seen[q])%fakeQueue):]))
	f.seen[q]++
	return id, true
}

func (f *fake) finish(q, id int, n uint32) {
	used := f.mem[f.at[q]+8192:]
	e := used[4+8*(int(f.done[q])%fakeQueue):]
	if f.id != 0 {
		id = int(f.id - 1)
	}
	if f.length != 0 {
		n = f.length
	}
	le.PutUint32(e, uint32(id))
	le.PutUint32(e[4:], n)
	f.done[q]++
	atomic.StoreUint32(arch.Word(used), uint32(f.done[q]+f.ahead)<<16)
}

func (f *fake) Notify(q int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		out, ok := f.next(Transmit)
		if !ok {
			return
		}
		e := f.mem[f.at[Transmit]+16*out:]
		frame := f.mem[le.Uint64(e):][:le.Uint32(e[8:])]
		if in, ok := f.next(Receive); ok {
			copy(f.mem[le.Uint64(f.mem[f.at[Receive]+16*in:]):], frame)
			f.finish(Receive, in, uint32(len(frame)))
			f.irq <- true
		}
		f.finish(Transmit, out, 0)
	}
}

// TestEcho sends frames of all sizes, which come back in order.
// Broken by: virtq.Ring.Offer without advancing, a length that is not set.
func TestEcho(t *testing.T) {
	_, d, log := newFake(t)
	var got [][]byte
	for i := range 200 {
		frame := bytes.Repeat([]byte{byte(i)}, etherBytes+i*7%MTU)
		if !d.Send(frame) {
			t.Fatalf("frame %d was dropped", i)
		}
		if !d.Poll(func(b []byte) { got = append(got, bytes.Clone(b)) }) {
			t.Fatal(*log)
		}
		if len(got) != i+1 || !bytes.Equal(got[i], frame) {
			t.Fatalf("frame %d: %d came, the last of %d bytes", i, len(got), len(got[len(got)-1]))
		}
	}
	if d.Send(make([]byte, frameBytes+1)) {
		t.Error("a frame that is too long was sent")
	}
}

// TestParallel: several send at the same time while frames come in.
func TestParallel(t *testing.T) {
	_, d, _ := newFake(t)
	go d.Run(func([]byte) {})
	var all sync.WaitGroup
	for g := range 4 {
		all.Add(1)
		go func() {
			defer all.Done()
			for range 500 {
				d.Send(bytes.Repeat([]byte{byte(g)}, 100))
			}
		}()
	}
	all.Wait()
}

// TestLies: a device that says what cannot be is not used any more, and nothing else
// happens.
// Broken by: the check of a descriptor's number (virtq) or of a length taken out (out of range).
func TestLies(t *testing.T) {
	for i, lie := range []func(f *fake){
		func(f *fake) { f.length = 5 },
		func(f *fake) { f.length = BufferBytes + 1 },
		func(f *fake) { f.length = 1 << 31 },
		func(f *fake) { f.id = fakeQueue + 1 },
		func(f *fake) { f.id = 1 << 31 },
		func(f *fake) { f.ahead = 100 },
		func(f *fake) { f.ahead = 1 << 15 },
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			f, d, log := newFake(t)
			lie(f)
			d.Send(make([]byte, 100))
			bad := !d.Poll(func(b []byte) {
				if len(b) > BufferBytes {
					t.Errorf("a frame of %d bytes", len(b))
				}
			})
			d.Send(make([]byte, 100))
			d.Send(make([]byte, 100))
			if !bad && !d.broken.Load() || len(*log) != 1 || !strings.Contains((*log)[0], "not used any more") {
				t.Errorf("broken %v %v, log %q", bad, d.broken.Load(), *log)
			}
		})
	}
}
