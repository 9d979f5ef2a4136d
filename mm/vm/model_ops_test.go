package vm

import (
	"fmt"
	"syscall"

	"grim/arch"
)

// The model's versions of the larger operations.

// access reads or writes memory, as user code or as a system call.
func (mo *model) access(in *input, s *modelSpace) (string, error) {
	first, n := in.span()
	if in.n(2) == 0 && n > 16 {
		n = 16
	}
	kind, b := in.n(4), byte(1+in.n(255))
	desc := fmt.Sprintf("access %d %d+%d", kind, first, n)
	if kind == 0 { // copy out of whole pages: all or nothing
		ok := true
		for i := first; i < first+n; i++ {
			_, err := s.get(i)
			if ok = ok && err == nil && s.pages[i].prot&arch.Write != 0; ok {
				s.pages[i].touch()
			}
		}
		buf := make([]byte, n<<arch.PageShift)
		for i := range n {
			buf[i<<arch.PageShift], buf[i<<arch.PageShift+arch.PageSize-1] = b, b
		}
		err := s.vs.CopyOut(addr(first), buf)
		if ok != (err == nil) || err != nil && err != syscall.EFAULT {
			return desc, fmt.Errorf("copy out: %v, want it to work: %v", err, ok)
		}
		if ok {
			for i := first; i < first+n; i++ {
				s.set(i, b)
			}
		}
		return desc, nil
	}
	for i := first; i < first+n; i++ {
		if kind == 1 {
			if err := mo.compare(s, i); err != nil {
				return desc, err
			}
			continue
		}
		want := s.set(i, b)
		got := store(s.vs, addr(i), b)
		if got == nil {
			got = store(s.vs, addr(i)+arch.PageSize-1, b)
		}
		if got != want {
			return desc, fmt.Errorf("store to page %d: %v, want %v", i, got, want)
		}
	}
	return desc, nil
}

// compare loads page i and checks the result.
func (mo *model) compare(s *modelSpace, i int) error {
	want, werr := s.get(i)
	got, gerr := load(s.vs, addr(i))
	last := got
	if gerr == nil {
		last, gerr = load(s.vs, addr(i)+arch.PageSize-1)
	}
	if got != want || last != want || gerr != werr {
		return fmt.Errorf("page %d reads %d .. %d, %v; want %d, %v", i, got, last, gerr, want, werr)
	}
	return nil
}

func (mo *model) doMap(in *input, s *modelSpace) (string, error) {
	first, n := in.span()
	kind, prot := in.n(6), arch.Prot(in.n(8))
	if kind < 4 && prot != 0 {
		prot |= rw // mostly useful memory
	}
	p := modelPage{mapped: true, prot: prot}
	flags, obj, off := Fixed|Private|Anon, Object(nil), 0
	switch kind {
	case 2:
		p.obj = &modelObject{data: make([]byte, n), size: n}
		p.shared = true
		flags = Fixed | Shared | Anon
	case 3, 4:
		p.obj = mo.files[in.n(len(mo.files))]
		off = in.n(8)
		obj, flags = p.obj.obj, Fixed|Shared
		if p.shared = in.n(2) == 0; !p.shared {
			flags = Fixed | Private
		}
		n = min(n, 64)
	}
	desc := fmt.Sprintf("mmap %d+%d kind %d %v shared %v off %d", first, n, kind, prot, p.shared, off)
	_, err := s.vs.Map(addr(first), uint64(n)<<arch.PageShift, prot, flags, obj, int64(off)<<arch.PageShift)
	for i := range n {
		if p.obj != nil {
			p.idx = off + i
		}
		s.pages[first+i] = p
	}
	return desc, err
}

func (mo *model) fork(in *input, s *modelSpace) (string, error) {
	if len(mo.spaces) == 4 {
		return "fork: enough", nil
	}
	vs, err := s.vs.Fork(arch.Layout(in.n(2)), 0)
	if err != nil {
		return "fork", err
	}
	c := &modelSpace{vs: vs, pages: s.pages}
	for i := range c.pages {
		p := &c.pages[i]
		p.wired = false
		switch {
		case p.dontFork:
			*p = modelPage{}
		case p.wipe:
			p.priv = nil
		case p.priv != nil:
			b := *p.priv
			p.priv = &b
		}
	}
	mo.spaces = append(mo.spaces, c)
	return "fork", nil
}

func (mo *model) exit(in *input) (string, error) {
	if len(mo.spaces) == 1 {
		return "exit: not the last", nil
	}
	i := in.n(len(mo.spaces))
	mo.m.end(mo.spaces[i].vs)
	mo.spaces = append(mo.spaces[:i], mo.spaces[i+1:]...)
	return "exit", nil
}

func (mo *model) truncate(in *input) (string, error) {
	f := mo.files[in.n(len(mo.files))]
	n := in.n(len(f.data))
	desc := fmt.Sprintf("truncate to %d", n)
	if err := f.file.Truncate(int64(n) << arch.PageShift); err != nil {
		return desc, err
	}
	if n < f.size {
		clear(f.data[n:])
		for _, s := range mo.spaces {
			for i := range s.pages {
				if p := &s.pages[i]; p.obj == f && p.idx >= n {
					p.priv = nil
				}
			}
		}
	}
	f.size = n
	return desc, nil
}

// remap moves pages by mremap with MREMAP_FIXED.
func (mo *model) remap(in *input, s *modelSpace) (string, error) {
	first, n := in.span()
	to := in.n(modelPages)
	n = min(n, modelPages-to)
	desc := fmt.Sprintf("mremap %d+%d to %d", first, n, to)
	length := uint64(n) << arch.PageShift
	_, err := s.vs.Remap(addr(first), length, length, mremapMayMove|mremapFixed, addr(to))
	if to < first+n && first < to+n {
		if err != syscall.EINVAL {
			return desc, fmt.Errorf("overlapping: %v", err)
		}
		return desc, nil
	}
	p0 := s.pages[first]
	one := p0.mapped
	for i := range n {
		p := &s.pages[first+i]
		one = one && p.mapped && p.obj == p0.obj && p.idx-p0.idx == i*btoi(p0.obj != nil) &&
			p.prot == p0.prot && p.shared == p0.shared && p.wired == p0.wired &&
			p.dontFork == p0.dontFork && p.wipe == p0.wipe
	}
	if !one {
		if err != syscall.EFAULT {
			return desc, fmt.Errorf("more than one mapping, or a hole: %v", err)
		}
		return desc, nil
	}
	if err != nil {
		return desc, err
	}
	copy(s.pages[to:to+n], append([]modelPage(nil), s.pages[first:first+n]...))
	clear(s.pages[first : first+n])
	return desc, nil
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}
