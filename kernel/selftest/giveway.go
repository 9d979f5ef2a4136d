package selftest

import (
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"grim/arch"
	"grim/mm/vm"
)

// waySize is the size of the memory of mapsGiveWay's operations, in 4 KB pages, and
// wayEntries the number of map entries.
const (
	waySize    = 16 << 20
	wayEntries = 3000
	// longestWait is how long another task may have to wait. A nanosecond is an instruction.
	// The longest step, a part of a fork, takes 21 us on amd64, and the scheduler needs 2 us
	// to run the task.
	longestWait = 25 * time.Microsecond
	// littleMemoryWait is longestWait with less than 96 MB. With 64 MB, a fork of waySize
	// makes another task wait for 52 us; the reason is not known.
	littleMemoryWait = 60 * time.Microsecond
	// wayTries is how often an operation may try. Now and then the task waits for 40 to 140
	// us, whatever the operation is, probably because of the garbage collector.
	wayTries = 3
)

// mapsGiveWay: no operation on a map keeps others waiting for long, whatever the size of
// the range, the map or the file.
// Broken by: no yield in any one of the loops.
func mapsGiveWay(t *T) {
	buf := make([]byte, 2<<20)
	for _, c := range []struct {
		name string
		prep func(w *way)
		op   func(w *way) error
	}{
		{"populate", (*way).sparse, func(w *way) error { return w.vs.EnsureWritable(dataVA, waySize) }},
		{"MAP_POPULATE", nil, func(w *way) error {
			_, err := w.vs.Map(dataVA, waySize, readWrite, private|vm.Populate, nil, 0)
			return err
		}},
		{"munmap", (*way).memory, func(w *way) error { return w.vs.Unmap(dataVA, waySize) }},
		{"munmap of a dirty file", (*way).dirty, func(w *way) error { return w.vs.Unmap(dataVA, waySize) }},
		{"msync", (*way).dirty, func(w *way) error { return w.vs.Sync(dataVA, waySize, unix.MS_SYNC) }},
		{"msync of clean pages", (*way).clean, func(w *way) error { return w.vs.Sync(dataVA, waySize, unix.MS_SYNC) }},
		{"truncate", (*way).dirty, func(w *way) error { return w.file.Truncate(0) }},
		{"madvise DONTNEED", (*way).memory, func(w *way) error { return w.vs.Advise(dataVA, waySize, unix.MADV_DONTNEED) }},
		{"madvise POPULATE_WRITE", (*way).sparse, func(w *way) error { return w.vs.Advise(dataVA, waySize, unix.MADV_POPULATE_WRITE) }},
		{"madvise POPULATE_READ, resident", (*way).memory, func(w *way) error { return w.vs.Advise(dataVA, waySize, unix.MADV_POPULATE_READ) }},
		{"mprotect", (*way).memory, func(w *way) error { return w.vs.Protect(dataVA, waySize, arch.Read) }},
		{"mprotect, executable", (*way).memory, func(w *way) error { return w.vs.Protect(dataVA, waySize, arch.Read|arch.Exec) }},
		{"mlock", (*way).memory, func(w *way) error { return w.vs.Lock(dataVA, waySize, false) }},
		{"mlockall", (*way).memory, func(w *way) error { return w.vs.LockAll(unix.MCL_CURRENT) }},
		{"munlock", (*way).locked, func(w *way) error { return w.vs.Unlock(dataVA, waySize) }},
		{"mincore", (*way).memory, func(w *way) error { return w.vs.Incore(dataVA, w.buf[:waySize/page]) }},
		{"mremap", (*way).memory, func(w *way) error {
			_, err := w.vs.Remap(dataVA, waySize/2, waySize/2, unix.MREMAP_MAYMOVE|unix.MREMAP_FIXED, dataVA+1<<40)
			return err
		}},
		{"copies", (*way).memory, func(w *way) error {
			if err := w.vs.CopyIn(w.buf, dataVA); err != nil {
				return err
			}
			return w.vs.CopyOut(dataVA, w.buf)
		}},
		{"fork", (*way).memory, (*way).fork},
		{"munmap of a crowded map", (*way).crowded, func(w *way) error { return w.vs.Unmap(dataVA, 2*wayEntries*page) }},
		{"mprotect of a crowded map", (*way).crowded, func(w *way) error { return w.vs.Protect(dataVA, wayEntries*page, 0) }},
		{"mlock of a crowded map", (*way).crowded, func(w *way) error { return w.vs.Lock(dataVA, wayEntries*page, true) }},
		{"madvise of a crowded map", (*way).crowded, func(w *way) error { return w.vs.Advise(dataVA, wayEntries*page, unix.MADV_DONTFORK) }},
		{"fork of a crowded map", (*way).crowded, (*way).fork},
	} {
		limit := longestWait
		if t.Mem.Total() < leastForText {
			limit = littleMemoryWait
		}
		t.givesWay(c.name, limit, func() time.Duration {
			w := &way{t: t, vs: t.newSpace(), buf: buf}
			if c.prep != nil {
				c.prep(w)
			}
			runtime.GC()
			var err error
			worst := waits(func() { err = c.op(w) })
			t.check(c.name, err)
			w.end()
			return worst
		})
	}
}

