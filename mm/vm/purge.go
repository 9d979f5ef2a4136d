package vm

import (
	"sort"
	"time"

	"grim/mm/pmap"
)

// PurgeStats says what a Purge did.
type PurgeStats struct {
	Entries     int           // map entries taken apart
	Pages       int           // resident pages released, 4 KB each
	Tables      int           // page-table pages released, the root excluded
	Dirty       int           // pages handed back to their object
	DirtyErrors int           // how many of these pages the object refused
	DirtyTime   time.Duration // time spent in PutDirty
}

// purgeEntries is how many map entries are handled before others may run, at some 80
// instructions each if they have objects.
const purgeEntries = 128

// Purge removes every user mapping: it is step 4 of the exit contract (DESIGN.md section
// 5). The caller is the last user of the space, in its own context, and holds no lock.
// Purge may sleep, in PutDirty for as long as an object's pager takes. trace may be nil.
//
// The order matters:
//
//  1. The map is emptied, under mu. From here on no thread can fault anything in, including
//     readers of /proc.
//  2. pmap makes the user half unreachable for every CPU and flushes the address space once.
//     After that no flush is needed, and no table page is freed that a CPU could still walk.
//  3. Dirty pages of shared files are handed to their objects before their references are
//     dropped. So a process that waits for this one finds the objects coherent (E1).
//  4. Pages and table pages are released in batches. Other tasks run in between.
//  5. The objects lose their references last, and may be freed.
//
// The root page and the kernel half are not touched. The map stays valid: it is empty, and
// may be filled and purged again. The cost is in the number of entries, resident pages and
// table pages, not in the size of the address space.
func (vs *VMSpace) Purge(trace *PurgeStats) {
	vs.mu.Lock()
	head, last, n := vs.tree.first, vs.tree.last, vs.tree.n
	vs.tree = entryTree{yield: vs.tree.yield}
	vs.hint = nil
	vs.sizes = sizes{peakTotal: vs.sizes.peakTotal, peakPages: vs.sizes.peakPages}
	vs.brkStart, vs.brkEnd = 0, 0
	vs.mu.Unlock()

	// Truncation need not find these mappings any more: the pages hold references, and
	// PutDirty finds out which of them still belong to the file.
	var held *Mappings // of the last entry with an object; nil or locked
	var mapped *entry  // list of the entries with an object, through mapNext
	i := purgeEntries  // entries to handle before others run
	for e := head; e != nil; e = e.next {
		if e.obj != nil {
			m := e.obj.Mapped()
			if m != held {
				if held != nil {
					held.mu.Unlock()
				}
				m.mu.Lock()
				held = m
			}
			m.removeLocked(e)
			e.space = nil // code that still follows this entry stops here
			e.mapNext, mapped = mapped, e
		}
		if i--; i == 0 {
			i = purgeEntries
			if held != nil {
				held.mu.Unlock()
				held = nil
			}
			vs.sys.yield()
		}
	}
	if held != nil {
		held.mu.Unlock()
	}

	// A part of the space, because an argument for package pmap would be allocated
	// otherwise.
	v := &vs.purging
	v.cur = head
	v.did = PurgeStats{Entries: n}
	st := vs.pm.Purge(v, vs.sys.yield)
	v.did.Pages, v.did.Tables = st.Resident, st.Tables
	vs.mu.Lock()
	vs.sizes.peakPages = max(vs.sizes.peakPages, uint64(st.Resident))
	vs.mu.Unlock()
	if trace != nil {
		trace.add(&v.did)
	}
	v.cur = nil
	vs.rs.BreakAll() // last, so that blocks become free all at once

	for e := mapped; e != nil; e = e.mapNext {
		e.obj.Unref()
		e.obj = nil
		if i--; i == 0 {
			i = purgeEntries
			vs.sys.yield()
		}
	}
	vs.sys.freeEntries(head, last, n)
	vs.mu.Lock()
	vs.repay()
	vs.mu.Unlock()
}

// Purged reports whether map and pmap are empty.
func (vs *VMSpace) Purged() bool {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	st := vs.pm.Stats()
	return vs.tree.n == 0 && st.Resident == 0 && st.Tables == 0
}

// purgeVisitor hands dirty pages to their objects while the tables are taken apart. It
// finds each page's entry in the list of removed entries; both are in order of address.
type purgeVisitor struct {
	cur *entry
	did PurgeStats
}

func (s *PurgeStats) add(o *PurgeStats) {
	s.Entries += o.Entries
	s.Pages += o.Pages
	s.Tables += o.Tables
	s.Dirty += o.Dirty
	s.DirtyErrors += o.DirtyErrors
	s.DirtyTime += o.DirtyTime
}

// Dirty is called by package pmap with no lock held. PutDirty may sleep.
func (v *purgeVisitor) Dirty(pages []pmap.DirtyPage) {
	t := time.Now()
	v.did.Dirty += len(pages)
	for len(pages) > 0 {
		for v.cur != nil && v.cur.end <= pages[0].VA {
			v.cur = v.cur.next
		}
		e := v.cur
		if e == nil || pages[0].VA < e.start || e.obj == nil {
			panic("vm: purge found a dirty shared page outside every object mapping")
		}
		n := len(pages)
		if pages[n-1].VA >= e.end {
			n = sort.Search(n, func(i int) bool { return pages[i].VA >= e.end })
		}
		v.did.DirtyErrors += e.putDirty(pages[:n])
		pages = pages[n:]
	}
	v.did.DirtyTime += time.Since(t)
}
