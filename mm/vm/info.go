package vm

import (
	"math"

	"grim/arch"
)

// EntryInfo is one line of /proc/self/maps.
type EntryInfo struct {
	Start, End arch.VA
	Prot       arch.Prot
	Shared     bool
	GrowsDown  bool
	Locked     bool
	Name       string // the object's name, "[heap]", "[stack]" or ""
	Off        int64
	Inode      uint64
}

// Entries returns the entries of the map in order of address.
func (vs *VMSpace) Entries() []EntryInfo { return vs.EntriesFrom(0, math.MaxInt) }

// EntriesFrom returns up to n entries of the map, beginning with the first that ends after
// from.
func (vs *VMSpace) EntriesFrom(from arch.VA, n int) []EntryInfo {
	vs.mu.Lock()
	n = min(n, vs.tree.n)
	l := make([]EntryInfo, 0, n)
	objects := make([]Object, 0, n) // with a reference each; nil: no object
	for e := vs.tree.ceil(from); e != nil && len(l) < n; e = e.next {
		i := EntryInfo{Start: e.start, End: e.end, Prot: e.prot, Off: e.off,
			Shared: e.flags&entShared != 0, GrowsDown: e.flags&entGrowsDown != 0, Locked: e.flags&entWired != 0}
		switch {
		case e.obj != nil:
			e.obj.Ref()
		case e.flags&entHeap != 0:
			i.Name = "[heap]"
		case e.flags&entGrowsDown != 0:
			i.Name = "[stack]"
		}
		l, objects = append(l, i), append(objects, e.obj)
		vs.spend(4 * costEntry)
	}
	vs.mu.Unlock()
	var work pace
	for k, obj := range objects {
		work.spend(vs.sys, costChange)
		if obj == nil {
			continue
		}
		l[k].Name = obj.Name()
		if o, ok := obj.(interface{ Inode() uint64 }); ok {
			l[k].Inode = o.Inode()
		}
		obj.Unref()
	}
	return l
}

// Stats are sizes in bytes that /proc/self/status and getrusage(2) show.
type Stats struct {
	VSize, RSS, Tables, Locked, Data, Stack, Exec uint64
	PeakVSize, PeakRSS                            uint64
	Entries                                       int
}

// PeakRSS returns the largest amount of memory that was resident at one time, in bytes.
func (vs *VMSpace) PeakRSS() uint64 {
	vs.mu.Lock()
	vs.sampleRSS()
	n := vs.sizes.peakPages << arch.PageShift
	vs.mu.Unlock()
	return n
}

// Stats returns the current sizes.
func (vs *VMSpace) Stats() Stats {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	vs.sampleRSS()
	s, p := &vs.sizes, vs.pm.Stats()
	return Stats{
		VSize: s.total, Locked: s.locked, Data: s.data, Stack: s.stack, Exec: s.exec,
		RSS: uint64(p.Resident) << arch.PageShift, Tables: uint64(p.Tables) << arch.PageShift,
		PeakVSize: s.peakTotal, PeakRSS: s.peakPages << arch.PageShift,
		Entries: vs.tree.n,
	}
}
