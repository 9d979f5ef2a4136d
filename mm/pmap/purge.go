package pmap

import (
	"fmt"
	"math/bits"

	"grim/arch"
	"grim/mm/phys"
)

// How much a purge does before others run, in pages: purgeStep is about 20 000
// instructions. A table page or a block counts as purgeTable pages.
const (
	purgeStep  = 512
	purgeTable = 8
)

// Purge empties the user half. The last user of the address space calls it on its way out
// (DESIGN.md section 5, step 4). It first leaves the root on every CPU and flushes the
// identifier once. Only then does it take mappings and table pages apart, without any
// flush. It takes one subtree of the root after the other, each by one store under the
// lock. After that store only the purger can reach the subtree, so it frees it without a
// lock, and holds no lock while v or yield runs. It touches no entry of the kernel half,
// and the root stays.
//
// Dirty Shared pages are shown to v before their references are given up. yield (may be
// nil) is called now and then. Both may sleep. The cost is in the number of resident pages
// and table pages. Purge returns how many of each it freed.
func (p *Pmap) Purge(v Visitor, yield func()) Stats {
	s := p.s
	s.mu.Lock()
	s.leaveLocked(p)
	td := s.getTeardownLocked()
	s.mu.Unlock()
	w := &td.purger
	w.v, w.yield = v, yield
	for more := true; more; {
		var c DirtyPage
		if c, more = p.cutOff(); c.Frame != 0 {
			w.level2(c.Frame, c.VA)
		}
	}
	w.flush()
	p.mu.Lock()
	// The numbers freed must be the numbers counted when pages and tables were added:
	// Destroy and the vmspace's final free (E8) check that nothing is left.
	p.resident -= w.pages
	p.tables -= w.tables
	p.mu.Unlock()
	if s.local {
		p.smp.retiredMu.Lock()
		p.freeRetired() // no CPU has the pmap
		p.smp.retiredMu.Unlock()
	}
	did := Stats{w.pages, w.tables}
	w.v, w.yield = nil, nil
	w.pages, w.tables, w.work = 0, 0, 0
	s.putTeardown(td)
	p.leaving.Store(false)
	p.purgeWrongly()
	return did
}

// cutOff takes the first entry of the user half out of the root. It returns the entry's
// table and the first address that the table maps, and whether more entries are left. A
// frame of 0 means that there was no entry.
func (p *Pmap) cutOff() (cut DirtyPage, more bool) {
	mem := p.s.mem
	p.mu.Lock()
	info, rows := mem.Info(p.root), mem.Rows(p.root)
	for g := info.Groups; info.Used > 0; g = nextRow(g, info.Used) {
		r := bits.TrailingZeros64(g) & 63
		if k := phys.FirstUsed(&rows[r]); k < 8 {
			cut = DirtyPage{arch.VA(r<<3+k) << (arch.PageShift + 9*3), p.s.frame(rows[r][k&7])}
			rows[r][k&7] = 0
			info.Used--
			info.Groups = g // nothing is left in the rows before
			break
		}
	}
	more = info.Used > 0
	p.mu.Unlock()
	return cut, more
}

// nextRow returns g without its lowest row, after the last entry of that row was handled.
// left of the table's entries are still in use, so it panics if g has no row: Used is wrong
// then.
func nextRow(g uint64, left uint16) uint64 {
	if g == 0 {
		panic(fmt.Sprintf("pmap: table with %d entries more than are in use", left))
	}
	return g & (g - 1)
}

// purger frees subtrees that nothing else can reach. It is part of a teardown.
type purger struct {
	td    *teardown // its batches and its room for dirty pages
	s     *System
	v     Visitor
	yield func()

	pages, tables int // freed so far
	work          int // done since others last ran, in pages

	empty  [stepEmpty]phys.Frame // table pages, all zero, on their way to the stock
	nempty uint
}

// level2 frees the level-2 table f, which maps from va on, and all below it.
func (w *purger) level2(f phys.Frame, va arch.VA) {
	mem := w.s.mem
	info, rows := mem.Info(f), mem.Rows(f)
	g := info.Groups
	for left := info.Used; left > 0; {
		r := bits.TrailingZeros64(g) & 63
		k := phys.FirstUsed(&rows[r])
		if k == 8 {
			g = nextRow(g, left)
			continue
		}
		e := rows[r][k&7]
		rows[r][k&7] = 0
		left--
		w.level1(w.s.frame(e), va+arch.VA(r<<3+k)<<(arch.PageShift+9*2))
	}
	w.table(f)
}

// level1 frees the level-1 table f, which maps from va on, and all below it.
func (w *purger) level1(f phys.Frame, va arch.VA) {
	s := w.s
	info, rows := s.mem.Info(f), s.mem.Rows(f)
	g := info.Groups
	for left := info.Used; left > 0; {
		r := bits.TrailingZeros64(g) & 63
		k := phys.FirstUsed(&rows[r])
		if k == 8 {
			g = nextRow(g, left)
			continue
		}
		e := rows[r][k&7]
		rows[r][k&7] = 0
		left--
		if s.isBlock(e) {
			s.mem.UnrefBlock(s.frame(e))
			w.pages += arch.BlockPages
			w.work += purgeTable
		} else {
			leaf := s.frame(e)
			info := s.mem.Info(leaf)
			n := int(info.Used)
			w.pages += n
			w.work += n + purgeTable
			// A sparse mapping has one page in each table, and its next page lies in
			// another superblock. So a batch would collect nothing, and the page is freed
			// directly.
			row := &s.mem.Rows(leaf)[bits.TrailingZeros64(info.Groups)&63]
			i := phys.FirstUsed(row) & 7
			if e := row[i]; n == 1 && e != 0 && e&s.sharedDirty != s.sharedDirty {
				row[i] = 0
				if e&s.sole != 0 {
					s.mem.FreeSole(s.frame(e))
				} else {
					s.mem.Unref(s.frame(e))
				}
			} else {
				s.releaseLeaf(leaf, va+arch.VA(r<<3+k)<<arch.BlockShift, w.td, w.v)
			}
			w.empty[w.nempty%stepEmpty] = leaf // the body of w.table, written out
			if w.nempty++; w.nempty == stepEmpty {
				w.freeTables()
			}
		}
		if w.work >= purgeStep {
			w.pause()
		}
	}
	w.table(f)
}

// table frees table page f, which is all zero.
func (w *purger) table(f phys.Frame) {
	w.empty[w.nempty%stepEmpty] = f
	if w.nempty++; w.nempty == stepEmpty {
		w.freeTables()
	}
}

func (w *purger) freeTables() {
	w.td.tableBatch.FreeZeroed(w.empty[:w.nempty])
	w.tables += int(w.nempty)
	w.nempty = 0
}

func (w *purger) flush() {
	w.td.batch.Flush()
	w.freeTables()
	w.td.tableBatch.Flush()
}

// pause lets others run. All that has been freed so far is given back first.
func (w *purger) pause() {
	w.work = 0
	w.flush()
	if w.yield != nil {
		w.yield()
	}
}
