package selftest

import (
	"encoding/binary"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"grim/arch"
	"grim/kernel/fs"
	"grim/mm/phys"
	"grim/mm/vm"
	"grim/proc"
)

var pressureTests = []test{
	{name: "pressure/fault", run: pressureFault, layouts: true},
	{name: "pressure/fork", run: pressureFork, layouts: true, designs: true},
	{name: "pressure/mmap", run: pressureMmap, layouts: true},
	{name: "pressure/exec", run: pressureExec, layouts: true},
	{name: "pressure/cut-block", run: pressureCutBlock, layouts: true},
	{name: "pressure/spawn", run: pressureSpawn, layouts: true},
	{name: "pressure/all-memory", run: pressureAllMemory, slow: true},
	{name: "pressure/largest-is-killed", run: pressureLargest, layouts: true, designs: true, slow: true},
	{name: "pressure/reservations", run: pressureReservations},
}

// starve runs a program again and again, with memory for n more frames from its first
// instruction on, n = 0, 1, 2..., until it succeeds: exit status 0. Before that it may get
// an error (exit status 1) or be killed, and nothing may leak.
func (t *T) starve(space func() *vm.VMSpace) {
	const most = 200
	failed := 0
	for n := range most {
		before := t.census()
		p := t.startAfter(space(), func(*proc.Thread) { t.Mem.FailAfter(n) })
		st := p.Wait().Status
		t.Mem.FailAfter(-1)
		t.settles(before)
		switch st {
		case 0:
			if failed == 0 {
				t.Errorf("needs no memory: nothing was tested")
			}
			return
		case proc.ExitStatus(1), proc.SignalStatus(unix.SIGKILL):
			failed++
		default:
			t.Errorf("with %d frames: %s", n, statusText(st))
		}
		if len(t.reasons) > 0 {
			return
		}
	}
	t.Errorf("still fails with %d frames", most)
}

// pressureFault: if there is no memory for a fault, for the page or one of the tables above
// it, only this process ends.
// Broken by: faultAnon that forgets the frame when Enter fails; grow that forgets the
// tables it has.
func pressureFault(t *T) {
	obj := t.newFile(nil, 4*pageBytes)
	defer obj.Unref()
	_, err := obj.WriteAt(make([]byte, 4*pageBytes), 0)
	t.check("write", err)
	var p program
	p.touch(dataVA, page, 3)
	p.touch(farVA, 1<<30, 3)
	p.touch(dataVA+arch.BlockSize, page, 4)
	p.load(dataVA + 2*arch.BlockSize)
	p.touch(dataVA+2*arch.BlockSize, page, 4)
	p.exit(0)
	t.starve(func() *vm.VMSpace {
		vs := t.space(&p)
		t.mapped(vs, dataVA, arch.BlockSize)
		t.mapped(vs, farVA, 3<<30)
		t.mapFlags(vs, dataVA+arch.BlockSize, 4*page, readWrite, shared, nil)
		t.mapFlags(vs, dataVA+2*arch.BlockSize, 4*page, readWrite, vm.Fixed|vm.Private, obj)
		return vs
	})
}

// pressureFork: without memory fork returns ENOMEM, and nothing of the child is left.
// Without memory for a copy later, the process that writes ends.
// Broken by: Fork without the Purge of its partial space; newThread's error that leaves the
// number allocated.
func pressureFork(t *T) {
	var child, p program
	child.store(dataVA, 2)
	child.exit(0)
	p.fork(&child)
	p.exitFailed()
	t.starve(func() *vm.VMSpace {
		vs := t.space(&p)
		t.mapped(vs, dataVA, arch.BlockSize)
		t.mapped(vs, farVA, 3<<30)
		for i := range arch.VA(3) {
			t.check("touch", vs.EnsureWritable(dataVA+i*page, 1))
			t.check("touch", vs.EnsureWritable(farVA+i<<30, 1))
		}
		t.mapFlags(vs, dataVA+4*arch.BlockSize, page, readWrite, shared, nil)
		return vs
	})
}

// pressureMmap: mmap(2) itself needs no frames. Populating brings in as much as it can, and
// only the access to a missing page may fail.
// Broken by: Map that takes populate's error for the kernel's own.
func pressureMmap(t *T) {
	var p program
	flags := uint64(unix.MAP_PRIVATE | unix.MAP_ANONYMOUS | unix.MAP_FIXED | unix.MAP_POPULATE)
	p.call(unix.SYS_MMAP, uint64(dataVA), 8*page, uint64(readWrite), flags, ^uint64(0), 0)
	p.touch(dataVA, page, 8)
	p.call(unix.SYS_MMAP, uint64(farVA), 8*page, uint64(readWrite), flags, ^uint64(0), 0)
	p.touch(farVA, page, 8)
	p.call(unix.SYS_MUNMAP, uint64(dataVA), 4*page)
	p.call(unix.SYS_MREMAP, uint64(farVA), 8*page, 8*page, unix.MREMAP_MAYMOVE|unix.MREMAP_FIXED, uint64(farVA)-(64<<30))
	p.exitFailed()
	t.starve(func() *vm.VMSpace { return t.space(&p) })
}

