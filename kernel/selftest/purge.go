package selftest

import (
	"runtime"
	"time"

	"grim/arch"
	"grim/mm/vm"
	"grim/proc"
	"grim/proc/exit"
)

var purgeTests = []test{
	{name: "purge/every-kind", run: purgeEveryKind, layouts: true, designs: true},
	{name: "purge/map-stays-valid", run: purgeMapStaysValid, layouts: true},
	{name: "purge/final-free-asserts", run: purgeFinalFree, layouts: true},
	{name: "purge/without-memory", run: purgeWithoutMemory, layouts: true},
	{name: "purge/sparse-terabyte", run: purgeSparse, layouts: true},
	{name: "purge/slow-pager", run: purgeSlowPager, layouts: true, designs: true, guards: exit.E1},
	{name: "purge/watched", run: purgeWatched, layouts: true, designs: true, guards: exit.E1},
	{name: "purge/others-go-on", run: purgeOthersGoOn, layouts: true, designs: true, guards: exit.E7},
	{name: "purge/yields", run: purgeYields, layouts: true, slow: true, timed: true},
}

// Addresses of the mappings of purgeEveryKind.
const (
	kindBlock   = dataVA
	kindCut     = dataVA + 2*arch.BlockSize // a block with a hole
	kindGuards  = dataVA + 4*arch.BlockSize // pages without rights, some of them touched
	kindWired   = dataVA + 6*arch.BlockSize
	kindFile    = dataVA + 8*arch.BlockSize // shared, 4 pages: written, read, not touched, written
	kindPager   = dataVA + 10*arch.BlockSize
	kindPrivate = dataVA + 12*arch.BlockSize // private, of the file
	kindShared  = dataVA + 14*arch.BlockSize // anonymous
	kindStack   = dataVA + 16*arch.BlockSize // grows down from here
	kindFar     = farVA
)

// purgeEveryKind: a process with one mapping of every kind, half of it copied on write from
// a living parent, is purged. The files have its writes, the parent has its own bytes, and
// nothing is left.
// Broken by: ReleaseLeaf that frees shared frames whatever their references; purgeVisitor
// that leaves PutDirty out; Purge that ends at 512 GB.
func purgeEveryKind(t *T) {
	file, slow := t.newFile(nil, 4*pageBytes), &memoryPager{}
	paged := t.newFile(slow, 4*pageBytes)
	defer file.Unref()
	defer paged.Unref()

	var p program
	p.store(kindBlock+5*page, 2)
	p.store(kindCut+5*page, 2)
	p.store(kindGuards, 2)
	p.store(kindWired, 2)
	for _, va := range []arch.VA{kindFile, kindPager} {
		p.store(va, 2)
		p.load(va + page)
		p.store(va+3*page, 3)
	}
	p.expect(kindPrivate+page, 0, 4)
	p.store(kindPrivate, 4)
	p.store(kindShared+page, 2)
	p.store(kindStack-9*page, 2)
	p.touch(kindFar, 1<<30, 5)
	p.exit(0)

	parent := t.space(&p)
	defer end(parent)
	t.mappedBlock(parent, kindBlock)
	t.mappedBlock(parent, kindCut)
	t.check("unmap", parent.Unmap(kindCut+100*page, 50*page))
	t.mapped(parent, kindGuards, 4*page)
	t.check("touch", parent.EnsureWritable(kindGuards, 2*page))
	t.check("guard", parent.Protect(kindGuards+page, 2*page, 0))
	t.mapped(parent, kindWired, 8*page)
	t.mapFlags(parent, kindFile, 4*page, readWrite, vm.Fixed|vm.Shared, file)
	t.mapFlags(parent, kindPager, 4*page, readWrite, vm.Fixed|vm.Shared, paged)
	t.mapFlags(parent, kindPrivate, 4*page, readWrite, vm.Fixed|vm.Private, file)
	t.mapFlags(parent, kindShared, 4*page, readWrite, shared, nil)
	t.mapFlags(parent, kindStack-2*page, 2*page, readWrite, private|vm.GrowsDown, nil)
	t.mapped(parent, kindFar, 5<<30)
	ones := []byte{1}
	private := []arch.VA{kindBlock + 5*page, kindBlock + 6*page, kindCut + 5*page, kindGuards, kindWired, kindStack - page, kindFar}
	for _, va := range private {
		t.check("copyout", parent.CopyOut(va, ones))
	}
	t.check("copyout", parent.CopyOut(kindShared, ones))

	child, err := parent.Fork(t.Layout, 0)
	t.check("fork", err)
	t.check("lock", child.Lock(kindWired, 4*page, false)) // locks are not inherited
	t.passes("every kind", child)
	t.quiet()

	for _, va := range private {
		if b := t.byteAt(parent, va); b != 1 {
			t.Errorf("%#x of the parent is %d after the child's purge, want 1", uint64(va), b)
		}
	}
	if a, b := t.byteAt(parent, kindShared), t.byteAt(parent, kindShared+page); a != 1 || b != 2 {
		t.Errorf("shared memory is %d, %d after the child's purge, want 1, 2", a, b)
	}
	for _, f := range []*vm.FileObject{file, paged} {
		for i, want := range []byte{2, 0, 0, 3} {
			if b := t.fileByte(f, int64(i)*pageBytes); b != want {
				t.Errorf("page %d of the file is %d after the purge, want %d", i, b, want)
			}
		}
	}
	if slow.out != 2 {
		t.Errorf("%d pages handed back to the pager, want 2", slow.out)
	}
	t.check("parent's tables", parent.Pmap().Check())
	t.check("recount of frames", t.Mem.AuditChanged())

	var stats vm.PurgeStats
	resident := parent.Pmap().Stats()
	parent.Purge(&stats)
	if stats.Pages != resident.Resident || stats.Tables != resident.Tables || !parent.Purged() {
		t.Errorf("purge: %+v of %+v, empty: %v", stats, resident, parent.Purged())
	}
}

