package selftest

import (
	"fmt"
	"reflect"
	"sync"

	"grim/arch"
	"grim/mm/phys"
	"grim/mm/vm"
	"grim/proc"
	"grim/proc/exit"
)

var kernelMapTests = []test{
	{name: "kernelmap/write-xor-execute", run: kernelWriteXorExecute, layouts: true},
	{name: "kernelmap/stack-guards", run: kernelStackGuards},
	{name: "kernelmap/user-reaches-nothing", run: kernelUnreachable, layouts: true},
	{name: "kernelmap/kernel-half-stays", run: kernelHalfStays, layouts: true, designs: true},
	{name: "kernelmap/root-off-the-cpu", run: rootOffCPU, layouts: true, designs: true},
}

// kernelLeaf is a translation of the kernel half.
type kernelLeaf struct {
	va   arch.VA
	size uint64
	pa   arch.PA
	prot arch.Prot
	user bool
}

// kernelLeaves walks the kernel half of a layout as the CPU does.
func (t *T) kernelLeaves(l arch.Layout) (leaves []kernelLeaf) {
	f := t.Format
	var walk func(table arch.PA, level int, va arch.VA, prot arch.Prot, user bool)
	walk = func(table arch.PA, level int, va arch.VA, prot arch.Prot, user bool) {
		first := 0
		if level == arch.Levels-1 {
			first = arch.KernelHalf
		}
		for i := first; i < arch.Entries; i++ {
			e := t.tableOf(table)[i]
			if e&f.Present == 0 {
				continue
			}
			at := va + arch.VA(i)<<(arch.PageShift+9*level)
			leaf := level == 0 || level < 3 && e&f.LeafMask == f.LeafBits
			p, u := t.KernelRights(e, leaf)
			if leaf {
				leaves = append(leaves, kernelLeaf{at, 1 << (arch.PageShift + 9*level), arch.PA(e & f.Addr), prot & p, user && u})
			} else {
				walk(arch.PA(e&f.Addr), level-1, at, prot&p, user && u)
			}
		}
	}
	// Entry 256 translates the first address of the kernel half: sign-extended.
	base := arch.DirectBase - arch.VA(arch.KernelHalf)<<39
	walk(t.Machine.KernelHalf(l), arch.Levels-1, base, readWrite|arch.Exec, true)
	return leaves
}

// kernelWriteXorExecute: no memory in the kernel half can be both written and executed, or
// accessed by user code. The direct map is not executable. Text is only executable,
// constants are read-only, and no other mapping makes either writable.
// Broken by: kernData without NX; text mapped as data; the direct map of the image like any
// other memory.
func kernelWriteXorExecute(t *T) {
	leaves := t.kernelLeaves(t.Layout)
	var text, rodata, data int
	im := t.Image
	type frames struct{ from, to arch.PA }
	var fixed []frames // text and constants
	for _, k := range leaves {
		if k.prot&(arch.Write|arch.Exec) == arch.Write|arch.Exec {
			t.Errorf("%#x: %v", uint64(k.va), k.prot)
		}
		if k.user {
			t.Errorf("%#x: user code may use it", uint64(k.va))
		}
		if k.va < arch.KernelBase && k.prot&arch.Exec != 0 {
			t.Errorf("%#x, in the direct map: %v", uint64(k.va), k.prot)
		}
		want := arch.Prot(0)
		switch {
		case k.va >= im.Text && k.va < im.EText:
			text++
			want = arch.Read | arch.Exec
		case k.va >= im.Rodata && k.va < im.ERodata:
			rodata++
			want = arch.Read
		case k.va >= im.Data && k.va < im.End:
			data++
			want = readWrite
		}
		if want != 0 && k.prot != want {
			t.Errorf("%#x, in the kernel image: %v, want %v", uint64(k.va), k.prot, want)
		}
		if want != 0 && want != readWrite {
			fixed = append(fixed, frames{k.pa, k.pa + arch.PA(k.size)})
		}
	}
	if t.Layout == arch.SharedUK && (text == 0 || rodata == 0 || data == 0) {
		t.Errorf("%d mappings of text, %d of constants, %d of data: want some of each", text, rodata, data)
	}
	for _, k := range leaves {
		for _, x := range fixed {
			if k.prot&arch.Write != 0 && k.pa < x.to && x.from < k.pa+arch.PA(k.size) {
				t.Errorf("%#x, %v, maps the kernel's text or constants at %#x", uint64(k.va), k.prot, uint64(x.from))
				return
			}
		}
	}
}