// pressureExec: execve(2) without memory fails, or the new program ends. The program is the
// smallest possible file.
// Broken by: Exec that does not discard the space when build fails.
func pressureExec(t *T) {
	const path = "/tmp/selftest-exec"
	var elf program
	elf.touch(dataVA, page, 2)
	elf.exit(0)
	at := fs.At{Place: t.FS.NewPlace()}
	f, err := t.FS.Open(at, path, syscall.O_CREAT|syscall.O_EXCL|syscall.O_WRONLY, 0o755)
	t.check("create "+path, err)
	t.Cleanup(func() { t.check("unlink", t.FS.Unlink(at, path, 0)) })
	_, err = f.Write(nil, t.smallELF(elf.code))
	f.Release()
	t.check("write "+path, err)

	const name = stackVA - 6*page
	var p program
	p.call(unix.SYS_EXECVE, uint64(name), 0, 0)
	p.exitFailed()
	t.starve(func() *vm.VMSpace {
		vs := t.space(&p)
		t.check("copyout", vs.CopyOut(name, append([]byte(path), 0)))
		return vs
	})
}

// smallELF returns a program file with one segment: code at codeVA, and two pages of
// zero-filled memory at dataVA (System V ABI, chapters 4 and 5).
func (t *T) smallELF(code []byte) []byte {
	const header, entry = 64, 56
	machine := map[string]uint16{"amd64": 62, "arm64": 183}[t.Machine.ABI().Name]
	off := uint64(header + 2*entry)
	le := binary.LittleEndian
	b := append([]byte("\x7fELF\x02\x01\x01"), make([]byte, 9)...)
	b = le.AppendUint16(b, 2) // ET_EXEC
	b = le.AppendUint16(b, machine)
	b = le.AppendUint32(b, 1)
	b = le.AppendUint64(b, uint64(codeVA)+off)
	b = le.AppendUint64(b, header)
	b = le.AppendUint64(b, 0)
	b = le.AppendUint32(b, 0)
	for _, v := range []uint16{header, entry, 2, 0, 0, 0} {
		b = le.AppendUint16(b, v)
	}
	n := off + uint64(len(code))
	for _, s := range []struct {
		flags            uint32 // 1 execute, 2 write, 4 read
		va, filesz, size uint64
	}{{5, uint64(codeVA), n, n}, {6, uint64(dataVA), 0, 2 * page}} {
		b = le.AppendUint32(b, 1) // PT_LOAD
		b = le.AppendUint32(b, s.flags)
		for _, v := range []uint64{0, s.va, s.va, s.filesz, s.size, page} {
			b = le.AppendUint64(b, v)
		}
	}
	return append(b, code...)
}

// pressureCutBlock: unmapping or protecting a part of a 2 MB block takes a table page.
// Without one the result is ENOMEM, and nothing has changed.
// Broken by: unmap that ignores removePages' error.
func pressureCutBlock(t *T) {
	var p program
	p.expect(dataVA+2*page, 0, 1)
	p.store(dataVA+2*page, 1)
	p.store(dataVA+arch.BlockSize-1, 1)
	p.exit(0)
	vs := t.space(&p)
	t.mappedBlock(vs, dataVA)
	ops := map[string]func() error{
		"munmap":   func() error { return vs.Unmap(dataVA+page, 4*page) },
		"mprotect": func() error { return vs.Protect(dataVA+page, 4*page, arch.Read) },
		"madvise":  func() error { return vs.Advise(dataVA+page, 4*page, unix.MADV_DONTNEED) },
		"mlock":    func() error { return vs.Lock(dataVA+page, 4*page, false) },
	}
	t.Mem.FailAfter(0)
	errs := map[string]error{}
	for name, op := range ops {
		errs[name] = op()
	}
	t.Mem.FailAfter(-1)
	for name, err := range errs {
		if err != syscall.ENOMEM {
			t.Errorf("%s of a part of a block without memory: %v", name, err)
		}
	}
	if m, _ := vs.Pmap().Lookup(dataVA + 2*page); !m.Block || m.Prot != readWrite {
		t.Errorf("the block has changed: %+v", m)
	}
	t.passes("use of the block", vs)
}

// pressureSpawn: without memory for a space, its tables or a u-area, the caller gets an
// error.
// Broken by: Spawn that does not unmake the process when newThread fails.
func pressureSpawn(t *T) {
	var p program
	p.exit(0)
	t.Pmaps.Drain()
	done := false
	for n := 0; !done && n < 50; n++ {
		before := t.census()
		t.Mem.FailAfter(n)
		done = t.trySpawn(&p)
		t.Mem.FailAfter(-1)
		t.settles(before)
		if n == 0 && done {
			t.Errorf("a process needs no memory")
		}
	}
	if !done {
		t.Errorf("no process with 50 frames")
	}
}

