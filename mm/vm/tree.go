package vm

import "grim/arch"

// lastEntries is how many entries are looked at one by one before a tree is built for a
// search, at some 5 instructions each.
const lastEntries = 8

// entryTree holds a map's entries by address, in an AVL tree and in a list. In the tree
// every node has the largest free gap of its subtree, so that look-up, insertion and the
// search for free addresses take a logarithmic number of steps. With the list, walking and
// teardown take constant time for each entry.
//
// The gap of an entry is the free space between its predecessor's end (UserMin for the
// first entry) and its floor. The space after the last entry belongs to no entry; findGap
// looks there first.
type entryTree struct {
	root        *entry
	first, last *entry
	n           int
	unbuilt     bool // only the list exists: call build before root is used

	yield func() // lets others run; may be nil
}

// find returns the entry that contains va, or nil.
func (t *entryTree) find(va arch.VA) *entry {
	if e := t.ceil(va); e != nil && e.start <= va {
		return e
	}
	return nil
}

// ceil returns the first entry that ends after va, or nil.
func (t *entryTree) ceil(va arch.VA) *entry {
	var best *entry
	if t.unbuilt {
		// A child that soon execs or exits only looks for its stack, which is the last
		// entry, and perhaps for an entry near it. That needs no tree.
		e := t.last
		for range lastEntries {
			if e == nil || e.end <= va {
				return best
			}
			best, e = e, e.prev
		}
		best = nil
		t.build()
	}
	for e := t.root; e != nil; {
		if e.end > va {
			best, e = e, e.left
		} else {
			e = e.right
		}
	}
	return best
}

// insert adds e, which overlaps no other entry.
func (t *entryTree) insert(e *entry) {
	t.build()
	e.next = t.ceil(e.start)
	if e.next != nil {
		e.prev = e.next.prev
		e.next.prev = e
	} else {
		e.prev = t.last
		t.last = e
	}
	if e.prev != nil {
		e.prev.next = e
	} else {
		t.first = e
	}
	e.left, e.right, e.height = nil, nil, 1
	setGap(e)
	if e.next != nil {
		setGap(e.next)
	}
	t.root = treeInsert(t.root, e)
	if e.next != nil {
		treeRefresh(t.root, e.next)
	}
	t.n++
}

// build makes the tree from the list, unless it exists. It is for fork, which has the
// entries in order: n insertions into a tree would cost 250 instructions each, building the
// tree costs 30 each, and most children are gone before the tree is needed.
func (t *entryTree) build() {
	if t.unbuilt {
		t.unbuilt = false
		t.root, _ = t.buildTree(t.first, t.n)
	}
}

// buildStep is how many entries are added to a tree before others may run, at some 30
// instructions each.
const buildStep = 256

// buildTree makes a balanced tree of the n entries from first on. It returns its root and
// the entry after the n.
func (t *entryTree) buildTree(first *entry, n int) (root, rest *entry) {
	if n == 0 {
		return nil, first
	}
	left, e := t.buildTree(first, (n-1)/2)
	e.left = left
	e.right, rest = t.buildTree(e.next, n/2)
	e.pull()
	if n > buildStep/2 && n <= buildStep && t.yield != nil {
		t.yield() // the tree has one such part in every buildStep entries
	}
	return e, rest
}

// remove removes e.
func (t *entryTree) remove(e *entry) {
	t.build()
	t.root = treeRemove(t.root, e)
	next := e.next
	if e.prev != nil {
		e.prev.next = next
	} else {
		t.first = next
	}
	if next != nil {
		next.prev = e.prev
		setGap(next)
		treeRefresh(t.root, next)
	} else {
		t.last = e.prev
	}
	e.prev, e.next, e.left, e.right = nil, nil, nil, nil
	t.n--
}

// moved repairs the gaps after e.start or e.end has changed within the free space around e.
// The order of the entries has not changed.
func (t *entryTree) moved(e *entry) {
	t.build()
	setGap(e)
	treeRefresh(t.root, e)
	if e.next != nil {
		setGap(e.next)
		treeRefresh(t.root, e.next)
	}
}