// givesWay fails the test if a task waits for longer than limit in each try. try returns
// how long the task has waited.
func (t *T) givesWay(name string, limit time.Duration, try func() time.Duration) {
	worst := try()
	for n := 1; n < wayTries && worst > limit; n++ {
		worst = min(worst, try())
	}
	if worst > limit {
		t.Errorf("%s: another task waits %v", name, worst)
	}
}

// way is the memory on which an operation works.
type way struct {
	t    *T
	vs   *vm.VMSpace
	kid  *vm.VMSpace
	file *vm.FileObject
	buf  []byte
}

func (w *way) end() {
	for _, vs := range []*vm.VMSpace{w.vs, w.kid} {
		if vs != nil {
			end(vs)
		}
	}
	if w.file != nil {
		w.file.Unref()
	}
}

// sparse maps memory that does not form blocks: each half of a block has another
// protection.
func (w *way) sparse() {
	for va := dataVA; va < dataVA+waySize; va += arch.BlockSize {
		w.t.mapped(w.vs, va, arch.BlockSize/2)
		w.t.mapFlags(w.vs, va+arch.BlockSize/2, arch.BlockSize/2, readWrite, private, nil) // not NoReserve: another entry
	}
}

// memory maps memory in pages, all in one entry.
func (w *way) memory() {
	w.t.mapped(w.vs, dataVA, waySize)
	w.t.check("touch", w.vs.EnsureWritable(dataVA, waySize))
	for va := dataVA; va < dataVA+waySize; va += arch.BlockSize {
		w.t.check("no block", w.vs.Pmap().Demote(va))
	}
}

func (w *way) locked() {
	w.memory()
	w.t.check("lock", w.vs.Lock(dataVA, waySize, false))
}

func (w *way) dirty() {
	w.file = w.t.newFile(nil, waySize)
	w.t.mapFlags(w.vs, dataVA, waySize, readWrite, vm.Fixed|vm.Shared, w.file)
	w.t.check("touch", w.vs.EnsureWritable(dataVA, waySize))
}

func (w *way) clean() {
	w.dirty()
	w.t.check("msync", w.vs.Sync(dataVA, waySize, unix.MS_SYNC))
	w.t.check("touch", w.vs.EnsureWritable(dataVA, page))
}

// crowded maps single pages whose protections alternate.
func (w *way) crowded() {
	for i := range arch.VA(wayEntries) {
		prot := arch.Read
		if i&1 != 0 {
			prot |= arch.Exec
		}
		w.t.mapFlags(w.vs, dataVA+i*page, page, prot, private, nil)
	}
}

// fork makes a copy, and looks for one of its entries in the copy.
func (w *way) fork() (err error) {
	if w.kid, err = w.vs.Fork(w.t.Layout, 0); err == nil {
		err = w.kid.EnsureReadable(dataVA, 1)
	}
	return err
}

// waits runs fn and returns the longest time for which a task did not run that wants to run
// all the time.
func waits(fn func()) (worst time.Duration) { return waitsEvery(time.Microsecond, fn) }

// waitsEvery is waits for a task that wants to run at intervals. The interval must leave
// time for user code: a timer that is due at each entry of user mode would keep user code
// from running.
func waitsEvery(interval time.Duration, fn func()) time.Duration {
	var done atomic.Bool
	var worst, last atomic.Int64 // with several CPUs the task runs beside fn
	start := time.Now()
	now := func() int64 { return int64(time.Since(start)) }
	other := make(chan struct{})
	go func() {
		defer close(other)
		for !done.Load() {
			at := now()
			if l := last.Load(); l != 0 {
				worst.Store(max(worst.Load(), at-l))
			}
			last.Store(at)
			time.Sleep(interval)
		}
	}()
	for range 3 {
		time.Sleep(10 * interval)
	}
	worst.Store(0)
	last.Store(now())
	fn()
	longest := max(worst.Load(), now()-last.Load())
	done.Store(true)
	<-other
	return time.Duration(longest)
}
