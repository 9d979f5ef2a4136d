package vm

import (
	"fmt"
	"math/rand"
	"syscall"
	"testing"

	"grim/arch"
)

// The model of address spaces is one struct per page: what mmap(2), fork(2) and
// the rest promise, written down in the plainest way. Each page's contents are
// one byte, kept at its first and last address.

const (
	modelBase  arch.VA = 0x40000000
	modelPages         = 3 * arch.BlockPages
)

type modelPage struct {
	mapped, shared, wired bool
	prot                  arch.Prot
	obj                   *modelObject
	idx                   int
	priv                  *byte // a private page's own contents, nil: none yet
	dontFork, wipe        bool
}

type modelObject struct {
	obj  Object
	file *FileObject // nil: shared anonymous memory
	data []byte
	size int // pages
}

type modelSpace struct {
	vs    *VMSpace
	pages [modelPages]modelPage
}

type model struct {
	m      *machine
	spaces []*modelSpace
	files  []*modelObject
}

// get is what a load from page i gives.
func (s *modelSpace) get(i int) (byte, error) {
	p := &s.pages[i]
	switch {
	case !p.mapped:
		return 0, syscall.EFAULT
	case p.prot == 0:
		return 0, syscall.EACCES
	case p.obj != nil && p.idx >= p.obj.size:
		return 0, syscall.EIO
	case p.priv != nil:
		return *p.priv, nil
	case p.obj != nil:
		return p.obj.data[p.idx], nil
	}
	return 0, nil
}

// set is a store to page i.
func (s *modelSpace) set(i int, b byte) error {
	p := &s.pages[i]
	if p.mapped && p.prot&arch.Write == 0 {
		return syscall.EACCES
	}
	if _, err := s.get(i); err != nil {
		return err
	}
	if p.shared {
		p.obj.data[p.idx] = b
	} else {
		p.priv = &b
	}
	return nil
}

// touch is what faulting a page in for writing does, without a write: a private
// mapping of a file takes its copy now, and sees no change of the file from then
// on (which mmap(2) leaves open).
func (p *modelPage) touch() {
	if p.obj != nil && !p.shared && p.priv == nil && p.prot&arch.Write != 0 {
		b := p.obj.data[p.idx]
		p.priv = &b
	}
}

// input turns fuzz bytes into choices; when they run out, everything is 0.
type input struct{ b []byte }

func (in *input) n(n int) int {
	if len(in.b) == 0 {
		return 0
	}
	v := int(in.b[0])
	in.b = in.b[1:]
	if n > 256 && len(in.b) > 0 {
		v |= int(in.b[0]) << 8
		in.b = in.b[1:]
	}
	return v % n
}

// span is a range of pages: mostly a few, sometimes whole blocks.
func (in *input) span() (first, n int) {
	switch in.n(8) {
	case 0:
		first = in.n(3) * arch.BlockPages
		return first, min(modelPages-first, (1+in.n(2))*arch.BlockPages)
	case 1:
		first = in.n(modelPages)
		return first, min(modelPages-first, 1+in.n(600))
	}
	first = in.n(3)*(arch.BlockPages-8) + in.n(32)
	return first, 1 + in.n(12)
}

func addr(i int) arch.VA { return modelBase + arch.VA(i)<<arch.PageShift }

