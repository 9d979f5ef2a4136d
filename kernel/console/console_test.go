package console

import (
	"bytes"
	"fmt"
	"sync"
	"testing"
)

// slowPort has room for a few bytes whenever it was waited for.
type slowPort struct {
	mu     sync.Mutex
	out    []byte
	room   int
	asleep chan bool // not nil: Await tells that it was called, and sleeps until stuck is closed
	stuck  chan bool
}

func (p *slowPort) Send(b []byte) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := min(len(b), p.room)
	p.out = append(p.out, b[:n]...)
	p.room -= n
	return n
}

func (p *slowPort) Put(c byte) {
	p.mu.Lock()
	p.out = append(p.out, c)
	p.mu.Unlock()
}

func (p *slowPort) Await() bool {
	if p.asleep != nil {
		p.asleep <- true
		<-p.stuck
	}
	p.mu.Lock()
	p.room = 16
	p.mu.Unlock()
	return true
}

func (p *slowPort) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return string(p.out)
}

// There are many writers, each with lines of its own. Every line arrives whole and once, in
// the order of its writer, though the ring is full most of the time. Broken by: writing a
// part of a line into a ring without room; not calling room.
func TestWriters(t *testing.T) {
	port := &slowPort{}
	var mu sync.Mutex
	cond := sync.NewCond(&mu)
	c := New(port, func() { mu.Lock(); cond.Broadcast(); mu.Unlock() })
	go c.Run()
	const writers, lines = 6, 300
	var wg sync.WaitGroup
	for id := range writers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range lines {
				line := fmt.Appendf(nil, "%d %d %s\n", id, i, bytes.Repeat([]byte{'x'}, i%100))
				mu.Lock()
				for !c.Write(line) {
					cond.Wait()
				}
				mu.Unlock()
			}
		}()
	}
	wg.Wait()
	mu.Lock()
	for c.Pending() > 0 {
		cond.Wait()
	}
	mu.Unlock()
	var next [writers]int
	for _, line := range bytes.Split([]byte(port.text()), []byte("\n")) {
		var id, i int
		var x string
		if n, _ := fmt.Sscanf(string(line)+" ", "%d %d %s", &id, &i, &x); n < 2 {
			continue
		}
		if i != next[id] || len(x) != i%100 {
			t.Fatalf("line %q of writer %d, want number %d", line, id, next[id])
		}
		next[id]++
	}
	for id, n := range next {
		if n != lines {
			t.Errorf("%d lines of writer %d, want %d", n, id, lines)
		}
	}
	if told, late := c.Waits(); told == 0 || late > 0 {
		t.Errorf("the port was waited for %d times, and in vain %d times", told, late)
	}
}

// A message of the kernel comes after what users have written, and at once, even if the
// port's goroutine sleeps or the holder of the lock is dead.
func TestSync(t *testing.T) {
	port := &slowPort{asleep: make(chan bool), stuck: make(chan bool)}
	c := New(port, func() {})
	go c.Run()
	if !c.Write([]byte("user ")) {
		t.Fatal("an empty ring has no room")
	}
	<-port.asleep // from here on the goroutine does not take the lock
	c.Sync([]byte("kernel")...)
	if got := port.text(); got != "user kernel" {
		t.Errorf("%q", got)
	}
	if c.Pending() != 0 {
		t.Errorf("%d bytes are pending", c.Pending())
	}
	c.Write([]byte(" late"))
	c.lock()
	c.Sync('!')
	if got := port.text(); got != "user kernel late!" {
		t.Errorf("with the lock taken: %q", got)
	}
	c.unlock()
	close(port.stuck)
}

// A full ring takes nothing, and reports how full it is.
func TestFull(t *testing.T) {
	c := New(&slowPort{}, func() {})
	if !c.Write(make([]byte, ringSize-1)) || c.Write(make([]byte, 2)) || !c.Write(make([]byte, 1)) {
		t.Error("the ring's size is not kept")
	}
	if c.Room() != 0 || c.Pending() != ringSize {
		t.Errorf("room %d, pending %d", c.Room(), c.Pending())
	}
}