// purgeMapStaysValid: after a purge, map and pmap are empty. They can be filled, used to
// run code, and purged again.
// Broken by: Purge that leaves vs.hint; that leaves the reservations; pmap.Purge that
// leaves p.leaving set.
func purgeMapStaysValid(t *T) {
	var p program
	p.touch(dataVA, page, 50)
	p.exit(0)
	vs := t.newSpace()
	for range 3 {
		t.check("program", t.populate(vs, &p))
		t.mapped(vs, dataVA, arch.BlockSize)
		t.check("touch", vs.EnsureWritable(dataVA, 30*page))
		vs.Purge(nil)
		t.check("tables", vs.Pmap().Check())
		if st := vs.Stats(); !vs.Purged() || len(vs.Entries()) != 0 || st.VSize != 0 || st.RSS != 0 || st.Tables != 0 {
			t.Errorf("after a purge: %+v", st)
		}
		if err := vs.EnsureReadable(dataVA, 1); err == nil {
			t.Errorf("memory can be read after a purge")
		}
		if _, err := vs.Map(0, 1<<40, readWrite, vm.Private|vm.Anon|vm.NoReserve, nil, 0); err != nil {
			t.Errorf("map after a purge: %v", err)
		}
		vs.Purge(nil)
	}
	t.check("program", t.populate(vs, &p))
	t.mapped(vs, dataVA, arch.BlockSize)
	t.passes("program in a space that was purged", vs)
}

// purgeFinalFree (E8): the final free of a space that is not empty is a kernel panic,
// whether it has an entry or a page left.
// Broken by: Release without its assertion.
func purgeFinalFree(t *T) {
	for _, touched := range []bool{false, true} {
		vs := t.newSpace()
		t.mapped(vs, dataVA, page)
		if touched {
			t.check("touch", vs.EnsureWritable(dataVA, page))
		}
		if panics(func() { vs.Release() }) == nil {
			t.Fatalf("final free of a space with a mapping (touched: %v) is no panic", touched)
		}
		// The count is 0 now, so Ref panics, but only after it has counted. That reference
		// is the one to end with.
		if panics(func() { vs.Ref() }) == nil {
			t.Errorf("a reference to a dead space is no panic")
		}
		end(vs)
	}
}

// purgeWithoutMemory: a purge needs no frame.
// Broken by: Purge that demotes blocks first.
func purgeWithoutMemory(t *T) {
	vs := t.newSpace()
	t.mappedBlock(vs, dataVA)
	t.mapped(vs, farVA, arch.BlockSize)
	t.check("touch", vs.EnsureWritable(farVA, 20*page))
	t.Mem.FailAfter(0)
	vs.Purge(nil)
	t.Mem.FailAfter(-1)
	if !vs.Purged() {
		t.Errorf("not empty")
	}
	vs.Release()
}

