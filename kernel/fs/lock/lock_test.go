package lock

import (
	"errors"
	"fmt"
	"math/rand"
	"strings"
	"syscall"
	"testing"

	"grim/mm/charge"
)

func text(s *System, t *Table) string {
	var b strings.Builder
	for _, l := range s.List(t) {
		kind := "r"
		if l.Write {
			kind = "w"
		}
		fmt.Fprintf(&b, "%v%s%d-%d ", l.Owner, kind, l.Start, l.End)
	}
	return strings.TrimSpace(b.String())
}

func TestRanges(t *testing.T) {
	charges := charge.Unlimited()
	u := charges.User(7)
	var s System
	var tab Table
	for i, c := range []struct {
		owner      string
		op         byte
		start, end int64
		want       string
		err        error
	}{
		{"a", 'w', 10, 19, "aw10-19", nil},
		{"a", 'w', 20, 29, "aw10-29", nil}, // adjacent locks become one
		{"b", 'r', 29, 30, "aw10-29", syscall.EAGAIN},
		{"b", 'r', 30, 40, "aw10-29 br30-40", nil},
		{"a", 'r', 15, 19, "aw10-14 ar15-19 aw20-29 br30-40", nil}, // a lock of another kind divides
		{"a", 'u', 22, 25, "aw10-14 ar15-19 aw20-21 aw26-29 br30-40", nil},
		{"b", 'w', 22, 25, "aw10-14 ar15-19 aw20-21 bw22-25 aw26-29 br30-40", nil},
		{"c", 'r', 16, 18, "aw10-14 ar15-19 cr16-18 aw20-21 bw22-25 aw26-29 br30-40", nil},
		{"a", 'w', 15, 19, "aw10-14 ar15-19 cr16-18 aw20-21 bw22-25 aw26-29 br30-40", syscall.EAGAIN},
		{"a", 'u', 0, End, "cr16-18 bw22-25 br30-40", nil},
		{"b", 'r', 0, End, "br0-9223372036854775807 cr16-18", nil},
		{"b", 'u', 5, 5, "br0-4 br6-9223372036854775807 cr16-18", nil},
		{"c", 'u', 0, End, "br0-4 br6-9223372036854775807", nil},
		{"b", 'u', 0, End, "", nil},
	} {
		l := Lock{Owner: c.owner, Write: c.op == 'w', Start: c.start, End: c.end}
		var err error
		if c.op == 'u' {
			err = s.Unlock(&tab, l, u)
		} else {
			err = s.Set(&tab, l, u, true, nil)
		}
		if got := text(&s, &tab); got != c.want || err != c.err {
			t.Fatalf("step %d: %q, %v; want %q, %v", i, got, err, c.want, c.err)
		}
	}
	if n := u.Used(charge.Heap); n != 0 {
		t.Errorf("%d bytes are charged at the end", n)
	}
}

// Random steps are compared with a model that works byte by byte: each byte has the same
// holders.
func TestRandom(t *testing.T) {
	charges := charge.Unlimited()
	u := charges.User(7)
	r := rand.New(rand.NewSource(1))
	var s System
	var tab Table
	type byteLock [3]byte // by owner: 0, r, w
	var model [40]byteLock
	for step := range 20000 {
		o, start := r.Intn(3), r.Intn(40)
		end := start + r.Intn(40-start)
		op := "rwu"[r.Intn(3)]
		l := Lock{Owner: o, Write: op == 'w', Start: int64(start), End: int64(end)}
		ok := true
		for b := start; b <= end; b++ {
			for p := range 3 {
				if p != o && op != 'u' && model[b][p] != 0 && (model[b][p] == 'w' || op == 'w') {
					ok = false
				}
			}
		}
		var err error
		if op == 'u' {
			err = s.Unlock(&tab, l, u)
		} else {
			err = s.Set(&tab, l, u, false, nil)
		}
		if ok != (err == nil) {
			t.Fatalf("step %d: %v, the model says %v", step, err, ok)
		}
		if ok {
			for b := start; b <= end; b++ {
				model[b][o] = op
				if op == 'u' {
					model[b][o] = 0
				}
			}
		}
		var got [40]byteLock
		for _, l := range s.List(&tab) {
			for b := l.Start; b <= l.End; b++ {
				if got[b][l.Owner.(int)] != 0 {
					t.Fatalf("step %d: byte %d is locked twice", step, b)
				}
				got[b][l.Owner.(int)] = "rw"[map[bool]int{true: 1}[l.Write]]
			}
		}
		if got != model {
			t.Fatalf("step %d: differs from the model", step)
		}
	}
	for o := range 3 {
		s.Drop(&tab, o)
	}
	if n := u.Used(charge.Heap); n != 0 {
		t.Errorf("%d bytes are charged at the end", n)
	}
}

func TestDeadlock(t *testing.T) {
	charges := charge.Unlimited()
	u := charges.User(7)
	var s System
	var x, y Table
	set := func(tab *Table, owner string, wait func(<-chan struct{}) error) error {
		return s.Set(tab, Lock{Owner: owner, Write: true, End: End}, u, true, wait)
	}
	if set(&x, "a", nil) != nil || set(&y, "b", nil) != nil {
		t.Fatal("no locks")
	}
	waits := make(chan bool)
	done := make(chan error)
	go func() {
		done <- set(&y, "a", func(ch <-chan struct{}) error {
			close(waits)
			<-ch
			return nil
		})
	}()
	<-waits
	sleep := func(ch <-chan struct{}) error { <-ch; return nil }
	if err := set(&x, "b", sleep); err != syscall.EDEADLK {
		t.Errorf("a circle: %v", err)
	}
	s.Drop(&y, "b")
	if err := <-done; err != nil { // for ever if it is not woken
		t.Error(err)
	}
	stop := errors.New("stop")
	if err := set(&x, "b", func(<-chan struct{}) error { return stop }); err != stop || len(s.waiting) != 0 {
		t.Errorf("interrupted: %v, %d wait", err, len(s.waiting))
	}
	s.Drop(&x, "a")
	s.Drop(&y, "a")
	if n := u.Used(charge.Heap); n != 0 {
		t.Errorf("%d bytes are charged at the end", n)
	}
}