// findGap returns the highest address at which n bytes are free below limit, aligned to
// align (a power of two). ok is false if there is none.
func (t *entryTree) findGap(n uint64, limit arch.VA, align uint64) (va arch.VA, ok bool) {
	t.build()
	lo := arch.UserMin
	if t.last != nil {
		lo = t.last.end
	}
	if va, ok := fit(lo, limit, n, align); ok {
		return va, true
	}
	return findGap(t.root, n, limit, align)
}

// findGap searches a subtree from the highest gap down. It never enters a subtree without a
// gap of n bytes. Alignment and limit can only cost a few extra steps.
func findGap(e *entry, n uint64, limit arch.VA, align uint64) (arch.VA, bool) {
	if e == nil || e.maxGap < n {
		return 0, false
	}
	if e.end < limit { // the right subtree's gaps start at e.end or above
		if va, ok := findGap(e.right, n, limit, align); ok {
			return va, true
		}
	}
	if e.gap >= n {
		hi := e.floor()
		if va, ok := fit(hi-arch.VA(e.gap), min(hi, limit), n, align); ok {
			return va, true
		}
	}
	return findGap(e.left, n, limit, align)
}

// fit returns the highest aligned address for n bytes in [lo, hi).
func fit(lo, hi arch.VA, n, align uint64) (arch.VA, bool) {
	if hi <= lo || uint64(hi-lo) < n {
		return 0, false
	}
	va := (hi - arch.VA(n)) &^ arch.VA(align-1)
	return va, va >= lo
}

// setGap computes e.gap from e's neighbours. The caller must update the subtrees.
func setGap(e *entry) {
	lo := arch.UserMin
	if e.prev != nil {
		lo = e.prev.end
	}
	e.gap = 0
	if f := e.floor(); f > lo {
		e.gap = uint64(f - lo)
	}
}

// pull recomputes height and maxGap from the children.
func (e *entry) pull() {
	h, g := int32(0), e.gap
	if l := e.left; l != nil {
		h, g = l.height, max(g, l.maxGap)
	}
	if r := e.right; r != nil {
		h, g = max(h, r.height), max(g, r.maxGap)
	}
	e.height, e.maxGap = h+1, g
}

// treeRefresh recomputes the sums on the path to e.
func treeRefresh(n, e *entry) {
	if n == nil {
		return
	}
	if n != e {
		if e.start < n.start {
			treeRefresh(n.left, e)
		} else {
			treeRefresh(n.right, e)
		}
	}
	n.pull()
}

func treeInsert(n, e *entry) *entry {
	if n == nil {
		e.pull()
		return e
	}
	if e.start < n.start {
		n.left = treeInsert(n.left, e)
	} else {
		n.right = treeInsert(n.right, e)
	}
	return balance(n)
}

func treeRemove(n, e *entry) *entry {
	switch {
	case e.start < n.start:
		n.left = treeRemove(n.left, e)
	case e.start > n.start:
		n.right = treeRemove(n.right, e)
	case n.left == nil:
		return n.right
	case n.right == nil:
		return n.left
	default:
		// The successor takes e's place.
		right, s := takeFirst(n.right)
		s.left, s.right = n.left, right
		n = s
	}
	return balance(n)
}

// takeFirst removes the lowest entry of a subtree.
func takeFirst(n *entry) (rest, first *entry) {
	if n.left == nil {
		return n.right, n
	}
	n.left, first = takeFirst(n.left)
	return balance(n), first
}

func height(e *entry) int32 {
	if e == nil {
		return 0
	}
	return e.height
}

// balance restores the AVL condition at n, whose subtrees satisfy it.
func balance(n *entry) *entry {
	switch d := height(n.left) - height(n.right); {
	case d > 1:
		if height(n.left.left) < height(n.left.right) {
			n.left = rotateLeft(n.left)
		}
		return rotateRight(n)
	case d < -1:
		if height(n.right.right) < height(n.right.left) {
			n.right = rotateRight(n.right)
		}
		return rotateLeft(n)
	}
	n.pull()
	return n
}

func rotateLeft(n *entry) *entry {
	r := n.right
	n.right, r.left = r.left, n
	n.pull()
	r.pull()
	return r
}

func rotateRight(n *entry) *entry {
	l := n.left
	n.left, l.right = l.right, n
	n.pull()
	l.pull()
	return l
}
