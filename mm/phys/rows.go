package phys

import "sync/atomic"

// dropEight gives up one reference to each of frames x to x+7, counted from base. The frames
// are of one superblock, which is not whole. Pages of files and of shared memory come here:
// other references to them usually remain. It is not inlined, so that releaseRows keeps its
// variables in registers.
//
//go:noinline
func (b *Batch) dropEight(in *[8]Info, x int) {
	// The results of the decrements are the only valid counts. Another CPU may give up the
	// last reference right after ours, and then frees the frame itself.
	r0, r1, r2, r3 := drop1(&in[0]), drop1(&in[1]), drop1(&in[2]), drop1(&in[3])
	r4, r5, r6, r7 := drop1(&in[4]), drop1(&in[5]), drop1(&in[6]), drop1(&in[7])
	if r0 == 0 || r1 == 0 || r2 == 0 || r3 == 0 || r4 == 0 || r5 == 0 || r6 == 0 || r7 == 0 {
		b.collectRow(x, [8]int32{r0, r1, r2, r3, r4, r5, r6, r7})
	}
}

// drop1 gives up a reference and returns how many are left.
func drop1(i *Info) int32 { return atomic.AddInt32(&i.refs, -1) }

// collectRow collects those of frames x to x+7, counted from base, that have no reference
// left.
func (b *Batch) collectRow(x int, left [8]int32) {
	for i, r := range left {
		if r == 0 {
			b.collect((x+i)>>6, 1<<((x+i)&63))
		}
	}
}

// unrefRows does the work of UnrefAll for a start of frames that consists of groups of eight
// consecutive frames, each with a count of one. It returns the number of elements that it has
// dealt with: a multiple of 8, or 0. Like releaseRows, it must not be inlined: an exit of
// 16 MB of shared memory would cost 5 % more.
//
//go:noinline
func (b *Batch) unrefRows(frames []Frame) (n int) {
	info, base := b.M.info, int(b.M.base)
	for ; len(frames)-n >= 8; n += 8 {
		r := (*[8]Frame)(frames[n:])
		f := r[0]
		if f == 0 || r[1] != f+1 || r[2] != f+2 || r[3] != f+3 || r[4] != f+4 || r[5] != f+5 || r[6] != f+6 || r[7] != f+7 {
			break
		}
		x := int(f) - base
		if x>>9 != (x+7)>>9 {
			break
		}
		in := (*[8]Info)(info[x:])
		if atomic.LoadInt32(&in[0].refs) != 1 || atomic.LoadInt32(&in[1].refs) != 1 ||
			atomic.LoadInt32(&in[2].refs) != 1 || atomic.LoadInt32(&in[3].refs) != 1 ||
			atomic.LoadInt32(&in[4].refs) != 1 || atomic.LoadInt32(&in[5].refs) != 1 ||
			atomic.LoadInt32(&in[6].refs) != 1 || atomic.LoadInt32(&in[7].refs) != 1 {
			break
		}
		if i := int32(x >> 9); i != b.cur {
			b.Flush()
			b.cur = i
		}
		// The only references are ours, so no other CPU looks at the counts.
		in[0].refs, in[1].refs, in[2].refs, in[3].refs = 0, 0, 0, 0
		in[4].refs, in[5].refs, in[6].refs, in[7].refs = 0, 0, 0, 0
		b.maskRow(x)
	}
	return n
}

// maskRow collects frames x to x+7, counted from base, which are of superblock cur.
func (b *Batch) maskRow(x int) {
	w, bit := x>>6&7, x&63
	b.mask[w] |= 0xff << bit
	b.words |= 1 << w
	if bit > 64-8 {
		b.mask[(w+1)&7] |= 0xff >> (64 - bit)
		b.words |= 1 << ((w + 1) & 7)
	}
}
