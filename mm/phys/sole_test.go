package phys_test

import (
	"math/rand/v2"
	"testing"

	"grim/arch"
	"grim/mm/phys"
	"grim/mm/phys/phystest"
)

// mark is the bit of an entry that is its frame's only reference.
const mark = arch.PTE(1 << 55)

func panics(f func()) (did bool) {
	defer func() { did = recover() != nil }()
	f()
	return false
}

// TestSole checks that a sole frame is in use, with one reference, and that its count cannot
// be changed before Counted, which must come before the frame is shared.
//
// Broken by: no check of block.sole in Refs or Owners; Counted leaves the bit.
func TestSole(t *testing.T) {
	m := phystest.New(t, 2*512)
	free := m.FreeFrames()
	f, err := m.AllocSole()
	if err != nil {
		t.Fatal(err)
	}
	if !m.Sole(f) || m.Refs(f) != 1 || !m.InUse(f) || m.Owner(f) != phys.Anon || m.Owners()[phys.Anon] != 1 {
		t.Errorf("sole %v, %d references, owners %v", m.Sole(f), m.Refs(f), m.Owners())
	}
	if in, o := m.Peek(f); !in || o != phys.Anon {
		t.Errorf("Peek: %v, %v", in, o)
	}
	audit(t, m)
	if !panics(func() { m.Ref(f) }) || !panics(func() { m.Unref(f) }) {
		t.Error("the count of a sole frame can be changed")
	}
	m.Counted(f)
	if m.Sole(f) || m.Refs(f) != 1 || m.Owner(f) != phys.Anon || !panics(func() { m.Counted(f) }) {
		t.Errorf("counted: sole %v, %d references, owner %v", m.Sole(f), m.Refs(f), m.Owner(f))
	}
	m.Ref(f)
	m.Unref(f)
	m.Unref(f)
	g, _ := m.AllocSole()
	m.FreeSole(g)
	if n := m.FreeFrames(); n != free || m.Sole(g) || m.InUse(g) {
		t.Errorf("%d frames free, want %d; sole %v", n, free, m.Sole(g))
	}
	m.FailAfter(0)
	if _, err := m.AllocSole(); err == nil {
		t.Error("an allocation that is refused succeeds")
	}
	m.FailAfter(-1)
	audit(t, m)
	if !panics(func() { m.FreeSole(g) }) { // the memory is locked from here on
		t.Error("a sole frame can be freed twice")
	}
}

// soleBlocks returns the first frame of two superblocks in a row. All their frames are sole,
// and no longer belong to a reservation.
func soleBlocks(t *testing.T, m *phys.Memory) (base phys.Frame) {
	t.Helper()
	all := [8]uint64{}
	for i := range all {
		all[i] = ^uint64(0)
	}
	for range 2 {
		f, ok := m.Reservation()
		if !ok {
			t.Fatal("no block")
		}
		m.Populate(f, 512)
		m.Unreserve(f, &all, 512)
		if base == 0 || f < base {
			base = f
		}
	}
	return base
}

// TestSoleRows checks tables with entries of sole, counted and shared frames, in order and
// out of order, at any place in two superblocks. Each frame must be free when its last
// reference is gone, and the count of a sole frame must not be used. A part of the table is
// copied first, as in fork.
//
// Broken by: ReleaseLeaf takes every frame for counted; release leaves bits in block.sole;
// CountTable leaves the mark.
func TestSoleRows(t *testing.T) {
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 7))
		m := phystest.New(t, 4*512)
		base := soleBlocks(t, m) + phys.Frame(r.IntN(512))
		frames := make([]phys.Frame, 128+r.IntN(300))
		for k := range frames {
			frames[k] = base + phys.Frame(k)
		}
		if seed%3 == 0 {
			r.Shuffle(len(frames), func(i, j int) { frames[i], frames[j] = frames[j], frames[i] })
		}
		table, groups := entriesFor(frames)
		extra := make([]bool, len(frames)) // the test holds a second reference
		for k, f := range frames {
			switch r.IntN(1 + int(seed%4)*7) {
			case 1:
				m.Counted(f)
				m.Ref(f)
				extra[k] = true
			case 2: // counted, only the table's reference
				m.Counted(f)
			default:
				table[k/8][k%8] |= mark
			}
		}
		audit(t, m)
		shared := new(phys.Rows)
		lo := r.IntN(len(frames))
		hi := lo + r.IntN(len(frames)-lo)
		if seed%2 == 0 {
			hi = lo
		}
		how := phys.Sharing{Lose: 2, Gain: 1 << 60, Skip: -1}
		if lo < hi {
			m.CountTable(table, groups, mark)
		}
		copied, _, _ := m.ShareLeaf(shared, table, groups, len(frames), lo, hi, &how)
		for k := lo; k < hi; k++ {
			if e := shared[k/8][k%8]; e&mark != 0 || e != table[k/8][k%8] || m.Sole(frames[k]) {
				t.Fatalf("entry %#x is %#x in the copy, sole %v", table[k/8][k%8], e, m.Sole(frames[k]))
			}
		}
		audit(t, m)
		b, free := phys.Batch{M: m}, m.FreeFrames()
		want := 0
		for k := range frames {
			if !extra[k] && (k < lo || k >= hi) {
				want++
			}
		}
		if _, left := b.ReleaseLeaf(table, groups, len(frames), phys.NoStop, mark); left != 0 || *table != (phys.Rows{}) {
			t.Fatalf("seed %d: %d entries left", seed, left)
		}
		b.Flush()
		if n := m.FreeFrames() - free; n != want {
			t.Fatalf("seed %d: %d frames freed, want %d", seed, n, want)
		}
		audit(t, m)
		if copied > 0 {
			if _, left := b.ReleaseLeaf(shared, ^uint64(0), copied, phys.NoStop, mark); left != 0 {
				t.Fatalf("seed %d: %d entries left in the copy", seed, left)
			}
			b.Flush()
		}
		for k, f := range frames {
			if extra[k] {
				m.Unref(f)
			}
		}
		if n := m.FreeFrames() - free; n != len(frames) {
			t.Fatalf("seed %d: %d frames freed at last, want %d", seed, n, len(frames))
		}
		audit(t, m)
	}
}

// TestJoinSole checks that Join makes a block of sole frames whole, also with counted frames
// among them, unless a counted frame has a second reference.
//
// Broken by: Join uses only the counts; Join leaves the bits in block.sole.
func TestJoinSole(t *testing.T) {
	for mode := range 3 {
		m := phystest.New(t, 2*512)
		f, ok := m.Reservation()
		if !ok {
			t.Fatal("no block")
		}
		m.Populate(f, 512)
		switch mode {
		case 1:
			m.Counted(f + 77)
			m.Counted(f)
		case 2:
			m.Counted(f + 77)
			m.Ref(f + 77)
		}
		all := [8]uint64{}
		for i := range all {
			all[i] = ^uint64(0)
		}
		m.Unreserve(f, &all, 512)
		audit(t, m)
		if got := m.Join(f); got != (mode < 2) {
			t.Fatalf("mode %d: joined %v", mode, got)
		}
		audit(t, m)
		if mode == 2 {
			continue
		}
		if m.Sole(f+5) || m.BlockRefs(f) != 1 || m.Owners()[phys.Anon] != 512 {
			t.Errorf("mode %d: sole %v, %d references, owners %v", mode, m.Sole(f+5), m.BlockRefs(f), m.Owners())
		}
		m.UnrefBlock(f)
		audit(t, m)
	}
}