// kernelStackGuards: the page below each fixed stack of the kernel is not mapped, and the
// page above it, the last of the stack, is.
// Broken by: kernel roots built without Image.Guards; a stack that starts a page lower than
// its guard says.
func kernelStackGuards(t *T) {
	leaves := t.kernelLeaves(arch.SharedUK)
	mapped := func(va arch.VA) bool {
		for _, k := range leaves {
			if va >= k.va && va-k.va < arch.VA(k.size) {
				return true
			}
		}
		return false
	}
	if len(t.Image.Guards) < 3 {
		t.Errorf("%d guard pages: boot stack, fault handler's stack and an exception stack have one each", len(t.Image.Guards))
	}
	for _, g := range t.Image.Guards {
		if mapped(g.Page) || !mapped(g.Page+arch.PageSize) {
			t.Errorf("%s: guard page %#x is mapped, or the page above is not", g.Stack, uint64(g.Page))
		}
	}
}

// kernelUnreachable: user code can neither read, write nor execute the kernel's memory: its
// text, constants, data, heap, and the direct map of the process's own root and code.
// Broken by: the user bit in kernelRodata (arm64).
func kernelUnreachable(t *T) {
	heap := new([64]byte)
	vs := t.newSpace()
	root := vs.Pmap().Root().Table
	end(vs) // the next space uses the same root
	im := t.Image
	targets := map[string]arch.VA{
		"text": im.Text + 0x1000, "constants": im.Rodata + 0x1000, "data": im.Data,
		"heap": arch.VA(reflect.ValueOf(heap).Pointer()), "root": arch.DirectBase + arch.VA(root),
		"last page": ^arch.VA(0) - 0xfff, "entry area": 0xffff_ffff_ffe0_0000,
	}
	for what, va := range targets {
		t.noAccess("the kernel's "+what, va)
	}
}

// halfSum returns a number that changes with any entry of the kernel half: the entries of
// the given root, without bits that the CPU sets, and all tables below.
func (t *T) halfSum(root arch.PA) uint64 {
	sum := uint64(14695981039346656037) // FNV-1a
	var walk func(table arch.PA, level int)
	walk = func(table arch.PA, level int) {
		first := 0
		if level == arch.Levels-1 {
			first = arch.KernelHalf
		}
		for i, e := range t.tableOf(table)[first:] {
			e &^= t.Format.HardwareBits
			if e == 0 {
				continue
			}
			for _, v := range [2]uint64{uint64(level<<16 + i), uint64(e)} {
				sum = (sum ^ v) * 1099511628211
			}
			if level > 0 && e&t.Format.Present != 0 && !(level < 3 && e&t.Format.LeafMask == t.Format.LeafBits) {
				walk(arch.PA(e&t.Format.Addr), level-1)
			}
		}
	}
	walk(root, arch.Levels-1)
	return sum
}