// purgeSparse: the cost of a purge depends on the resident pages. 10 pages cost the same in
// a mapping of 1 TB as in one of 10 pages. 10 pages that each have tables of their own cost
// at most as much as their 30 tables.
// Broken by: unlink that goes through every 2 MB of the map.
func purgeSparse(t *T) {
	cost := func(size, stride uint64) time.Duration {
		return guestTime(7, func() time.Duration {
			vs := t.newSpace()
			t.mapped(vs, 1<<40, size)
			for i := range arch.VA(10) {
				t.check("touch", vs.EnsureWritable(1<<40+i*arch.VA(stride), 1))
			}
			begin := time.Now()
			vs.Purge(nil)
			d := time.Since(begin)
			vs.Release()
			return d
		})
	}
	small := cost(10*page, page)
	large := cost(1<<40, page)
	spread := cost(1<<40, 100<<30)
	// Ten times as much, and 200 us for the host's other work. A purge that went through
	// the address space would take thousands of times as long.
	if limit := 10*small + 200*time.Microsecond; large > limit {
		t.Errorf("10 pages: %v in a mapping of 10 pages, %v in one of 1 TB", small, large)
	}
	if limit := 40*small + 500*time.Microsecond; spread > limit {
		t.Errorf("10 pages: %v in a mapping of 10 pages, %v spread over 1 TB", small, spread)
	}
}

// purgeSlowPager (E1): wait does not return a child before the file has its writes through
// a shared mapping, however long the pager takes. Here the pager waits for permission, and
// then takes 5 ms for each page.
// Broken by: exit.Eager; Zombify before FreeSpace (exit.Reaper); exit1 with the purge in a
// goroutine of its own (exit.Purge).
func purgeSlowPager(t *T) {
	gate := make(chan struct{})
	pager := &memoryPager{delay: 5 * time.Millisecond, gate: gate}
	obj := t.newFile(pager, 2*pageBytes)
	defer obj.Unref()
	var child, p program
	child.store(dataVA, 0x41)
	child.store(dataVA+page, 0x42)
	child.exit(0)
	p.fork(&child)
	p.waitAny(stackVA - 128)
	p.expect(stackVA-127, 0, 1)
	p.exit(0)
	vs := t.space(&p)
	t.mapFlags(vs, dataVA, 2*page, readWrite, vm.Fixed|vm.Shared, obj)
	parent := t.start(vs)
	t.eventually("the purge has reached its pager", func() bool { return pager.begun() == 1 })
	if t.early(func() bool { return parent.State() != proc.Live }) {
		t.Brokenf(exit.E1, "wait has returned the child before its pages are written back")
	}
	close(gate)
	st := parent.Wait().Status
	if st != 0 {
		t.Errorf("parent: %s", statusText(st))
	}
	if out := pager.taken(); out != 2 {
		t.Brokenf(exit.E1, "wait has returned the child before its pages are written back: %d of 2", out)
	}
	t.quiet()
	for i, want := range []byte{0x41, 0x42} {
		if b := t.fileByte(obj, int64(i)*pageBytes); b != want {
			t.Errorf("page %d of the file is %#x, want %#x", i, b, want)
		}
	}
}

// purgeWatched: a debugger reads and writes the memory of a process all the time
// (/proc/PID/mem). Once the purge has begun, it sees no memory any more. It does not change
// the exit: the file has the process's last bytes when wait returns (E1), map and tables
// are empty (E8), and nothing is left (E4, by the harness).
// Broken by: a Purge that empties the map after the tables.
func purgeWatched(t *T) {
	gate := make(chan struct{})
	pager := &memoryPager{gate: gate}
	obj := t.newFile(pager, pageBytes)
	defer obj.Unref()
	var p program
	p.touch(dataVA+arch.BlockSize, page, 50)
	p.store(dataVA, 0x41)
	p.exit(0)
	vs := t.space(&p)
	t.mapFlags(vs, dataVA, page, readWrite, vm.Fixed|vm.Shared, obj)
	t.mapped(vs, dataVA+arch.BlockSize, 50*page)
	vs.Ref()
	watched := []arch.VA{codeVA, stackVA - 8, dataVA, dataVA + arch.BlockSize, dataVA + arch.BlockSize + 49*page}
	var b [8]byte
	stop, done := false, make(chan struct{})
	go func() {
		defer close(done)
		for !stop {
			for _, va := range watched {
				vs.Peek(b[:1], va)
				if va != codeVA {
					vs.Poke(va+7, b[1:2]) // a byte that the program does not use
				}
			}
			time.Sleep(100 * time.Microsecond) // let the program run
		}
	}()
	exited := t.start(vs)
	wait := t.waiting(exited)
	t.eventually("the purge has reached its pager", func() bool { return pager.begun() == 1 })
	for _, va := range watched {
		if n, err := vs.Peek(b[:], va); n != 0 || err == nil {
			t.Errorf("%#x can be read while the purge sleeps: %d bytes, %v", va, n, err)
		}
		if n, err := vs.Poke(va, b[:]); n != 0 || err == nil {
			t.Errorf("%#x can be written while the purge sleeps: %d bytes, %v", va, n, err)
		}
	}
	early := t.early(func() bool { return exited.State() == proc.Gone })
	close(gate)
	st := wait().Status
	stop = true
	<-done
	if early {
		t.Brokenf(exit.E1, "wait has returned the process before its pages are written back")
	}
	t.quiet()
	if !vs.Purged() {
		t.Errorf("something is mapped after the purge")
	}
	vs.Release()
	if b := t.fileByte(obj, 0); st != 0 || b != 0x41 {
		t.Errorf("%s, the file has %#x, want 0x41", statusText(st), b)
	}
}

