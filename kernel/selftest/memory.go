package selftest

import (
	"runtime"
	"syscall"
	"time"

	"grim/arch"
	"grim/mm/phys"
	"grim/mm/vm"
	"grim/proc"
)

const (
	private = vm.Fixed | vm.Private | vm.Anon
	shared  = vm.Fixed | vm.Shared | vm.Anon
)

// mapped maps private anonymous memory, readable and writable, at va.
func (t *T) mapped(vs *vm.VMSpace, va arch.VA, n uint64) {
	t.mapFlags(vs, va, n, readWrite, private|vm.NoReserve, nil) // any size
}

func (t *T) mapFlags(vs *vm.VMSpace, va arch.VA, n uint64, prot arch.Prot, flags vm.MapFlags, obj vm.Object) {
	_, err := vs.Map(va, n, prot, flags, obj, 0)
	t.check("map", err)
}

// mappedBlock is mapped for 2 MB, which it touches until a 2 MB block maps them.
func (t *T) mappedBlock(vs *vm.VMSpace, va arch.VA) {
	t.mapped(vs, va, arch.BlockSize)
	t.check("touch", vs.EnsureWritable(va, arch.BlockSize))
	if m, ok := vs.Pmap().Lookup(va); !ok || !m.Block {
		t.Fatalf("2 MB touched in a row are not one block: %+v", m)
	}
}

// byteAt reads a byte of user memory.
func (t *T) byteAt(vs *vm.VMSpace, va arch.VA) byte {
	var b [1]byte
	t.check("copyin", vs.CopyIn(b[:], va))
	return b[0]
}

// newSpace returns an address space without a program.
func (t *T) newSpace() *vm.VMSpace {
	vs, err := vm.New(t.VM, t.Layout, t.VM.Charges().Kernel())
	t.check("vm.New", err)
	return vs
}

// end purges and frees a space that does not belong to a process.
func end(vs *vm.VMSpace) {
	vs.Purge(nil)
	vs.Release()
}

// passes runs the program in vs. It must end with exit status 0. The steps that can fail
// end it with other statuses.
func (t *T) passes(what string, vs *vm.VMSpace) proc.WaitResult {
	r := t.start(vs).Wait()
	if r.Status != 0 {
		t.Errorf("%s: %s", what, statusText(r.Status))
	}
	return r
}

// dies runs the program in vs. The signal sig must end it.
func (t *T) dies(what string, vs *vm.VMSpace, sig syscall.Signal) {
	if st := t.run(vs); st != proc.SignalStatus(sig) {
		t.Errorf("%s: %s, want death by signal %d", what, statusText(st), sig)
	}
}

// panics returns the message of f's panic, or nil if f does not panic.
func panics(f func()) (msg any) {
	defer func() { msg = recover() }()
	f()
	return nil
}

// tableOf returns the entries of a table page.
func (t *T) tableOf(pa arch.PA) *[arch.Entries]arch.PTE { return t.Mem.Table(phys.FrameOf(pa)) }

// waitFor returns the result of p's end, or false if p has not ended after d.
func waitFor(p *proc.Process, d time.Duration) (proc.WaitResult, bool) {
	for deadline := time.Now().Add(d); !p.Exited(); time.Sleep(200 * time.Microsecond) {
		if time.Now().After(deadline) {
			return proc.WaitResult{}, false
		}
	}
	return p.Wait(), true
}

// guestTime returns the smallest of n measurements of f.
func guestTime(n int, f func() time.Duration) time.Duration {
	best := time.Duration(1<<63 - 1)
	for range n {
		runtime.Gosched() // other work that is due must not be measured
		best = min(best, f())
	}
	return best
}