// trySpawn makes a process as start does, and reports whether it ended with success.
func (t *T) trySpawn(p *program) bool {
	vs, err := vm.New(t.VM, t.Layout, t.VM.Charges().Kernel())
	if err != nil {
		return false
	}
	if t.populate(vs, p) != nil {
		end(vs)
		return false
	}
	child, err := t.Proc.Spawn(proc.SpawnArgs{Name: "selftest", VM: vs, PC: codeVA, SP: stackVA - 64, Design: t.Design})
	if err != nil {
		end(vs)
		return false
	}
	return child.Wait().Status == 0
}

// pressureAllMemory: a process that wants more memory than there is, is killed. Another
// process that wants a page in the meantime does not wait for others, and all memory comes
// back.
// Broken by: fault that takes ENOMEM for a reason to try again.
func pressureAllMemory(t *T) {
	var p, small program
	total := uint64(t.Mem.Total())
	p.touch(dataVA, page, total+1)
	p.exit(0)
	vs := t.space(&p)
	t.mapped(vs, dataVA, (total+1)*page)
	if st := t.run(vs); st != proc.SignalStatus(unix.SIGKILL) {
		t.Errorf("a process that touches %d MB: %s, want SIGKILL", total>>8, statusText(st))
	}
	small.touch(dataVA, page, 4)
	small.exit(0)
	vs = t.space(&small)
	t.mapped(vs, dataVA, 4*page)
	t.passes("a process afterwards", vs)
}

// pressureLargest: when memory is used up, the process that holds most of it is killed,
// whichever process asks for more. The others continue: one that waits for a page, and one
// that forks.
// Broken by: fault that kills the thread that asked; outOfMemory without its loop.
func pressureLargest(t *T) {
	total := uint64(t.Mem.FreeFrames())
	var big, small, forks, child program
	big.touch(dataVA, page, total*6/10)
	big.call(unix.SYS_PPOLL, 0, 0, 0, 0)
	bigSpace := t.space(&big)
	t.mapped(bigSpace, dataVA, total*page)
	bigSpace.Ref()
	defer bigSpace.Release()
	victim := t.start(bigSpace)
	for bigSpace.Stats().RSS < total*6/10*page {
		time.Sleep(time.Millisecond)
	}
	child.exit(0)
	for range 20 {
		forks.fork(&child)
	}
	forks.exit(0)
	small.touch(dataVA, page, total/2)
	small.exit(0)
	smallSpace, forkSpace := t.space(&small), t.space(&forks)
	t.mapped(smallSpace, dataVA, total*page)
	asker, bystander := t.start(smallSpace), t.start(forkSpace)
	if st := victim.Wait().Status; st != proc.SignalStatus(unix.SIGKILL) {
		t.Errorf("the largest process: %s, want death by SIGKILL", statusText(st))
	}
	if st := asker.Wait().Status; st != 0 {
		t.Errorf("the process that asked for more: %s", statusText(st))
	}
	if st := bystander.Wait().Status; st != 0 {
		t.Errorf("a process that forks: %s", statusText(st))
	}
}

// pressureReservations: frames that are only reserved can be used by others. The owner of
// the reservation keeps the pages that it has touched.
// Broken by: NewPool without AddReclaim.
func pressureReservations(t *T) {
	vs := t.newSpace()
	defer end(vs)
	const blocks = 6 // a machine of 64 MB has seven in one piece
	t.mapped(vs, dataVA, blocks*arch.BlockSize)
	for i := range arch.VA(blocks) {
		t.check("copyout", vs.CopyOut(dataVA+i*arch.BlockSize, []byte{byte(i + 1)}))
	}
	reserved := t.VM.Reservations().Unpopulated()
	if reserved < blocks*(arch.BlockPages-1) {
		t.Errorf("%d frames reserved by %d touched blocks", reserved, blocks)
	}
	free := t.Mem.FreeFrames()
	var taken []phys.Frame
	for {
		f, err := t.Mem.Alloc(phys.Kernel)
		if err != nil {
			break
		}
		taken = append(taken, f)
	}
	defer func() {
		b := phys.Batch{M: t.Mem}
		for _, f := range taken {
			b.Unref(f)
		}
		b.Flush()
	}()
	if got := len(taken); got < free+reserved {
		t.Errorf("%d frames to be had, with %d free and %d reserved", got, free, reserved)
	}
	for i := range arch.VA(blocks) {
		if c := t.byteAt(vs, dataVA+i*arch.BlockSize); c != byte(i+1) {
			t.Errorf("block %d has %d after its reservation was broken", i, c)
		}
	}
}
