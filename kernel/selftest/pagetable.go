package selftest

import (
	"syscall"

	"golang.org/x/sys/unix"

	"grim/arch"
	"grim/mm/vm"
	"grim/proc"
)

var pageTableTests = []test{
	{name: "pagetable/permissions-page", run: permissionsPage, layouts: true},
	{name: "pagetable/permissions-block", run: permissionsBlock, layouts: true},
	{name: "pagetable/permissions-demoted", run: permissionsDemoted, layouts: true},
	{name: "pagetable/none-keeps-data", run: noneKeepsData, layouts: true},
	{name: "pagetable/promote-demote", run: promoteDemote, layouts: true},
	{name: "pagetable/identifiers-run-out", run: identifiersRunOut, layouts: true},
	{name: "pagetable/no-identifiers", run: noIdentifiers, layouts: true},
}

// permissionsPage: after mprotect(2) by the process itself, with the old rights still in
// the TLB, each access is allowed or a fault as the new rights say.
// Broken by: pmap.change without its flushes; leafBits without ReadOnly or NoExec.
func permissionsPage(t *T) {
	t.permissions(arch.PageSize, func(vs *vm.VMSpace, code []byte) arch.VA {
		t.mapFlags(vs, dataVA, arch.PageSize, readWrite|arch.Exec, private, nil)
		t.check("copyout", vs.CopyOut(dataVA, code))
		return dataVA
	})
}

// permissionsBlock: the same for a whole 2 MB block.
// Broken by: pmap.change without its flushes; the block row of leafBits without ReadOnly.
func permissionsBlock(t *T) {
	t.permissions(arch.BlockSize, func(vs *vm.VMSpace, code []byte) arch.VA {
		return t.blockWith(vs, code, 0)
	})
}

// permissionsDemoted: the same for a single page of a 2 MB block, which thereby becomes a
// table. Its neighbours keep their rights.
// Broken by: demote that gives all pages the block's first frame. (The flush of demote
// cannot be tested in QEMU, which drops a block from its TLB with any page in it. The host
// tests of pmap test it.)
func permissionsDemoted(t *T) {
	t.permissions(arch.PageSize, func(vs *vm.VMSpace, code []byte) arch.VA {
		return t.blockWith(vs, code, 77*arch.PageSize)
	})
}

// blockWith makes the 2 MB at dataVA a block with all rights and with code at an offset. It
// returns the address of the code.
func (t *T) blockWith(vs *vm.VMSpace, code []byte, off arch.VA) arch.VA {
	t.mappedBlock(vs, dataVA)
	t.check("copyout", vs.CopyOut(dataVA+off, code))
	t.check("protect", vs.Protect(dataVA, arch.BlockSize, readWrite|arch.Exec))
	if m, _ := vs.Pmap().Lookup(dataVA); !m.Block {
		t.Fatalf("mprotect of 2 MB cuts the block")
	}
	return dataVA + off
}

// permissions tries every access under every protection of size bytes. prepare maps memory
// with all rights and with code in it, and returns the address of the code.
func (t *T) permissions(size uint64, prepare func(vs *vm.VMSpace, code []byte) arch.VA) {
	var ret program
	ret.ret()
	accesses := []struct {
		name string
		emit func(p *program, va arch.VA)
		need arch.Prot
	}{
		{"read", func(p *program, va arch.VA) { p.load(va) }, arch.Read},
		{"write", func(p *program, va arch.VA) { p.store(va, ret.code[0]) }, arch.Write},
		{"exec", func(p *program, va arch.VA) { p.callTo(va) }, arch.Exec},
	}
	for _, prot := range []arch.Prot{0, arch.Read, readWrite, arch.Read | arch.Exec, readWrite | arch.Exec} {
		for _, a := range accesses {
			// The program must contain the address.
			probe := t.newSpace()
			va := prepare(probe, ret.code)
			end(probe)

			var p program
			for _, warm := range accesses {
				warm.emit(&p, va)
			}
			p.call(unix.SYS_MPROTECT, uint64(va), size, uint64(prot))
			if va != dataVA {
				p.store(va-arch.PageSize, 1)
				p.store(va+arch.PageSize, 1)
			}
			a.emit(&p, va)
			p.exit(3)
			vs := t.space(&p)
			prepare(vs, ret.code)
			want := proc.SignalStatus(unix.SIGSEGV)
			if prot&a.need != 0 {
				want = proc.ExitStatus(3)
			}
			if st := t.run(vs); st != want {
				t.Errorf("%s of %v memory: %s, want %s", a.name, prot, statusText(st), statusText(want))
			}
		}
	}
}

