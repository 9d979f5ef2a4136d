package selftest

import (
	"golang.org/x/sys/unix"

	"grim/arch"
	"grim/mm/vm"
	"grim/proc/exit"
)

var mapTests = []test{
	{name: "maps/zero-fill", run: mapsZeroFill, layouts: true},
	{name: "maps/sparse-touch", run: mapsSparseTouch, layouts: true},
	{name: "maps/munmap", run: mapsUnmap, layouts: true},
	{name: "maps/mremap", run: mapsRemap, layouts: true},
	{name: "maps/madvise", run: mapsAdvise, layouts: true},
	{name: "maps/brk", run: mapsBrk, layouts: true},
	{name: "maps/stack", run: mapsStack, layouts: true},
	{name: "maps/file", run: mapsFile, layouts: true},
	{name: "maps/file-end", run: mapsFileEnd, layouts: true},
	{name: "maps/gives-way", run: mapsGiveWay, timed: true, slow: true},
}

const page = arch.PageSize

// mapsZeroFill: new memory is zero from the first byte to the last. Consecutive faults
// bring in more pages at a time, but never more than twice the touched ones. Broken by:
// reserv.take with a window of 1; with a window of 512.
func mapsZeroFill(t *T) {
	const n = 200
	var p program
	for _, va := range []arch.VA{dataVA, dataVA + page - 1, dataVA + 99*page, dataVA + n*page - 1} {
		p.expect(va, 0, 1)
	}
	p.touch(dataVA+arch.BlockSize, page, n)
	p.exit(0)
	vs := t.space(&p)
	t.mapped(vs, dataVA, 4*arch.BlockSize)
	u := t.passes("zero fill", vs).Usage
	if u.Faults > n/5 {
		t.Errorf("%d faults for %d pages touched in a row", u.Faults, n)
	}
	if pages := u.MaxRSS / page; pages < n || pages > 2*n+20 {
		t.Errorf("%d pages resident for %d touched", pages, n)
	}
}

// mapsSparseTouch: touching a page does not take its whole 2 MB block.
// Broken by: reserv.take with a window of 512.
func mapsSparseTouch(t *T) {
	var p program
	p.touch(dataVA, arch.BlockSize, 20)
	p.exit(0)
	vs := t.space(&p)
	t.mapped(vs, dataVA, 20*arch.BlockSize)
	if pages := t.passes("touch", vs).Usage.MaxRSS / page; pages > 30 {
		t.Errorf("%d pages resident for 20 touched, 2 MB apart", pages)
	}
}

// mapsUnmap: unmapped memory faults, even if it was in the TLB, and its neighbours stay.
// The same is true in the middle of a block.
// Broken by: flushUnlinked that returns at once.
func mapsUnmap(t *T) {
	for _, block := range []bool{false, true} {
		for _, gone := range []arch.VA{10, 11, 19} {
			var p program
			p.touch(dataVA, page, 32)
			p.call(unix.SYS_MUNMAP, uint64(dataVA+10*page), 10*page)
			p.expect(dataVA+9*page, 0x5a, 1)
			p.expect(dataVA+20*page, 0x5a, 2)
			p.store(dataVA+20*page, 1)
			p.load(dataVA + gone*page)
			p.exit(3)
			vs := t.space(&p)
			if block {
				t.mappedBlock(vs, dataVA)
			} else {
				t.mapped(vs, dataVA, 32*page)
			}
			t.dies("read of unmapped memory", vs, unix.SIGSEGV)
		}
	}
}

