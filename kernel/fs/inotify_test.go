package fs

import (
	"fmt"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestWatchersOfOneFile: a file that many inotifies watch. A watch costs the same however
// many there are, and each watcher gets the event. Broken by: add or
// unwatchLocked that copies the file's watches to a slice (some 25 000 bytes for a watch).
func TestWatchersOfOneFile(t *testing.T) {
	const many = 2000
	w := newWorld(t)
	w.put("/f", "x")
	var watchers []*File
	allocated := func(do func()) uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		do()
		runtime.ReadMemStats(&after)
		return (after.TotalAlloc - before.TotalAlloc) / many
	}
	start := allocated(func() {
		for range many {
			f := sure(w.Inotify(nil, unix.IN_NONBLOCK)) // the kernel may have any number
			if _, err := f.Watch(w.at, "/f", unix.IN_OPEN|unix.IN_ONESHOT); err != nil {
				t.Fatal(err)
			}
			watchers = append(watchers, f)
		}
	})
	if start > 4096 {
		t.Errorf("a watch took %d bytes", start)
	}
	w.open("/f", unix.O_RDONLY).Release()
	for i, f := range watchers {
		// The event, and the end of the watch.
		if n, err := f.Read(w.task, make([]byte, 100)); n != 2*inHeader || err != nil {
			t.Errorf("watcher %d reads %d bytes, %v", i, n, err)
		}
	}
	if w.watched() {
		t.Error("the watches for one event are still there")
	}
	for _, f := range watchers {
		if _, err := f.Watch(w.at, "/f", unix.IN_OPEN); err != nil {
			t.Fatal(err)
		}
	}
	end := allocated(func() {
		for _, f := range watchers {
			f.Release()
		}
	})
	if end > 1024 {
		t.Errorf("the end of a watch took %d bytes", end)
	}
	if w.watched() || len(w.inotifies) != 0 {
		t.Error("watches after the last close")
	}
}

// TestManyWatches: an inotify with many watches. Its close lets others run without a lock.
// Broken by: close that holds watchMu all the time.
func TestManyWatches(t *testing.T) {
	const many = 200
	w := newWorld(t)
	f := sure(w.Inotify(w.task, 0))
	for i := range many {
		name := fmt.Sprint("/", i)
		w.put(name, "x")
		if wd, err := f.Watch(w.at, name, unix.IN_OPEN); wd != i+1 || err != nil {
			t.Fatalf("watch %d: %d, %v", i, wd, err)
		}
	}
	for i := 3; i < many; i += 5 {
		must(t, f.Unwatch(i))
		want(t, "unwatch again", f.Unwatch(i), syscall.EINVAL)
	}
	pauses := 0
	w.cfg.Yield = func() {
		pauses++
		if !w.watchMu.TryLock() {
			t.Error("gives way with watchMu held")
			return
		}
		w.watchMu.Unlock()
	}
	f.Release()
	if pauses < many/2/inCloseTurn {
		t.Errorf("gave way %d times", pauses)
	}
	if w.watched() {
		t.Error("watches are left")
	}
}

// TestInotifies: a user may have as many inotifies as fs.inotify.max_user_instances says.
// Broken by: close without uncount.
func TestInotifies(t *testing.T) {
	w := newWorld(t)
	for range 2 {
		var all []*File
		for range maxInotifies {
			all = append(all, sure(w.Inotify(w.task, 0)))
		}
		_, err := w.Inotify(w.task, 0)
		want(t, "one more", err, syscall.EMFILE)
		other := newTask()
		other.payer = w.charges.User(1)
		sure(w.Inotify(other, 0)).Release()
		other.payer.Release()
		for _, f := range all {
			f.Release()
		}
	}
}

// TestInotifyOverflow: after maxInEvents events one more tells that some are lost, and all
// that was charged for them is given back, by reads and by close.
func TestInotifyOverflow(t *testing.T) {
	w := newWorld(t)
	must(t, w.Mkdir(w.at, "/d", 0o700))
	f := sure(w.Inotify(w.task, unix.IN_NONBLOCK))
	if _, err := f.Watch(w.at, "/d", unix.IN_CREATE|unix.IN_DELETE); err != nil {
		t.Fatal(err)
	}
	for range maxInEvents/2 + 10 {
		must(t, w.Mkdir(w.at, "/d/a", 0o700))
		must(t, w.Unlink(w.at, "/d/a", unix.AT_REMOVEDIR))
	}
	n := 0
	buf := make([]byte, 2*inHeader)
	for n < maxInEvents-5 {
		got, err := f.Read(w.task, buf)
		if err != nil {
			t.Fatal(err)
		}
		if n++; got != len(buf) {
			t.Fatalf("event %d has %d bytes", n, got)
		}
	}
	h := f.h.(*inotify)
	if h.n != 6 || h.paid != 5*(eventCost+1)+eventCost || h.tail.mask != unix.IN_Q_OVERFLOW {
		t.Errorf("%d events, charged %d, the last is %#x", h.n, h.paid, h.tail.mask)
	}
	f.Release()
}