// noneKeepsData: PROT_NONE removes the rights but keeps the data, of pages and of blocks.
// Broken by: leafBits that gives 0 for no rights.
func noneKeepsData(t *T) {
	for _, size := range []uint64{arch.PageSize, arch.BlockSize} {
		last := dataVA + arch.VA(size) - 1
		var p program
		p.store(dataVA, 0x11)
		p.store(last, 0x22)
		p.call(unix.SYS_MPROTECT, uint64(dataVA), size, 0)
		p.call(unix.SYS_MPROTECT, uint64(dataVA), size, uint64(readWrite))
		p.expect(dataVA, 0x11, 1)
		p.expect(last, 0x22, 2)
		p.store(dataVA, 0x33)
		p.expect(dataVA, 0x33, 3)
		p.exit(0)
		vs := t.space(&p)
		if size == arch.BlockSize {
			t.mappedBlock(vs, dataVA)
		} else {
			t.mapped(vs, dataVA, size)
		}
		t.passes("PROT_NONE and back", vs)
	}
}

// promoteDemote: the data survives while a block is made of pages, is split, and loses
// pages. The process reads it all the time.
// Broken by: Promote that takes the block's second page for its first; demote that gives
// all pages the block's first frame.
func promoteDemote(t *T) {
	var p program
	p.touch(dataVA, arch.PageSize, arch.BlockPages) // the last one promotes
	for i := range arch.VA(8) {
		p.store(dataVA+i*64*arch.PageSize+5, byte(i+1))
	}
	check := func(first int) {
		for i := range arch.VA(8) {
			p.expect(dataVA+i*64*arch.PageSize+5, byte(i+1), first)
			p.expect(dataVA+i*64*arch.PageSize, 0x5a, first+1)
		}
	}
	check(1)
	p.call(unix.SYS_MPROTECT, uint64(dataVA)+arch.PageSize, arch.PageSize, uint64(arch.Read)) // demotes
	check(3)
	p.call(unix.SYS_MUNMAP, uint64(dataVA)+3*arch.PageSize, 8*arch.PageSize)
	check(5)
	p.call(unix.SYS_MADVISE, uint64(dataVA)+20*arch.PageSize, 8*arch.PageSize, unix.MADV_DONTNEED)
	p.expect(dataVA+20*arch.PageSize, 0, 7)
	p.expect(dataVA+28*arch.PageSize, 0x5a, 8)
	check(9)
	p.exit(0)
	vs := t.space(&p)
	t.mapped(vs, dataVA, arch.BlockSize)
	r := t.passes("block", vs)
	if r.Usage.MaxRSS < arch.BlockSize {
		t.Errorf("%d KB resident at most, want 2 MB and more", r.Usage.MaxRSS>>10)
	}

	var q program
	q.load(dataVA + 3*arch.PageSize)
	vs = t.space(&q)
	t.mappedBlock(vs, dataVA)
	t.check("unmap", vs.Unmap(dataVA+3*arch.PageSize, arch.PageSize))
	t.check("tables", vs.Pmap().Check())
	t.dies("read of a page cut out of a block", vs, syscall.SIGSEGV)
}

// identifiersRunOut: with more address spaces than identifiers, each space still sees only
// its own memory, at the same addresses as the others.
// Broken by: identify that gives every space identifier 1 (arm64). (QEMU has no PCIDs, and
// drops its TLB whenever TTBR0's ASID changes. So the host tests of pmap test that FlushAll
// and FlushASID come in time.)
func identifiersRunOut(t *T) { t.manySpaces(2*t.Machine.CPUs() + 1) }

// noIdentifiers: the same on a machine without identifiers.
// Broken by: arm64's Activate without its flush for ASID 0 (amd64 QEMU's CPUs have no
// PCIDs: there each load of CR3 flushes).
func noIdentifiers(t *T) { t.manySpaces(0) }

func (t *T) manySpaces(identifiers int) {
	t.Pmaps.LimitIdentifiers(identifiers)
	t.Cleanup(func() { t.Pmaps.LimitIdentifiers(-1) })
	spaces := max(7, 2*identifiers)
	for round := range 2 {
		var running []*proc.Process
		for i := range spaces {
			mine := byte(1 + round*spaces + i)
			var p program
			p.store(dataVA, mine)
			p.store(farVA, mine)
			p.repeat(6, func() {
				p.call(unix.SYS_SCHED_YIELD)
				p.expect(dataVA, mine, 1)
				p.expect(farVA, mine, 2)
				p.expect(dataVA+arch.PageSize, mine, 3)
			})
			p.exit(0)
			vs := t.space(&p)
			t.mapped(vs, dataVA, 2*arch.PageSize)
			t.mapped(vs, farVA, arch.PageSize)
			t.check("copyout", vs.CopyOut(dataVA+arch.PageSize, []byte{mine}))
			running = append(running, t.start(vs))
		}
		for i, p := range running {
			if st := p.Wait().Status; st != 0 {
				t.Errorf("round %d, space %d of %d with %d identifiers: %s", round, i, spaces, identifiers, statusText(st))
			}
		}
		// No translation of these spaces is left for a space that maps nothing there.
		var p program
		p.load(dataVA)
		t.dies("read where others had memory", t.space(&p), unix.SIGSEGV)
	}
}