// purgeOthersGoOn (E7): while one purge waits for its pager, others are made, run, fork,
// exit and are reaped. The waiting process is in the state in which its design purges.
// Under exit.Reaper, others run and end too, but are not reaped.
// Broken by: exit.Reaper, whose reaper does wait. Purge under VMSpace.mu does not fail
// here, as no other process needs that lock.
func purgeOthersGoOn(t *T) {
	gate := make(chan struct{})
	pager := &memoryPager{gate: gate}
	obj := t.newFile(pager, pageBytes)
	defer obj.Unref()
	var slow, child, quick program
	slow.store(dataVA, 1)
	slow.exit(0)
	child.touch(dataVA, page, 10)
	child.exit(0)
	quick.fork(&child)
	quick.waitAny(stackVA - 128)
	quick.touch(dataVA, page, 20)
	quick.exitByte(stackVA - 127)

	vs := t.space(&slow)
	t.mapFlags(vs, dataVA, page, readWrite, vm.Fixed|vm.Shared, obj)
	sleeper := t.start(vs)
	wait := t.toPurge(sleeper)
	alone, opened := func() proc.WaitResult { return proc.WaitResult{} }, false
	open := func() {
		if !opened {
			opened = true
			close(gate)
			wait()
			alone()
		}
	}
	defer open()
	t.eventually("the purge has reached its pager", func() bool { return pager.begun() == 1 })
	vs = t.space(&child)
	t.mapped(vs, dataVA, arch.BlockSize)
	other := t.start(vs)
	alone = t.waiting(other)
	t.eventually("another process has come to its end", func() bool { return other.State() >= proc.Dead })
	for range 10 {
		vs := t.space(&quick)
		t.mapped(vs, dataVA, arch.BlockSize)
		p := t.start(vs)
		r, ok := waitFor(p, othersLimit)
		if !ok {
			open()
			p.Wait()
			t.Brokenf(exit.E7, "others wait for the purge that sleeps")
			return
		}
		if r.Status != 0 {
			t.Errorf("%s", statusText(r.Status))
		}
	}
	if s, want := sleeper.State(), t.stateAtPurge(); s != want {
		t.Errorf("a process is %v while its purge sleeps, want %v", s, want)
	}
	open()
}

// purgeYields (E7): a purge of 64 MB in 4 KB pages lets others run after every few leaf
// tables, for private memory and for an object's last mapping. With several CPUs, the other
// task would run on another CPU.
// Broken by: vm.Purge without yield; Unref that gives freePages no yield.
func purgeYields(t *T) {
	const size = 64 << 20
	private := t.newSpace()
	defer end(private)
	// The halves of a block have different protections, so there is no reservation and no
	// block.
	for va := dataVA; va < dataVA+size; va += arch.BlockSize {
		t.mapped(private, va, arch.BlockSize/2)
		t.mapFlags(private, va+arch.BlockSize/2, arch.BlockSize/2, readWrite|arch.Exec, vm.Fixed|vm.Private|vm.Anon, nil)
	}
	t.yieldsIn("private memory", private, size, size/arch.BlockSize/8-1)

	object := t.newSpace()
	defer end(object)
	t.mapFlags(object, dataVA, size, readWrite, shared, nil)
	t.yieldsIn("shared memory", object, size, 2*(size/arch.BlockSize/8-1))
}

// yieldsIn touches size bytes from dataVA on, and counts how often another task, which
// waits for a timer each time, runs during their purge.
func (t *T) yieldsIn(what string, vs *vm.VMSpace, size uint64, want int) {
	t.check("touch", vs.EnsureWritable(dataVA, size))
	if m, ok := vs.Pmap().Lookup(dataVA); !ok || m.Block {
		t.Fatalf("%s for the purge is in blocks", what)
	}
	runs, done := 0, false
	other := make(chan struct{})
	go func() {
		defer close(other)
		for !done {
			runs++
			time.Sleep(time.Microsecond)
		}
	}()
	runtime.Gosched()
	before := runs
	vs.Purge(nil)
	during := runs - before
	done = true
	<-other
	if during < want {
		t.Errorf("another task ran %d times during a purge of 64 MB of %s, want %d", during, what, want)
	}
}