// mapsRemap: mremap(2) grows with zeros, moves the data and leaves nothing at the old
// place. This is tested with pages and with a block, also to a place where it is no block
// any more.
// Broken by: Move without its flush; Move that leaves the old entries.
func mapsRemap(t *T) {
	const to = dataVA + 16*arch.BlockSize
	move := uint64(unix.MREMAP_MAYMOVE | unix.MREMAP_FIXED)
	for _, c := range []struct {
		n    uint64
		to   arch.VA
		read arch.VA // what is touched last: faults if it is at the old place
		dies bool
	}{
		{4 * page, to, to, false},
		{4 * page, to, dataVA, true},
		{arch.BlockSize, to, to, false},
		{arch.BlockSize, to, dataVA + 5*page, true},
		{arch.BlockSize, to + page, to + page, false},
	} {
		last := arch.VA(c.n) - 1
		beside := dataVA + max(arch.VA(c.n), 100*page)
		var p program
		p.store(beside, 1) // keeps the old place's table in use
		p.touch(dataVA, page, c.n/page)
		p.store(dataVA+last, 0x77)
		p.call(unix.SYS_MREMAP, uint64(dataVA), c.n, c.n+2*page, move, uint64(c.to))
		p.expect(c.to, 0x5a, 1)
		p.expect(c.to+last, 0x77, 2)
		p.expect(c.to+arch.VA(c.n), 0, 3)
		p.store(c.to+arch.VA(c.n)+page, 1)
		p.load(c.read)
		p.exit(0)
		vs := t.space(&p)
		t.mapped(vs, dataVA, c.n)
		t.mapFlags(vs, beside, page, readWrite|arch.Exec, private, nil)
		if c.dies {
			t.dies("read of the old place", vs, unix.SIGSEGV)
		} else {
			t.passes("mremap", vs)
		}
	}
	var p program // in place
	p.store(dataVA, 9)
	p.call(unix.SYS_MREMAP, uint64(dataVA), page, 40*page, 0)
	p.expect(dataVA, 9, 1)
	p.touch(dataVA+page, page, 39)
	p.call(unix.SYS_MREMAP, uint64(dataVA), 40*page, 2*page, 0)
	p.store(dataVA+page, 1)
	p.load(dataVA + 2*page)
	p.exit(2)
	vs := t.space(&p)
	t.mapped(vs, dataVA, page)
	t.dies("read behind a mapping that was cut", vs, unix.SIGSEGV)
}

// mapsAdvise: after MADV_DONTNEED, private memory is zero, a private mapping of a file has
// the file's bytes, and shared memory is unchanged.
// Broken by: advise that does not remove pages; flushUnlinked that returns at once.
func mapsAdvise(t *T) {
	obj := t.newFile(nil, 2*pageBytes)
	defer obj.Unref()
	_, err := obj.WriteAt([]byte{0xaa}, 0)
	t.check("write", err)
	const file, mem = dataVA + arch.BlockSize, dataVA + 2*arch.BlockSize
	var p program
	for _, va := range []arch.VA{dataVA, file, mem} {
		p.store(va, 0x11)
		p.expect(va, 0x11, 1)
		p.call(unix.SYS_MADVISE, uint64(va), 2*page, unix.MADV_DONTNEED)
	}
	p.expect(dataVA, 0, 2)
	p.expect(file, 0xaa, 3)
	p.expect(mem, 0x11, 4)
	p.store(dataVA, 5)
	p.expect(dataVA, 5, 5)
	p.exit(0)
	vs := t.space(&p)
	t.mapped(vs, dataVA, 2*page)
	t.mapFlags(vs, file, 2*page, readWrite, vm.Fixed|vm.Private, obj)
	t.mapFlags(vs, mem, 2*page, readWrite, shared, nil)
	t.passes("MADV_DONTNEED", vs)
	if b := t.fileByte(obj, 0); b != 0xaa {
		t.Errorf("a private mapping wrote %#x to the file", b)
	}
}

// mapsBrk: the heap grows with zeros and shrinks, and the removed memory faults. Broken by:
// brk that does not unmap.
func mapsBrk(t *T) {
	for _, dies := range []bool{false, true} {
		var p program
		p.call(unix.SYS_BRK, uint64(dataVA)+10*page)
		p.expect(dataVA+10*page-1, 0, 1)
		p.touch(dataVA, page, 10)
		p.call(unix.SYS_BRK, uint64(dataVA)+2*page)
		p.expect(dataVA+page, 0x5a, 2)
		if dies {
			p.load(dataVA + 2*page)
		}
		p.call(unix.SYS_BRK, uint64(dataVA)+10*page)
		p.expect(dataVA+2*page, 0, 3)
		p.exit(0)
		vs := t.space(&p)
		vs.SetBrk(dataVA)
		if dies {
			t.dies("read above the heap", vs, unix.SIGSEGV)
		} else {
			t.passes("brk", vs)
		}
	}
}

// mapsStack: a stack grows down to a touched address, up to its limit, and not into the
// guard gap above another mapping.
// Broken by: growStack without the test of the limit; of the gap.
func mapsStack(t *T) {
	const top = dataVA + 64*arch.BlockSize
	const below = top - 8*arch.BlockSize // a mapping ends here
	for _, c := range []struct {
		name  string
		touch arch.VA
		limit uint64
		dies  bool
	}{
		{"next page", top - 3*page, 8 << 20, false},
		{"far below", top - 2*arch.BlockSize, 8 << 20, false},
		{"at the limit", top - 16*page, 16 * page, false},
		{"beyond the limit", top - 17*page, 16 * page, true},
		{"above the gap", below + 256*page, 64 << 20, false},
		{"in the gap", below + 255*page, 64 << 20, true},
		{"above the stack", top, 8 << 20, true},
	} {
		var p program
		p.store(top-page, 1)
		p.store(c.touch, 2)
		p.expect(c.touch, 2, 1)
		p.expect(top-page, 1, 2)
		p.exit(0)
		vs := t.space(&p)
		l := vs.Limits()
		l.Stack = c.limit
		vs.SetLimits(l)
		t.mapFlags(vs, top-2*page, 2*page, readWrite, private|vm.GrowsDown, nil)
		t.mapped(vs, below-page, page)
		if c.dies {
			t.dies("stack "+c.name, vs, unix.SIGSEGV)
		} else {
			t.passes("stack "+c.name, vs)
		}
	}
}