// kernelHalfStays (E2): the kernel half of a root equals the machine's from the root's
// creation to the end of its process: while user memory is mapped, while dirty pages are
// written back in the middle of the purge, after the purge, and in the root that is kept
// for the next process. The user half of the kept root is empty.
// Broken by: Purge that clears the whole root; Destroy that clears entry 300; newRoot that
// copies from entry 257.
func kernelHalfStays(t *T) {
	want := t.halfSum(t.Machine.KernelHalf(t.Layout))
	during := 0
	var root arch.PA
	same := func(when string) {
		if t.halfSum(root) != want || t.halfSum(t.Machine.KernelHalf(t.Layout)) != want {
			t.Errorf("the kernel half has changed %s", when)
		}
	}
	pager := &memoryPager{onOut: func() { during++; same("during the purge") }}
	obj := t.newFile(pager, 3*arch.PageSize)
	defer obj.Unref()

	var p, child program
	child.touch(dataVA, arch.PageSize, 20)
	child.exit(0)
	p.touch(dataVA, arch.PageSize, 40)
	p.touch(farVA, arch.PageSize, 3)
	p.fork(&child)
	p.waitAny(stackVA - 128)
	p.touch(dataVA, 2*arch.PageSize, 20)
	p.exit(0)
	vs := t.space(&p)
	t.mapped(vs, dataVA, arch.BlockSize)
	t.mapFlags(vs, farVA, 3*arch.PageSize, readWrite, vm.Fixed|vm.Shared, obj)
	root = vs.Pmap().Root().Table
	same("in a new root")
	t.check("kernel half", t.Pmaps.CheckKernelHalf(vs.Pmap()))
	t.passes("workload", vs)
	t.quiet()
	same("after the end")
	if during == 0 {
		t.Errorf("no look at the kernel half during the purge")
	}
	if t.Mem.Owner(phys.FrameOf(root)) == phys.Root {
		for i, e := range t.tableOf(root)[:arch.KernelHalf] {
			if e != 0 {
				t.Errorf("user entry %d of a destroyed root is %#x", i, uint64(e))
				break
			}
		}
	}
}

// loadedRoots is a machine that can report the contents of its registers.
type loadedRoots interface{ LoadedRoots() [2]arch.PA }

// rootOffCPU (E3): at every step of an exit, the roots in the CPU's registers are in use.
// From the purge on, none of them is the exiting process's.
// Broken by: Pmaps.Deactivate left out of leaveSiblings and of pmap.leave; Destroy before
// the pmap has been left.
func rootOffCPU(t *T) {
	cpu, ok := t.Machine.(loadedRoots)
	if !ok {
		t.Fatalf("the machine cannot tell its roots")
	}
	kernel := [2]arch.PA{t.Machine.KernelHalf(arch.SharedUK), t.Machine.KernelHalf(arch.Separate)}
	var child, p program
	child.touch(dataVA, arch.PageSize, 30)
	child.exit(0)
	p.touch(dataVA, arch.PageSize, 10)
	p.fork(&child)
	p.touch(dataVA, arch.PageSize, 30)
	p.waitAny(stackVA - 128)
	p.exit(0)
	vs := t.space(&p)
	t.mapped(vs, dataVA, arch.BlockSize)
	root := vs.Pmap().Root().Table

	var mu sync.Mutex // several CPUs may make a step at the same time
	var bad []string
	steps := 0
	var pid int32
	t.OnExitStep(func(e *proc.Event) {
		mu.Lock()
		defer mu.Unlock()
		// While the goroutine does not move to another CPU, the CPU's registers do not
		// change.
		t.Pin()
		roots, current := cpu.LoadedRoots(), arch.PA(0)
		if c := t.Pmaps.Current(); c != nil {
			current = c.Root().Table
		}
		t.Unpin()
		for _, r := range roots {
			if r == 0 || r == kernel[0] || r == kernel[1] {
				continue
			}
			f := phys.FrameOf(r)
			if t.Mem.Owner(f) != phys.Root || !t.Mem.InUse(f) {
				bad = append(bad, fmt.Sprintf("at %v root %#x is loaded, a frame of owner %v", e.Step, uint64(r), t.Mem.Owner(f)))
			}
			if r != current {
				bad = append(bad, fmt.Sprintf("at %v root %#x is loaded, which is no pmap's that this CPU should be on", e.Step, uint64(r)))
			}
			if e.PID == pid && r == root && e.Step >= exit.StepUserDone {
				bad = append(bad, fmt.Sprintf("at %v the exiting process's root is still loaded", e.Step))
			}
		}
		if e.PID == pid {
			steps++
		}
	})
	defer t.OnExitStep(nil)
	proc := t.startAfter(vs, func(th *proc.Thread) { pid = int32(th.TID()) })
	if st := proc.Wait().Status; st != 0 {
		t.Errorf("%s", statusText(st))
	}
	t.OnExitStep(nil)
	for _, b := range bad {
		t.Errorf("%s", b)
	}
	if steps < 8 {
		t.Errorf("%d exit steps seen, want all", steps)
	}
}
