package fs

import (
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"

	"grim/mm/charge"
)

// TestFDTableModel does random calls on a table and on a plain map: on a small table, and
// on one with chunks, some of which never held a file.
// Broken by: Fork whose copy takes no chunks; CloseAll that keeps their charge.
func TestFDTableModel(t *testing.T) {
	fdTableModel(t, 20, 20_000, func(r *rand.Rand) int { return r.IntN(22) - 1 })
	fdTableModel(t, 3000, 5000, func(r *rand.Rand) int {
		return []int{0, 1, 254, 600, 1790, 2990}[r.IntN(6)] + r.IntN(4)
	})
}

func fdTableModel(t *testing.T, limit, steps int, number func(r *rand.Rand) int) {
	w := newWorld(t)
	charges := charge.Unlimited()
	r := rand.New(rand.NewPCG(1, 2))
	d := NewFDTable(limit, charges.User(1000))
	model := map[int]*File{}
	cloexec := map[int]bool{}
	lowest := func(min int) int {
		for fd := min; ; fd++ {
			if model[fd] == nil {
				return fd
			}
		}
	}
	file := func() *File { f, err := w.Eventfd(w.task, 0, 0); must(t, err); return f }
	for i := range steps {
		fd, to, on := number(r), number(r), r.IntN(2) == 0
		switch r.IntN(8) {
		case 0, 1:
			f := file()
			got, err := d.Install(f, 0, on)
			if n := lowest(0); n >= limit {
				want(t, "install", err, syscall.EMFILE)
			} else if got != n || err != nil {
				t.Fatalf("step %d: install gave %d, %v, want %d", i, got, err, n)
			} else {
				model[n], cloexec[n] = f, on
			}
		case 2:
			err := d.Close(fd)
			if model[fd] == nil {
				want(t, "close", err, syscall.EBADF)
			} else {
				want(t, "close", err, nil)
			}
			delete(model, fd)
		case 3:
			err := d.DupTo(fd, to, on)
			if model[fd] == nil || to < 0 || to >= limit {
				want(t, "dup2", err, syscall.EBADF)
			} else if want(t, "dup2", err, nil); fd != to {
				model[to], cloexec[to] = model[fd], on
			}
		case 4:
			got, err := d.Dup(fd, max(to, 0), on)
			switch n := lowest(max(to, 0)); {
			case model[fd] == nil:
				want(t, "dup", err, syscall.EBADF)
			case max(to, 0) >= limit:
				want(t, "dup", err, syscall.EINVAL)
			case n >= limit:
				want(t, "dup", err, syscall.EMFILE)
			case got != n || err != nil:
				t.Fatalf("step %d: dup gave %d, %v, want %d", i, got, err, n)
			default:
				model[n], cloexec[n] = model[fd], on
			}
		case 5:
			if r.IntN(10) == 0 { // exec in a child of fork
				c := d.Fork(new(FDTable), charges.User(1000))
				d.CloseAll()
				d = c
				d.CloseOnExec()
				for fd := range model {
					if cloexec[fd] {
						delete(model, fd)
					}
				}
			}
		case 6:
			if err := d.SetCloexec(fd, on); err == nil {
				cloexec[fd] = on
			}
			if got, err := d.Cloexec(fd); err == nil && got != cloexec[fd] {
				t.Fatalf("step %d: cloexec of %d is %v", i, fd, got)
			}
		case 7:
			d.CloseRange(uint(max(fd, 0)), uint(max(fd, 0)+1), false)
			delete(model, max(fd, 0))
			delete(model, max(fd, 0)+1)
		}
		fds := d.FDs()
		if len(fds) != len(model) {
			t.Fatalf("step %d: open %v, want %d", i, fds, len(model))
		}
		for _, fd := range fds {
			f, err := d.Get(fd)
			if err != nil || f != model[fd] {
				t.Fatalf("step %d: fd %d is %p, %v, want %p", i, fd, f, err, model[fd])
			}
			f.Release()
		}
	}
	d.CloseAll()
	if n := charges.Used(charge.Heap); n != 0 {
		t.Errorf("%d bytes are charged to closed tables", n)
	}
	_, err := d.Install(file(), 0, false)
	want(t, "install into a closed table", err, syscall.EMFILE)
}

// Threads open, dup and close at the same time. A table shared with CLONE_FILES closes its
// files when its last user is gone.
func TestFDTableParallel(t *testing.T) {
	w := newWorld(t)
	d := NewFDTable(64, charge.Unlimited().Kernel())
	var wg sync.WaitGroup
	for range 6 {
		d.Share()
		wg.Add(1)
		go func() {
			defer wg.Done()
			defer d.CloseAll()
			for i := range 300 {
				f, err := w.Eventfd(w.task, 0, 0)
				if err != nil {
					t.Error(err)
					return
				}
				fd, err := d.Install(f, 0, i%2 == 0)
				if err != nil {
					continue
				}
				d.Dup(fd, 0, false)
				d.DupTo(fd, i%64, true)
				if f, err := d.Get(i % 64); err == nil {
					f.Readiness()
					f.Release()
				}
				d.Close(fd)
				if i%50 == 0 {
					d.Fork(new(FDTable), charge.Unlimited().Kernel()).CloseAll()
					d.CloseOnExec()
				}
			}
		}()
	}
	wg.Wait()
	if w.Stats().Files == 0 {
		t.Error("nothing left open: the test has no effect")
	}
	d.CloseAll()
}

// A call that fails after it has made a descriptor takes back its own file only. Broken by a
// Remove that closes whatever the number leads to: a file that another thread has opened.
func TestFDTableRemove(t *testing.T) {
	w := newWorld(t)
	d := NewFDTable(64, charge.Unlimited().Kernel())
	defer d.CloseAll()
	ours, theirs := w.open("/", 0), w.open("/", 0)
	fd, err := d.Install(ours, 0, false)
	must(t, err)
	must(t, d.Close(fd))
	again, err := d.Install(theirs, 0, false)
	if again != fd || err != nil {
		t.Fatalf("descriptor %d, %v, want %d", again, err, fd)
	}
	d.Remove(fd, ours)
	if f, err := d.Get(fd); f != theirs {
		t.Errorf("another thread's file: %v", err)
	} else {
		f.Release()
	}
	d.Remove(fd, theirs)
	_, err = d.Get(fd)
	want(t, "removed", err, syscall.EBADF)
}
