package pmap

import (
	"math/bits"

	"grim/arch"
	"grim/mm/phys"
)

// How long a purge goes on before others run, in pages: about 100 000
// instructions. A table page or block costs as much as a few pages.
const (
	purgeStep  = 4096
	purgeTable = 8
	cutRoots   = 4 // root entries cut off under one lock
)

// Purge empties the user half, as the last user of the address space does on its
// way out (DESIGN.md section 5, step 4). It first leaves the root on every CPU and
// flushes the identifier once; only then does it take mappings and table pages
// apart, with no flush. Each subtree of the root is cut off under the lock, by one
// store, and is the purger's alone from then on: nobody can look into it, so the
// rest needs no lock, and none is held while v or yield runs. It touches no entry
// of the kernel half; the root stays. Dirty Shared pages are shown to v before
// their references go; yield (may be nil) is called now and then; both may sleep.
// The cost is in resident pages and table pages.
func (p *Pmap) Purge(v Visitor, yield func()) {
	s := p.s
	s.leave(p)
	w := purger{s: s, td: s.getTeardown(), v: v, yield: yield}
	for {
		n := p.cutOff(&w.cut)
		if n == 0 {
			break
		}
		for _, c := range w.cut[:n] {
			w.upper(c.Frame, 2, c.VA)
		}
	}
	w.flush()
	s.putTeardown(w.td)
	p.mu.Lock()
	// What was freed must be what was counted in: Destroy and the vmspace's
	// final free (E8) look whether anything is left over.
	p.resident -= w.pages
	p.tables -= w.tables
	p.mu.Unlock()
	s.mu.Lock()
	p.leaving = false
	s.mu.Unlock()
}

// cutOff takes entries of the user half out of the root, as many as fit in cut,
// and says how many. One look at the root is enough for all processes but odd
// ones: a program, its heap and its stack are in two.
func (p *Pmap) cutOff(cut *[cutRoots]DirtyPage) (n int) {
	p.mu.Lock()
	info := p.s.mem.Info(p.root)
	for i := 0; info.Used > 0 && n < len(cut); n++ {
		i = nextUsed(p.top, info.Groups, i)
		cut[n] = DirtyPage{arch.VA(i) << (arch.PageShift + 9*3), p.s.frame(p.top[i])}
		p.take(p.rootNode(), i)
	}
	p.mu.Unlock()
	return n
}

// purger frees subtrees that nobody else can reach.
type purger struct {
	s     *System
	td    *teardown // its batches and its room for dirty pages
	v     Visitor
	yield func()

	pages, tables int // freed so far
	work          int // since others ran, in pages

	cut    [cutRoots]DirtyPage   // level-2 tables cut off the root
	empty  [stepEmpty]phys.Frame // table pages, all zero, on their way to the stock
	nempty int
}

// upper frees a table of level 2 or 1 that maps from va on, and all below it.
func (w *purger) upper(f phys.Frame, level int, va arch.VA) {
	s := w.s
	t := s.mem.Table(f)
	for g := s.mem.Info(f).Groups; g != 0; g &= g - 1 {
		k := bits.TrailingZeros64(g) << 3
		for last := k + 8; k < last; k++ {
			e := t[k]
			if e == 0 {
				continue
			}
			t[k] = 0
			at := va + arch.VA(k)<<(uint(arch.PageShift)+9*uint(level))
			switch {
			case level == 2:
				w.upper(s.frame(e), 1, at)
			case s.isBlock(e):
				s.mem.UnrefBlock(s.frame(e))
				w.pages += arch.BlockPages
				w.work += purgeTable
			default:
				w.leaf(s.frame(e), at)
			}
			if w.work >= purgeStep {
				w.pause()
			}
		}
	}
	w.table(f)
}

// leaf frees what a leaf table maps, then the table, which is all zero by then.
func (w *purger) leaf(f phys.Frame, va arch.VA) {
	s := w.s
	info := s.mem.Info(f)
	n := int(info.Used)
	w.pages += n
	w.work += n + purgeTable
	// A sparse mapping has one page in a table, most often the first of a group.
	t := s.mem.Table(f)
	k := bits.TrailingZeros64(info.Groups) << 3 & (arch.Entries - 1)
	if e := t[k]; n == 1 && e != 0 && e&s.sharedDirty != s.sharedDirty {
		t[k] = 0
		w.td.batch.Unref(s.frame(e))
	} else {
		s.releaseLeaf(DirtyPage{va, f}, w.td, w.v)
	}
	w.table(f)
}

// table frees an empty table page.
func (w *purger) table(f phys.Frame) {
	w.tables++
	if w.nempty == len(w.empty) {
		w.freeTables()
	}
	w.empty[w.nempty] = f
	w.nempty++
}

func (w *purger) freeTables() {
	w.td.tableBatch.FreeZeroed(w.empty[:w.nempty])
	w.nempty = 0
}

func (w *purger) flush() {
	w.td.batch.Flush()
	w.freeTables()
	w.td.tableBatch.Flush()
}

// pause lets others run. What is free by then is given back first.
func (w *purger) pause() {
	w.work = 0
	w.flush()
	if w.yield != nil {
		w.yield()
	}
}
