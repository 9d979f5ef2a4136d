package pmap

import (
	"fmt"

	"grim/arch"
	"grim/mm/phys"
)

// rootStock is how many emptied roots are kept per layout. Their kernel half stays valid,
// so that the next process starts with a ready root.
const rootStock = 32

// New makes an empty address space. ENOMEM if there is no frame for its root.
func (s *System) New(l arch.Layout) (*Pmap, error) {
	p := new(Pmap)
	return p, s.Init(p, l)
}

// Init is New for a Pmap that is embedded in something else. p is zero or destroyed.
func (s *System) Init(p *Pmap, l arch.Layout) error {
	root, err := s.newRoot(l)
	if err != nil {
		return err
	}
	p.s, p.layout, p.root, p.top = s, l, root, s.mem.Table(root)
	p.resident, p.tables = 0, 0
	p.id.Store(0)
	p.domain.Store(0)
	if s.many {
		if p.smp == nil {
			p.smp = new(smp)
		}
		p.smp.serial.Store(s.serials.Add(1))
	}
	p.leaving.Store(false)
	return nil
}

func (s *System) newRoot(l arch.Layout) (phys.Frame, error) {
	s.mu.Lock()
	if n := len(s.roots[l]); n > 0 {
		f := s.roots[l][n-1]
		s.roots[l] = s.roots[l][:n-1]
		s.mu.Unlock()
		return f, nil
	}
	s.mu.Unlock()
	f, err := s.mem.Alloc(phys.Root)
	if err != nil {
		return 0, err
	}
	t := s.mem.Table(f)
	clear(t[:arch.KernelHalf])
	copy(t[arch.KernelHalf:], s.mem.Table(phys.FrameOf(s.mmu.KernelHalf(l)))[arch.KernelHalf:])
	return f, nil
}

// Empty reports whether nothing is mapped and only the root is left. It takes no lock, so
// the caller must be the last user. It panics if Destroy has run.
func (p *Pmap) Empty() bool {
	if p.root == 0 {
		panic("pmap: a pmap has no root: it has been destroyed already")
	}
	return p.resident == 0 && p.tables == 0 && p.s.mem.Info(p.root).Used == 0
}

// Destroy frees the root, or keeps it for the next pmap of the layout. The caller is the
// last user. It panics if p is not empty or a CPU has p loaded.
func (p *Pmap) Destroy() {
	s, f := p.s, p.root
	if !p.Empty() {
		panic(fmt.Sprintf("pmap: destroy of root %#x: %d resident pages, %d table pages, %d root entries remain", f.PA(), p.resident, p.tables, s.mem.Info(f).Used))
	}
	s.mu.Lock()
	if s.many || s.records[0].current.Load() == p {
		s.mustNotHave(p, "destroy")
	}
	s.leaveLocked(p)
	p.root, p.top = 0, nil
	s.mem.Info(f).Groups = 0
	keep := len(s.roots[p.layout]) < rootStock
	if keep {
		s.roots[p.layout] = append(s.roots[p.layout], f)
	}
	s.mu.Unlock()
	if !keep {
		s.mem.Unref(f)
	}
}

// Drain gives the kept roots back to the frame allocator and returns how many there were.
// Call it before frames are counted.
func (s *System) Drain() int {
	s.mu.Lock()
	var all []phys.Frame
	for l := range s.roots {
		all = append(all, s.roots[l]...)
		s.roots[l] = s.roots[l][:0]
	}
	s.mu.Unlock()
	for _, f := range all {
		s.mem.Unref(f)
	}
	return len(all)
}

// CheckKernelHalf compares the kernel half of p's root with the machine's,
// accessed and dirty bits aside (invariant E2).
func (s *System) CheckKernelHalf(p *Pmap) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	want := s.mem.Table(phys.FrameOf(s.mmu.KernelHalf(p.layout)))
	for i := arch.KernelHalf; i < arch.Entries; i++ {
		if (p.top[i]^want[i])&^s.f.HardwareBits != 0 {
			return fmt.Errorf("pmap: root %#x (%v): kernel entry %d is %#x, want %#x", p.root.PA(), p.layout, i, uint64(p.top[i]), uint64(want[i]))
		}
	}
	return nil
}