func (mo *model) step(in *input) (desc string, err error) {
	s := mo.spaces[in.n(len(mo.spaces))]
	op := in.n(24)
	switch {
	case op < 5:
		return mo.access(in, s)
	case op < 9:
		return mo.doMap(in, s)
	case op == 20:
		return mo.fork(in, s)
	case op == 21:
		return mo.exit(in)
	case op == 22:
		return mo.truncate(in)
	case op == 23:
		return mo.remap(in, s)
	}
	first, n := in.span()
	va, length := addr(first), uint64(n)<<arch.PageShift
	pages := s.pages[first : first+n]
	holes := false
	for i := range pages {
		holes = holes || !pages[i].mapped
	}
	var got, want error
	switch op {
	case 9, 10:
		desc = fmt.Sprintf("munmap %d+%d", first, n)
		got = s.vs.Unmap(va, length)
		clear(pages)
	case 11, 12, 13:
		prot := arch.Prot(in.n(8))
		desc = fmt.Sprintf("mprotect %d+%d %v", first, n, prot)
		got = s.vs.Protect(va, length, prot)
		if holes {
			want = syscall.ENOMEM
			break
		}
		for i := range pages {
			pages[i].prot = prot
		}
	case 14, 15:
		desc = fmt.Sprintf("madvise dontneed %d+%d", first, n)
		got = s.vs.Advise(va, length, 4)
		for i := range pages {
			if pages[i].mapped && pages[i].wired {
				want = syscall.EINVAL
				break
			}
			pages[i].priv = nil
		}
		if holes && want == nil {
			want = syscall.ENOMEM
		}
	case 16:
		on := in.n(2) == 0
		desc = fmt.Sprintf("mlock %d+%d %v", first, n, on)
		if n > 64 {
			return desc, nil // would fill the machine
		}
		if on {
			got = s.vs.Lock(va, length)
		} else {
			got = s.vs.Unlock(va, length)
		}
		if holes {
			want = syscall.ENOMEM
			break
		}
		for i := range pages {
			p := &pages[i]
			p.wired = on
			if !on || want != nil || p.prot == 0 || p.obj == nil {
				continue
			}
			if p.idx >= p.obj.size {
				want = syscall.ENOMEM // cannot be faulted in; locked all the same
			} else {
				p.touch()
			}
		}
	case 17:
		desc = fmt.Sprintf("msync %d+%d", first, n)
		got = s.vs.Sync(va, length, msSync)
		if holes {
			want = syscall.ENOMEM
		}
	case 18:
		adv := []int{10, 11}[in.n(2)]
		desc = fmt.Sprintf("madvise fork %d %d+%d", adv, first, n)
		got = s.vs.Advise(va, length, adv)
		for i := range pages {
			pages[i].dontFork = adv == 10
		}
		if holes {
			want = syscall.ENOMEM
		}
	case 19:
		adv := []int{18, 19}[in.n(2)]
		desc = fmt.Sprintf("madvise wipe %d %d+%d", adv, first, n)
		got = s.vs.Advise(va, length, adv)
		if adv == 18 {
			for i := range pages {
				if pages[i].mapped && pages[i].obj != nil {
					want = syscall.EINVAL
				}
			}
		}
		if want == nil {
			for i := range pages {
				pages[i].wipe = adv == 18
			}
			if holes {
				want = syscall.ENOMEM
			}
		}
	}
	for i := range pages {
		if !pages[i].mapped {
			pages[i] = modelPage{}
		}
	}
	if got != want {
		return desc, fmt.Errorf("error %v, want %v", got, want)
	}
	return desc, nil
}

// access reads or writes, as user code or as a system call.
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

// compare loads page i and looks whether it is as it should be.
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
	vs, err := s.vs.Fork(arch.Layout(in.n(2)))
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

// runModel plays an input and compares everything at the end.
func runModel(t *testing.T, f *arch.Format, b []byte) {
	m := newMachine(t, f, 16<<10)
	mo := &model{m: m}
	for i := range 2 {
		o := NewFileObject(m.System, fmt.Sprint("/file", i), nil)
		o.Truncate(16 << arch.PageShift)
		mo.files = append(mo.files, &modelObject{obj: o, file: o, data: make([]byte, 64), size: 16})
	}
	vs, err := New(m.System, arch.SharedUK)
	if err != nil {
		t.Fatal(err)
	}
	mo.spaces = []*modelSpace{{vs: vs}}
	in := &input{b}
	var log []string
	for len(in.b) > 0 && len(log) < 300 {
		desc, err := mo.step(in)
		log = append(log, desc)
		if err == nil && t.Failed() {
			err = fmt.Errorf("see above")
		}
		if err != nil {
			t.Fatalf("step %d: %s: %v\nsteps: %q", len(log), desc, err, log)
		}
	}
	for _, s := range mo.spaces {
		check(t, s.vs)
		for i := range s.pages {
			if err := mo.compare(s, i); err != nil {
				t.Fatalf("at the end: %v\nsteps: %q", err, log)
			}
		}
	}
	for _, fo := range mo.files {
		for i := range fo.size {
			var b [1]byte
			if fo.file.ReadAt(b[:], int64(i)<<arch.PageShift); b[0] != fo.data[i] {
				t.Fatalf("file page %d reads %d, want %d\nsteps: %q", i, b[0], fo.data[i], log)
			}
		}
	}
	if err := m.mem.Audit(); err != nil {
		t.Fatal(err)
	}
	for _, s := range mo.spaces {
		m.end(s.vs)
	}
	for _, fo := range mo.files {
		fo.file.Unref()
	}
}

// Random operations on the real thing and on the model agree.
func TestModel(t *testing.T) {
	bothFormats(t, func(t *testing.T, f *arch.Format) {
		n := 150
		if testing.Short() {
			n = 20
		}
		for seed := range n {
			t.Run(fmt.Sprint(seed), func(t *testing.T) {
				b := make([]byte, 1500)
				rand.New(rand.NewSource(int64(seed))).Read(b)
				runModel(t, f, b)
			})
		}
	})
}

func FuzzModel(f *testing.F) {
	for seed := range 4 {
		b := make([]byte, 400)
		rand.New(rand.NewSource(int64(seed + 1000))).Read(b)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) { runModel(t, formats[len(b)%2], b) })
}