// mapsFile: a shared mapping writes to the file and shows the writes of others. A private
// mapping has the file's bytes until it writes to a page, which is then its own. Broken by:
// enterObject that maps private pages writable; copyPage that enters the old frame.
func mapsFile(t *T) {
	for _, pager := range []*memoryPager{nil, {}} {
		obj := t.newFile(pager, 3*pageBytes)
		_, err := obj.WriteAt([]byte{0xa0}, 0)
		t.check("write", err)
		_, err = obj.WriteAt([]byte{0xa1}, pageBytes)
		t.check("write", err)
		const priv = dataVA + arch.BlockSize
		var p program
		p.expect(dataVA, 0xa0, 1)
		p.expect(priv, 0xa0, 2)
		p.store(dataVA, 0xb0)
		p.expect(priv, 0xb0, 3) // not its own yet
		p.store(priv, 0xc0)
		p.expect(dataVA, 0xb0, 4)
		p.store(dataVA, 0xd0)
		p.expect(priv, 0xc0, 5)
		p.store(priv+page, 0xc1) // written before it was read
		p.expect(dataVA+page, 0xa1, 6)
		p.store(dataVA+2*page, 0xd2) // a hole
		p.expect(dataVA+2*page+1, 0, 7)
		p.exit(0)
		vs := t.space(&p)
		t.mapFlags(vs, dataVA, 3*page, readWrite, vm.Fixed|vm.Shared, obj)
		t.mapFlags(vs, priv, 3*page, readWrite, vm.Fixed|vm.Private, obj)
		t.passes("file", vs)
		for i, want := range []byte{0xd0, 0xa1, 0xd2} {
			if t.Design.Breach(exit.E1) != nil { // the pages may be handed over later
				t.eventually("the file's bytes", func() bool { return t.fileByte(obj, int64(i)*pageBytes) == want })
			}
			if b := t.fileByte(obj, int64(i)*pageBytes); b != want {
				t.Errorf("page %d of the file is %#x, want %#x", i, b, want)
			}
		}
		obj.Unref()
	}
}

// mapsFileEnd: a page beyond the end of a file is SIGBUS, also when the file has become
// shorter under the mapping. The rest of its last page is zero.
// Broken by: faultObject and GetPage without their looks at the size; Truncate without
// Invalidate.
func mapsFileEnd(t *T) {
	for _, flags := range []vm.MapFlags{vm.Fixed | vm.Shared, vm.Fixed | vm.Private} {
		obj := t.newFile(nil, pageBytes+100)
		_, err := obj.WriteAt([]byte{0x99}, pageBytes+99)
		t.check("write", err)
		var p program
		p.expect(dataVA+page+99, 0x99, 1)
		p.expect(dataVA+page+100, 0, 2)
		p.store(dataVA+page+99, 0x98)
		p.load(dataVA + 2*page)
		vs := t.space(&p)
		t.mapFlags(vs, dataVA, 3*page, readWrite, flags, obj)
		t.dies("read past the end of a file", vs, unix.SIGBUS)

		var q program
		q.store(dataVA+page, 7)
		q.store(stackVA-200, 1) // signal to the test
		q.await(stackVA-201, 1)
		q.load(dataVA + page)
		vs = t.space(&q)
		t.mapFlags(vs, dataVA, 3*page, readWrite, flags, obj)
		vs.Ref()
		proc := t.start(vs)
		t.eventually("store to the file", func() bool { return t.byteAt(vs, stackVA-200) == 1 })
		t.check("truncate", obj.Truncate(pageBytes))
		t.check("copyout", vs.CopyOut(stackVA-201, []byte{1}))
		vs.Release()
		if st := proc.Wait().Status; !st.Signaled() || st.Signal() != unix.SIGBUS {
			t.Errorf("read of a page that truncation took: %s, want SIGBUS", statusText(st))
		}
		obj.Unref()
	}
}
